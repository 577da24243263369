"""MMLU-Pro: 14 subjects, up to ten options."""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property

from nt_lightning.errors import UserError
from nt_lightning.evaluation.benchmark import Problem
from nt_lightning.evaluation.benchmark_data import HubTable, letter_problem
from nt_lightning.evaluation.few_shot import FewShotBenchmark
from nt_lightning.evaluation.options import Options
from nt_lightning.evaluation.table_rows import TableRow, file_origin

_STEPS = "Let's think step by step."


class MMLUPro(FewShotBenchmark):
    """12,032 questions with up to 10 options; the domain is the category, one of 14.

    The official prompt has the five examples of the category in the validation split, solved step
    by step in the visible response: ``num_shots: 5``. Two things differ (our choices): the
    instruction names exactly the letters that the question has, and the mode's instruction stands
    in place of the last "Answer: Let's think step by step.".

    Without examples the prompt is the official one put for a single question, without "Think step
    by step", which would contradict No-Think (our choice). The options stand in their published
    order, those that are ``N/A`` left out.
    An answer that cannot be read is no guess: it is counted as unparsed.

    Args:
        path: A local file with the columns of the set: JSONL, JSON (a list), Parquet or CSV;
            ``None`` loads it from the Hub, which needs the network once.
        seed: Order of the problems, so that the first n are a fair sample.
        revision: Commit, branch or tag on the Hub; ``None`` is the commit that the definition pins.
        num_shots: Examples in front of every question, from 0 to 5: the first of its category.
        shots_path: A local file of the validation split, with ``cot_content``; ``None`` loads it
            from the Hub.

    Source: Wang et al., MMLU-Pro (arXiv:2406.01574); TIGER-AI-Lab/MMLU-Pro, initial_prompt.txt and
    evaluate_from_local.py.
    """

    name = "mmlu_pro"
    table = HubTable(
        "TIGER-Lab/MMLU-Pro",
        split="test",
        revision="b189ec765aa7ed75c8acfea42df31fdae71f97be",
        size=12_032,
    )
    shots_table = table._replace(split="validation", size=70)
    columns = ("question_id", "question", "options", "answer", "category", "src")
    max_shots = 5

    def __init__(
        self,
        path: str | None = None,
        seed: int = 0,
        revision: str | None = None,
        num_shots: int = 0,
        shots_path: str | None = None,
    ) -> None:
        if shots_path is not None and not num_shots:
            raise UserError(
                f"MMLUPro: shots_path is {shots_path!r}, but num_shots is 0; allowed then: null"
            )
        self.shots_path = shots_path
        super().__init__(path, seed, revision, num_shots)

    @property
    def shots_origin(self) -> str:
        """The file, or the split on the Hub."""
        if self.shots_path is not None:
            return file_origin(self.shots_path)
        return f"{self.shots_table.name} at {self.revision}, {self.shots_table.split}"

    def problem(self, row: TableRow, repeat: int) -> Problem:
        """A question with its options as they were published."""
        stem, category = row.text("question").strip(), row.text("category")
        options = _options(row)
        parts = [_instruction(category, options, self.num_shots)]
        if self.num_shots:
            parts += self.first_shots(self._shots.get(category, ()), f"category {category!r}")
        parts.append(_asked(row, options))
        return letter_problem(
            row.text("question_id"),
            "\n\n".join(parts),
            options,
            stem=stem,
            domain=category,
            src=row.text("src"),
        )

    @cached_property
    def _shots(self) -> dict[str, list[str]]:
        """Examples by category, in their published order."""
        columns = ("question", "options", "answer", "category", "cot_content")
        shots = defaultdict(list)
        for row in self.read(self.shots_table, self.shots_path, columns, "shots_path"):
            solution = row.text("cot_content").strip()
            solution = solution.replace(f"A: {_STEPS}", f"Answer: {_STEPS}")
            shots[row.text("category")].append(f"{_asked(row, _options(row))}\n{solution}")
        return shots


def _options(row: TableRow) -> Options:
    return row.lettered(row.texts("options"), row.text("answer"), padding="N/A")


def _asked(row: TableRow, options: Options) -> str:
    return f"Question:\n{row.text('question').strip()}\nOptions:\n{options.lines('.')}"


def _instruction(category: str, options: Options, num_shots: int) -> str:
    if num_shots:
        opening = (
            f"The following are multiple choice questions (with answers) about {category}. Think "
            "step by step and then finish"
        )
    else:
        opening = f"The following is a multiple choice question about {category}. Finish"
    return (
        f'{opening} your answer with "the answer is (X)" where X is the correct letter choice, one '
        f"of {options.listed()}."
    )
