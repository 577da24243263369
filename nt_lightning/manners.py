"""How a wrong command line is answered: at most five lines, the key, the file, the nearest name."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, get_args, get_origin

from nt_lightning.mistakes import Mistake, deeper, no_value, own_classes, unknown_class, unknown_key
from nt_lightning.places import SPEC, find_bad_yaml, find_key, find_odd_key, find_value

if TYPE_CHECKING:  # a mixin: the class beside it is jsonargparse's or Lightning's
    from jsonargparse import ArgumentParser as _Parser
else:
    _Parser = object

PROG = "python -m nt_lightning"
EXIT_USER_ERROR = 2
MAX_LINES = 5
MAX_WIDTH = 320
ROOM = 285  # for a mistake and what is allowed, beside the name of the command
_DATA_FILES = (".jsonl", ".jsonl.gz", ".json", ".parquet", ".csv")
_KEY = re.compile(r'^-? ?Parser key "(?P<key>[^"]+)":? ?(?P<rest>.*)$')
_NO_VALUE = re.compile(r"^argument (?P<option>--[\w.]+)(/--[\w.]+\+)?: expected one argument$")
_NOISE = (
    "Does not validate against any",
    "Subtypes:",
    "Errors:",
    "Expected a <class 'NoneType'>",
    "Given value",
    "Not a valid subclass of",
    "Subclass types expect one of",
    "a class path",
    "a dict with",
    "Expected a path but",
    "Problem with given class_path",
    "Not of type",
)
_PLAINER = tuple(  # what a parser says of types, and what a reader says
    (re.compile(pattern), plain)
    for pattern, plain in (
        (r"Type typing\.Callable.* expects a function or a callable class: ", ""),
        (r"\. Got value: Namespace\(.*", ""),
        (
            r"functools\.partial\(.*\) argument after \*\* must be a mapping, not (\w+)",
            r"a group of keys, such as filters or mixing, is one value (\1); give it its keys",
        ),
        (
            r"Unable to load config ['\"](.*?)['\"].*",
            r"Expected keys or a config file. Got value: \1",
        ),
        (r"NestedArg\(key='([\w.]+)', val=(.*)\)", r"{\1: \2}"),
        (r"Expected an? typing\.Literal\[(.*?)\]", r"Expected one of \1"),
        (r"Expected an? <class '(?:[\w.]+\.)?(\w+)'>", r"Expected \1"),
    )
)


class ShortErrors(_Parser):
    """Mixin for a parser: short answers to mistakes, options written out, switches alone."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, "prog": PROG, **kwargs})

    def parse_args(self, args: Any = None, *rest: Any, **kwargs: Any) -> Any:
        """Parse; ``--overwrite`` alone says true, ``--data.help`` alone helps with ``--data``.

        ``--files a.jsonl`` is a list of one.
        """
        args = list(sys.argv[1:] if args is None else args)
        for action in self._actions:
            if getattr(action, "_typehint", None) is bool and action.nargs is None:
                action.nargs, action.const = "?", True
            if action.dest.endswith(".help") and action.nargs == "?":
                args = self._with_class_to_help(args, action.dest.removesuffix(".help"))
            args = self._with_lists(args, action.dest, getattr(action, "_typehint", None))
        return super().parse_args(args, *rest, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the message without usage and exit 2."""
        if not self.exit_on_error:  # jsonargparse probes the members of a union this way
            super().error(message, ex)
        message = str(message)
        if match := _NO_VALUE.match(message):
            message = no_value(_bare_option(match["option"], self.args), self._all_class_names)
        mistake = unknown_key(message, self) or unknown_class(message, self._all_class_names)
        self.exit(EXIT_USER_ERROR, short_error(self.prog, message, mistake, config_files()))

    def class_names(self, key: str) -> list[str]:
        """Short names of the classes that the value of a key may have; empty: not known."""
        return []

    def _all_class_names(self, key: str) -> list[str]:
        """Names of classes, in front those of the packages that users edit."""
        return [*own_classes(key), *self.class_names(key)]

    def _with_lists(self, args: list[str], key: str, kind: Any) -> list[str]:
        """Arguments with single texts of a list option as lists; other mistakes with lists end."""
        kind = next((one for one in (*get_args(kind), kind) if get_origin(one) is list), None)
        if kind is None:
            return args
        option, (item,) = f"--{key}", get_args(kind)
        is_text = item is str or get_origin(item) is Literal
        found = [arg for arg in args if re.match(rf"{option}\.\d+(\.|=|$)", arg)]
        if found:
            self.error(f"{found[0]}: give the whole list, {option} '[{{...}}]', or a --config file")
        out: list[str] = []
        keys = [action.dest for action in self._actions]
        for arg in args:
            name, _, value = arg.partition("=")
            if out[-1:] == [option]:
                name, value = option, arg
            is_other = name in (option, f"{option}+") and not is_text
            if is_other and value.endswith(_DATA_FILES) and "files" in keys:
                self.error(f"{option} {value}: is no class path; a file is given with --files")
            is_one = name == option and is_text and value and not value.startswith(("[", "--"))
            one = json.dumps([value]) if is_one and value != "null" else None
            out.append(arg if one is None else one if arg == value else f"{option}={one}")
        return out

    def _with_class_to_help(self, args: list[str], key: str) -> list[str]:
        """``--data X --data.help`` as ``--data.help X``; jsonargparse would help with no class."""
        option = f"--{key}.help"
        if option not in args or not _is_bare(args, args.index(option)):
            return args
        pairs = zip(args, [*args[1:], ""], strict=True)
        given = [value for name, value in pairs if name in (f"--{key}", f"--{key}.class_path")]
        given += [arg.partition("=")[2] for arg in args if arg.startswith(f"--{key}=")]
        if not given:
            self.error(no_value(option, self._all_class_names))
        return [*args[: args.index(option)], option, given[-1]]


def short_error(prog: str, message: str, mistake: Mistake | None, files: Sequence[Path]) -> str:
    """A parser's message in at most five lines.

    Args:
        prog: The command, in front of the message.
        message: What jsonargparse said, often dozens of lines.
        mistake: The unknown name that it is about, if it is.
        files: Config files, searched for the place.
    """
    mistake, where = _in_files(mistake, files)
    if mistake is None:
        path, leaves = _distil(message)
        key = f"{path}: " if path and not leaves[0].startswith(path) else ""
        lines = [f"{key}{leaves[0]}", *leaves[1:]]
    else:
        lines = [_said_of(mistake)]
    tail = [f"  in {where}"] if where else []
    if mistake is not None and mistake.near:
        tail.append(f"hint: {mistake.name!r}: did you mean {' or '.join(mistake.near)}?")
    name = prog.replace(" [options]", "").removeprefix("python -m ")
    lines[0] = f"{name}: error: {lines[0]}"
    shown = [_cut(line) for line in [*lines[: MAX_LINES - len(tail)], *tail]]
    return "\n".join(shown) + "\n"


def one_line(message: str) -> str:
    """What a parser's long message comes down to."""
    return _distil(message)[1][0]


def config_files(arguments: Sequence[str] | None = None) -> list[Path]:
    """Files given with ``--config`` or ``-c``, for the message."""
    given = list(sys.argv if arguments is None else arguments)
    pairs = zip(given, [*given[1:], ""], strict=True)
    named = [value for option, value in pairs if option in ("--config", "-c")]
    named += [option.partition("=")[2] for option in given if option.startswith("--config=")]
    return [Path(name) for name in named if Path(name).is_file()]


def _in_files(mistake: Mistake | None, files: Sequence[Path]) -> tuple[Mistake | None, str | None]:
    """The mistake with the numbers of lists among its keys, and its ``file:line``."""
    if odd := find_odd_key(files):
        text = "no such key of a class; its arguments stand under init_args"
        return Mistake(odd.keys, odd.text, text, SPEC), odd.where
    if mistake is None:
        return None, find_bad_yaml(files)
    if mistake.is_key:
        place = find_key(mistake.keys, mistake.owner, files)
    else:
        place = find_value(mistake.name, files)
    if place is None:
        return mistake, None
    return mistake._replace(keys=place.keys), place.where


def _said_of(mistake: Mistake) -> str:
    """The line that says what is wrong and, where there is room, what is allowed."""
    key = ".".join(mistake.keys)
    about = f"{key}: " if key else ""
    about += mistake.text if mistake.is_key else f"{mistake.text} {mistake.name!r}"
    names = ", ".join(mistake.allowed)
    if len(about) + len(names) < ROOM:
        return f"{about}; allowed: {names or 'none'}" if names or mistake.is_key else about
    if mistake.is_key:
        return f"{about}; --help lists the {len(mistake.allowed)} allowed"
    shown = names[: ROOM - len(about)].rpartition(", ")[0]
    rest = len(mistake.allowed) - shown.count(", ") - 1
    return f"{about}; allowed: {shown} and {rest} more" if shown else about


def _distil(message: str) -> tuple[str, list[str]]:
    """The dotted path of nested keys and the lines that say something."""
    keys: list[str] = []
    leaves: list[str] = []
    for raw in message.splitlines():
        line = raw.strip()
        if match := _KEY.match(line):
            key, line = match["key"], match["rest"].strip()
            if not leaves:
                keys = deeper(keys, key)
        line = line.removeprefix("- ")
        if line.startswith("Given value: ") and leaves and "Got value" not in leaves[-1]:
            if len(line) < MAX_WIDTH // 3:
                leaves[-1] += f". Got value: {line.removeprefix('Given value: ')}"
        elif line and not line.startswith(_NOISE):
            leaves.append(line)
    leaves.sort(key=lambda leaf: leaf.startswith("Expected a <class"))  # least telling, last
    leaves = list(dict.fromkeys(map(_plainer, leaves)))
    return ".".join(keys), leaves or [" ".join(message.split())]


def _plainer(leaf: str) -> str:
    for pattern, plain in _PLAINER:
        leaf = pattern.sub(plain, leaf)
    return leaf


def _bare_option(option: str, args: Sequence[str]) -> str:
    """The option without a value; jsonargparse names ``--data`` for ``--data.num_traces``."""
    for number, arg in enumerate(args):
        if (arg == option or arg.startswith(f"{option}.")) and _is_bare(args, number):
            return arg
    return option


def _is_bare(args: Sequence[str], number: int) -> bool:
    """Whether no value follows an argument."""
    return all(arg.startswith("--") for arg in args[number + 1 : number + 2])


def _cut(line: str) -> str:
    return line if len(line) <= MAX_WIDTH else f"{line[: MAX_WIDTH - 4]} ..."
