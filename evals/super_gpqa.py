"""SuperGPQA: 285 graduate fields in 13 disciplines, up to ten options."""

from __future__ import annotations

from nt_lightning.evaluation.benchmark import Problem
from nt_lightning.evaluation.benchmark_data import HubBenchmark, HubTable, letter_problem
from nt_lightning.evaluation.table_rows import TableRow


class SuperGPQA(HubBenchmark):
    """26,529 questions with 4 to 10 options; the domain is the discipline, one of 13.

    The prompt is the official zero-shot one, but it names exactly the letters that a question has;
    the options stand in their published order. (The official five-shot prompt is for base models.)

    Args:
        path: A local file with the columns of the set: JSONL, JSON (a list), Parquet or CSV;
            ``None`` loads it from the Hub, which needs the network once.
        seed: Order of the problems, so that the first n are a fair sample.
        revision: Commit, branch or tag on the Hub; ``None`` is the commit that the definition pins.

    Source: M-A-P, SuperGPQA (arXiv:2502.14739); SuperGPQA/SuperGPQA, prompt ``zero-shot``.
    """

    name = "super_gpqa"
    table = HubTable(
        "m-a-p/SuperGPQA",
        split="train",
        revision="4430d4458112c7d4497fdcf94d7cc223313d6acf",
        size=26_529,
    )
    columns = (
        *("uuid", "question", "options", "answer_letter"),
        *("discipline", "field", "subfield", "difficulty"),
    )

    def problem(self, row: TableRow, repeat: int) -> Problem:
        """A question with its options as they were published."""
        stem = row.text("question").strip()
        options = row.lettered(row.texts("options"), row.text("answer_letter"))
        instruction = (
            "Answer the following multiple choice question. There is only one correct answer. The "
            "last line of your response should be in the format 'Answer: $LETTER' (without "
            f"quotes), where LETTER is one of {options.listed()}."
        )
        return letter_problem(
            row.text("uuid"),
            f"{instruction}\n\n{stem}\n{options.lines()}",
            options,
            stem=stem,
            domain=row.text("discipline"),
            **{name: row.text(name) for name in ("field", "subfield", "difficulty")},
        )
