"""Oracle: the modules that the running Python imports, and what `inspect` says of them."""

import inspect
import json.decoder
import sysconfig
from pathlib import Path

import pytest

from lexiscope.text.corpus import Corpus


@pytest.fixture(scope="module")
def documents():
    return {document.id: document for document in Corpus("stdlib").documents()}


def test_source_is_the_file(documents):
    assert documents["stdlib:json/decoder.py"].text == inspect.getsource(json.decoder)
    assert documents["stdlib:json/decoder.py"].kind == "code"


def test_docstrings_of_compiled_modules(documents):
    text = documents["stdlib:docstrings/builtins"].text
    assert inspect.getdoc(str.partition) in text
    assert "builtins.str.partition\n" in text
    assert inspect.getdoc(__import__("math").hypot) in documents["stdlib:docstrings/math"].text


def test_modules_with_source_are_not_repeated_by_their_docstrings(documents):
    compiled = {name.removeprefix("stdlib:docstrings/") for name in documents if "docstrings/" in name}
    assert {"builtins", "math", "itertools"} <= compiled
    assert not {name for name in compiled if f"stdlib:{name.replace('.', '/')}.py" in documents}


def test_reference_topics(documents):
    from pydoc_data.topics import topics

    assert documents["stdlib:topics/lambda"].text == topics["lambda"]
    assert sum(name.startswith("stdlib:topics/") for name in documents) == len(topics)


def test_neither_tests_nor_packages_nor_tables(documents):
    parts = {part for name in documents for part in name.removeprefix("stdlib:").split("/")[:-1]}
    assert parts.isdisjoint({"test", "tests", "site-packages", "dist-packages", "encodings", "__pycache__"})
    assert not any("_sysconfigdata" in name for name in documents)


def test_nearly_all_of_the_library_is_there(documents):
    root = Path(sysconfig.get_path("stdlib"))
    top = {f"stdlib:{path.name}" for path in root.glob("*.py")}
    missing = {name for name in top - set(documents) if (root / name.removeprefix("stdlib:")).read_text().strip()}
    assert all("_sysconfigdata" in name for name in missing)
    assert sum(len(document.text) for document in documents.values()) > 5_000_000
