"""Problems and drafts of every family at every level, made once."""

from __future__ import annotations

from typing import Any

import pytest

from nt_lightning.pool.embedded.families import FAMILIES
from nt_lightning.pool.embedded.family import LEVELS, Draft
from nt_lightning.pool.embedded.questions import draw, item_random
from nt_lightning.pool.embedded.teachers import TEACHERS

PER_LEVEL = 24

Drawn = dict[tuple[str, str], list[dict[str, Any]]]


@pytest.fixture(scope="session")
def drawn() -> Drawn:
    """Entries by family and level."""
    return {
        (name, level): draw(name, PER_LEVEL, level, 0, held_out=False)[0]
        for name in FAMILIES
        for level in LEVELS
    }


@pytest.fixture(scope="session")
def drafts(drawn: Drawn) -> list[tuple[str, Draft]]:
    """What every teacher writes about every drawn problem, with a name for messages."""
    return [
        (
            f"{name} {level} {index} {teacher}",
            write(FAMILIES[name], FAMILIES[name].parse(entry), item_random(name, index, teacher)),
        )
        for (name, level), entries in drawn.items()
        for index, entry in enumerate(entries)
        for teacher, write in TEACHERS.items()
    ]
