"""``python -m nt_lightning``: light commands answer before torch is imported."""

from __future__ import annotations

import errno
import gc
import importlib
import os
import sys
from collections.abc import Sequence

from nt_lightning import __version__
from nt_lightning.errors import UserError

EXIT_SIGINT = 130
TRAINER_COMMANDS = {
    "fit": "Train a student on a selection of traces.",
    "validate": "Validation loss of a checkpoint.",
    "test": "Benchmarks of a checkpoint or an untrained student.",
    "predict": "Write the student's responses to a pool's questions as JSONL.",
    "select": "Run a recipe's selection without training and write its traces as a pool.",
    "score": "Score a pool's responses by the student's own log-probabilities.",
    "doctor": "Prove a recipe's exactness claims on this machine, in about a minute.",
    "preview": "Show a recipe's examples, token by token, masked and trained.",
    "forecast": "Steps, FLOPs, memory of each device and time of a run; no weights are loaded.",
}
LIGHT_COMMANDS = {
    "pool": ("nt_lightning.pool.commands:COMMANDS", "Import, inspect and write pools of traces."),
    "grade": (
        "nt_lightning.evaluation.regrade:grade",
        "Extract and judge a run's stored responses again, without a model.",
    ),
    "report": (
        "nt_lightning.report.run_report:report",
        "Show a run's results, compare them with another run's, write its responses as a page.",
    ),
    "export": (
        "nt_lightning.student.export:export",
        "Write a checkpoint as a Hugging Face folder.",
    ),
}


POSITIONAL = ("grade", "report")  # a run is named as it is


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0
    if arguments[0] == "--version":
        print(f"nt_lightning {__version__}")
        return 0
    try:
        return _dispatch(arguments, given=argv is not None)
    except UserError as error:
        if os.environ.get("NT_DEBUG"):
            raise
        print(f"nt_lightning {arguments[0]}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"nt_lightning {arguments[0]}: stopped", file=sys.stderr)
        return EXIT_SIGINT


def _dispatch(arguments: list[str], *, given: bool) -> int:
    command = arguments[0]
    if command in LIGHT_COMMANDS:
        return _run_light(command, arguments[1:])
    if command not in TRAINER_COMMANDS:
        raise UserError(_unknown_command(command))
    gc.disable()  # collections during these imports cost a fifth of the start
    from nt_lightning.cli import run

    gc.freeze()  # modules stay to the end: no collection need look at them
    gc.enable()
    return run(arguments if given else None)


def _run_light(command: str, arguments: list[str]) -> int:
    from jsonargparse import ArgumentParser, auto_cli

    from nt_lightning.files import tidy_at_sigterm
    from nt_lightning.manners import PROG, ShortErrors

    class Parser(ShortErrors, ArgumentParser):
        pass

    module, _, name = LIGHT_COMMANDS[command][0].partition(":")
    target = getattr(importlib.import_module(module), name)
    prog = f"{PROG} {command}"
    try:
        with tidy_at_sigterm():
            positional = command in POSITIONAL
            auto_cli(target, arguments, as_positional=positional, parser_class=Parser, prog=prog)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except OSError as error:  # a folder that cannot be written, a full disk
        if error.filename is None and error.errno != errno.ENOSPC:
            raise
        where = f"{error.filename}: " if error.filename is not None else ""
        raise UserError(f"{where}{error.strerror}") from error
    return 0


def _unknown_command(command: str) -> str:
    import difflib

    known = [*TRAINER_COMMANDS, *LIGHT_COMMANDS]
    close = difflib.get_close_matches(command, known, 1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"unknown command; allowed: {', '.join(known)}{hint}"


def _help() -> str:
    about = {**TRAINER_COMMANDS, **{name: text for name, (_, text) in LIGHT_COMMANDS.items()}}
    lines = [f"  {name:<10} {text}" for name, text in about.items()]
    return "\n".join(
        [
            "usage: python -m nt_lightning COMMAND [--config FILE ...] [--key value ...]",
            "",
            *lines,
            "",
            "python -m nt_lightning COMMAND --help explains a command's arguments.",
            "A recipe is code (its class_path entries are called): run only those you trust.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
