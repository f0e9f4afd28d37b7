"""The concordance: for every feature, every row of the text where it fires.

firings.py   codes of tokens → firings of features: gathered in sorted runs, merged block by block
table.py     the Parquet files that hold them, and how one feature's are read
sample.py    the codes of a sample of rows, for what fires together
text.py      the token of every row, with its context and its place in a document
"""
