"""What a first import may load. Oracle: sys.modules of a fresh interpreter."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = ["torch", "transformers", "datasets", "fastapi", "uvicorn", "duckdb", "numpy"]


def loaded_by(code: str) -> set[str]:
    program = f"import json, sys\n{code}\njson.dump(sorted(sys.modules), sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not loaded_by("import lexiscope") & set(HEAVY)


def test_help_loads_nothing_heavy() -> None:
    call = (
        "sys.argv = ['lexiscope', '--help']\nfrom lexiscope.cli.main import main\ntry: main()\nexcept SystemExit: pass"
    )
    assert not loaded_by(call) & set(HEAVY)


def test_help_of_a_verb_loads_nothing_heavy() -> None:
    call = "sys.argv = ['lexiscope', 'train', '--help']\nfrom lexiscope.cli.main import main\ntry: main()\nexcept SystemExit: pass"
    assert not loaded_by(call) & set(HEAVY)


def test_public_names_can_be_imported() -> None:
    import lexiscope

    for name in lexiscope.__all__:
        assert getattr(lexiscope, name) is not None
