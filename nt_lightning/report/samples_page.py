"""``samples.html``: one page to read the responses of an evaluation, or of two side by side."""

from __future__ import annotations

import json
import zlib
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from nt_lightning.errors import UserError
from nt_lightning.evaluation.results import RESPONSES_FOLDER, Result, read_results
from nt_lightning.files import replacing_file
from nt_lightning.report.samples_data import (
    Joined,
    Pair,
    draw,
    join,
    packed_rows,
    stage_order,
    stored_responses,
)

SAMPLES_FILE = "samples.html"
ASSETS = Path(__file__).with_name("assets")
STYLES = ("samples_page.css", "temml.css")
SCRIPTS = (
    "temml.min.js",
    "samples_text.js",
    "samples_detail.js",
    "samples_filters.js",
    "samples_page.js",
)


class Cell(NamedTuple):
    """An accuracy in % and the part of the page's address that shows its responses."""

    text: str
    fragment: str


class Accuracies(NamedTuple):
    """A table of accuracies: a line for each benchmark and mode, a column for each stage."""

    columns: list[str]
    lines: list[tuple[str, str, list[Cell | None]]]


def write_samples_page(
    run: Path,
    other: Path | None = None,
    *,
    stages: tuple[str | None, str | None] = (None, None),
    max_responses: int = 2000,
) -> Path:
    """Write a run's responses as ``samples.html``, whole or not at all.

    The page needs no other file and no network; texts of responses stand in it as data and are
    shown as text. With ``other`` it has the responses to the same questions side by side, of one
    stage of each run.

    Args:
        run: Folder of a run with stored responses; the page is written there.
        other: Folder of a run to compare with; its responses are B, those of ``run`` are A. It
            may be ``run`` itself at another stage.
        stages: Stage of each of two runs; ``None`` is ``after``, without it ``test``, without both
            the last one.
        max_responses: How many responses the page holds, those of both runs counted. Of more, it
            takes evenly over benchmark, stage, mode, outcome and verdict, rare ones first.

    Returns:
        The page.

    Raises:
        UserError: A run without responses or without the stage, two without a common response, or
            a wrong number.
    """
    least = 1 if other is None else 2
    if max_responses < least:
        raise UserError(f"max_responses is {max_responses}; it must be {least} or more")
    rows = stored_responses(run)
    joined = None if other is None else join(rows, stored_responses(other), stages)
    pairs = joined.pairs if joined else [Pair(row, None) for row in rows]
    taken = draw(pairs, max_responses // least)
    runs = [run] if other is None else [run, other]
    page = _render(runs, joined, taken, len(pairs))
    path = run / SAMPLES_FILE
    with replacing_file(path) as partial:
        partial.write_text(page, encoding="utf-8", newline="\n")
    return path


def _render(runs: Sequence[Path], joined: Joined | None, taken: list[Pair], total: int) -> str:
    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,  # whatever the ending of the template's name
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names = _names(runs)
    labels = names
    if joined and len(set(names)) == 1:  # a run beside itself
        labels = [f"{name}, {stage}" for name, stage in zip(names, joined.stages, strict=True)]
    scripts = [_asset(name) for name in SCRIPTS]
    hashes = (b64encode(sha256(text.encode()).digest()).decode() for text in scripts)
    return environment.get_template("samples_page.html.jinja").render(
        names=names,
        stages=joined.stages if joined else None,
        alone=joined.alone if joined else None,
        shown=len(taken),
        total=total,
        accuracies=_accuracies(runs, joined),
        folder=RESPONSES_FOLDER,
        script_sources=" ".join(f"'sha256-{value}'" for value in hashes),
        styles=[_asset(name) for name in STYLES],
        scripts=scripts,
        licence=_asset("temml.LICENSE"),
        data=_packed({"names": labels} | packed_rows(taken)),
    )


def _packed(content: dict[str, Any]) -> str:
    """JSON as zlib's bytes in base64; ASCII throughout, so that no text can end its element."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return b64encode(zlib.compress(text.encode("ascii"))).decode()


def _asset(name: str) -> Markup:
    """A file of ours, put into the page as it is; the hash of a script is that of its bytes."""
    return Markup((ASSETS / name).read_text(encoding="utf-8"))


def _names(runs: Sequence[Path]) -> list[str]:
    """The end of each run's path, as much of it as tells them apart."""
    parts = [run.resolve().parts for run in runs]
    for number in range(1, max(map(len, parts))):
        names = ["/".join(part[-number:]) for part in parts]
        if len(set(names)) == len(set(parts)):
            return names
    return [str(run) for run in runs]


def _accuracies(runs: Sequence[Path], joined: Joined | None) -> Accuracies:
    """What ``results.json`` says: of all stages of one run, or of the compared ones of two."""
    found: dict[tuple[str, str], dict[str, Result]] = {}
    columns: list[str] = []
    for number, run in enumerate(runs):
        results = read_results(run).results
        stages = {result.stage for result in results}
        if joined:
            stages &= {joined.stages[number]}
        labels = {
            stage: f"{'AB'[number]}, {stage}" if joined else stage
            for stage in sorted(stages, key=stage_order)
        }
        columns += labels.values()
        for result in results:
            if result.stage in labels:
                line = found.setdefault((result.benchmark, result.mode), {})
                line[labels[result.stage]] = result
    return Accuracies(
        columns,
        [
            (*key, [_cell(line.get(column), joined) for column in columns])
            for key, line in found.items()
        ],
    )


def _cell(result: Result | None, joined: Joined | None) -> Cell | None:
    if result is None or result.accuracy is None:
        return None
    error = "" if result.accuracy_stderr is None else f" ± {100 * result.accuracy_stderr:.1f}"
    shown = {"benchmark": result.benchmark, "mode": result.mode}
    if not joined:
        shown["stage"] = result.stage
    return Cell(f"{100 * result.accuracy:.1f}{error}", urlencode(shown))
