"""Oracle: a package made by this test, whose docstrings are known; the real environment only has to come quickly and be
docs."""

import importlib.metadata
import itertools

import pytest

from lexiscope.text.corpus import Corpus
from lexiscope.text.sources import installed

METADATA = """Metadata-Version: 2.4
Name: Tidy
Version: 1.0
License-Expression: MIT

# Tidy

{prose}
"""
MODULE = '''"""Tidies things: {prose}"""

class Broom:
    """Sweeps. {prose}"""

    def sweep(self, floor):
        """Sweep the floor, {prose}

            with care
        """
        def inner():
            """Broom in hand. {prose}"""

    def bare(self): pass

async def wait():
    """Wait. {prose}"""
'''
PROSE = "and this is said at some length so that the document is worth its place." * 3


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of packages that stands for the environment; gives a function that adds a file to the package."""
    info = tmp_path / "tidy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA.format(prose=PROSE))

    def add(name, content):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        with (info / "RECORD").open("a") as record:
            record.write(f'"{name}",,\n')

    add("tidy/__init__.py", MODULE.format(prose=PROSE))
    monkeypatch.setattr(installed, "distributions", lambda: importlib.metadata.distributions(path=[str(tmp_path)]))
    return add


def read():
    corpus = Corpus("installed")
    return {document.id: document for document in corpus.documents()}, dict(corpus.report.skipped)


def test_description_and_docstrings(site):
    documents, _ = read()
    assert documents["installed:tidy/METADATA"].text == f"# Tidy\n\n{PROSE}\n"
    assert documents["installed:tidy/METADATA"].licence == "MIT"
    assert documents["installed:tidy/__init__.py"].text == "\n\n\n".join(
        [
            f"tidy\n\nTidies things: {PROSE}",
            f"tidy.Broom\n\nSweeps. {PROSE}",
            f"tidy.Broom.sweep\n\nSweep the floor, {PROSE}\n\nwith care",
            f"tidy.Broom.sweep.inner\n\nBroom in hand. {PROSE}",
            f"tidy.wait\n\nWait. {PROSE}",
        ]
    )


def test_left_out(site):
    for name in ("tidy/tests/a.py", "tidy/_vendor/b.py", "../up.py"):
        site(name, f'"""{name} {PROSE}"""')
    site("tidy/data.txt", PROSE)
    site("tidy/short.py", '"""Short."""')
    site("tidy/table.py", f"x = '{PROSE}'")
    assert set(read()[0]) == {"installed:tidy/METADATA", "installed:tidy/__init__.py"}


def test_a_docstring_is_given_once(site):
    for number in range(5):
        site(f"tidy/copy{number}.py", f'"""The same. {PROSE}"""')
    documents, _ = read()
    assert sum("The same." in document.text for document in documents.values()) == 1


def test_broken_files_are_counted(site):
    site("tidy/syntax.py", f'"""Open. {PROSE}"""\ndef (')
    site("tidy/nul.py", f'"""Nul. {PROSE}"""\0'.encode())
    site("tidy/latin.py", f'"""caf\xe9 {PROSE}"""'.encode("latin-1"))
    site("tidy/deep.py", f'"""Deep. {PROSE}"""\nx = ' + "-" * 200_000 + "1")
    documents, skipped = read()
    assert set(documents) == {"installed:tidy/METADATA", "installed:tidy/__init__.py"}
    assert skipped == {"file that Python can't parse": 4}


def test_a_listed_file_that_is_gone_is_counted(site, tmp_path):
    site("tidy/gone.py", "")
    (tmp_path / "tidy" / "gone.py").unlink()
    assert read()[1] == {"unreadable file": 1}


def test_the_real_environment():
    """A prefix comes without reading everything; some of it is what `import` would show."""
    documents = list(itertools.islice(Corpus("installed").documents(), 60))
    assert len({document.id for document in documents}) == 60
    assert {document.kind for document in documents} == {"docs"}
    assert not any(document.id.startswith("installed:lexiscope") for document in documents)
