"""Names that a command line or a recipe should not have: which, and what is allowed instead."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

_KEY = re.compile(r'Parser key "(?P<key>[^"]+)"')
_CLASS = re.compile(r"class_path[= ]'(?P<path>[\w.]+)'")
_UNKNOWN_OPTION = re.compile(r"[Uu]nrecognized arguments: --(?P<key>[\w.]+)")
_UNKNOWN_KEY = (
    _UNKNOWN_OPTION,
    re.compile(r"Subcommand '(?P<command>\w+)' does not accept option '(?P<key>[\w.]+)'"),
    re.compile(r"Group '(?P<group>[\w.]+)' does not accept option '(?P<key>[\w.]+)'"),
    re.compile(r"Option '(?P<key>[\w.]+)' is not accepted"),
)
_CALLABLE = "typing.Callable"  # of such a class the first argument is not the user's
_UNKNOWN_CLASS = re.compile(
    r"(--(?P<key>[\w.]+)\.help: )?Expected a dot import path string: (?P<name>[\w.]+)"
)
_UNKNOWN_MEMBER = re.compile(r"module '(?P<module>[\w.]+)' has no attribute '(?P<name>\w+)'")
_CLASS_LINE = re.compile(r"^class ([A-Za-z]\w*)\(", re.MULTILINE)
_WIDTH = 280  # of a line of names (our choice)
# Packages that users edit and that are imported only where a recipe names them, by the key.
_USER_PACKAGES = {"benchmarks": "evals", "callbacks": "callbacks"}
_UNKNOWN_COMMAND = re.compile(r"invalid choice: '(?P<name>\w+)' \(choose from (?P<names>.*?)\)")
NOT_OPTIONS = re.compile(r"config|(.+\.)?help|print_\w+")


class Mistake(NamedTuple):
    """A name that is not known where it stands.

    Args:
        keys: Keys down to it, as the parser names them: without numbers in lists. The last one is
            the name itself where a key is wrong.
        name: The name as it was written.
        text: What is said of it.
        allowed: What may stand there.
        owner: Short name of the class that does not know a key, or nothing.
        is_key: Whether a key is wrong, not a value.
    """

    keys: tuple[str, ...]
    name: str
    text: str
    allowed: Sequence[str]
    owner: str = ""
    is_key: bool = True

    @property
    def near(self) -> list[str]:
        """What may have been meant, the nearest first; of a class by its own name."""
        names = {one.rpartition(".")[2]: one for one in reversed(self.allowed)}
        name = self.name.rpartition(".")[2]
        return [names[one] for one in difflib.get_close_matches(name, names, 3, 0.6)]


def unknown_key(message: str, parser: ArgumentParser) -> Mistake | None:
    """The key that nothing knows, if it is that which a parser complains of.

    Args:
        message: What jsonargparse said, often dozens of lines.
        parser: Who said it.
    """
    found = next(_complaints(message), None)
    if found is None:
        return None
    above, class_path, line, match = found
    groups = match.groupdict()
    written = [*(groups.get("group") or "").split("."), *match["key"].split(".")]
    written = [one for one in written if one and one != "init_args"] or ["init_args"]
    if class_path:
        options = _options_of_class(class_path, skip_first=_CALLABLE in line)
    else:
        command = groups.get("command")
        options = _options(_subparser(parser, command) if command else parser)
    depth, allowed = _descend(written, options)
    owner = class_path.rpartition(".")[2]
    known_by = f" of {owner}" if owner and not depth else ""
    keys, kind = [*above, *written[: depth + 1]], "key"
    if match.re is _UNKNOWN_OPTION and not above:  # named as it was typed
        keys[0], kind = f"--{keys[0]}", "option"
    return Mistake(tuple(keys), written[depth], f"no such {kind}{known_by}", allowed, owner)


def unknown_class(message: str, class_names: Callable[[str], Iterable[str]]) -> Mistake | None:
    """The class, module or command that nothing knows, if a parser complains of that.

    Args:
        message: What jsonargparse said.
        class_names: Classes that a key's value may have, by their short names.
    """
    keys: list[str] = []
    for line in message.splitlines():
        if match := _KEY.search(line):
            keys = deeper(keys, match["key"])
        if match := _UNKNOWN_CLASS.search(line):
            keys = match["key"].split(".") if match["key"] else keys
            allowed = list(class_names(keys[-1] if keys else ""))
            return Mistake(tuple(keys), match["name"], "no such class", allowed, is_key=False)
        if match := _UNKNOWN_MEMBER.search(line):
            text, allowed = f"{match['module']} has no", _members(match["module"])
            return Mistake(tuple(keys), match["name"], text, allowed, is_key=False)
        if match := _UNKNOWN_COMMAND.search(line):
            allowed = re.findall(r"'(\w+)'", match["names"])
            return Mistake((), match["name"], "no such command", allowed, is_key=False)
    return None


def no_value(option: str, class_names: Callable[[str], Iterable[str]]) -> str:
    """What is said of an option without a value; of a help, which wants a class, a few lines.

    Args:
        option: As it was typed.
        class_names: Classes that a key's value may have.
    """
    above, _, last = option.rpartition(".")
    if last != "help":
        return f"{option} has no value; give one"
    names = list(class_names(above.rpartition(".")[2].removeprefix("--")))
    if not names and "." in above:  # a group of keys, such as forcing
        above, _, last = above.rpartition(".")
        return f"{option}: no help of its own; {above}.help CLASS explains {last}, too"
    allowed = "; allowed:\n" + textwrap.fill(", ".join(names), _WIDTH) if names else ""
    return f"{option} CLASS says more{allowed}"


def own_classes(key: str) -> list[str]:
    """Class paths for a key in the package that users edit; its files are read, not imported.

    Args:
        key: ``benchmarks`` or ``callbacks``; of any other key nothing is known.
    """
    spec = importlib.util.find_spec(_USER_PACKAGES[key]) if key in _USER_PACKAGES else None
    return [
        f"{_USER_PACKAGES[key]}.{file.stem}.{name}"
        for folder in (spec.submodule_search_locations or () if spec else ())
        for file in sorted(Path(folder).glob("[!_]*.py"))
        for name in _CLASS_LINE.findall(file.read_text(encoding="utf-8"))
    ]


def deeper(keys: list[str], key: str) -> list[str]:
    """Keys down to one that a message names below others, or by its whole path."""
    segments = key.split(".")
    return segments if keys and segments[:-1] == keys else [*keys, *segments]


def _complaints(message: str) -> Iterator[tuple[list[str], str, str, re.Match[str]]]:
    """Each unknown key: the keys above it, the class that it was given to, the line, the match."""
    keys: list[str] = []
    class_path = ""
    for line in message.splitlines():
        if match := _KEY.search(line):
            keys = deeper(keys, match["key"])
        if match := _CLASS.search(line):
            class_path = match["path"]
        for pattern in _UNKNOWN_KEY:
            if match := pattern.search(line):
                yield keys, class_path, line, match


def _descend(written: Sequence[str], options: Sequence[str]) -> tuple[int, list[str]]:
    """How many of the keys are known, and what is allowed in place of the first unknown one."""
    prefix = ""
    for depth, segment in enumerate(written):
        below = [name.removeprefix(prefix) for name in options if name.startswith(prefix)]
        allowed = list(dict.fromkeys(name.partition(".")[0] for name in below))
        if segment not in allowed:
            return depth, allowed
        prefix += f"{segment}."
    return len(written) - 1, []


def _options_of_class(class_path: str, *, skip_first: bool) -> list[str]:
    """Arguments of a class as the parser takes them, those that it passes on among them."""
    from jsonargparse import ArgumentParser

    module, _, name = class_path.rpartition(".")
    parser = ArgumentParser()
    cls = getattr(importlib.import_module(module), name)
    parser.add_class_arguments(cls, fail_untyped=False, skip={1} if skip_first else None)
    return _options(parser)


def _options(parser: ArgumentParser) -> list[str]:
    names = [action.dest for action in parser._actions if action.option_strings]
    return [name for name in names if not NOT_OPTIONS.fullmatch(name)]


def _subparser(parser: ArgumentParser, command: str) -> ArgumentParser:
    for action in parser._actions:
        found = (getattr(action, "_name_parser_map", None) or {}).get(command)
        if found is not None:
            return found
    return parser


def _members(module: str) -> list[str]:
    """Classes that a module defines, and modules below it."""
    there = importlib.import_module(module)
    below = [found.name for found in pkgutil.iter_modules(getattr(there, "__path__", []))]
    own = inspect.getmembers(there, inspect.isclass)  # of a package those of its modules, too
    classes = [name for name, cls in own if f"{cls.__module__}.".startswith(f"{module}.")]
    return [name for name in (*classes, *below) if not name.startswith("_")]
