"""What an evaluation leaves behind: responses as JSONL, and one ``results.json`` per run."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from nt_lightning.errors import UserError
from nt_lightning.evaluation.outcomes import FinishReason, Outcome
from nt_lightning.evaluation.responses import responses_of
from nt_lightning.evaluation.statistics import Interval
from nt_lightning.evaluation.summary import DomainResult, Result, summarise
from nt_lightning.files import replacing_file, write_json

RESULTS_FILE = "results.json"
RESPONSES_FOLDER = "evaluation"


@dataclass(frozen=True)
class Sample:
    """One stored response and what was read from it; enough to grade it again.

    Args:
        benchmark: Name of the benchmark.
        problem_id: Id of the problem.
        mode: Think mode.
        stage: ``before``, ``after``, ``step-<n>`` or ``test``.
        repeat: Number of the run over the benchmark, from 0.
        prompt: Rendered prompt with the mode's prefix; empty where the benchmark is confidential.
        response: Response with the mode's prefix in front; empty likewise.
        num_tokens: Generated tokens, the stop token included.
        finish_reason: ``stop``, ``length``, ``loop`` or ``time``.
        outcome: One of the four, or ``not_evaluated``.
        answer: What was extracted, if anything; of a confidential benchmark only an option letter.
        rule: Which rule found it.
        span: Where it stands in ``response``.
        correct: The verdict on an answered response; ``None`` otherwise, or without a verdict.
        obedient: Whether the response kept to its mode; ``None`` for Adaptive.
        opened_think: Whether a think block was opened.
        reference_answer: The gold answer; of a confidential benchmark only an option letter.
        domain: Subject of the problem; empty without one.
        answer_class: Equal for answers that are one in a majority vote (``judging.answer_class``);
            empty without an answer, a hash where the benchmark is confidential and has no options.
    """

    benchmark: str
    problem_id: str
    mode: str
    stage: str
    repeat: int
    prompt: str
    response: str
    num_tokens: int
    finish_reason: FinishReason
    outcome: Outcome
    answer: str | None
    rule: str | None
    span: tuple[int, int] | None
    correct: bool | None
    obedient: bool | None
    opened_think: bool
    reference_answer: str
    domain: str
    answer_class: str


@dataclass
class RunResults:
    """The content of ``results.json``.

    Args:
        results: All results of the run, in the order of their making.
        baselines: Accuracy without a model, by benchmark and name of the baseline.
        settings: How a benchmark was asked, by stage and benchmark: the protocol, the ``student``
            and the benchmark's ``version``, after ``grade --write`` that of the verdicts.
    """

    results: list[Result] = field(default_factory=list)
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)
    settings: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)

    def add(self, result: Result) -> None:
        """Append a result; it takes the place of one of the same benchmark, mode and stage."""
        key = (result.benchmark, result.mode, result.stage)
        kept = [r for r in self.results if (r.benchmark, r.mode, r.stage) != key]
        self.results = [*kept, result]

    def settings_of(self, stage: str, benchmark: str) -> dict[str, Any]:
        """How a benchmark was asked at a stage; empty where that is not known."""
        return self.settings.get(stage, {}).get(benchmark, {})

    def has(self, benchmark: str, mode: str, stage: str, step: int) -> bool:
        """Whether a benchmark was evaluated in a mode at this stage and optimizer step."""
        wanted = (benchmark, mode, stage, step)
        return any((r.benchmark, r.mode, r.stage, r.step) == wanted for r in self.results)


def aggregate(samples: Sequence[Sample], *, step: int) -> Result:
    """The result of one benchmark in one mode at one stage.

    Args:
        samples: Its responses, at least one; those that are ``not_evaluated`` count nowhere.
        step: Optimizer steps done.

    Raises:
        UserError: Two samples have one problem and repeat.
    """
    first = samples[0]
    domain_of = {sample.problem_id: sample.domain for sample in samples}
    places = {name: place for place, name in enumerate(sorted(domain_of))}
    return summarise(
        responses_of(samples, places),
        [domain_of[name] for name in places],
        benchmark=first.benchmark,
        mode=first.mode,
        stage=first.stage,
        step=step,
    )


def samples_path(run: Path, stage: str, benchmark: str, mode: str) -> Path:
    """Where the responses of a benchmark in a mode at a stage are kept."""
    return run / RESPONSES_FOLDER / stage / f"{benchmark}-{mode}.jsonl"


def write_samples(path: Path, samples: Sequence[Sample]) -> None:
    """Write the responses of one benchmark, mode and stage, whole or not at all."""
    with replacing_file(path) as partial, partial.open("w", encoding="utf-8") as out:
        for sample in samples:
            out.write(json.dumps(asdict(sample), ensure_ascii=False, allow_nan=False) + "\n")


def read_samples(path: Path) -> list[Sample]:
    """Read what ``write_samples`` wrote.

    Raises:
        UserError: A line is no response of this version.
    """
    samples = []
    with path.open(encoding="utf-8", newline="\n") as lines:  # texts may hold other separators
        for number, line in enumerate(lines, start=1):
            try:
                values = json.loads(line)
                span = values.pop("span")
                samples.append(Sample(**values, span=tuple(span) if span else None))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise UserError(
                    f"{path}, line {number}, is not a response of this version: {error}"
                ) from None
    return samples


def write_results(run: Path, content: RunResults) -> None:
    """Write ``results.json``; numbers that JSON does not know become null."""
    values = asdict(content)
    write_json(run / RESULTS_FILE, values | {"results": _finite(values["results"])})


def read_results(run: Path) -> RunResults:
    """Read a run's ``results.json``; empty where there is none.

    Raises:
        UserError: The file is no results file.
    """
    path = run / RESULTS_FILE
    if not path.is_file():
        return RunResults()
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        values["results"] = [_result(result) for result in values["results"]]
        return RunResults(**values)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is not a results file of this version: {error}") from None


def set_aside(run: Path) -> Path | None:
    """Move an earlier run's results out of the way of a run that starts afresh.

    Returns:
        The folder that holds them now; ``None`` if there were none.
    """
    names = [name for name in (RESULTS_FILE, RESPONSES_FOLDER) if (run / name).exists()]
    if not names:
        return None
    folder = run / f"earlier-{datetime.now():%Y%m%d-%H%M%S-%f}"
    folder.mkdir()
    for name in names:
        (run / name).rename(folder / name)
    return folder


def _result(values: dict[str, Any]) -> Result:
    """A result as JSON has it: its pairs are lists, its numbered keys texts."""
    for name in ("accuracy_interval", "accuracy_bootstrap"):
        if values.get(name) is not None:
            values[name] = Interval(*values[name])
    for name in ("pass_at", "pass_at_problems", "response_tokens"):
        values[name] = {int(key): value for key, value in (values.get(name) or {}).items()}
    domains = values.get("domains") or {}
    values["domains"] = {name: DomainResult(**domain) for name, domain in domains.items()}
    return Result(**values)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
