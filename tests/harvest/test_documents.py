"""Enough text is held out. Oracle: the rule of docs/formats.md, restated document by document."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lexiscope.harvest.documents import DocumentInfo, hold_out_enough
from lexiscope.text.document import heldout_rank, is_heldout, whole_id

ids = st.text(alphabet="abcd", min_size=1, max_size=3)
infos = st.dictionaries(ids | ids.map("{}#1".format), st.integers(1, 100), min_size=1, max_size=12).map(
    lambda found: [DocumentInfo(name, "prose", "unknown", tokens, is_heldout(name)) for name, tokens in found.items()]
)


@given(infos)
def test_the_next_in_the_queue_until_there_is_enough(documents: list[DocumentInfo]) -> None:
    total = sum(document.tokens for document in documents)
    held: set[str] = {whole_id(document.id) for document in documents if is_heldout(document.id)}
    queue = sorted({whole_id(document.id) for document in documents} - held, key=heldout_rank)
    while len(queue) > 1 and sum(item.tokens for item in documents if whole_id(item.id) in held) < 0.05 * total:
        held.add(queue.pop(0))
    found, share = hold_out_enough(documents)
    assert [item._replace(heldout=False) for item in found] == [item._replace(heldout=False) for item in documents]
    assert {whole_id(item.id) for item in found if item.heldout} == held
    assert all(item.heldout == is_heldout(item.id, share) for item in found)
    assert all(item.heldout for item in found if is_heldout(item.id))
