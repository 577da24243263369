"""What an evaluation leaves behind: responses as JSONL, and one ``results.json`` per run."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from nt_lightning.errors import UserError
from nt_lightning.evaluation.outcomes import OUTCOMES, FinishReason, Outcome
from nt_lightning.evaluation.statistics import clustered_mean
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
        finish_reason: ``stop``, ``length`` or ``time``.
        outcome: One of the four, or ``not_evaluated``.
        answer: What was extracted, if anything.
        rule: Which rule found it.
        span: Where it stands in ``response``.
        correct: The verdict on an answered response; ``None`` otherwise, or without a verdict.
        obedient: Whether the response kept to its mode; ``None`` for Adaptive.
        opened_think: Whether a think block was opened.
        reference_answer: The gold answer.
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


@dataclass(frozen=True)
class Result:
    """A benchmark in a mode at a stage; shares and accuracy in [0, 1].

    Args:
        benchmark: Name of the benchmark.
        mode: Think mode.
        stage: ``before``, ``after``, ``step-<n>`` or ``test``.
        step: Optimizer steps done.
        num_problems: Problems with at least one evaluated response.
        accuracy: Right answers / evaluated responses. A truncated, looped or unparsed response is
            not right, so that a mode cannot gain by not answering; ``outcomes`` tells how many
            there are (our choice).
        accuracy_stderr: Its standard error, clustered by problem.
        obedience: Share of responses that kept to their mode; ``None`` for Adaptive.
        think_share: Share of responses with a think block.
        mean_response_tokens: Mean of the generated tokens.
        outcomes: Share of each of the four outcomes.
    """

    benchmark: str
    mode: str
    stage: str
    step: int
    num_problems: int
    accuracy: float | None
    accuracy_stderr: float | None
    obedience: float | None
    think_share: float | None
    mean_response_tokens: float | None
    outcomes: dict[str, float]


@dataclass
class RunResults:
    """The content of ``results.json``.

    Args:
        results: All results of the run, in the order of their making.
        baselines: Accuracy without a model, by benchmark and name of the baseline.
        versions: Version of each benchmark.
        settings: How each stage was evaluated.
    """

    results: list[Result] = field(default_factory=list)
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, result: Result) -> None:
        """Append a result; it takes the place of one of the same benchmark, mode and stage."""
        key = (result.benchmark, result.mode, result.stage)
        kept = [r for r in self.results if (r.benchmark, r.mode, r.stage) != key]
        self.results = [*kept, result]

    def has(self, benchmark: str, mode: str, stage: str, step: int) -> bool:
        """Whether a benchmark was evaluated in a mode at this stage and optimizer step."""
        wanted = (benchmark, mode, stage, step)
        return any((r.benchmark, r.mode, r.stage, r.step) == wanted for r in self.results)


def aggregate(samples: Sequence[Sample], *, step: int) -> Result:
    """The result of one benchmark in one mode at one stage.

    Args:
        samples: Its responses, at least one; those that are ``not_evaluated`` count nowhere.
        step: Optimizer steps done.
    """
    first = samples[0]
    evaluated = [sample for sample in samples if sample.outcome != "not_evaluated"]
    ids = [sample.problem_id for sample in evaluated]
    accuracy = clustered_mean([float(sample.correct is True) for sample in evaluated], ids)
    return Result(
        benchmark=first.benchmark,
        mode=first.mode,
        stage=first.stage,
        step=step,
        num_problems=len(set(ids)),
        accuracy=accuracy.mean,
        accuracy_stderr=accuracy.stderr,
        obedience=_mean([s.obedient for s in evaluated if s.obedient is not None]),
        think_share=_mean([s.opened_think for s in evaluated]),
        mean_response_tokens=_mean([s.num_tokens for s in evaluated]),
        outcomes={
            outcome: _mean([s.outcome == outcome for s in evaluated]) or 0.0 for outcome in OUTCOMES
        },
    )


def samples_path(run: Path, stage: str, benchmark: str, mode: str) -> Path:
    """Where the responses of a benchmark in a mode at a stage are kept."""
    return run / RESPONSES_FOLDER / stage / f"{benchmark}-{mode}.jsonl"


def write_samples(run: Path, samples: Sequence[Sample]) -> Path:
    """Write the responses of one benchmark, mode and stage, whole or not at all."""
    first = samples[0]
    path = samples_path(run, first.stage, first.benchmark, first.mode)
    with replacing_file(path) as partial, partial.open("w", encoding="utf-8") as out:
        for sample in samples:
            out.write(json.dumps(asdict(sample), ensure_ascii=False, allow_nan=False) + "\n")
    return path


def read_samples(path: Path) -> list[Sample]:
    """Read what ``write_samples`` wrote."""
    samples = []
    with path.open(encoding="utf-8", newline="\n") as lines:  # texts may hold other separators
        for line in lines:
            values = json.loads(line)
            span = values.pop("span")
            samples.append(Sample(**values, span=tuple(span) if span else None))
    return samples


def write_results(run: Path, content: RunResults) -> None:
    """Write ``results.json``; numbers that JSON does not know become null."""
    content.results = [_finite(result) for result in content.results]
    write_json(run / RESULTS_FILE, asdict(content))


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
        values["results"] = [Result(**result) for result in values["results"]]
        return RunResults(**values)
    except (ValueError, TypeError, KeyError) as error:
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


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _finite(result: Result) -> Result:
    changed = {
        name: None
        for name, value in vars(result).items()
        if isinstance(value, float) and not math.isfinite(value)
    }
    return replace(result, **changed)  # type: ignore[arg-type]
