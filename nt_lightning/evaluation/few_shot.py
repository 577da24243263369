"""Solved examples in front of a question: exactly as many as were asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from nt_lightning.errors import UserError
from nt_lightning.evaluation.benchmark_data import HubBenchmark


class FewShotBenchmark(HubBenchmark):
    """A published set that can be asked with the examples of its official prompt.

    The examples, called shots, and the question are one user turn (our choice), so that the mode's
    instruction stands behind the question with shots as without. How many there are, and whose they
    are, is part of the version.

    Args:
        path: See ``HubBenchmark``.
        seed: See ``HubBenchmark``.
        revision: See ``HubBenchmark``.
        num_shots: Examples in front of every question, from 0 to ``max_shots``.

    Attributes:
        max_shots: As many as the official prompt has.

    Raises:
        UserError: ``num_shots`` is out of its range.
    """

    max_shots: int

    def __init__(
        self,
        path: str | None = None,
        seed: int = 0,
        revision: str | None = None,
        num_shots: int = 0,
    ) -> None:
        super().__init__(path, seed, revision)
        if not 0 <= num_shots <= self.max_shots:
            raise UserError(
                f"{type(self).__name__}: num_shots is {num_shots}; allowed: 0 to {self.max_shots}"
            )
        self.num_shots = num_shots
        if num_shots:
            self.version += f", shots: {num_shots} of {self.shots_origin}"

    @property
    @abstractmethod
    def shots_origin(self) -> str:
        """Whose shots they are: another text for other shots."""

    def first_shots(self, shots: Sequence[str], what: str) -> list[str]:
        """The first ``num_shots`` of some shots, never fewer.

        Args:
            shots: Those that there are.
            what: What they are shots of, for the message.

        Raises:
            UserError: There are fewer.
        """
        if len(shots) < self.num_shots:
            raise UserError(
                f"{type(self).__name__}: num_shots is {self.num_shots}, but {self.shots_origin} "
                f"has {len(shots)} of {what}"
            )
        return list(shots[: self.num_shots])
