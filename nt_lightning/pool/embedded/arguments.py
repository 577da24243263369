"""Arguments that the pool and the held-out questions share, refused with one clear message."""

from __future__ import annotations

from collections.abc import Sequence

from nt_lightning.errors import UserError
from nt_lightning.pool.embedded.families import DEFAULT_FAMILIES, FAMILIES
from nt_lightning.pool.embedded.family import LEVELS


def check_families(families: Sequence[str] | None) -> tuple[str, ...]:
    """The families that an argument stands for.

    Raises:
        UserError: The list is empty, repeats a name or holds an unknown one.
    """
    return check_names("families", families, DEFAULT_FAMILIES, tuple(FAMILIES))


def check_names(
    argument: str,
    names: Sequence[str] | None,
    default: tuple[str, ...],
    allowed: tuple[str, ...],
) -> tuple[str, ...]:
    """Names out of a closed set, or the default for None.

    Raises:
        UserError: Naming the argument, its value and the allowed ones.
    """
    if names is None:
        return default
    known = isinstance(names, str) is False and set(names) <= set(allowed)
    if not names or not known or len(set(names)) != len(names):
        raise UserError(
            f"{argument} is {names!r}; allowed: distinct names out of {', '.join(allowed)}"
        )
    return tuple(names)


def check_level(level: str) -> None:
    """Refuse an unknown level.

    Raises:
        UserError: Naming the value and the allowed ones.
    """
    if level not in LEVELS:
        raise UserError(f"level is {level!r}; allowed: {', '.join(LEVELS)}")


def check_number(argument: str, value: int, least: int) -> None:
    """Refuse a number of questions below one a family.

    Raises:
        UserError: Naming the argument, its value and the least one.
    """
    if value < least:
        raise UserError(f"{argument} is {value}; allowed: at least {least}, one a family")
