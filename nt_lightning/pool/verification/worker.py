"""The process that judges traces: JSON lines in, JSON lines out, killed when it hangs.

Started by ``crew.Crew`` as ``python -m nt_lightning.pool.verification.worker LIMIT_S
[reasoning_gym]``; it imports neither torch nor Lightning.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from nt_lightning.evaluation.equality.comparer import Comparer
from nt_lightning.evaluation.grading_worker import Message, serve
from nt_lightning.pool.verification.gym import is_gym, judge_gym
from nt_lightning.pool.verification.rules import judge

WITH_GYM = "reasoning_gym"


def load(with_gym: bool) -> Callable[[Message], Message]:
    """What judges a row of a pool; imports count for the start and not for the first row.

    Args:
        with_gym: Whether there are questions of reasoning-gym.
    """
    comparer = Comparer()
    comparer.compare("1", "x")  # sympy imports on demand
    if with_gym:
        import reasoning_gym  # noqa: F401

        import nt_lightning.pool.embedded  # noqa: F401

    def answer(row: Message) -> Message:
        if is_gym(row):
            return judge_gym(row)._asdict()
        reference = row.get("reference_answer")
        return judge(row["question"], row["answer"], reference, comparer)._asdict()

    return answer


def main() -> None:
    """Read rows of a pool, write ``{"correct": bool or null, "by": str}`` or an error."""
    serve(float(sys.argv[1]), lambda: load(WITH_GYM in sys.argv[2:]))


if __name__ == "__main__":
    main()
