"""What a first import may load. Oracle: sys.modules of a fresh interpreter."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ["torch", "transformers", "datasets", "fastapi", "uvicorn", "duckdb", "numpy"]


CALL = """
sys.argv = {arguments!r}
from lexiscope.cli.main import main
try:
    main()
except SystemExit:
    pass
"""


def loaded_by(code: str) -> set[str]:
    program = f"import json, sys\n{code}\njson.dump(sorted(sys.modules), sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not loaded_by("import lexiscope") & set(HEAVY)


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    assert not loaded_by(CALL.format(arguments=["lexiscope", *arguments])) & set(HEAVY)


def test_public_names_can_be_imported() -> None:
    import lexiscope

    for name in lexiscope.__all__:
        assert getattr(lexiscope, name) is not None


def test_every_public_name_has_a_home() -> None:
    import lexiscope

    assert lexiscope.__all__ == sorted([*lexiscope._HOMES, "__version__"])
