"""The verbs, in the order in which they are used."""

from __future__ import annotations

from collections.abc import Callable

from lexiscope.cli.effects.confirm import confirm
from lexiscope.cli.effects.dose import dose
from lexiscope.cli.effects.fidelity import fidelity
from lexiscope.cli.effects.select import select
from lexiscope.cli.effects.suppress import suppress

COMMANDS: list[Callable[..., None]] = [select, dose, confirm, suppress, fidelity]
