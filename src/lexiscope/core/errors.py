"""The error tree. A message names the thing that is wrong and ends with the next move.

LexiscopeError            exit code 1   the run failed
├── InputError            exit code 2   what the user gave is wrong
│   ├── ArtifactError     exit code 2   a folder on disk is not what it should be
│   └── CorpusError       exit code 2   text that can't be read or has nothing in it
├── DiskError             exit code 1   the disk is full or failed; what was whole is still there
├── TrainingError         exit code 1   a run came to nothing and was not saved
├── SelfCheckError        exit code 1   a result contradicts itself and was not saved
├── DamageError           exit code 1   something on disk is not what was written
└── SweepError            exit code 1   some runs of a sweep failed
"""

from __future__ import annotations

import errno

_NO_MEMORY = ("can't allocate memory", "out of memory", "can't start new thread", "failed to map segment")
MOST_CHARACTERS = 4000
"""Of a message; what it quotes may have been made by a stranger."""


class LexiscopeError(Exception):
    """Root of every error that Lexiscope raises on purpose. The message is one line, whatever it quotes."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class InputError(LexiscopeError):
    """Something that the user gave is wrong: a path, a name, a setting."""

    exit_code = 2


class ArtifactError(InputError):
    """An artifact folder is missing, of another kind, incomplete or damaged."""


class CorpusError(InputError):
    """A text source can't be read, or has no usable document."""


class DiskError(LexiscopeError):
    """The disk is full or failed. Nothing half-made has a final name; the same command goes on."""


class TrainingError(LexiscopeError):
    """A training run came to nothing, such as a loss that is not a number; nothing was saved."""


class SelfCheckError(LexiscopeError):
    """A result failed the check made before saving it; nothing was written."""


class DamageError(LexiscopeError):
    """Artifacts were checked, and something in them is not what was written."""


class SweepError(LexiscopeError):
    """Some runs of a sweep failed; the others are saved."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error, however a library calls it, says that there was no memory left."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    named = type(error).__name__ in {"MemoryError", "OutOfMemoryError", "OutOfMemoryException"}
    foreign = isinstance(error, RuntimeError | ImportError)
    return named or (foreign and any(words in str(error) for words in _NO_MEMORY))


def one_line(text: str, most: int = MOST_CHARACTERS) -> str:
    """Text that is safe to show: control characters and lone surrogates spelt out, a long one without its middle."""
    if len(text) > most:
        half = most // 2
        text = f"{text[:half]} … {text[-half:]}"
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
