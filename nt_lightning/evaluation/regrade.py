"""``python -m nt_lightning grade RUN``: stored responses extracted and judged again, no model."""

from __future__ import annotations

import logging
import shutil
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from rich.console import Console
from rich.table import Table

from nt_lightning.errors import UserError
from nt_lightning.evaluation.benchmark import Benchmark, Problem, check_benchmarks
from nt_lightning.evaluation.judging import Asked, judge
from nt_lightning.evaluation.results import (
    RESPONSES_FOLDER,
    RESULTS_FILE,
    RunResults,
    Sample,
    aggregate,
    read_results,
    read_samples,
    write_results,
    write_samples,
)

log = logging.getLogger(__name__)
CONFIG = "config.yaml"
SHOWN = 5  # ids of changed verdicts
EXCERPT = 40  # characters of a question that differs


class Graded(NamedTuple):
    """One stored file of responses, judged again.

    Args:
        path: The file.
        before: Its samples as they were.
        after: The same as they are judged now.
    """

    path: Path
    before: list[Sample]
    after: list[Sample]

    @property
    def changed(self) -> list[str]:
        """``id`` or ``id/repeat`` of samples whose outcome or verdict is another one."""
        return [
            f"{new.problem_id}/{new.repeat}" if new.repeat else new.problem_id
            for old, new in zip(self.before, self.after, strict=True)
            if (old.outcome, old.correct) != (new.outcome, new.correct)
        ]


def grade(run: str, write: bool = False) -> None:
    """Extract and judge a run's stored responses again, with today's rules; no model is loaded.

    The benchmarks are those of the run's config.yaml, and must ask what the run has asked; where a
    file, an option or a definition has changed since, that is said.
    Responses of a confidential benchmark are not stored and keep their verdicts.

    Args:
        run: Folder of the run.
        write: Put the new verdicts and results into the run; the earlier ones are kept beside them
            in earlier-<time>. Without it they are only shown.
    """
    folder = Path(run)
    files = sorted((folder / RESPONSES_FOLDER).glob("*/*.jsonl"))
    if not files:
        raise UserError(f"{run} has no stored responses ({RESPONSES_FOLDER}/<stage>/*.jsonl)")
    benchmarks = {one.name: one for one in benchmarks_of(folder)}
    _tell_changes(read_results(folder), benchmarks)
    graded = []
    for path in files:
        samples = read_samples(path)
        benchmark = benchmarks.get(samples[0].benchmark) if samples else None
        if benchmark is None:
            log.warning("%s: its benchmark is not in %s; left as it is", path, CONFIG)
            continue
        if any(map(_is_stored, samples)):
            graded.append(Graded(path, samples, regraded(benchmark, samples)))
        else:
            log.warning("%s: holds no texts; its verdicts are kept", path)
    if not graded:
        raise UserError(f"{run}: no response with its text is of a benchmark in its {CONFIG}")
    Console().print(_table(graded))
    if write:
        kept = _write(folder, graded, benchmarks)
        print(f"{folder / RESULTS_FILE}; the earlier verdicts: {kept}")
    elif any(one.changed for one in graded):
        print("--write true puts these verdicts into the run")


def benchmarks_of(run: Path) -> list[Benchmark]:
    """The benchmarks of a run's config.yaml.

    Raises:
        UserError: There is no such file, or it names no benchmark.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    path = run / CONFIG
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; needed: the folder of a run")
    config = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    callbacks: Any = (config.get("trainer") or {}).get("callbacks") or []
    named = [
        benchmark
        for callback in (callbacks if isinstance(callbacks, list) else [callbacks])
        for benchmark in (callback.get("init_args") or {}).get("benchmarks") or []
    ]
    if not named:
        raise UserError(f"{path}: no callback of the run names benchmarks")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--benchmarks", type=list[Benchmark])
    try:
        parsed = parser.parse_object({"benchmarks": named})
    except ArgumentError as error:
        raise UserError(f"{path}: benchmarks: {' '.join(str(error).split())}") from None
    found: list[Benchmark] = parser.instantiate(parsed).benchmarks
    check_benchmarks(found)
    return found


def regraded(benchmark: Benchmark, samples: Sequence[Sample]) -> list[Sample]:
    """Samples as a benchmark judges them now; those without a stored response stay as they are.

    Raises:
        UserError: A sample is of a problem that the benchmark no longer has, or asks in other
            words.
    """
    problems: dict[str, Problem] = {problem.id: problem for problem in benchmark.problems()}
    out = []
    for sample in samples:
        if not _is_stored(sample):
            out.append(sample)
            continue
        if sample.problem_id not in problems:
            raise UserError(
                f"{benchmark.name}: a stored response is to problem {sample.problem_id!r}, which "
                "the benchmark no longer has: its file or its version is another one"
            )
        variant = benchmark.variant(problems[sample.problem_id], sample.repeat)
        _check_question(benchmark, variant, sample)
        out.append(
            judge(
                benchmark,
                Asked(variant, sample.repeat, sample.mode, sample.prompt),
                sample.response,
                num_tokens=sample.num_tokens,
                finish_reason=sample.finish_reason,
                stage=sample.stage,
            )
        )
    return out


def _is_stored(sample: Sample) -> bool:
    """Whether the texts of a sample are there; a rendered prompt is never empty."""
    return bool(sample.prompt)


def _tell_changes(content: RunResults, benchmarks: dict[str, Benchmark]) -> None:
    """A line for each benchmark whose version, which holds its file's digest, is another one."""
    for name, benchmark in benchmarks.items():
        now = benchmark.version
        asked = {content.settings_of(stage, name).get("version", now) for stage in content.settings}
        for version in sorted(asked - {now}):
            line = "%s has changed: its responses are to version %s; it is now %s"
            log.warning(line, name, version, now)


def _check_question(benchmark: Benchmark, problem: Problem, sample: Sample) -> None:
    """Refuse a response to another question; templates may cut blanks off its ends."""
    question, prompt = problem.question.strip(), sample.prompt
    if question in prompt:
        return
    same = bisect_left(range(len(question)), True, key=lambda n: question[: n + 1] not in prompt)
    place = prompt.find(question[:same]) + same
    raise UserError(
        f"{benchmark.name}: the stored prompt of problem {sample.problem_id!r} (repeat "
        f"{sample.repeat}) is not the benchmark's question any more: behind {same} equal "
        f"characters it has {prompt[place : place + EXCERPT]!r}, the benchmark now "
        f"{question[same : same + EXCERPT]!r}; needed: the file and the options of the run"
    )


def _table(graded: Sequence[Graded]) -> Table:
    table = Table("benchmark", "mode", "stage", "responses", "before", "now", "changed")
    for one in graded:
        first = one.before[0]
        accuracies = [aggregate(samples, step=0).accuracy for samples in (one.before, one.after)]
        shown = ["-" if value is None else f"{value:.1%}" for value in accuracies]
        changed = one.changed
        names = ", ".join(changed[:SHOWN]) + (", ..." if len(changed) > SHOWN else "")
        table.add_row(
            first.benchmark,
            first.mode,
            first.stage,
            str(len(one.before)),
            *shown,
            f"{len(changed)}{names and ': ' + names}",
        )
    return table


def _write(run: Path, graded: Sequence[Graded], benchmarks: dict[str, Benchmark]) -> Path:
    """Write all files anew; returns the folder with the earlier ones."""
    kept = run / f"earlier-{datetime.now():%Y%m%d-%H%M%S-%f}"
    shutil.copytree(run / RESPONSES_FOLDER, kept / RESPONSES_FOLDER)
    content: RunResults = read_results(run)
    if (run / RESULTS_FILE).is_file():
        shutil.copy2(run / RESULTS_FILE, kept / RESULTS_FILE)
    earlier = {(r.benchmark, r.mode, r.stage): r for r in content.results}
    for one in graded:
        write_samples(one.path, one.after)
        first = one.after[0]
        key = (first.benchmark, first.mode, first.stage)
        old = earlier.get(key)
        result = aggregate(one.after, step=old.step if old else 0)
        content.add(replace(result, num_reused=old.num_reused if old else None))
        settings = content.settings.setdefault(first.stage, {}).setdefault(first.benchmark, {})
        settings["version"] = benchmarks[first.benchmark].version
    write_results(run, content)
    return kept
