"""How a wrong command line is answered: at most five lines, the key, the file, the nearest name."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:  # a mixin: the class beside it is jsonargparse's or Lightning's
    from jsonargparse import ArgumentParser as _Parser
else:
    _Parser = object

EXIT_USER_ERROR = 2
MAX_LINES = 5
MAX_WIDTH = 300
_KEY = re.compile(r'^-? ?Parser key "(?P<key>[^"]+)":? ?(?P<rest>.*)$')
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
_NAMES = (
    r"[Kk]ey ['\"]?([\w.]+)['\"]? is not expected",
    r"does not accept (?:nested key|option) '([\w.]+)'",
    r"Option '([\w.]+)' is not accepted",
    r"[Uu]nrecognized arguments: --([\w.]+)",
    r"import path string: ([\w.]+)",
    r"invalid choice: '(\w+)'",
    r"No action for key ['\"]([\w.]+)['\"]",
    r"Unable to import '?([\w.]+)",
    r"has no attribute '(\w+)'",
)


class ShortErrors(_Parser):
    """Mixin for a parser: a mistake is answered in a few lines, and options are written out."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the message without usage and exit 2."""
        if not self.exit_on_error:  # jsonargparse probes the members of a union this way
            super().error(message, ex)
        text = short_error(self.prog, str(message), self.known_names(), config_files())
        self.exit(EXIT_USER_ERROR, text)

    def known_names(self) -> Iterable[str]:
        """Names that may have been meant: options and commands of this parser and those below."""
        names = {action.dest.rsplit(".", 1)[-1] for action in self._actions}
        for action in self._actions:
            for name, parser in (getattr(action, "_name_parser_map", None) or {}).items():
                names |= {name, *parser.known_names()}
        return names


def short_error(prog: str, message: str, known: Iterable[str], files: Sequence[Path]) -> str:
    """A parser's message in at most five lines.

    Args:
        prog: The command, in front of the message.
        message: What jsonargparse said, often dozens of lines.
        known: Names that may have been meant.
        files: Config files, searched for the wrong name.
    """
    path, leaves = _distil(message)
    wrong = next(_wrong_names(message), None)
    key = f"{path}: " if path and not leaves[0].startswith(path) else ""
    lines = [f"{prog.replace(' [options]', '')}: error: {key}{leaves[0]}", *leaves[1:]]
    tail = []
    if wrong and (place := _find(wrong, files)):
        tail.append(f"  in {place}")
    close = difflib.get_close_matches(wrong, sorted(known), 3, 0.6) if wrong else []
    if close:
        tail.append(f"hint: {wrong!r}: did you mean {' or '.join(close)}?")
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


def _distil(message: str) -> tuple[str, list[str]]:
    """The dotted path of nested keys and the lines that say something."""
    keys: list[str] = []
    leaves: list[str] = []
    for raw in message.splitlines():
        line = raw.strip()
        if match := _KEY.match(line):
            key, line = match["key"], match["rest"].strip()
            if not leaves:
                keys = [key] if keys and key.startswith(f"{keys[-1]}.") else [*keys, key]
        line = line.removeprefix("- ")
        if line.startswith("Given value: ") and leaves and "Got value" not in leaves[-1]:
            if len(line) < MAX_WIDTH // 3:
                leaves[-1] += f". Got value: {line.removeprefix('Given value: ')}"
        elif line and not line.startswith(_NOISE):
            leaves.append(line)
    leaves.sort(key=lambda leaf: leaf.startswith("Expected a <class"))  # least telling, last
    path = ".".join(keys)
    return path, list(dict.fromkeys(leaves)) or [" ".join(message.split())]


def _wrong_names(message: str) -> Iterator[str]:
    for pattern in _NAMES:
        for found in re.findall(pattern, message):
            yield found.rsplit(".", 1)[-1]


def _find(name: str, files: Sequence[Path]) -> str | None:
    """``file:line`` of the first line that holds a name as a word."""
    word = re.compile(rf"(?<![\w.]){re.escape(name)}(?!\w)|\.{re.escape(name)}(?!\w)")
    for file in files:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            if word.search(line.partition("#")[0]):
                return f"{file}:{number}"
    return None


def _cut(line: str) -> str:
    return line if len(line) <= MAX_WIDTH else f"{line[: MAX_WIDTH - 4]} ..."
