"""Questions of reasoning-gym: held out of the embedded pool, or of any families."""

from __future__ import annotations

import atexit
import functools
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from importlib.metadata import version as package_version
from typing import TYPE_CHECKING, Any

from nt_lightning.errors import UserError
from nt_lightning.evaluation.benchmark import Benchmark, Problem
from nt_lightning.evaluation.grading import UngradedError

if TYPE_CHECKING:
    from nt_lightning.pool.embedded import HeldOutQuestion
    from nt_lightning.pool.verification.crew import Crew

PACKAGE = f"reasoning-gym {package_version('reasoning_gym')}"
INSTRUCTION = "Put the final answer alone between <answer> and </answer>."
LIMIT_S = 20.0  # for one answer: some scorers compute what they are given (our choice)
# Their questions depend on Python's hash seed, so that every process makes others.
UNSTABLE = frozenset({"isomorphic_strings", "polynomial_multiplication", "ransom_note"})
_LOCK = threading.Lock()


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
    version = f"1 ({PACKAGE})"

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


class ReasoningGym(Benchmark):
    """Questions of any of reasoning-gym's families, as its generators make them.

    The prompt is the question and a request to put the answer between ``<answer>`` tags, after
    reasoning-gym's own system prompt (the wording is our choice). Each family's own scorer judges,
    in a process that is killed when it hangs; from a score of 0.99 on an answer is right.

    Args:
        families: Names of families, as in ``reasoning_gym.factory.DATASETS``; three of them make
            other questions in every process and are refused.
        num_problems: Problems over all families.
        seed: Seed of the generators.
        settings: Arguments of a family's generator, by its name; without them, its own defaults.

    Source: reasoning-gym (arXiv:2505.24760).
    """

    name = "reasoning_gym_families"

    def __init__(
        self,
        families: list[str],
        num_problems: int = 200,
        seed: int = 0,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.families = families
        self.num_problems = num_problems
        self.seed = seed
        self.settings = {name: dict(given) for name, given in (settings or {}).items()}
        self.version = f"1 ({PACKAGE}, settings {json.dumps(self.settings, sort_keys=True)})"

    def problems(self) -> list[Problem]:
        """The questions, families taking turns, so that any first n are balanced."""
        return self._problems

    def grade(self, problem: Problem, answer: str) -> bool:
        """The verdict of the family's scorer."""
        row = {**problem.metadata["row"], "answer": f"<answer>{answer}</answer>"}
        with _LOCK:
            ((_, verdict),) = _crew().judge([row])
        if verdict.correct is None:
            raise UngradedError(f"{verdict.by}: {answer[:80]!r} to {problem.id}")
        return verdict.correct

    @cached_property
    def _problems(self) -> list[Problem]:
        from reasoning_gym.factory import DATASETS

        from nt_lightning.pool.embedded.arguments import check_names, check_number
        from nt_lightning.pool.embedded.questions import shares, take_turns

        known = tuple(sorted(set(DATASETS) - UNSTABLE))
        names = check_names("families", self.families, (), known)
        check_number("num_problems", self.num_problems, len(names))
        if others := sorted(set(self.settings) - set(names)):
            raise UserError(f"settings names {others[0]!r}; allowed: {', '.join(names)}")
        sizes = shares(names, self.num_problems)
        drawn = {name: list(self._entries(name, size)) for name, size in sizes.items()}
        return [
            self._problem(name, index, sizes[name], entry)
            for name, index, entry in take_turns(drawn)
        ]

    def _config(self, family: str, size: int) -> dict[str, Any]:
        return {**self.settings.get(family, {}), "seed": self.seed, "size": size}

    def _entries(self, family: str, size: int) -> Iterator[dict[str, Any]]:
        from reasoning_gym import create_dataset

        try:
            dataset = create_dataset(family, **self._config(family, size))
        except (TypeError, ValueError, AssertionError) as error:
            given = self.settings.get(family, {})
            raise UserError(
                f"settings of {family} are {given}; reasoning-gym refuses them: {error}"
            ) from None
        return (dataset[index] for index in range(size))

    def _problem(self, family: str, index: int, size: int, entry: dict[str, Any]) -> Problem:
        from reasoning_gym.factory import DATASETS

        again = {"family": family, "config": self._config(family, size), "index": index}
        name = f"{family}-{self.seed}-{index:05d}"
        return Problem(
            id=name,
            question=f"{entry['question']}\n\n{INSTRUCTION}",
            reference_answer=str(entry["answer"] or ""),
            kind="exact",
            domain=DATASETS[family][0].__module__.split(".")[1],
            metadata={
                "stem": entry["question"],
                "row": {"id": name, "question": entry["question"], "reasoning_gym": again},
            },
        )


@functools.cache
def _crew() -> Crew:
    """The process that scores, one answer at a time; it ends with this one."""
    from nt_lightning.pool.verification.crew import Crew
    from nt_lightning.pool.verification.worker import WITH_GYM

    crew = Crew(1, LIMIT_S, [WITH_GYM])
    atexit.register(crew.__exit__)
    return crew
