"""Concepts of notation: encodings, addresses, numbers, lists and markup."""

from __future__ import annotations

import re

from lexiscope.measure.concepts.concept import EVERYWHERE, GENERATED, SENTENCES, TEXT, Concept, Span, matching

_BASE64 = re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{16,}={0,2}(?![A-Za-z0-9+/])")
_PLACE = r"(?:^|(?<=\s)|(?<=[=\"'<(]))"


def base64_runs(text: str) -> list[Span]:
    """Runs that hold capitals, small letters and digits; without them they are words, numbers or paths."""
    return [
        match.span()
        for match in _BASE64.finditer(text)
        if all(re.search(kind, match[0]) for kind in ("[A-Z]", "[a-z]", "[0-9]"))
        and match[0].count("/") <= len(match[0]) // 8
    ]


CONCEPTS = [
    Concept(
        "base64",
        "A run of 16 or more base64 characters with capitals, small letters and digits, at most one in eight a slash.",
        EVERYWHERE,
        base64_runs,
    ),
    Concept(
        "hexadecimal number",
        "0x and hexadecimal digits, or a word of 6 or more of them that mixes digits and letters a to f.",
        EVERYWHERE,
        matching(r"\b0[xX][0-9a-fA-F]+\b|\b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{6,}\b"),
    ),
    Concept(
        "URL",
        "http or https, :// and what follows up to white space, a quote or a bracket.",
        EVERYWHERE,
        matching(r"\bhttps?://[^\s\"'<>()\[\]`]+"),
    ),
    Concept("e-mail address", "A name, @ and a domain.", EVERYWHERE, matching(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b")),
    Concept("IP address", "Four numbers with dots between them.", EVERYWHERE, matching(r"\b\d{1,3}(?:\.\d{1,3}){3}\b")),
    Concept(
        "bullet",
        "One of - * + • in front of a line and followed by a space.",
        SENTENCES,
        matching(r"^[ \t]*(?P<x>[-*+•])(?=[ ]+\S)"),
    ),
    Concept(
        "item after a bullet",
        "The rest of a line behind a bullet.",
        SENTENCES,
        matching(r"^[ \t]*[-*+•][ ]+(?P<x>\S.*)$"),
    ),
    Concept(
        "list number",
        "A number or letter with . or ) in front of a line.",
        SENTENCES,
        matching(r"^[ \t]*(?P<x>\(?(?:\d{1,2}|[a-z])[.)])(?=[ ]+\S)"),
    ),
    Concept(
        "table row", "A line that begins and ends with a vertical bar.", SENTENCES, matching(r"^[ \t]*\|.*\|[ \t]*$")
    ),
    Concept("vertical bar", "The character |.", EVERYWHERE, matching(r"\|")),
    Concept(
        "date",
        "Year-month-day in digits, or day, month and year.",
        EVERYWHERE,
        matching(
            r"\b\d{4}-\d{2}-\d{2}\b|\b\d{1,2}[ ](?:January|February|March|April|May|June|July|August|September|October"
            r"|November|December)[ ]\d{4}\b"
        ),
    ),
    Concept(
        "time of day",
        "Hours and minutes, perhaps seconds, with colons.",
        EVERYWHERE,
        matching(r"\b\d{1,2}:\d{2}(?::\d{2})?\b"),
    ),
    Concept(
        "year",
        "A whole number from 1000 to 2099 outside larger numbers.",
        SENTENCES,
        matching(r"(?<![\w.,$])(?:1\d|20)\d{2}(?![\w%])(?!\.\d)"),
    ),
    Concept("number", "A run of digits, with decimals.", SENTENCES, matching(r"(?<![\w.])\d+(?:\.\d+)?(?!\w)")),
    Concept(
        "decimal fraction",
        "The digits behind the decimal point.",
        EVERYWHERE,
        matching(r"(?<![\w.])\d+\.(?P<x>\d+)\b(?!\.)"),
    ),
    Concept("percentage", "A number and %.", SENTENCES, matching(r"\b\d+(?:\.\d+)?[ ]?%")),
    Concept("price", "A currency sign and a number.", SENTENCES, matching(r"[$£€]\d+(?:\.\d+)?")),
    Concept(
        "version number",
        "Two dots between three numbers, and no more.",
        EVERYWHERE,
        matching(r"(?<![\w.])\d+\.\d+\.\d+(?!\.?\d)"),
    ),
    Concept(
        "result of a sum",
        "The number behind the equals sign of a sum, difference or product.",
        GENERATED,
        matching(r"\d+[ ][-+*][ ]\d+[ ]=[ ](?P<x>\d+)"),
    ),
    Concept(
        "counting", "Five or more whole numbers in a row, with commas.", SENTENCES, matching(r"\b\d+(?:,[ ]\d+){4,}\b")
    ),
    Concept("log level", "DEBUG, INFO, WARNING or ERROR.", EVERYWHERE, matching(r"\b(?:DEBUG|INFO|WARNING|ERROR)\b")),
    Concept(
        "JSON key",
        "A string that is followed by a colon, without its quotes.",
        GENERATED,
        matching(r"\"(?P<x>[^\"\n]+)\"(?=:)"),
    ),
    Concept(
        "constant in capitals",
        "Capitals joined by underscores.",
        SENTENCES,
        matching(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b"),
    ),
    Concept(
        "identifier with underscores",
        "Small letters and digits joined by underscores.",
        SENTENCES,
        matching(r"\b[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b"),
    ),
    Concept(
        "camelCase identifier",
        "A word with a capital inside it.",
        SENTENCES,
        matching(r"\b[a-z]+(?:[A-Z][a-z]+)+\b|\b(?:[A-Z][a-z]+){2,}\b"),
    ),
    Concept("dotted name", "Two or more names joined by dots.", TEXT, matching(r"\b[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+\b")),
    Concept(
        "path",
        "Names with slashes before or between them, not part of a URL.",
        EVERYWHERE,
        matching(rf"{_PLACE}(?:/[\w.-]+){{2,}}/?|{_PLACE}\w[\w.-]*(?:/[\w.-]+){{2,}}/?"),
    ),
    Concept(
        "double backticks",
        "What stands between double backticks on one line, these included.",
        TEXT,
        matching(r"``[^`\n]+``"),
    ),
    Concept(
        "doctest prompt", ">>> or ... in front of a line.", EVERYWHERE, matching(r"^[ \t]*(?P<x>>>>|\.\.\.)(?=[ ]|$)")
    ),
    Concept(
        "line of signs",
        "Four or more of the same sign = - * ~ # in a row.",
        EVERYWHERE,
        matching(r"(?P<x>([-=*~\#])\2{3,})"),
    ),
    Concept("HTML tag", "A tag between < and >.", SENTENCES, matching(r"</?[a-z][a-z0-9]*(?:[ ][^<>\n]*)?/?>")),
]
