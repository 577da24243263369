"""MMLU-Pro: 14 subjects, up to ten options."""

from __future__ import annotations

from nt_lightning.evaluation.benchmark import Problem
from nt_lightning.evaluation.benchmark_data import HubBenchmark, HubTable, TableRow, letter_problem


class MMLUPro(HubBenchmark):
    """12,032 questions with up to 10 options; the domain is the category, one of 14.

    The prompt is the official one put for a single question: without examples, without "Think step
    by step", which would contradict No-Think, and with exactly the letters that a question has (our
    choices). The options stand in their published order, those that are ``N/A`` left out.
    An answer that cannot be read is no guess: it is counted as unparsed.

    Args:
        path: A local file with the columns of the set: JSONL, JSON (a list), Parquet or CSV;
            ``None`` loads it from the Hub, which needs the network once.
        seed: Order of the problems, so that the first n are a fair sample.
        revision: Commit, branch or tag on the Hub; ``None`` is the commit that the definition pins.

    Source: Wang et al., MMLU-Pro (arXiv:2406.01574); TIGER-AI-Lab/MMLU-Pro, initial_prompt.txt.
    """

    name = "mmlu_pro"
    table = HubTable(
        "TIGER-Lab/MMLU-Pro",
        split="test",
        revision="b189ec765aa7ed75c8acfea42df31fdae71f97be",
        size=12_032,
    )
    columns = ("question_id", "question", "options", "answer", "category", "src")

    def problem(self, row: TableRow, repeat: int) -> Problem:
        """A question with its options as they were published."""
        stem, category = row.text("question").strip(), row.text("category")
        options = row.lettered(row.texts("options"), row.text("answer"), padding="N/A")
        instruction = (
            f"The following is a multiple choice question about {category}. Finish your answer "
            'with "the answer is (X)" where X is the correct letter choice, one of '
            f"{options.listed()}."
        )
        return letter_problem(
            row.text("question_id"),
            f"{instruction}\n\nQuestion:\n{stem}\nOptions:\n{options.lines('.')}",
            options,
            stem=stem,
            domain=category,
            src=row.text("src"),
        )
