"""GPQA-Diamond: graduate-level science with four options, which must not leak."""

from __future__ import annotations

from nt_lightning.evaluation.benchmark import Problem
from nt_lightning.evaluation.benchmark_data import HubBenchmark, HubTable, letter_problem
from nt_lightning.evaluation.table_rows import TableRow

INSTRUCTION = (
    "Answer the following multiple choice question. The last line of your response should be of "
    "the following format: 'Answer: $LETTER' (without quotes) where LETTER is one of ABCD."
)
WRONG = ("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")


class GPQADiamond(HubBenchmark):
    """198 questions of biology, chemistry and physics; the domain is the high-level one.

    The prompt is that of simple-evals, which is zero-shot, without "Think step by step before
    answering.", which would contradict No-Think (our choice). The order of the options comes from a
    hash of (question, seed, run), so every run over the benchmark shows another one. The authors
    ask that no example is published: no prompt, response or answer but its letter is stored, in
    the run or in the cache, so that an evaluation that was killed asks its questions again.

    Args:
        path: A local file with the columns of the set, such as its ``gpqa_diamond.csv``; ``None``
            loads it from the Hub, which asks for a login.
        seed: Order of the problems, so that the first n are a fair sample, and of the options.
        revision: Commit, branch or tag on the Hub; ``None`` is the commit that the definition pins.

    Source: Rein et al., GPQA (arXiv:2311.12022); openai/simple-evals, common.py.
    """

    name = "gpqa_diamond"
    is_confidential = True
    is_shuffled = True
    table = HubTable(
        "Idavidrein/gpqa",
        split="train",
        revision="633f5ee89ab8ad4522a9f850766b73f62147ffdd",
        config="gpqa_diamond",
        size=198,
    )
    columns = (
        *("Record ID", "Question", "Correct Answer", *WRONG),
        *("High-level domain", "Subdomain"),
    )
    access = (
        "the set is gated: (1) log in at https://huggingface.co and accept the conditions on "
        f"{table.url}, (2) create a token with read access at "
        "https://huggingface.co/settings/tokens, (3) run `hf auth login` with it, or set HF_TOKEN, "
        "and start again; or "
    )

    def problem(self, row: TableRow, repeat: int) -> Problem:
        """A question with its options in the order of this run."""
        name, stem = row.text("Record ID"), row.text("Question").strip()
        texts = [row.text(column) for column in ("Correct Answer", *WRONG)]
        options = row.options(texts, gold=0).shuffled(name, self.seed, repeat)
        return letter_problem(
            name,
            f"{INSTRUCTION}\n\n{stem}\n\n{options.lines()}",
            options,
            stem=stem,
            domain=row.text("High-level domain"),
            subdomain=row.text("Subdomain"),
        )
