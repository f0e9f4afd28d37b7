"""Access: at which addresses the app answers, whom it lets in, and whether anything may be changed.

On a loopback address nobody is asked who they are, unless a token was given. Anywhere else there has to be one: at
least 128 bits, from a file that only its owner can read, from the environment, or a new one.
"""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import socket
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lexiscope.core.errors import InputError
from lexiscope.web.security.login import Door

LOOPBACK = "127.0.0.1"
VARIABLE = "LEXISCOPE_TOKEN"
MIN_BITS = 128

_WORDS = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)  # what RFC 6750 lets a token be
_HOST = re.compile(
    r"(?:(https?)://)?([a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?/?", re.ASCII
)
_MOST_CHARACTERS = 1000
_MIN_DISTINCT = 8
_DEFAULT_PORTS = {"http": "80", "https": "443"}


@dataclass(frozen=True)
class Access:
    """The rules of one running app."""

    origins: Mapping[str, str]
    """Value of Host that is answered → the origin of the pages behind it."""
    door: Door | None = field(default=None, repr=False)
    """None: everybody who reaches the address is let in."""
    read_only: bool = False
    """Whether requests that could change something are refused."""

    @classmethod
    def at(
        cls,
        host: str = LOOPBACK,
        port: int = 0,
        *,
        token: str | None = None,
        allow_hosts: Iterable[str] = (),
        read_only: bool = False,
    ) -> Access:
        """The rules for an address.

        Args:
            host: the address that is listened at.
            token: what those who are let in know.
            allow_hosts: names by which others reach the app, each ``NAME`` (at this port), ``NAME:PORT``, or an origin
                such as ``https://NAME`` where something else stands in front.

        Raises:
            InputError: no such address, a name that can't be one, or others could reach the app and there is no token.
        """
        own = {*loopback_names(port), *([] if _is_any(host) else [f"{_in_address(address_of(host))}:{port}"])}
        origins = {name: f"http://{name}" for name in own}
        origins |= dict(_named(name, port) for name in allow_hosts)
        if token is None and not is_loopback(host):
            raise InputError(
                f"--host {host} shows Lexiscope to other machines, which needs a token: add --new-token, or "
                f"--token-file FILE; or keep it on {LOOPBACK} and forward the port: "
                f"ssh -L {port}:{LOOPBACK}:{port} this-machine"
            )
        return cls(origins, Door(check_token(token), port) if token is not None else None, read_only)

    def link(self, address: str) -> str:
        """Where to begin: the address, or the link that signs in once."""
        return f"{address}login?code={self.door.code}" if self.door else address


def loopback_names(port: int) -> list[str]:
    return [f"{name}:{port}" for name in (LOOPBACK, "localhost")]


def address_of(host: str) -> str:
    """An address that can be listened at.

    Raises:
        InputError: it is none.
    """
    if host == "localhost":
        return LOOPBACK
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        raise InputError(
            f"{host} is not an address; give one of this machine with --host, such as {LOOPBACK}, 0.0.0.0 or ::1, and "
            f"the name by which others reach it with --allow-host"
        ) from None


def family_of(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address_of(host) else socket.AF_INET


def is_loopback(host: str) -> bool:
    return ipaddress.ip_address(address_of(host)).is_loopback


def read_token(file: Path | None, *, new: bool) -> str | None:
    """The token that was asked for: from a file, a new one (kept in the file if one is named), or from the environment.

    None if none was asked for.

    Raises:
        InputError: it can't be read, others can read it, or it is too short.
    """
    if file is not None:
        if new:
            _keep(file, token := secrets.token_urlsafe(32))
            return token
        return check_token(_read(file), f"the token in {file}")
    if new:
        return secrets.token_urlsafe(32)
    given = os.environ.pop(VARIABLE, None)  # programs that this one starts need not know it
    return None if given is None else check_token(given, f"the token in {VARIABLE}")


def check_token(token: str, what: str = "the token") -> str:
    """The token itself, if nobody could guess it. What is wrong with it is said without showing it.

    Raises:
        InputError: others could.
    """
    token = token.strip()
    if not _WORDS.fullmatch(token):
        raise InputError(f"{what} is empty or has characters other than A-Z a-z 0-9 - . _ ~ + /; {_REMEDY}")
    if len(token) > _MOST_CHARACTERS:
        raise InputError(f"{what} is longer than {_MOST_CHARACTERS} characters; {_REMEDY}")
    bits_of_a_character = 4 if re.fullmatch("[0-9a-fA-F]+", token) else 6
    if len(token.rstrip("=")) * bits_of_a_character < MIN_BITS or len(set(token)) < _MIN_DISTINCT:
        raise InputError(f"{what} could be guessed: it has fewer than {MIN_BITS} bits; {_REMEDY}")
    return token


_REMEDY = "make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            content = opened.read(_MOST_CHARACTERS + 2)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; name a file that holds a token, or add --new-token") from None
    if stat.S_IMODE(mode) & 0o077:
        raise InputError(f"{file} can be read by others; make it yours alone with: chmod 600 {file}")
    return content.decode("ascii", errors="replace")


def _keep(file: Path, token: str) -> None:
    """A file of its owner alone from the moment that it is there."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise InputError(f"{file} is there already; leave out --new-token to use the token in it") from None
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; name a file that can be written for the new token") from None
    with os.fdopen(descriptor, "w", encoding="ascii") as opened:
        opened.write(f"{token}\n")


def _named(given: str, port: int) -> tuple[str, str]:
    """Value of Host and origin of a name."""
    found = _HOST.fullmatch(given.lower())
    if not found or (found[3] and not 0 < int(found[3]) < 65_536):
        raise InputError(
            f"--allow-host {given} is not a name; give it as browsers show it: NAME, NAME:PORT or https://NAME"
        )
    scheme, name, own_port = found[1] or "http", found[2], found[3]
    if own_port is None and found[1] is None:
        own_port = str(port)
    # Browsers leave out the port that a scheme has by default.
    host = name if own_port in {None, _DEFAULT_PORTS[scheme]} else f"{name}:{own_port}"
    return host, f"{scheme}://{host}"


def _is_any(host: str) -> bool:
    return ipaddress.ip_address(address_of(host)).is_unspecified


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host
