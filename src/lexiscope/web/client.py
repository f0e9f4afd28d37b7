"""Client: what pages show, from another process or machine, as the same objects.

    client = Client("http://127.0.0.1:8765")
    client.home().dictionaries[0].name
    client.dictionary("demo", sort="density", limit=200).page.features
    client.feature("demo", 3).feature.strongest
    client.read_text("demo", "def f(x):").tokens
    client.write("demo", "The door", turn=["clamp:123:2max"]).steered

Every page is a method: what its address needs comes first, what its query takes has a name. Proxies are not used and
redirects not followed, so the token goes to the server that was named and to nobody else.
"""

from __future__ import annotations

import http.client
import inspect
import json
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar, get_type_hints
from urllib.parse import quote, urlencode, urlsplit

from pydantic import BaseModel, ValidationError

from lexiscope.core.errors import InputError, LexiscopeError, one_line
from lexiscope.web.actions import ACTIONS, Action
from lexiscope.web.jobs.actions import JOB_ACTIONS
from lexiscope.web.pages import pages
from lexiscope.web.steering.actions import STEERING_ACTIONS
from lexiscope.web.steering.writing import Steered
from lexiscope.web.typed import TypedText

_SECONDS = 60.0
_MOST_BYTES = 64 << 20
_MOST_QUOTED = 300
_IN_ADDRESS = r"{(\w+)(?::\w+)?}"

View = TypeVar("View", bound=BaseModel)


class Client:
    """Asks a running app.

    Args:
        address: what `lexiscope view` printed, without a login link.
        token: what it was started with, if it was.
        seconds: how long to wait for an answer; the first text that is read has to wait for a model to be loaded.

    Raises:
        InputError: the address is none.
    """

    def __init__(self, address: str, token: str | None = None, *, seconds: float = _SECONDS) -> None:
        parts = urlsplit(address)
        try:
            known = parts.scheme in {"http", "https"} and parts.hostname and (parts.port or 1) and not parts.query
        except ValueError:
            known = False
        if not known or parts.path not in {"", "/"} or "@" in parts.netloc:
            raise InputError(f"{address} is not the address of an app; give one such as http://127.0.0.1:8765")
        self._address = f"{parts.scheme}://{parts.netloc}"
        self._connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._netloc = parts.netloc
        self._headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        self._seconds = seconds
        self._pages = {page.__name__.rsplit(".", 1)[1]: page for page in pages()}
        self._actions = {action.do.__name__: action for action in (*ACTIONS, *JOB_ACTIONS, *STEERING_ACTIONS)}

    def __repr__(self) -> str:
        return f"Client({self._address!r})"

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._pages, *self._actions]

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """The method of a page or of an action."""
        pages, actions = (self.__dict__.get(known, {}) for known in ("_pages", "_actions"))
        if name in pages:
            return self._method(pages[name])
        if name in actions:
            return self._acting(actions[name])
        raise AttributeError(f"there is no page or action {name!r}; there are {', '.join([*pages, *actions])}")

    def read_text(self, name: str, text: str) -> TypedText:
        """What a dictionary sees in a text.

        Raises:
            InputError: the app refuses; the message says why.
            LexiscopeError: there is no answer, or none that can be read.
        """
        return self._ask("POST", f"/d/{_part(name)}/text.json", TypedText, {"text": text})

    def write(self, name: str, prompt: str, **asked: object) -> Steered:
        """A prompt gone on with as the model does it, and with features turned.

        Args:
            asked: the other fields of `lexiscope.web.steering.asked.Asked`, such as ``turn`` and ``tokens``.

        Raises:
            InputError: the app refuses; the message says why.
            LexiscopeError: there is no answer, or none that can be read.
        """
        return self._ask("POST", f"/d/{_part(name)}/steered.json", Steered, {"prompt": prompt, **asked})

    def _method(self, page: ModuleType) -> Callable[..., Any]:
        names = re.findall(_IN_ADDRESS, page.PATH)
        view: type[BaseModel] = get_type_hints(page.read)["return"]

        def ask(*values: object, **asked: object) -> BaseModel:
            """What the page shows.

            Raises:
                InputError: the app refuses; the message says why.
                LexiscopeError: there is no answer, or none that can be read.
            """
            given = inspect.signature(page.read).bind_partial(None, **dict(zip(names, values, strict=True)), **asked)
            path = re.sub(_IN_ADDRESS, lambda found: _part(given.arguments[found[1]]), page.PATH)
            query = urlencode({name: _text(value) for name, value in asked.items() if value is not None}, doseq=True)
            return self._ask("GET", f"{path}.json{'?' if query else ''}{query}", view)

        ask.__name__ = page.__name__.rsplit(".", 1)[1]
        return ask

    def _acting(self, action: Action) -> Callable[..., Any]:
        names = re.findall(_IN_ADDRESS, action.path)
        view: type[BaseModel] = get_type_hints(action.do)["return"]

        def do(*values: object, **sent: object) -> BaseModel:
            """What comes of it, when it is on the disk.

            Raises:
                InputError: the app refuses; the message says why.
                LexiscopeError: there is no answer, or none that can be read.
            """
            given = dict(zip(names, values, strict=True))
            return self._ask("POST", re.sub(_IN_ADDRESS, lambda found: _part(given[found[1]]), action.path), view, sent)

        do.__name__ = action.do.__name__
        return do

    def _ask(self, method: str, target: str, view: type[View], body: object = None) -> View:
        content = None if body is None else json.dumps(body).encode()
        headers = self._headers | ({} if body is None else {"Content-Type": "application/json"})
        connection = self._connect(self._netloc, timeout=self._seconds)
        try:
            connection.request(method, target, content, headers)
            answer = connection.getresponse()
            found = answer.read(_MOST_BYTES)
        except (OSError, http.client.HTTPException) as error:
            why = one_line(f"{type(error).__name__}: {error}", _MOST_QUOTED)
            raise LexiscopeError(f"nothing answers at {self._address} ({why}); start it with: lexiscope view") from None
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise InputError(f"{self._address} answered {answer.status}: {_sentence(found)}")
        try:
            return view.model_validate_json(found)
        except ValidationError as error:
            raise LexiscopeError(
                f"{self._address} answered something else ({error.error_count()} differences); is it the same version?"
            ) from None


def _part(value: object) -> str:
    """One part of an address, whatever is in it."""
    return quote(str(value), safe="")


def _text(value: object) -> str | list[str]:
    if isinstance(value, list | tuple):
        return [str(one) for one in value]
    return str(value).lower() if isinstance(value, bool) else str(value)


def _sentence(found: bytes) -> str:
    try:
        return one_line(str(json.loads(found)["error"]), _MOST_QUOTED).rstrip(".")
    except (ValueError, LookupError, TypeError):
        return one_line(found[:_MOST_QUOTED].decode("utf-8", "replace").strip())
