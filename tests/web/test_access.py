"""Oracles: RFC 6890 for what is loopback, the file system for who can read a file, a browser's rules for origins."""

from __future__ import annotations

import secrets

import pytest

from lexiscope.core.errors import InputError
from lexiscope.web.security.access import Access, check_token, is_loopback, read_token

TOKEN = "k7Qb2wXz9LmN4pRs8TvY3hJd6FgC1aEu5"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.53", "localhost", "::1", "[::1]"])
def test_loopback_needs_no_token(host):
    assert is_loopback(host)
    assert Access.at(host, 80).door is None


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",
        "::",
        "192.168.1.2",
        "10.0.0.1",
        "169.254.1.1",
        "8.8.8.8",
        "fe80::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
    ],
)
def test_everything_else_does(host):
    with pytest.raises(InputError, match="--new-token.*ssh -L 8765"):
        Access.at(host, 8765)
    assert Access.at(host, 8765, token=TOKEN).door is not None


@pytest.mark.parametrize("host", ["example.org", "127.1", "0x7f.1", "", "127.0.0.1:80", "localhost.evil.example", "*"])
def test_what_is_no_address_is_refused(host):
    with pytest.raises(InputError, match="--allow-host"):
        Access.at(host, 80, token=TOKEN)


@pytest.mark.parametrize(
    ("given", "host", "origin"),
    [
        ("lab", "lab:8765", "http://lab:8765"),
        ("Lab.Example.Org", "lab.example.org:8765", "http://lab.example.org:8765"),
        ("lab:9000", "lab:9000", "http://lab:9000"),
        ("lab:80", "lab", "http://lab"),
        ("https://lab.example.org", "lab.example.org", "https://lab.example.org"),
        ("https://lab.example.org:8443/", "lab.example.org:8443", "https://lab.example.org:8443"),
        ("http://lab", "lab", "http://lab"),
        ("[2001:db8::1]", "[2001:db8::1]:8765", "http://[2001:db8::1]:8765"),
    ],
)
def test_names_are_taken_as_browsers_send_them(given, host, origin):
    assert Access.at("127.0.0.1", 8765, allow_hosts=[given]).origins[host] == origin


@pytest.mark.parametrize(
    "given",
    ["*", "*.example.org", "", "a b", "a/b", "ftp://a", "a:b", "a:0", "a:70000", "a@b", ".a", "a\n", "é.org", "a,b"],
)
def test_names_that_cannot_be_are_refused(given):
    with pytest.raises(InputError, match="--allow-host"):
        Access.at("127.0.0.1", 8765, allow_hosts=[given])


def test_only_what_is_named_is_answered():
    assert set(Access.at(port=1).origins) == {"127.0.0.1:1", "localhost:1"}
    assert set(Access.at("0.0.0.0", 1, token=TOKEN).origins) == {"127.0.0.1:1", "localhost:1"}
    assert "192.168.1.2:1" in Access.at("192.168.1.2", 1, token=TOKEN).origins
    assert "[::1]:1" in Access.at("::1", 1).origins


def test_new_tokens_have_128_bits_and_are_kept_for_their_owner_alone(tmp_path):
    assert read_token(None, new=False) is None
    file = tmp_path / "token"
    token = read_token(file, new=True)
    assert token
    assert file.stat().st_mode & 0o777 == 0o600
    assert read_token(file, new=False) == token
    with pytest.raises(InputError, match="there already"):
        read_token(file, new=True)
    others = {read_token(None, new=True) for _ in range(50)}
    assert len(others | {token}) == 51
    assert {len(made) for made in others if made} == {43}  # 256 bits, six in a character


def test_a_file_that_others_can_read_is_refused(tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN)
    for mode in (0o640, 0o604, 0o660):
        file.chmod(mode)
        with pytest.raises(InputError, match="chmod 600"):
            read_token(file, new=False)


def test_a_link_is_not_written_through(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError):
        read_token(tmp_path / "link", new=True)
    assert not (tmp_path / "elsewhere").exists()


def test_the_environment_is_asked_last(tmp_path, monkeypatch):
    monkeypatch.setenv("LEXISCOPE_TOKEN", TOKEN)
    assert read_token(None, new=False) == TOKEN
    assert read_token(None, new=True) != TOKEN


@pytest.mark.parametrize(
    "token",
    ["", " ", "short", "a" * 40, "abcabcabcabcabcabcabcabcabc", "0123456789abcdef0123456789abcde", TOKEN[:21],
     "x y" * 20, "é" * 40, TOKEN + "\n" + TOKEN, TOKEN * 40, "=" * 40],
)  # fmt: skip
def test_weak_tokens_are_refused_and_not_shown(token):
    with pytest.raises(InputError) as refused:
        check_token(token)
    assert not token.strip() or token.strip() not in str(refused.value)


@pytest.mark.parametrize("make", [lambda: secrets.token_urlsafe(17), lambda: secrets.token_hex(16)])
def test_tokens_of_128_bits_are_taken(make):
    for _ in range(200):
        token = make()
        assert check_token(f"{token}\n") == token


@pytest.mark.parametrize("name", ["none", "folder"])
def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="--new-token"):
        read_token(tmp_path / name, new=False)


def test_nothing_shows_the_token():
    access = Access.at(port=1, token=TOKEN)
    assert access.door
    for shown in (repr(access), str(vars(access.door)), repr(access.door)):
        assert TOKEN not in shown
