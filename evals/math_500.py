"""MATH-500: competition mathematics, the answer in a box."""

from __future__ import annotations

from nt_lightning.evaluation.benchmark import Problem
from nt_lightning.evaluation.benchmark_data import HubBenchmark, HubTable, TableRow


class Math500(HubBenchmark):
    r"""500 problems of MATH; the domain is the subject, one of 7.

    The prompt is the problem and ``Put your final answer within \boxed{}.`` (our choice: the usual
    wording without "reason step by step", which would contradict No-Think). An answer is judged by
    math-verify where its word is certain, by the rules of ``pool verify``; else it has no verdict
    and is not right.

    Args:
        path: A local file with the columns of the set: JSONL, JSON (a list), Parquet or CSV;
            ``None`` loads it from the Hub, which needs the network once.
        seed: Order of the problems, so that the first n are a fair sample.
        revision: Commit, branch or tag on the Hub; ``None`` is the commit that the definition pins.

    Source: Lightman et al., Let's Verify Step by Step (arXiv:2305.20050), the test split of
    openai/prm800k.
    """

    name = "math_500"
    version = "2"
    table = HubTable(
        "HuggingFaceH4/MATH-500",
        split="test",
        revision="6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be",
        size=500,
    )
    columns = ("problem", "answer", "subject", "level", "unique_id")

    def problem(self, row: TableRow, repeat: int) -> Problem:
        """A problem and its gold answer."""
        stem = row.text("problem")
        return Problem(
            id=row.text("unique_id"),
            question=f"{stem}\n\nPut your final answer within \\boxed{{}}.",
            reference_answer=row.text("answer"),
            kind="boxed",
            domain=row.text("subject"),
            metadata={"level": row.values["level"], "stem": stem},
        )
