"""Concepts of Python source. What is said of code means code outside strings and comments unless it says otherwise."""

from __future__ import annotations

import re

from lexiscope.measure.concepts.concept import CODE, Concept, Find, Span
from lexiscope.measure.concepts.python import head, in_code, keyword, read

_RESERVED = (
    "and|as|assert|await|class|def|del|elif|except|for|from|if|import|in|is"
    "|lambda|not|or|print|raise|return|while|with|yield"
)


def comments(text: str) -> list[Span]:
    return read(text).comments


def docstrings(text: str) -> list[Span]:
    return read(text).docstrings


def strings(text: str) -> list[Span]:
    return read(text).strings


def f_strings(text: str) -> list[Span]:
    return [span for span in read(text).strings if "f" in re.split("[\"']", text[slice(*span)], maxsplit=1)[0].lower()]


def escapes(text: str) -> list[Span]:
    """Escape sequences in strings that are not raw."""
    found = []
    for start, end in read(text).strings:
        if "r" not in re.split("[\"']", text[start:end], maxsplit=1)[0].lower():
            found += [match.span() for match in re.compile(r"\\.").finditer(text, start, end)]
    return found


def first_in_string(text: str) -> list[Span]:
    """The first character of what a string says."""
    found = []
    for start, end in read(text).strings:
        opening = re.compile(r"\w*(\"{3}|'{3}|\"|')").match(text, start, end)
        if opening and opening.end() < end - len(opening[1]):
            found.append((opening.end(), opening.end() + 1))
    return found


def indentation(columns: int) -> Find:
    """White space in front of lines of code that begin at this column."""
    return in_code(rf"^(?P<x>[ ]{{{columns}}})(?=[^ \t\n\x01])", inside_brackets=False)


CONCEPTS = [
    Concept("docstring", "A string that opens a module, class or function, quotes included.", CODE, docstrings),
    Concept("comment", "From # to the end of the line.", CODE, comments),
    Concept("string literal", "A string that is no docstring, quotes included.", CODE, strings),
    Concept("f-string", "A string with an f in front of its quotes.", CODE, f_strings),
    Concept("escape sequence", "A backslash and what follows it in a string that is not raw.", CODE, escapes),
    Concept("start of a string", "The first character inside the quotes of a string.", CODE, first_in_string),
    Concept("opening parenthesis", "The character ( in code.", CODE, in_code(r"\(")),
    Concept(
        "after an opening parenthesis",
        "The first visible character after ( in code.",
        CODE,
        in_code(r"\(\s*(?P<x>[^\s\x01])"),
    ),
    Concept("closing parenthesis", "The character ) in code.", CODE, in_code(r"\)")),
    Concept("opening square bracket", "The character [ in code.", CODE, in_code(r"\[")),
    Concept("closing square bracket", "The character ] in code.", CODE, in_code(r"\]")),
    Concept("brace", "The character { or } in code.", CODE, in_code(r"[{}]")),
    Concept(
        "inside brackets",
        "Visible characters of code where a bracket is open.",
        CODE,
        in_code(r"[^\s\x01()\[\]{}]+", inside_brackets=True),
    ),
    Concept("indentation of depth 1", "Four spaces in front of a line of code.", CODE, indentation(4)),
    Concept("indentation of depth 2", "Eight spaces in front of a line of code.", CODE, indentation(8)),
    Concept("indentation of depth 3", "Twelve spaces in front of a line of code.", CODE, indentation(12)),
    Concept("def", "The keyword def.", CODE, keyword("def")),
    Concept("function name", "The name that follows def.", CODE, in_code(r"\bdef\s+(?P<x>\w+)")),
    Concept("head of a function", "From def to the colon that opens the body.", CODE, head("def")),
    Concept("class", "The keyword class.", CODE, keyword("class")),
    Concept("class name", "The name that follows class.", CODE, in_code(r"\bclass\s+(?P<x>\w+)")),
    Concept("head of a loop", "From for or while to the colon that opens the body.", CODE, head("for", "while")),
    Concept("for", "The keyword for.", CODE, keyword("for")),
    Concept("in", "The keyword in.", CODE, keyword("in")),
    Concept("head of a condition", "From if or elif to the colon that opens the body.", CODE, head("if", "elif")),
    Concept("if", "The keyword if or elif.", CODE, keyword("if", "elif")),
    Concept("else", "The keyword else.", CODE, keyword("else")),
    Concept("head of except", "From except to the colon that opens the body.", CODE, head("except")),
    Concept("try", "The keyword try.", CODE, keyword("try")),
    Concept("raise", "The keyword raise.", CODE, keyword("raise")),
    Concept(
        "exception name",
        "A name that ends in Error, Exception or Warning.",
        CODE,
        in_code(r"\b[A-Z]\w*(?:Error|Exception|Warning)\b"),
    ),
    Concept("with", "The keyword with.", CODE, keyword("with")),
    Concept(
        "import statement",
        "A line of code that begins with import or from.",
        CODE,
        in_code(r"^[ \t]*(?P<x>(?:import|from)[ ].*)$"),
    ),
    Concept("import", "The keyword import.", CODE, keyword("import")),
    Concept("return", "The keyword return.", CODE, keyword("return")),
    Concept("yield", "The keyword yield.", CODE, keyword("yield")),
    Concept("logical operator", "The keyword and, or or not.", CODE, keyword("and", "or", "not")),
    Concept("None", "The keyword None.", CODE, keyword("None")),
    Concept("True or False", "The keyword True or False.", CODE, keyword("True", "False")),
    Concept("self", "The name self.", CODE, keyword("self")),
    Concept("attribute of self", "The name that follows self and a dot.", CODE, in_code(r"\bself\.(?P<x>\w+)")),
    Concept("attribute", "A name that follows a dot.", CODE, in_code(r"(?<=[\w)\]])\.(?P<x>[A-Za-z_]\w*)")),
    Concept(
        "called name",
        "The name in front of the opening parenthesis of a call.",
        CODE,
        in_code(rf"(?<!\bdef[ ])(?<!\bclass[ ])\b(?!(?:{_RESERVED})\b)[A-Za-z_]\w*(?=\()"),
    ),
    Concept("number literal", "A number in code.", CODE, in_code(r"(?<![\w.])\d(?:[\w.])*")),
    Concept("decorator", "A line of code that begins with @.", CODE, in_code(r"^[ \t]*(?P<x>@\S.*)$")),
    Concept(
        "keyword argument",
        "A name in brackets that is followed by =.",
        CODE,
        in_code(r"\b(?P<x>[A-Za-z_]\w*)=(?!=)", inside_brackets=True),
    ),
    Concept(
        "assignment",
        "The sign = between spaces outside brackets.",
        CODE,
        in_code(r"(?<=[ ])=(?=[ ])", inside_brackets=False),
    ),
    Concept("comparison", "One of == != <= >= < > in code.", CODE, in_code(r"[=!<>]=|(?<![-<>])[<>](?![<>=])")),
    Concept("arithmetic operator", "One of + - * / % between spaces.", CODE, in_code(r"(?<=[ ])[-+*/%](?=[ ])")),
    Concept(
        "colon that opens a block",
        "A colon at the end of a line of code outside brackets.",
        CODE,
        in_code(r":(?=[ \t]*(?:\x01|$))", inside_brackets=False),
    ),
    Concept("comma in brackets", "A comma where a bracket is open.", CODE, in_code(r",", inside_brackets=True)),
    Concept("dunder name", "A name with two underscores on either side.", CODE, in_code(r"\b__\w+__\b")),
    Concept("private name", "A name that begins with exactly one underscore.", CODE, in_code(r"\b_(?!_)\w+")),
    Concept(
        "constant name",
        "A name of three or more capitals, digits and underscores.",
        CODE,
        in_code(r"\b[A-Z][A-Z0-9_]{2,}\b"),
    ),
    Concept(
        "CamelCase name",
        "A name of at least two capitalised parts without underscores.",
        CODE,
        in_code(r"\b(?:[A-Z][a-z0-9]+){2,}\b"),
    ),
    Concept(
        "snake_case name",
        "A name in lower case with an underscore between letters.",
        CODE,
        in_code(r"\b[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b"),
    ),
    Concept(
        "built-in function",
        "A call of len, str, int, isinstance, print, range, list, dict, set, tuple, getattr, hasattr, super or type.",
        CODE,
        in_code(
            r"(?<![\w.])(?:len|str|int|isinstance|print|range|list|dict|set|tuple|getattr|hasattr|super|type)(?=\()"
        ),
    ),
]
