"""The process in which answers are compared: JSON lines in, JSON lines out, killed when it hangs.

Started by ``grading.MathGrader`` as ``python -m nt_lightning.evaluation.grading_worker LIMIT_S``;
it imports neither torch nor Lightning.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any

from nt_lightning.evaluation.equality.answers import judge_answer
from nt_lightning.evaluation.equality.comparer import Comparer
from nt_lightning.evaluation.equality.verdict import Announced

MEMORY_LIMIT = 4 << 30  # bytes of address space, against 10^{10^{10}} (our choice)
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
GRACE_S = 5.0  # beyond the caller's limit; then the caller is gone and the process ends itself

Message = dict[str, Any]


def serve(limit_s: float, load: Callable[[], Callable[[Message], Message]]) -> None:
    """Answer the requests on stdin, one a line; the first line written says that all is loaded.

    Args:
        limit_s: The caller's limit for one answer.
        load: Imports what is needed and returns what answers; when that raises, the answer is
            ``{"error": str}``.
    """
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not get between the replies
    logging.disable(logging.CRITICAL)
    os.environ |= dict.fromkeys(ONE_THREAD, "1")  # numpy's threads reserve addresses for each core
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)

    def reply(message: Message) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    answer = load()
    reply({"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, limit_s + GRACE_S)
        try:
            message = answer(request)
        except Exception as error:
            message = {"error": f"{type(error).__name__}: {error}"}
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        reply(message)


def main() -> None:
    """Read ``{"reference", "answer", "question"}``, write a ``Verdict`` or an error."""

    def load() -> Callable[[Message], Message]:
        comparer = Comparer()

        def answer(asked: Message) -> Message:
            final = Announced(asked["answer"], is_sure=True)
            return judge_answer(asked["reference"], final, comparer, asked["question"])._asdict()

        return answer

    serve(float(sys.argv[1]), load)


if __name__ == "__main__":
    main()
