"""The process in which math-verify runs: JSON lines in, JSON lines out, killed when it hangs.

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
from typing import Any

MEMORY_LIMIT = 4 << 30  # bytes of address space, against 10^{10^{10}} (our choice)
GRACE_S = 5.0  # beyond the caller's limit; then the caller is gone and the process ends itself


def main() -> None:
    """Read ``{"reference": str, "answer": str}``, write ``{"equal": bool}`` or an error.

    The first line written says that it is ready.
    """
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not get between the replies
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    limit_s = float(sys.argv[1])
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    rules = [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()]

    def equal(reference: str, answer: str) -> bool:
        # None: math-verify's own time limits set SIGALRM, which is the backstop here.
        gold = parse(f"${reference}$", rules, parsing_timeout=None)
        guess = parse(f"${answer.strip('$ ')}$", rules, parsing_timeout=None)
        return bool(verify(gold, guess, timeout_seconds=None))

    def reply(message: dict[str, Any]) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    reply({"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, limit_s + GRACE_S)
        try:
            message: dict[str, Any] = {"equal": equal(request["reference"], request["answer"])}
        except Exception as error:
            message = {"error": f"{type(error).__name__}: {error}"}
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        reply(message)


if __name__ == "__main__":
    main()
