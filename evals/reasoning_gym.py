"""Held-out questions of the embedded pool: the families it was made of, other instances."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version as package_version
from typing import TYPE_CHECKING

from nt_lightning.evaluation.benchmark import Benchmark, Problem

if TYPE_CHECKING:
    from nt_lightning.pool.embedded import HeldOutQuestion


class ReasoningGymHeldOut(Benchmark):
    """Questions of reasoning-gym's families that no embedded pool contains.

    The question is put as in the pool, and each family's own verifier judges the answer.

    Args:
        num_problems: Problems over all families.
        families: Families of the embedded pool; ``None`` takes its default ones.
        level: Difficulty, as in the embedded pool: ``easy``, ``medium`` or ``hard``.
        seed: Which of the held-out questions; whatever it is, none of them is in a pool.

    Source: reasoning-gym (arXiv:2505.24760); which questions are held out is our choice.
    """

    name = "reasoning_gym"
    version = f"1 (reasoning-gym {package_version('reasoning_gym')})"

    def __init__(
        self,
        num_problems: int = 200,
        families: list[str] | None = None,
        level: str = "easy",
        seed: int = 0,
    ) -> None:
        self.num_problems = num_problems
        self.families = families
        self.level = level
        self.seed = seed

    def problems(self) -> list[Problem]:
        """The questions, families taking turns, so that any first n are balanced."""
        return [
            Problem(
                id=asked.id,
                question=asked.question,
                reference_answer=asked.reference_answer,
                kind="exact",
                domain=asked.domain,
                metadata={"family": asked.family, "entry": asked.entry},
            )
            for asked in self._questions
        ]

    def grade(self, problem: Problem, answer: str) -> bool:
        """The verdict of the family's verifier."""
        from nt_lightning.pool.embedded import score

        return score(problem.metadata["family"], answer, problem.metadata["entry"])

    def baselines(self, problems: Sequence[Problem]) -> dict[str, float]:
        """Accuracy on these problems of a guesser that knows no more than the family."""
        from nt_lightning.pool.embedded import baselines

        by_id = {asked.id: asked for asked in self._questions}
        return baselines(by_id[problem.id] for problem in problems)

    @cached_property
    def _questions(self) -> list[HeldOutQuestion]:
        from nt_lightning.pool.embedded import held_out_questions

        return held_out_questions(
            self.families, num_problems=self.num_problems, level=self.level, seed=self.seed
        )
