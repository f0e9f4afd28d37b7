"""Every concept against hand-marked text. Oracle: what stands between « and » is positive, every other character is not."""

from __future__ import annotations

import pytest

from lexiscope.measure.concepts import BANK

CODE = {
    "docstring": '«"""Module."""»\nclass A:\n    «\'\'\'One\n    two.\'\'\'»\n    x = "no"\n    if x:\n        "no"\ndef f(\n    a,\n):  # why\n    «r"yes \\" yes"»\n    {"k":\n     "no"}\n',
    "comment": 'x = 1  «# a "comment"»\ny = "# none"\n«# all»\n',
    "string literal": 'def f():\n    """doc"""\n    return «"a\\"b"» + «\'c\'» + b + «b"d"»  # "no"\n«"""tail\nopen»',
    "f-string": 'a = «f"{x}"» + "f" + «rF\'y\'» + g("f")\n',
    "escape sequence": 'a = "b«\\n»c«\\"»" + r"\\n" + \'«\\t»\'\n# \\n\n',
    "start of a string": 'a = "«b»cd" + \'\' + """«e»f""" + "«g»"\n',
    "opening parenthesis": 'f«(»x, "(") + «(»1)  # (\n',
    "after an opening parenthesis": 'f(«x», 1) + g( «y») + h("s")\n',
    "closing parenthesis": 'f(x, ")"«)» + (1«)»\n',
    "opening square bracket": 'a«[»0] + "["\n',
    "closing square bracket": 'a[0«]» + "]"\n',
    "brace": 'a = «{»1: 2«}» + f"{x}"\n',
    "inside brackets": 'f(«a» «+» «b»[«0»]«,» "s") + c\n',
    "indentation of depth 1": "class A:\n«    »x = 1\n        y\n«    »def f(self):\n        pass\n    # no\n",
    "indentation of depth 2": "class A:\n    def f(self):\n«        »pass\n        \n«        »return g(\n            1)\n",
    "indentation of depth 3": "if a:\n    if b:\n        if c:\n«            »d = (\n            e)\n",
    "def": "«def» f(): defined = 1  # def\nasync «def» g(): pass\n",
    "function name": "def «name»(x):\n    name(x)\nasync def «other»(): pass\n",
    "head of a function": "x: int\n«def f(a: int = 1) -> int»: return {1: 2}\nclass C:\n    «async def g(self)»:\n        pass\n",
    "class": "«class» A: pass\nsubclass = 'class'\n",
    "class name": "class «A»(B): A = 1\n",
    "head of a loop": "«for i in x[1:]»:\n    «while i»: pass\ny = [i for i in x]\n",
    "for": "«for» i in x: pass\nformat = [j «for» j in y]  # for\n",
    "in": "for i «in» inner: i not «in» x\n# in\n",
    "head of a condition": "«if a[b:c]»: pass\n«elif d»: pass\nelse: pass\nx = 1 if y else z\n",
    "if": "«if» a: pass\n«elif» b: x = 1 «if» y else 2\nelse: iff = 'if'\n",
    "else": "if a: pass\n«else»: x = 1 if y «else» 2  # else\n",
    "head of except": "try: pass\n«except (A, B) as e»: x[1:]\n«except»: pass\n",
    "try": "«try»: trying = 1\nexcept A: pass  # try\n",
    "raise": "«raise» A from raised  # raise\n",
    "exception name": "raise «ValueError»(Error, «KeyError», Errors)  # TypeError\n",
    "with": "«with» open(x) as width: pass  # with\n",
    "import statement": "«import os, sys»\n    «from a import (b)»\nx = 'import a'\nyield from y\n",
    "import": "«import» os\nfrom a «import» b  # import\nimportlib\n",
    "return": "def f(): «return» returned  # return\n",
    "yield": "def f(): «yield» yielded  # yield\n",
    "logical operator": "a «and» b «or» «not» c; notation = 'and'\n",
    "None": "x = «None»; NoneType = 'None'\n",
    "True or False": "x = «True» or «False»; Trueish = 'True'\n",
    "self": "def f(«self», myself): «self».x = 'self'\n",
    "attribute of self": "self.«x» = other.y + self.«z»()\n",
    "attribute": "a.«b».«c»() + 1.5 + ...\n",
    "called name": "x = «f»(a) + b.«g»(c)\ndef h(y):\n    if (x): print (y)\n    return(x)\nclass K(L): pass\n",
    "number literal": "x1 = «10» + «0xff» + «1.5e3» + a[«0»] + '7'\n",
    "decorator": "«@a.b(c)»\ndef f(): x = a @ b\n",
    "keyword argument": "f(«a»=1, b == 2, «c»=d)\ne=3\n",
    "assignment": "x «=» f(a = 1)\ny == z\nw += 1\n",
    "comparison": "a «==» b «!=» c «<» d «>=» e; x = y -> z; f << g\n",
    "arithmetic operator": "a «+» b «*» c «-» -d «+» e\nx**y\n",
    "colon that opens a block": "if a[1:]«:»\n    x: int = {1:\n 2}\n    for i in j«:»  # loop\n        pass\nlambda: 1\n",
    "comma in brackets": "a, b = f(1«,» [2«,» 3]«,» ',')\n",
    "dunder name": "«__init__»(_x, __y, __z_) + a.«__name__»\n",
    "private name": "«_x» + a.«_y_z» + __init__ + b_c\n",
    "constant name": "«MAX_SIZE» + AB + Max + «X11»\n",
    "CamelCase name": "«FastTokenizer»(Fast, camelCase, «HttpX2») + HTTP\n",
    "snake_case name": "«max_size» + maxsize + _x + MAX_SIZE + a.«b_c»\n",
    "built-in function": "«len»(x) + a.len(y) + «isinstance»(b, str) + length(c)\n",
}
PROSE = {
    "contraction": "It«'s» John«'s» dog, they«’re» 'so' don«'t».\n",
    "n't": "I do«n't» want it, ca«n’t» you? an isn t.\n",
    "possessive": "John«'s» dogs' it«’s» its.\n",
    "quoted speech": 'He said, "«I can\'t go.\nNot now.»" And "«why»"? 5"x" 6"\n',
    "opening quotation mark": 'He said, «"»No," and left. «“»Yes” he said.\n',
    "closing quotation mark": 'He said, "No,«"» and left. “Yes«”» he said.\n',
    "start of a sentence": "«The» dog ran. «It» barked! the End? «No».\n",
    "full stop": "The dog«.» It cost 1.5 e.g. this«.»\n",
    "comma": "One«,» two«,» 3,4 and ,this.\n",
    "question mark": "Why«?» Because.\n",
    "exclamation mark": "Stop«!» a != b and !important.\n",
    "colon": "Note«:» it is 12:30 and a::b.\n",
    "semicolon": "This«;» that.\n",
    "in parentheses": "A («dog, big») and (a («cat»)) here.\n",
    "capitalised word inside a sentence": "The dog saw «John», «Mary» and NASA. He ran.\n",
    "word in capitals": "The «NASA» and A man USAs.\n",
    "paragraph break": "One.«\n\n»Two.\nThree.«\n \n»Four.",
    "the": "«The» dog and «the» other then.\n",
    "a or an": "«A» dog, «an» apple and any.\n",
    "demonstrative": "«This» and «those» thistles.\n",
    "possessive determiner": "«My» dog and «their» cat; mine, theirs.\n",
    "personal pronoun": "«He» saw «me» and «I» saw «them»; it's mine, «It» is.\n",
    "third person singular": "«He» saw «her» and they saw it.\n",
    "preposition": "A book «on» the table «with» of to legs.\n",
    "of": "A cup «of» tea on often.\n",
    "to": "I want «to» go «to» town today.\n",
    "and, or, but": "Tom «and» Ann «or» «but» orb.\n",
    "negation": "«No», I do «not» know; «nothing» is noted.\n",
    "question word": "«What» is this and «where»; whatever.\n",
    "subordinating conjunction": "«If» it rains, I stay «until» noon; iffy.\n",
    "form of be": "It «is» what they «were»; this island.\n",
    "form of have": "She «has» what I «had»; hadron haves.\n",
    "modal verb": "You «must» go and I «will» stay; willing.\n",
    "verb of speech": "He «said» and she «asked» to say.\n",
    "word in -ing": "He was «running» and «Singing»; ring king.\n",
    "word in -ed": "She «walked» and «bled»; red «needed».\n",
    "word in -ly": "He «slowly» left, fly «only».\n",
    "word in -tion": "An «action» of «nations» notional.\n",
    "number word": "«Three» of «ten» tens weigh «one»-third.\n",
    "quantifier": "«All» of us and «some» others alley.\n",
    "month": "In «March» and «May» 5, I may march. 3 «May».\n",
    "weekday": "On «Monday» and «Sunday», today.\n",
    "colour": "A «red» car and a «Blue» one, reddish.\n",
    "family": "My «mother» and his «sisters», motherly.\n",
    "unit of time": "Two «days» and one «hour», daily.\n",
}
DATA = {
    "base64": 'data = "«TGV4aXNjb3BlIGlzIGEgbWljcm9zY29wZQ==»" and abcdefghijklmnopqrstuv /usr/lib/python3X/site/packages\n',
    "hexadecimal number": "at «0x1F» and «deadbeef12» not facade 123456 defaced\n",
    "URL": 'see «https://a.org/b?c=1» or "«http://x.y»" or ftp://z\n',
    "e-mail address": "write to «ann.b@c.org», not @d or e@f\n",
    "IP address": "from «127.0.0.1» version 1.2.3\n",
    "bullet": "«-» one\n  «*» two\n-no\na - b\n«•» three\n",
    "item after a bullet": "- «one two»\nthree - four\n* «five»\n",
    "list number": "«1.» one\n«b)» two\n  «(3)» three\n12 four 5. six\n",
    "table row": "«| a | b |»\n| c\n«| --- | --- |»\n",
    "vertical bar": "a «|» b / c\n",
    "date": "on «2024-03-01» and «5 May 1999», not 2024 or May 5\n",
    "time of day": "at «12:30» or «01:02:03», not 1:2\n",
    "year": "in «1999» and «2024», not 3000, 12345, $1999 or 1500.5\n",
    "number": "«12» dogs, «1.5» cats, x1 and 2b\n",
    "decimal fraction": "pi is 3.«14», not 3.1.4 or 3\n",
    "percentage": "about «12%» or «1.5 %», not 12\n",
    "price": "costs «$12.50» or «£3», not 12\n",
    "version number": "version «1.2.3», not 1.2 or 1.2.3.4\n",
    "result of a sum": "3 + 4 = «7»\n12 - 5 = «7» and x = 7\n",
    "counting": "«1, 2, 3, 4, 5» and 6, 7\n",
    "log level": "[12:00] «ERROR» lamp, no error; «INFO».\n",
    "JSON key": '{"«a b»": "c", "«d»": ["e"]}\n',
    "constant in capitals": "«MAX_SIZE» and MAX and max_size\n",
    "identifier with underscores": "«max_size» and maxsize and MAX_SIZE\n",
    "camelCase identifier": "«maxSize», «MaxSize», Max and MAX\n",
    "dotted name": "see «os.path.join» and «a.b», not 1.5 or end.\nNext\n",
    "path": "in «/usr/lib» and «a/b/c.py», not and/or\n",
    "double backticks": "the «``x``» and `y`\n",
    "doctest prompt": "«>>>» f(x)\n«...» y\n>>>z and a >>> b\n",
    "line of signs": "Title\n«=====»\n--- «####»\n",
    "HTML tag": '«<b>»bold«</b>» and «<a href="x">», not a < b > c\n',
}
TASKS = {
    "name in an indirect-object sentence": "When «Mary» and «John» went to the store, «John» gave a drink to «Mary». Ann met Bob.\n",
    "first name": "After «Mary» and John had lunch at the cafe, John sent a book to Mary.\n",
    "second name": "Yesterday Mary met «John» near the farm. John handed the ring to Mary and smiled.\n",
    "second mention of a name": "The zoo was empty but for Mary and John. «John» sold the hat to «Mary».\n",
    "giver": "Mary saw John at the bank. «Mary» wanted to give the key to John.\nAnn and Bob sat in the bank. Eve gave a hat to Bob.\n",
    "receiver": "Then, Mary and John had a long argument. Mary said something to «John» at once.\n",
    "to before a receiver": "When Mary and John went to the store, John gave a drink «to» Mary.\n",
    "what is given": "When Mary and John went to the store, John gave «a drink» to Mary.\n",
    "speaker": '"Where is the key?" asked «Ann».\n«Bob» replied, "It isn\'t mine."\n"I see," «Ann» said, "and then Eve again."\n',
    "plural subject": "The «dogs» near the cat run slowly. My cat sleeps. The boy that the «girls» see knew it.\n",
    "singular subject": "The dogs run often. The old «cat» behind the boys is tired. Their «king» was here.\n",
    "plural verb": "The dogs near the cat «run» slowly. My cat sleeps quickly. The boys «are» tired.\n",
    "singular verb": "The dogs run slowly. My cat «sleeps» quickly. The boy with the dogs «is» tired.\n",
    "last word before a plural verb": "The dogs near the «cat» run slowly. The «boys» are tired. The boy runs.\n",
    "last word before a singular verb": "The «cat» sleeps. The boy with the «dogs» is tired. The boys run.\n",
    "noun between subject and verb": "The dogs near the «cat» run. The king that walks by the «ships» has gone. A boy runs.\n",
    "that of a relative clause": "The boy «that» the girls see knew it. The king «that» walks by the ships has gone. See that?\n",
    "repeated word": "red box lamp key lion red box «lamp» «key» door red key\n",
}
EXAMPLES = CODE | PROSE | DATA | TASKS


def unmark(marked: str) -> tuple[str, set[int]]:
    """The text without marks, and which of its characters stood between them."""
    text, positive, inside = "", set(), False
    for character in marked:
        if character in "«»":
            inside = character == "«"
            continue
        if inside:
            positive.add(len(text))
        text += character
    return text, positive


@pytest.mark.parametrize("concept", BANK, ids=lambda concept: concept.name)
def test_concept_on_marked_text(concept):
    text, positive = unmark(EXAMPLES[concept.name])
    found = {place for start, end in concept.find(text) for place in range(start, end)}
    shown = "".join(f"«{character}»" if place in found else character for place, character in enumerate(text))
    assert found == positive, shown.replace("»«", "")
    assert positive
    assert {place for place in range(len(text)) if not text[place].isspace()} - positive


def test_bank_is_large_and_well_described():
    assert len(BANK) >= 60
    assert len({concept.name for concept in BANK}) == len(BANK)
    assert {concept.name for concept in BANK} == set(EXAMPLES)
    for concept in BANK:
        assert concept.definition.endswith(".")
        assert concept.kinds <= {"code", "docs", "prose", "generated"}
        assert concept.kinds


@pytest.mark.parametrize(
    "text", ["", "\n", "'", '"""', "(" * 50, ")" * 50, "def f(", "f'{", "\\", "#", "« é 😀 \u2028"]
)
def test_no_concept_stumbles_over_broken_text(text):
    for concept in BANK:
        for start, end in concept.find(text):
            assert 0 <= start <= end <= len(text), concept.name
