"""The description at /openapi.json, against what the app answers. Oracle: schemathesis, which makes requests that fit
the description or just do not, and checks the answers.

LEXISCOPE_SOAK=1 makes 50,000 requests in place of a few hundred; --log-cli-level=INFO says how they were answered.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import re
import shutil
from collections import Counter

import pytest
from hypothesis import HealthCheck, assume, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from starlette.testclient import TestClient

from lexiscope.web.app import create_app
from lexiscope.web.pages import pages

from . import tested_world

BASE = "http://127.0.0.1:8765"
SOAK = bool(os.environ.get("LEXISCOPE_SOAK"))
CASES = 50_000 if SOAK else 250
A_ROUND = 200 if SOAK else 15
"""Requests of one operation, that fit or that do not, before the next one's turn."""

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")


@pytest.fixture(scope="module")
def described(root) -> dict:
    return TestClient(create_app(root), base_url=BASE).get("/openapi.json").json()


def operations(described) -> list[tuple[str, str, dict]]:
    return [(path, method, found) for path, methods in described["paths"].items() for method, found in methods.items()]


def test_every_page_has_a_typed_twin(described):
    for page in pages():
        name = page.__name__.rsplit(".", 1)[1]
        path = re.sub(r"{(\w+):\w+}", r"{\1}", page.PATH)
        twin = described["paths"][f"{path}.json"]["get"]
        schema = twin["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
        assert schema.rsplit("/", 1)[1] in described["components"]["schemas"]
        assert described["paths"][path]["get"]["operationId"] == name
        assert (f"{path}.csv" in described["paths"]) == hasattr(page, "rows")


def test_errors_are_typed(described):
    problem = described["components"]["schemas"]["Problem"]
    assert problem["required"] == ["error"]
    for path, _, found in operations(described):
        if path.endswith(".json"):
            for status, answer in found["responses"].items():
                schema = answer["content"]["application/json"]["schema"]["$ref"]
                assert schema.endswith("/Problem") == (status != "200"), (path, status)


def test_nothing_is_loaded_from_elsewhere(root):
    """No page with the description of the interface: those that come with FastAPI take their scripts from a CDN."""
    client = TestClient(create_app(root), base_url=BASE)
    for path in ("/docs", "/redoc", "/docs/oauth2-redirect"):
        assert client.get(path).status_code == 404


LEFT_OUT = {
    # Nothing is made by one request and used by the next.
    "use_after_free",
    "ensure_resource_availability",
    # Nothing asks for a token here; test_login.py does.
    "ignored_auth",
    "max_response_time",
}


REJECTED, TOO_LONG = "negative_data_rejection", {413, 414}
"""What is too long to be looked at is rejected, too; schemathesis does not count it."""


def test_the_contract_holds(root, world, give_model, tmp_path):
    shutil.copytree(root / "demo", tmp_path / "demo")  # requests write
    app = create_app(tmp_path)
    give_model(app)
    schema = schemathesis.openapi.from_dict(TestClient(app, base_url=BASE).get("/openapi.json").json())
    schema.app = app
    made = [found.ok() for found in schema.get_all_operations()]
    checks = [check for check in schemathesis.checks.CHECKS.get_all() if check.__name__ not in LEFT_OUT]
    statuses, told_apart = Counter(), tested_world.pairs(world)
    left = [(operation, mode) for operation in made for mode in schemathesis.GenerationMode]
    rounds = itertools.count()
    while statuses.total() < CASES and left:
        number = next(rounds)
        # What can be asked in a few ways only is asked once.
        left = [kind for kind in left if run_cases(*kind, checks, statuses, number, told_apart) >= A_ROUND]
    logging.getLogger(__name__).info("%s requests, answered %s", statuses.total(), dict(statuses))
    assert statuses.total() >= CASES
    assert {200, 303, 404, 422} <= set(statuses)
    assert max(statuses) < 500


def turns_once(body) -> bool:
    """Whether no feature is turned twice, which a description can't say."""
    turns = body.get("turn") if isinstance(body, dict) else None
    numbers = [str(turn).split(":")[1:2] for turn in turns] if isinstance(turns, list) else []
    return all(numbers.count(number) == 1 for number in numbers)


def run_cases(operation, mode, checks, statuses, number, told_apart) -> int:
    """How many requests could be made.

    Args:
        told_apart: pairs of prompts that the model tells apart, which a description can't say either.
    """
    before = statuses.total()

    @seed(number)
    @settings(max_examples=A_ROUND, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode), there=st.booleans(), feature=st.integers(0, 41))
    def ask(case, there, feature):
        # The page of "a.json" would be at the address of the JSON of "a"; names of dictionaries have no dots.
        assume(not str((case.path_parameters or {}).get("name")).endswith((".json", ".csv")))
        if there and mode is schemathesis.GenerationMode.POSITIVE and "name" in (case.path_parameters or {}):
            # Otherwise hardly anything would be found.
            case.path_parameters["name"] = "demo"
            if "feature" in case.path_parameters:
                case.path_parameters["feature"] = feature
        assume(turns_once(case.body))
        if mode is schemathesis.GenerationMode.POSITIVE and operation.path.endswith("/confirmation.json"):
            case.body["pairs"] = told_apart
        response = case.call(base_url=BASE, allow_redirects=False)
        statuses[response.status_code] += 1
        asked = [check for check in checks if response.status_code not in TOO_LONG or check.__name__ != REJECTED]
        case.validate_response(response, checks=asked)

    with contextlib.suppress(Unsatisfiable):  # any text is a name, so some requests can't help fitting
        ask()
    return statuses.total() - before
