"""What a selection depends on besides its pool, for the name of the cache."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nt_lightning.errors import UserError
from nt_lightning.files import sha256_file
from nt_lightning.traces.column_folders import INFO, marks_of, read_info
from nt_lightning.traces.pool import MANIFEST, pool_digest


def identity_of(module: Any, base: type[Any]) -> list[Any]:
    """Source and arguments of a selection, and of those it is made of, as plain JSON.

    Args:
        module: The selection; its ``depends_on``, if it has one, is what else decides, as a list
            of plain JSON.
        base: The class that all selections inherit; its arguments are told elsewhere.

    Raises:
        UserError: The selection keeps an argument under another name.
    """
    parts = [part for value in vars(module).values() for part in _parts(value, base)]
    sources = [sources_of(type(one), base) for one in (module, *parts)]
    return [sources, own_arguments(module, base), *getattr(module, "depends_on", ())]


def own_arguments(module: Any, base: type[Any]) -> dict[str, Any]:
    """A selection's own arguments: attributes of the same names, parts of it in their turn.

    Raises:
        UserError: The selection keeps an argument under another name.
    """
    inherited = inspect.signature(base).parameters
    own: dict[str, Any] = {}
    for name, parameter in inspect.signature(type(module)).parameters.items():
        if name in inherited or parameter.kind in (
            parameter.VAR_KEYWORD,
            parameter.VAR_POSITIONAL,
        ):
            continue
        if not hasattr(module, name):
            raise UserError(
                f"{type(module).__name__} has no attribute {name!r}; keep the argument under its "
                "name"
            )
        own[name] = _plain(getattr(module, name), base)
    return own


def _plain(value: Any, base: type[Any]) -> Any:
    if isinstance(value, list):
        return [_plain(one, base) for one in value]
    if isinstance(value, base):
        budget = {k: v for k, v in asdict(value.wanted.budget).items() if v is not None}
        return {"class": type(value).__name__, **own_arguments(value, base), **budget}
    if isinstance(value, str) and (Path(value) / MANIFEST).is_file():
        embedded = marks_of(Path(value), "embedding-*")
        return {"pool": value, "digest": pool_digest(value), "embeddings": embedded}
    if isinstance(value, str) and (Path(value) / INFO).is_file():
        info = read_info(Path(value))
        return {"columns": value, "created": info["created"], "sha256": info["sha256"]}
    return value


def _parts(value: Any, base: type[Any]) -> Iterator[Any]:
    """The selections in an argument, and those in their arguments."""
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, base):
            yield one
            for inner in vars(one).values():
                yield from _parts(inner, base)


def sources_of(cls: type[Any], base: type[Any]) -> list[tuple[str, str, str]]:
    """Module, name and source digest of a class and of those between it and the base."""
    sources = []
    for parent in cls.__mro__[: cls.__mro__.index(base)]:
        file = inspect.getsourcefile(parent)
        sources.append(
            (parent.__module__, parent.__qualname__, sha256_file(Path(file)) if file else "")
        )
    return sources
