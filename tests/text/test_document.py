"""Oracles: the binomial distribution for the held-out share, and one hash worked out by hand with sha256sum."""

import hashlib

from lexiscope.text.document import HELDOUT_SHARE, is_heldout, whole_id


def test_a_tenth_is_held_out():
    share = sum(is_heldout(f"stdlib:{number}.py") for number in range(20_000)) / 20_000
    assert abs(share - HELDOUT_SHARE) < 5 * (0.1 * 0.9 / 20_000) ** 0.5


def test_the_side_is_the_first_byte_of_sha256():
    """0.1 * 256 = 25.6: a first byte up to 24 is held out, one above 25 is not."""
    for number in range(200):
        first = hashlib.sha256(f"name {number}".encode()).digest()[0]
        if first != 25:
            assert is_heldout(f"name {number}") == (first < 25)


def test_pieces_of_a_document_stay_together():
    for number in range(100):
        sides = {is_heldout(f"files:{number}.txt#{piece}") for piece in range(20)}
        assert sides == {is_heldout(f"files:{number}.txt")}


def test_only_the_number_of_a_piece_is_no_part_of_the_name():
    assert whole_id("files:C#/a#1.txt#20") == "files:C#/a#1.txt"
    assert whole_id("files:C#/a#1.txt") == "files:C#/a#1.txt"
