"""Oracles: Python's own CSV reader, and what OWASP says a spreadsheet takes for a formula."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from lexiscope.web.exports.table import CsvResponse, cell, csv_lines, text_cell, text_of

ANYTHING = st.text(st.characters())  # control characters and lone surrogates, too
DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), ANYTHING)


@given(ANYTHING)
def test_text_comes_back(text):
    assert text_of(text_cell(text)) == text


@given(ANYTHING, st.sampled_from([*DANGEROUS, " =", "\n=", "\u00a0@", "'="]))
def test_no_text_is_a_formula(text, first):
    shown = text_cell(first + text)
    assert shown[0] == "'"
    assert shown.isprintable()
    assert text_of(shown) == first + text


@given(ANYTHING)
def test_what_starts_like_a_formula_is_marked_whatever_it_was_made_from(text):
    assert not text_cell(text).strip().startswith(DANGEROUS)


@given(st.lists(st.dictionaries(st.sampled_from(["a", "b", "=c"]), SCALARS), min_size=1))
def test_a_table_comes_back_through_another_reader(rows):
    columns = list(rows[0])
    read = list(csv.reader(io.StringIO("".join(csv_lines(rows)), newline=""), strict=True))
    if not columns:
        return
    assert [text_of(name) for name in read[0]] == columns
    assert len(read) == len(rows) + 1
    for row, cells in zip(rows, read[1:], strict=True):
        for column, found in zip(columns, cells, strict=True):
            assert same(row.get(column), found)


def same(value, found):
    if value is None:
        return found == ""
    if isinstance(value, bool):
        return found == str(value).lower()
    if isinstance(value, int | float):
        return type(value)(found) == value
    return text_of(found) == value


@given(st.lists(st.one_of(SCALARS, st.lists(SCALARS))))
def test_lists_come_back_as_json(values):
    found = cell(values)
    assert not found.strip().startswith(DANGEROUS)
    assert json.loads(text_of(found)) == values


def test_lines_end_and_quotes_double_as_rfc_4180_says():
    rows = [{"name": 'say "a, b"', "count": -1.5}, {"name": "=1+1", "count": None}, {"name": "a\nb", "count": True}]
    assert "".join(csv_lines(rows)) == 'name,count\r\n"say ""a, b""",-1.5\r\n\'=1+1,\r\na\\nb,true\r\n'


def test_rows_are_written_as_they_come():
    taken = []

    def rows():
        for number in range(10**9):
            taken.append(number)
            yield {"number": number, "text": "x" * 100}

    first = next(csv_lines(rows()))
    assert first.startswith("number,text\r\n0,")
    assert len(taken) < 1000


def test_nothing_is_an_empty_file():
    assert list(csv_lines([])) == []


@pytest.mark.parametrize("name", ["a", 'x"; y', "../../etc", "é\r\nSet-Cookie: a=b", ""])
def test_the_name_of_the_file_is_plain(name):
    answer = CsvResponse([], name)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert set(answer.headers["content-disposition"]) <= set('abcdefghijklmnopqrstuvwxyzS-C; ="._')


def test_the_list_of_features_can_be_kept_as_a_table(app):
    client = TestClient(app, base_url="http://127.0.0.1:8765")
    asked = "sort=density&descending=false&limit=7&offset=3"
    answer = client.get(f"/d/demo.csv?{asked}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    listed = client.get(f"/d/demo.json?{asked}").json()["page"]["features"]
    assert [int(row["feature"]) for row in rows] == [feature["feature"] for feature in listed]
    assert [json.loads(text_of(row["tokens"])) for row in rows] == [feature["tokens"] for feature in listed]
    assert [float(row["density"]) for row in rows] == [feature["density"] for feature in listed]
    refused = client.get("/d/nowhere.csv")
    assert refused.status_code == 404
