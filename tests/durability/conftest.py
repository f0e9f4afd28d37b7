"""What must not get lost: a quick profile in every run of the tests, a full one with ``make soak``.

The full profile (LEXISCOPE_SOAK=1) takes hours. Both end with one table of figures.
"""

from __future__ import annotations

import functools
import os

import pytest
from tests.durability import faults

SOAK = os.environ.get("LEXISCOPE_SOAK") == "1"


@pytest.fixture(scope="session")
def amount():
    """amount(quick, full): how many of something to try in this profile."""
    return lambda quick, full: full if SOAK else quick


@pytest.fixture
def figure(record_property):
    """figure(what, found, asked): a row of the table at the end, such as ("kills in training", "10 of 10", "all")."""
    return lambda what, found, asked: record_property("figure", (what, str(found), str(asked)))


@pytest.fixture(scope="session")
def driver(tmp_path_factory):
    """The process that runs stages on a disk that fails as it is told."""
    if why := faults.missing():
        pytest.skip(why)
    with faults.Driver(tmp_path_factory.mktemp("driver")) as started:
        yield started


@pytest.fixture(scope="session")
def whole(driver, tmp_path_factory):
    """whole(stage): its bytes on a disk that works, and how many calls of some kinds it makes."""

    @functools.cache
    def find(task, counted=faults.CHANGES):
        out = tmp_path_factory.mktemp("whole") / "out"
        ended = driver.run(task, out, faults.Fault(counted=counted))
        assert ended.how == "done", ended
        return faults.contents(out), ended.calls

    return find


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for found in terminalreporter.stats.values() for report in found]
    figures = sorted(
        {
            value
            for report in reports
            for name, value in getattr(report, "user_properties", ())
            if name == "figure" and getattr(report, "when", "") == "call"
            for value in [tuple(value)]
        }
    )
    if figures:
        terminalreporter.section("durability, " + ("full profile" if SOAK else "quick profile"))
        for what, found, asked in figures:
            terminalreporter.write_line(f"{what:<60}{found:>24}   asked: {asked}")
