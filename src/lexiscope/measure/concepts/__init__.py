"""Concepts: a bank of exactly defined properties of tokens, and how many of them a dictionary has a latent for."""

from __future__ import annotations

from lexiscope.measure.concepts import code, data, prose, tasks
from lexiscope.measure.concepts.concept import Concept

BANK: list[Concept] = [*code.CONCEPTS, *prose.CONCEPTS, *data.CONCEPTS, *tasks.CONCEPTS]
"""Every concept, names unique. Add one as a row in the file of its subject."""
