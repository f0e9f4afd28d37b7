"""Concepts of English sentences."""

from __future__ import annotations

from lexiscope.measure.concepts.concept import SENTENCES, TEXT, Concept, matching, words

_COUNTED = """
zero one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty hundred thousand million
"""
_SPOKE = """
said asked replied cried answered whispered shouted murmured exclaimed observed remarked added continued called told
"""
_PREPOSITIONS = """
in on at by for with from into onto over under near behind beside above below between through across after before
during without within about against among around
"""

CONCEPTS = [
    Concept(
        "contraction",
        "An apostrophe and the letters after it: s, t, re, ve, ll, d or m.",
        SENTENCES,
        matching(r"(?<=\w)['\u2019](?:s|t|re|ve|ll|d|m)\b"),
    ),
    Concept("n't", "n't at the end of a word.", SENTENCES, matching(r"n['\u2019]t\b")),
    Concept("possessive", "'s at the end of a word.", SENTENCES, matching(r"(?<=\w)['\u2019]s\b")),
    Concept(
        "quoted speech",
        "What stands between double quotation marks, within 13 lines.",
        SENTENCES,
        matching(r'(?:(?<=\s)|(?<=\()|^)"(?P<x>[^"\s][^"\n]*(?:\n[^"\n]+){0,12})"'),
    ),
    Concept(
        "opening quotation mark",
        "A double quotation mark before a letter and after white space.",
        SENTENCES,
        matching(r'(?:(?<=\s)|^)["“](?=\w)'),
    ),
    Concept(
        "closing quotation mark",
        "A double quotation mark after a letter or , . ! ? and before white space.",
        SENTENCES,
        matching(r'(?<=[\w,.!?])["”](?=\s|$)'),
    ),
    Concept(
        "start of a sentence",
        "The capitalised word that begins the text or follows . ! or ?, maybe a quotation mark, and white space.",
        SENTENCES,
        matching(r"(?:\A|[.!?][\"\u201d]?\s+)(?P<x>[A-Z][\w'\u2019]*)"),
    ),
    Concept(
        "full stop",
        "A full stop that ends a sentence: white space and a capital or a quotation mark follow, or the text ends.",
        SENTENCES,
        matching(r"(?<=[\w)\"])\.(?=\s+[A-Z\"]|\s*\Z)"),
    ),
    Concept("comma", "A comma after a word and before white space.", SENTENCES, matching(r"(?<=\w),(?=\s)")),
    Concept("question mark", "The character ?.", SENTENCES, matching(r"\?")),
    Concept(
        "exclamation mark",
        "The character ! after a letter or digit and not before =.",
        SENTENCES,
        matching(r"(?<=\w)!(?!=)"),
    ),
    Concept("colon", "A colon after a word and before white space.", SENTENCES, matching(r"(?<=\w):(?=\s)")),
    Concept("semicolon", "A semicolon after a word.", SENTENCES, matching(r"(?<=\w);")),
    Concept(
        "in parentheses",
        "What stands between ( and ) with no other bracket between.",
        TEXT,
        matching(r"\((?P<x>[^()]+)\)"),
    ),
    Concept(
        "capitalised word inside a sentence",
        "A capitalised word after a lower-case word or a comma and a space.",
        SENTENCES,
        matching(r"(?<=[a-z,][ ])[A-Z][a-z]+\b"),
    ),
    Concept("word in capitals", "A word of two or more capitals.", SENTENCES, matching(r"\b[A-Z]{2,}\b")),
    Concept("paragraph break", "Two or more line breaks.", TEXT, matching(r"\n[ \t]*\n\s*")),
    Concept("the", "The word the.", SENTENCES, words("the")),
    Concept("a or an", "The word a or an.", SENTENCES, words("a an")),
    Concept("demonstrative", "This, that, these or those.", SENTENCES, words("this that these those")),
    Concept(
        "possessive determiner",
        "My, your, his, her, its, our or their.",
        SENTENCES,
        words("my your his her its our their"),
    ),
    Concept(
        "personal pronoun",
        "I, you, he, she, it, we, they, me, him, us or them.",
        SENTENCES,
        matching(r"\b(?:I|[Yy]ou|[Hh]e|[Ss]he|[Ii]t|[Ww]e|[Tt]hey|me|him|us|them)\b(?!['\u2019])"),
    ),
    Concept("third person singular", "He, she, him or her.", SENTENCES, words("he she him her")),
    Concept("preposition", "One of 28 common prepositions other than of and to.", SENTENCES, words(_PREPOSITIONS)),
    Concept("of", "The word of.", SENTENCES, words("of")),
    Concept("to", "The word to.", SENTENCES, words("to")),
    Concept("and, or, but", "One of these words.", SENTENCES, words("and or but")),
    Concept(
        "negation",
        "No, not, never, nothing, none, nobody, neither, nor or cannot.",
        SENTENCES,
        words("no not never nothing none nobody neither nor cannot"),
    ),
    Concept(
        "question word",
        "What, why, when, where, who, whom, whose, which or how.",
        SENTENCES,
        words("what why when where who whom whose which how"),
    ),
    Concept(
        "subordinating conjunction",
        "If, because, although, though, unless, until, while, since or whether.",
        SENTENCES,
        words("if because although though unless until while since whether"),
    ),
    Concept(
        "form of be", "Am, is, are, was, were, be, been or being.", SENTENCES, words("am is are was were be been being")
    ),
    Concept("form of have", "Have, has, had or having.", SENTENCES, words("have has had having")),
    Concept(
        "modal verb",
        "Can, could, may, might, must, shall, should, will or would.",
        SENTENCES,
        words("can could may might must shall should will would"),
    ),
    Concept("verb of speech", "Said, asked, replied or one of 12 more in the past tense.", SENTENCES, words(_SPOKE)),
    Concept(
        "word in -ing", "A word of five or more letters that ends in ing.", SENTENCES, matching(r"\b[A-Za-z]{2,}ing\b")
    ),
    Concept(
        "word in -ed", "A word of four or more letters that ends in ed.", SENTENCES, matching(r"\b[A-Za-z]{2,}ed\b")
    ),
    Concept(
        "word in -ly", "A word of four or more letters that ends in ly.", SENTENCES, matching(r"\b[A-Za-z]{2,}ly\b")
    ),
    Concept("word in -tion", "A word that ends in tion or tions.", SENTENCES, matching(r"\b[A-Za-z]+tions?\b")),
    Concept("number word", "A number up to a million in letters.", SENTENCES, words(_COUNTED)),
    Concept(
        "quantifier",
        "All, any, some, many, few, every, each, most, several or both.",
        SENTENCES,
        words("all any some many few every each most several both"),
    ),
    Concept(
        "month",
        "The name of a month, capitalised; May only beside a number.",
        SENTENCES,
        matching(
            r"\b(?:January|February|March|April|June|July|August|September|October|November|December)\b"
            r"|(?<=\d[ ])May\b|\bMay(?=[ ]\d)"
        ),
    ),
    Concept(
        "weekday",
        "The name of a day of the week.",
        SENTENCES,
        words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday"),
    ),
    Concept(
        "colour",
        "The name of a colour.",
        SENTENCES,
        words("red blue green yellow white black brown grey gray orange purple pink golden silver"),
    ),
    Concept(
        "family",
        "Mother, father, son, daughter, brother, sister, wife, husband, uncle, aunt or their plurals.",
        SENTENCES,
        matching(r"(?i:\b(?:(?:mother|father|son|daughter|brother|sister|husband|uncle|aunt)s?|wife|wives)\b)"),
    ),
    Concept(
        "unit of time",
        "Second, minute, hour, day, week, month, year or their plurals.",
        SENTENCES,
        matching(r"(?i:\b(?:second|minute|hour|day|week|month|year)s?\b)"),
    ),
]
