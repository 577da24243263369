"""GSM8K: grade school word problems, the answer a number."""

from __future__ import annotations

from nt_lightning.evaluation.benchmark import Problem
from nt_lightning.evaluation.benchmark_data import HubBenchmark, HubTable, TableRow, text_id
from nt_lightning.evaluation.grading import parse_number

INSTRUCTION = (
    "Solve this math problem. Give the final answer on the last line by itself in the format of "
    '"Answer:". Do not add anything other than the integer answer after "Answer:".'
)


class GSM8K(HubBenchmark):
    """1,319 problems of the test split; the reference is what stands behind ``####``.

    The prompt is the English one of MGSM in simple-evals without "Give the reasoning steps", which
    would contradict No-Think (our choice). The set has no ids; a problem's is a hash of its text.

    Args:
        path: A local file with the columns of the set, such as its ``test.jsonl``; ``None`` loads
            it from the Hub, which needs the network once.
        seed: Order of the problems, so that the first n are a fair sample.
        revision: Commit, branch or tag on the Hub; ``None`` is the commit that the definition pins.

    Source: Cobbe et al., Training Verifiers (arXiv:2110.14168); openai/simple-evals, mgsm_eval.py.
    """

    name = "gsm8k"
    table = HubTable(
        "openai/gsm8k",
        split="test",
        revision="740312add88f781978c0658806c59bc2815b9866",
        config="main",
        size=1_319,
    )
    columns = ("question", "answer")

    def problem(self, row: TableRow, repeat: int) -> Problem:
        """A question and the number of its solution."""
        stem = row.text("question").strip()
        _, hashes, gold = row.text("answer").rpartition("####")
        reference = gold.strip().replace(",", "")
        if not hashes or parse_number(reference) is None:
            raise row.error("column 'answer' has no number behind '####'")
        return Problem(
            id=text_id(stem),
            question=f"{INSTRUCTION}\n\n{stem}",
            reference_answer=reference,
            kind="number",
            metadata={"stem": stem},
        )
