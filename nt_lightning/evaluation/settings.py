"""How benchmarks are run: the protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nt_lightning.errors import UserError
from nt_lightning.evaluation.benchmark import Benchmark
from nt_lightning.evaluation.engine import Sampling, paper_sampling
from nt_lightning.evaluation.forcing import BudgetForcing


@dataclass(frozen=True)
class EvaluationSettings:
    """How benchmarks are run.

    Args:
        max_new_tokens: Limit for each response.
        max_problems: Take the first so many problems of each benchmark; ``None`` takes all.
        max_seconds: Limit for generating one benchmark in one mode; what is unfinished then is
            not evaluated. ``None``: no limit.
        max_total_tokens: The same in generated tokens, over all ranks; of a served student prompts
            count, too (``ServerEngine.generate``).
        batch_size: Responses generated at a time.
        temperature: 0 is greedy; ``None`` is the paper's for the student's family.
        top_p: Nucleus of the sampling, in (0, 1]; ``None`` likewise.
        seed: Seed of the sampling; each response draws from (seed, problem, repeat).
        repeats: Responses per problem, or a number for each benchmark by its name.
        forcing: Rules about the length of thinking; ``None`` leaves it to the student.
        reuse: Take responses that the same student has given to the same prompts before.

    Raises:
        UserError: A value is out of its range.
    """

    max_new_tokens: int
    max_problems: int | None = None
    max_seconds: float | None = None
    max_total_tokens: int | None = None
    batch_size: int = 32
    temperature: float | None = None
    top_p: float | None = None
    seed: int = 0
    repeats: int | dict[str, int] = 1
    forcing: BudgetForcing | None = None
    reuse: bool = True

    def __post_init__(self) -> None:
        counts = {name: getattr(self, name) for name in ("max_new_tokens", "batch_size")}
        counts |= {name: getattr(self, name) for name in ("max_problems", "max_total_tokens")}
        if isinstance(self.repeats, Mapping):
            counts |= {f"repeats.{name}": value for name, value in self.repeats.items()}
        else:
            counts["repeats"] = self.repeats
        for name, value in counts.items():
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}; allowed: 1 and more")
            if name.startswith("repeats") and value > 1 and self.temperature == 0:
                raise UserError(
                    f"{name} is {value} at temperature 0, which gives equal responses; "
                    "allowed: repeats 1, or a temperature above 0"
                )
        most = self.forcing.max_thinking_tokens if self.forcing is not None else None
        if most is not None and most >= self.max_new_tokens:
            raise UserError(
                f"forcing.max_thinking_tokens is {most} with max_new_tokens {self.max_new_tokens}, "
                "which leaves no token for an answer; allowed: less than max_new_tokens"
            )
        if self.max_seconds is not None and self.max_seconds <= 0:
            raise UserError(f"max_seconds is {self.max_seconds}; allowed: more than 0, or null")
        if self.temperature is not None and self.temperature < 0:
            raise UserError(f"temperature is {self.temperature}; allowed: 0 (greedy) and more")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UserError(f"top_p is {self.top_p}; allowed: above 0, up to 1")

    def check_names(self, benchmarks: Sequence[Benchmark]) -> None:
        """Refuse repeats for a benchmark that is not asked.

        Raises:
            UserError: There is one.
        """
        if isinstance(self.repeats, Mapping):
            names = [benchmark.name for benchmark in benchmarks]
            for name in self.repeats:
                if name not in names:
                    raise UserError(f"repeats.{name}: no such benchmark; there: {', '.join(names)}")

    def repeats_of(self, benchmark: str) -> int:
        """Responses per problem of a benchmark; 1 where ``repeats`` does not name it."""
        if isinstance(self.repeats, Mapping):
            return self.repeats.get(benchmark, 1)
        return self.repeats

    def record(self, benchmark: Benchmark, family: str) -> dict[str, Any]:
        """What a result says of how its benchmark was asked, as JSON has it.

        Args:
            benchmark: The benchmark.
            family: Model type of the student, for the paper's sampling.
        """
        sampling = self.sampling(family)
        return asdict(self) | {
            "repeats": self.repeats_of(benchmark.name),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "version": benchmark.version,
        }

    def sampling(self, family: str) -> Sampling:
        """How tokens are chosen for a student of a model type."""
        temperature, top_p = paper_sampling(family)
        return Sampling(
            max_new_tokens=self.max_new_tokens,
            temperature=temperature if self.temperature is None else self.temperature,
            top_p=top_p if self.top_p is None else self.top_p,
            seed=self.seed,
        )
