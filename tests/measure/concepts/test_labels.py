"""Token labels against a loop over characters, and the two halves against reading every document by itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lexiscope.core.codes import SparseCodes
from lexiscope.core.hookpoint import HookPoint
from lexiscope.core.progress import Silent
from lexiscope.measure.concepts import BANK
from lexiscope.measure.concepts.concept import CODE, GENERATED, Concept, matching
from lexiscope.measure.concepts.labels import label
from lexiscope.measure.concepts.reading import half_of_document, read_halves
from lexiscope.saes.baselines import fit_pca
from lexiscope.text import generators
from lexiscope.text.document import Document
from lexiscope.text.pack import pack

HOOK = HookPoint.parse("resid_post.1")
SOURCE = 'def f(self, x=1):\n    """Add."""\n    return self.y + [x]\n\n\nclass A:\n    z = "é\U0001f600"\n'


def by_character(document, encoded, concept):
    """A token is positive if a character of it that is no leading white space is positive."""
    positive = {place for start, end in concept.find(document.text) for place in range(start, end)}
    labels = []
    for start, end in zip(encoded.starts, encoded.ends, strict=True):
        piece = document.text[start:end]
        first = start + len(piece) - len(piece.lstrip()) if piece.strip() else start
        labels.append(any(place in positive for place in range(first, end)))
    return labels


def documents():
    pages = [page for name in generators.names() for page, _ in zip(generators.pages(name, 9), range(6), strict=False)]
    made = [Document(f"generated/{number}", page, "generated", "unknown") for number, page in enumerate(pages)]
    return [*made, Document("code/0", SOURCE, "code", "unknown"), Document("code/1", SOURCE * 3, "code", "unknown")]


@pytest.mark.parametrize("document", documents()[::7] + documents()[-2:], ids=lambda document: document.id)
def test_labels_equal_a_loop_over_characters(model, document):
    encoded = model.tokenizer.encode(document.text)
    positive_CT, judged_CT = label(document, np.array(encoded.starts), np.array(encoded.ends), BANK)
    for concept, positive_T, judged_T in zip(BANK, positive_CT, judged_CT, strict=True):
        judged = document.kind in concept.kinds
        assert judged_T.tolist() == [judged] * len(encoded.ids)
        assert positive_T.tolist() == (by_character(document, encoded, concept) if judged else [False] * len(judged_T))


def test_white_space_counts_only_where_a_token_has_nothing_else():
    document = Document("x", "a\n    b", "code", "unknown")
    spaces = Concept("spaces", "Four spaces.", CODE, matching(r"[ ]{4}"))
    starts, ends = np.array([0, 1, 1, 5, 6]), np.array([1, 6, 7, 7, 7])  # "a", "\n    ", "\n    b", " b", "b"
    positive_CT, _ = label(document, starts, ends, [spaces])
    assert positive_CT[0].tolist() == [False, True, False, False, False]


def test_halves_equal_reading_document_by_document(model):
    """Oracle: every document on its own, packed alone, activations by `LanguageModel.read`."""
    given = documents()
    sae = fit_pca(torch.randn(200, model.width), k=3)
    concepts = [concept for concept in BANK if concept.kinds & (CODE | GENERATED)][::9]
    batches = pack(given, model.tokenizer, context=16, batch=5, bos="context")
    halves = read_halves(model, [HOOK], {"pca": sae}, batches, concepts, tokens=10**6, task=Silent())
    names = [half.labels.documents for half in halves]
    assert not names[0] & names[1]
    assert names[0] | names[1] == {document.id for document in given}
    for number, half in enumerate(halves):
        assert all(half_of_document(name) == number for name in half.labels.documents)
        expected_rows, expected_labels = [], []
        for document in given:
            if document.id not in half.labels.documents:
                continue
            for batch in pack([document], model.tokenizer, context=16, batch=1, bos="context"):
                x_TD = model.read(batch.tokens_BC, [HOOK])[HOOK][batch.mask_BC]
                starts, ends = batch.starts_BC[batch.mask_BC].numpy(), batch.ends_BC[batch.mask_BC].numpy()
                labels_CT = label(document, starts, ends, concepts)[0]
                expected_rows += [tuple(row) for row in sae.encode(x_TD).dense().round(decimals=3).tolist()]
                expected_labels += [tuple(column) for column in labels_CT.T.tolist()]
        rows = [tuple(row) for row in SparseCodes.concat(half.codes["pca"]).dense().round(decimals=3).tolist()]
        labels = [tuple(column) for column in half.labels.positive_CT.T.tolist()]
        found = sorted(zip(labels, rows, strict=True))
        expected = sorted(zip(expected_labels, expected_rows, strict=True))
        assert [item[0] for item in found] == [item[0] for item in expected]
        assert np.allclose(
            np.sort([item[1] for item in found], 0), np.sort([item[1] for item in expected], 0), atol=2e-3
        )


def test_reading_stops_after_the_tokens_asked_for(model):
    batches = pack(documents(), model.tokenizer, context=16, batch=2, bos="context")
    sae = fit_pca(torch.randn(200, model.width), k=3)
    halves = read_halves(model, [HOOK], {"pca": sae}, batches, BANK, tokens=100, task=Silent())
    assert 100 <= sum(half.labels.positive_CT.shape[1] for half in halves) < 100 + 2 * 16


def test_pieces_of_one_document_share_a_half():
    assert len({half_of_document(f"files:long.txt#{piece}") for piece in range(50)}) == 1
    assert {half_of_document(f"files:{number}.txt") for number in range(50)} == {0, 1}


def test_a_number_sign_in_a_folder_does_not_put_all_of_it_in_one_half():
    assert {half_of_document(f"files:C#/{number}.cs") for number in range(50)} == {0, 1}
