"""What `lexiscope view` refuses. Oracle: exit code 2, one sentence, and nobody listening."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "tuple[int, str, str]"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], ["--new-token", "--token-file", "ssh -L"]),
        (["--host", "::"], ["--new-token"]),
        (["--host", "lab.example.org", "--new-token"], ["lab.example.org", "--allow-host"]),
        (["--allow-host", "*"], ["--allow-host *"]),
        (["--token-file", "{there}/none"], ["none", "--new-token"]),
        (["--token-file", "{there}/open"], ["chmod 600"]),
        (["--token-file", "{there}/weak"], ["128 bits"]),
        (["--token-file", "{there}/open", "--new-token"], ["there already"]),
        (["--new-token", "--browser"], ["--browser"]),
    ],
)
def test_view_refuses(lexiscope: Run, tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    (tmp_path / "open").write_text("k7Qb2wXz9LmN4pRs8TvY3hJd6FgC1aEu5")
    (tmp_path / "open").chmod(0o644)
    (tmp_path / "weak").write_text("tr0ub4dor&3".replace("&", "-"))
    (tmp_path / "weak").chmod(0o600)
    given = [argument.format(there=tmp_path) for argument in arguments]
    code, out, err = lexiscope("view", tmp_path, "--port", "0", *given)
    assert (code, out) == (2, "")
    assert err.startswith("lexiscope: ")
    assert len(err.splitlines()) == 1
    for word in words:
        assert word in err


def test_a_weak_token_of_the_environment_is_refused(
    lexiscope: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEXISCOPE_TOKEN", "hunter-two")
    code, _, err = lexiscope("view", tmp_path, "--port", "0")
    assert code == 2
    assert "LEXISCOPE_TOKEN" in err
    assert "hunter" not in err
