"""Oracle: the generators themselves, called directly."""

import itertools

from lexiscope.core.seeds import derive_seed
from lexiscope.text import generators
from lexiscope.text.corpus import Corpus


def test_pages_are_the_generators_own():
    name = generators.names()[0]
    found = [document.text for document in itertools.islice(Corpus(f"generated:{name}", seed=4).documents(), 5)]
    assert found == list(itertools.islice(generators.pages(name, derive_seed(4, "generated", name)), 5))


def test_all_generators_have_an_equal_share_of_characters():
    totals = dict.fromkeys(generators.names(), 0)
    longest = 0
    for document in itertools.islice(Corpus("generated").documents(), 600):
        totals[document.id.removeprefix("generated:").split("/")[0]] += len(document.text)
        longest = max(longest, len(document.text))
    assert max(totals.values()) - min(totals.values()) <= longest
