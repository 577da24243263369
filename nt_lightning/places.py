"""Where in the config files a name stands."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

SPEC = ("class_path", "init_args", "dict_kwargs")
NEAR = 0.85  # class_path and clas_path; ckpt_path is farther away (our choice)


class Place(NamedTuple):
    """A key or a value of a config file.

    Args:
        where: ``file:line``.
        text: What stands there.
        keys: Keys down to it, numbers in lists among them, without ``init_args``.
        owner: Short name of the nearest ``class_path`` around it, or nothing.
        siblings: Keys beside it, itself among them; of a value none.
    """

    where: str
    text: str
    keys: tuple[str, ...]
    owner: str
    siblings: tuple[str, ...]

    @property
    def plain_keys(self) -> tuple[str, ...]:
        """Keys without the numbers in lists, as a parser's message has them."""
        return tuple(key for key in self.keys if not key.isdigit())


def find_key(keys: Sequence[str], owner: str, files: Sequence[Path]) -> Place | None:
    """The place of a key; of several the one of that owner, then the one in the last file.

    Args:
        keys: Keys down to it, itself the last, without numbers in lists.
        owner: Short name of the class whose key it is, or nothing.
        files: Config files in the order in which they were given.
    """
    found = [
        place
        for file in reversed(files)
        for place in places(file)
        if place.siblings and place.plain_keys == tuple(keys)
    ]
    return max(found, key=lambda place: place.owner == owner, default=None)


def find_value(part: str, files: Sequence[Path]) -> Place | None:
    """The first value that is a name or a dotted path with that part."""
    found = (place for file in files for place in places(file))
    return next((one for one in found if not one.siblings and part in one.text.split(".")), None)


def find_odd_key(files: Sequence[Path]) -> Place | None:
    """The first key that can be neither beside ``class_path`` nor a misspelt part of a class."""
    for place in (place for file in files for place in places(file)):
        if place.siblings and place.text not in SPEC:
            is_misspelt = bool(difflib.get_close_matches(place.text, SPEC, 1, NEAR))
            if "class_path" in place.siblings or is_misspelt:
                return place
    return None


def find_bad_yaml(files: Sequence[Path]) -> str | None:
    """``file:line`` where the first file that is no YAML breaks off."""
    for file in files:
        try:
            yaml.compose(_text(file))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            return f"{file}:{mark.line + 1}" if mark else str(file)
    return None


def places(file: Path) -> Iterator[Place]:
    """Every key and value of a config file; nothing of a file that is no YAML."""
    try:
        root = yaml.compose(_text(file))
    except yaml.YAMLError:
        return
    if root is not None:
        yield from _walk(root, file, (), "")


def _walk(node: yaml.Node, file: Path, keys: tuple[str, ...], owner: str) -> Iterator[Place]:
    if isinstance(node, yaml.ScalarNode):
        yield Place(_where(file, node), str(node.value), keys, owner, ())
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _walk(item, file, (*keys, str(number)), owner)
    elif isinstance(node, yaml.MappingNode):
        pairs = [(str(key.value), key, value) for key, value in node.value]
        siblings = tuple(name for name, _, _ in pairs)
        classes = [str(value.value) for name, _, value in pairs if name == "class_path"]
        owner = classes[0].rpartition(".")[2] if classes else owner
        for name, key, value in pairs:
            below = keys if name == "init_args" else (*keys, name)
            yield Place(_where(file, key), name, below, owner, siblings)
            yield from _walk(value, file, below, owner)


def _where(file: Path, node: yaml.Node) -> str:
    return f"{file}:{node.start_mark.line + 1}"


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")
