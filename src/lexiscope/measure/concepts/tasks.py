"""Concepts of the sentences that the package's generators write: who gives to whom, which verb goes with which subject.

The generators' templates are fixed, so regular expressions read them back exactly.
"""

from __future__ import annotations

import re

from lexiscope.measure.concepts.concept import GENERATED, Concept, Find, Span
from lexiscope.text.generators._words import ADJECTIVES, AUXILIARIES, NOUNS, PREPOSITIONS, VERBS


def _any(choices: list[str]) -> str:
    return "(?:" + "|".join(re.escape(choice) for choice in sorted(choices, key=len, reverse=True)) + ")"


_NAME = r"[A-Z][a-z]+"
_GIVES = _any(
    ["decided to give", "wanted to give", *"gave handed passed sent showed offered brought said sold".split()]
)
_INDIRECT_OBJECT = re.compile(
    rf"\b(?P<first>{_NAME}) (?:and|met|saw) (?P<second>{_NAME})\b[^.,\n]*[.,]\s"
    rf"(?P<subject>{_NAME}) {_GIVES} (?P<thing>[a-z ]+?) (?P<to>to) (?P<object>{_NAME})\b"
)
_SPOKE = _any("said asked replied cried whispered answered shouted murmured".split())
_SPEAKER = re.compile(rf"(?<=[,!?]\" )(?:{_SPOKE} )?(?P<x>{_NAME})\b|\b(?P<y>{_NAME}) {_SPOKE}, ?\"")
_PLURAL_VERBS = [*VERBS, *AUXILIARIES]
_SINGULAR_VERBS = [*VERBS.values(), *AUXILIARIES.values()]
_NOUN = _any([*NOUNS, *NOUNS.values()])
_AGREEMENT = re.compile(
    rf"\b(?:The|My|Their) (?:{_any(ADJECTIVES)} )?(?P<subject>{_NOUN})"
    rf"(?: (?P<that>that) the (?P<inner>{_NOUN})"
    rf"| (?P<that2>that) {_any([*VERBS, *VERBS.values()])} {_any(PREPOSITIONS)} the (?P<between>{_NOUN})"
    rf"| {_any(PREPOSITIONS)} the (?P<between2>{_NOUN}))?"
    rf" (?:(?P<plural>{_any(_PLURAL_VERBS)})|(?P<singular>{_any(_SINGULAR_VERBS)}))\b"
)
_PLURALS = set(NOUNS.values())
_WORD = re.compile(r"\w+")


def names(*roles: str) -> Find:
    """The names in these roles of every indirect-object sentence: one gives to the other, both introduced before."""

    def find(text: str) -> list[Span]:
        return [
            match.span(role)
            for match in _INDIRECT_OBJECT.finditer(text)
            if {match["first"], match["second"]} == {match["subject"], match["object"]}
            for role in roles
        ]

    return find


def speakers(text: str) -> list[Span]:
    return [match.span(match.lastgroup or 0) for match in _SPEAKER.finditer(text)]


def subjects(*, plural: bool) -> Find:
    """Nouns that a verb agrees with."""

    def find(text: str) -> list[Span]:
        spans = (match.span("inner" if match["inner"] else "subject") for match in _AGREEMENT.finditer(text))
        return [span for span in spans if (text[slice(*span)] in _PLURALS) == plural]

    return find


def agreement(*groups: str) -> Find:
    """Parts of sentences about agreement."""

    def find(text: str) -> list[Span]:
        return [match.span(group) for match in _AGREEMENT.finditer(text) for group in groups if match[group]]

    return find


def before_verb(group: str) -> Find:
    """The last word in front of a verb: where the verb's number has to be known."""

    def find(text: str) -> list[Span]:
        ends = (match.start(group) for match in _AGREEMENT.finditer(text) if match[group])
        return [(max(text.rfind(" ", 0, end - 1), text.rfind("\n", 0, end - 1)) + 1, end - 1) for end in ends]

    return find


def repeated(text: str) -> list[Span]:
    """Words that, with the two words before them, occurred before in the text."""
    seen: set[tuple[str, str, str]] = set()
    found = []
    words = list(_WORD.finditer(text))
    for before, last, word in zip(words, words[1:], words[2:], strict=False):
        three = (before[0], last[0], word[0])
        if three in seen:
            found.append(word.span())
        seen.add(three)
    return found


CONCEPTS = [
    Concept(
        "name in an indirect-object sentence",
        "Each of its four names.",
        GENERATED,
        names("first", "second", "subject", "object"),
    ),
    Concept("first name", "The first name of an indirect-object sentence.", GENERATED, names("first")),
    Concept(
        "second name",
        "The second name of an indirect-object sentence, at its first mention.",
        GENERATED,
        names("second"),
    ),
    Concept(
        "second mention of a name",
        "A name of an indirect-object sentence that was mentioned before.",
        GENERATED,
        names("subject", "object"),
    ),
    Concept("giver", "Who gives, at the second mention.", GENERATED, names("subject")),
    Concept("receiver", "Who is given something, at the second mention.", GENERATED, names("object")),
    Concept("to before a receiver", "The word to in front of the indirect object.", GENERATED, names("to")),
    Concept("what is given", "The words between the verb of giving and to.", GENERATED, names("thing")),
    Concept("speaker", "The name beside a verb of speech that follows or precedes quoted speech.", GENERATED, speakers),
    Concept("plural subject", "A plural noun that a verb agrees with.", GENERATED, subjects(plural=True)),
    Concept("singular subject", "A singular noun that a verb agrees with.", GENERATED, subjects(plural=False)),
    Concept("plural verb", "A verb that agrees with a plural subject.", GENERATED, agreement("plural")),
    Concept("singular verb", "A verb that agrees with a singular subject.", GENERATED, agreement("singular")),
    Concept(
        "last word before a plural verb",
        "The word in front of a verb that agrees with a plural subject.",
        GENERATED,
        before_verb("plural"),
    ),
    Concept(
        "last word before a singular verb",
        "The word in front of a verb that agrees with a singular subject.",
        GENERATED,
        before_verb("singular"),
    ),
    Concept(
        "noun between subject and verb",
        "A noun after a preposition between a subject and its verb.",
        GENERATED,
        agreement("between", "between2"),
    ),
    Concept("that of a relative clause", "The word that after a subject.", GENERATED, agreement("that", "that2")),
    Concept("repeated word", "A word that, with the two before it, occurred earlier in the text.", GENERATED, repeated),
]
