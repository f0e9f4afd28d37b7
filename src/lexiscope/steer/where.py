"""Where: the tokens that an intervention is for.

Positions count the tokens that the model reads, from 0, which is BOS in a model that starts with it. Negative positions
count back from the end of the prompt, so that they mean the same before and while the model writes on: -1 is the last
token of the prompt. A slice ``"2:5"`` or ``"-4:"`` is as in Python; one without an end goes on into what is generated.

BOS, padding and other special tokens are left alone unless ``special`` is set: dictionaries are not trained on them.
B contexts, C tokens of a forward pass.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator
from torch import Tensor

from lexiscope.core.config import Config, quoted
from lexiscope.core.errors import InputError

_SLICE = re.compile(r"\s*(?P<start>-?\d{1,9})?\s*:\s*(?P<stop>-?\d{1,9})?\s*", re.ASCII)


def _read_positions(given: Any) -> Any:
    if isinstance(given, slice):
        if given.step not in (None, 1):
            raise ValueError("a slice of positions takes every token; leave its step out")
        given = f"{'' if given.start is None else given.start}:{'' if given.stop is None else given.stop}"
    if isinstance(given, str):
        if (found := _SLICE.fullmatch(given)) is None:
            raise ValueError(f"{quoted(given)} is no slice of positions; write 2:5, -4: or a list such as [0, 3, -1]")
        return f"{found['start'] or ''}:{found['stop'] or ''}"
    return (given,) if isinstance(given, int) and not isinstance(given, bool) else given


def _read_rows(given: Any) -> Any:
    return (given,) if isinstance(given, int) and not isinstance(given, bool) else given


class Where(Config):
    """Some tokens of some contexts, of the prompt or of what is generated."""

    positions: Annotated[str | tuple[int, ...] | None, BeforeValidator(_read_positions)] = None
    """A slice, or a list. None: all."""
    tokens: Literal["all", "prompt", "generated"] = "all"
    rows: Annotated[tuple[int, ...] | None, BeforeValidator(_read_rows)] = None
    """Contexts of the batch. None: all."""
    special: bool = False
    """Whether BOS and other special tokens are among them."""

    @property
    def everywhere(self) -> bool:
        """Whether every token is meant that is not special."""
        return self.positions is None and self.tokens == "all" and self.rows is None

    def mask(self, first: int, length: int, prompt_B: Sequence[int]) -> Tensor | None:
        """Which tokens of a forward pass are meant, bool [B, C]; None: all of them. Special tokens are not looked at.

        Args:
            first: position of the first token of this pass.
            length: C.
            prompt_B: length of the prompt of each context.

        Raises:
            InputError: a context or a position that is not there.
        """
        if self._all(first, length, prompt_B):
            return None
        if self.rows is not None and (missing := [row for row in self.rows if not 0 <= row < len(prompt_B)]):
            raise InputError(f"there is no row {missing[0]} in a batch of {len(prompt_B)}; rows count from 0")
        rows = range(len(prompt_B)) if self.rows is None else self.rows
        mask_BC = torch.zeros(len(prompt_B), length, dtype=torch.bool)
        lines: dict[int, Tensor] = {}
        for row in rows:
            prompt = prompt_B[row]
            if prompt not in lines:
                lines[prompt] = self._line(first, length, prompt)
            mask_BC[row] = lines[prompt]
        return mask_BC

    def _all(self, first: int, length: int, prompt_B: Sequence[int]) -> bool:
        """Whether a glance shows that every token of a pass is meant, as for one that is generated."""
        if self.rows is not None or isinstance(self.positions, tuple):
            return False
        if self.tokens == "generated" and first < max(prompt_B):
            return False
        if self.tokens == "prompt" and first + length > min(prompt_B):
            return False
        for prompt in {*prompt_B} if self.positions is not None else ():
            start, stop = self._ends(prompt)
            if start > first or stop is not None:
                return False
        return True

    def _line(self, first: int, length: int, prompt: int) -> Tensor:
        line_C = torch.zeros(length, dtype=torch.bool)
        low = max(first, prompt) if self.tokens == "generated" else first
        high = min(first + length, prompt) if self.tokens == "prompt" else first + length
        if isinstance(self.positions, tuple):
            if (lowest := min(self.positions, default=0)) < -prompt:
                raise InputError(f"there is no position {lowest} in a prompt of {prompt} tokens")
            for position in self.positions:
                place = position if position >= 0 else prompt + position
                if low <= place < high:
                    line_C[place - first] = True
            return line_C
        start, stop = self._ends(prompt)
        low, high = max(low, start), high if stop is None else min(high, stop)
        line_C[max(low - first, 0) : max(high - first, 0)] = True
        return line_C

    def _ends(self, prompt: int) -> tuple[int, int | None]:
        """The slice in absolute positions."""
        start, _, stop = ("" if self.positions is None else str(self.positions)).partition(":")
        from_start = int(start or 0)
        absolute = from_start if from_start >= 0 else max(prompt + from_start, 0)
        if not stop:
            return absolute, None
        return absolute, int(stop) if int(stop) >= 0 else max(prompt + int(stop), 0)

    def apart_from(self, other: Where) -> bool:
        """Whether no token can be meant by both, whatever the lengths."""
        if self.rows is not None and other.rows is not None and not set(self.rows) & set(other.rows):
            return True
        if {self.tokens, other.tokens} == {"prompt", "generated"}:
            return True
        ours, theirs = self.positions, other.positions
        if isinstance(ours, tuple) and isinstance(theirs, tuple):
            one_sign = len({position < 0 for position in (*ours, *theirs)}) < 2
            return one_sign and not set(ours) & set(theirs)
        return False
