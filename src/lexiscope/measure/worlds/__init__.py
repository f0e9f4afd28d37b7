"""Worlds: streams of activations whose true features are known, and how much of the truth a dictionary found."""

from __future__ import annotations
