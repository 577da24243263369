"""A benchmark of your own: a file and the names of its columns, no code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from string import ascii_uppercase

from nt_lightning.errors import UserError
from nt_lightning.evaluation.benchmark import AnswerKind, Problem
from nt_lightning.evaluation.benchmark_data import (
    TableBenchmark,
    TableRow,
    check_columns,
    file_origin,
    file_rows,
    letter_problem,
    text_id,
)
from nt_lightning.evaluation.grading import parse_number
from nt_lightning.evaluation.options import Options
from nt_lightning.files import digest

LINE = (
    "The last line of your response should be of the form 'Answer: $ANSWER' (without quotes) where "
    "$ANSWER is the answer to the problem."
)
INSTRUCTIONS: dict[AnswerKind, str] = {
    "letter": "Answer the following multiple choice question. The last line of your response "
    "should be of the following format: 'Answer: $LETTER' (without quotes) where LETTER is one of "
    "{letters}.",
    "boxed": "Put your final answer within \\boxed{}.",
    "number": LINE,
    "exact": LINE,
}


class FileBenchmark(TableBenchmark):
    """Questions of a file, by option letter or by reference answer.

    Args:
        name: Its name in metrics and file names.
        path: JSONL, JSON (a list), Parquet or CSV.
        question: Column of the question.
        reference: Column of what is right: the letter or the text of an option, or the answer.
        options: Column of a list of options, or a list of columns, one per option; ``None`` asks
            without options.
        domain: Column of the subject, for results by domain; ``None`` has none.
        id: Column of the id; ``None`` takes a hash of question and options.
        kind: How an answer is read and judged: ``letter``, the only one with options and the
            default there; ``boxed`` (mathematics in a box), the default without options;
            ``number``; ``exact`` (a text, but for case and blanks).
        instruction: In front of a question with options, behind one without; ``{letters}`` becomes
            the letters, such as ``A, B, or C``. ``None`` takes that of the kind.
        is_shuffled: Whether each run shows the options in another order.
        is_confidential: Whether prompts and responses are not to be stored, as of a gated set.
        seed: Order of the problems, so that the first n are a fair sample, and of the options.

    Source: the prompts of openai/simple-evals, without "Think step by step" (our choice).
    """

    def __init__(
        self,
        name: str,
        path: str,
        question: str = "question",
        reference: str = "reference_answer",
        options: str | list[str] | None = None,
        domain: str | None = None,
        id: str | None = None,
        kind: AnswerKind | None = None,
        instruction: str | None = None,
        is_shuffled: bool = False,
        is_confidential: bool = False,
        seed: int = 0,
    ) -> None:
        self.kind: AnswerKind = kind or ("boxed" if options is None else "letter")
        if (self.kind == "letter") != (options is not None):
            allowed = "boxed, number, exact" if options is None else "letter"
            raise UserError(
                f"FileBenchmark: kind is {kind!r} and options is {options!r}; allowed as kind "
                f"then: {allowed}"
            )
        if is_shuffled and options is None:
            raise UserError("FileBenchmark: is_shuffled is true, but options is null")
        self.name = name
        self.path = path
        self.question, self.reference, self.domain, self.id = question, reference, domain, id
        self.options = options
        self.instruction = INSTRUCTIONS[self.kind] if instruction is None else instruction
        self.is_shuffled = is_shuffled
        self.is_confidential = is_confidential
        self.seed = seed
        asked = [question, reference, options, domain, id, self.kind, self.instruction]
        self.version = f"1 ({file_origin(path)}, options {digest(asked)[:12]})"

    def rows(self) -> Iterator[TableRow]:
        """Rows of the file, whose columns are checked."""
        if not Path(self.path).is_file():
            raise UserError(f"FileBenchmark {self.name!r}: path is {self.path!r}, which is no file")
        listed = [self.options] if isinstance(self.options, str) else self.options or []
        named = [self.question, self.reference, *listed, self.domain, self.id]
        columns = [column for column in named if column is not None]
        for row in file_rows(self.path):
            check_columns(row, columns, is_confidential=self.is_confidential)
            yield row

    def problem(self, row: TableRow, repeat: int) -> Problem:
        """A question in the words of its kind, its options in the order of this run."""
        stem = row.text(self.question).strip()
        domain = row.text(self.domain).strip() if self.domain is not None else ""
        if self.options is not None:
            return self._letter(row, stem, domain, repeat)
        reference = row.text(self.reference).strip()
        if self.kind == "number" and parse_number(reference) is None:
            raise row.error(f"column {self.reference!r} has a text that is no number")
        return Problem(
            id=self._id(row, stem),
            question=f"{stem}\n\n{self.instruction}" if self.instruction else stem,
            reference_answer=reference,
            kind=self.kind,
            domain=domain,
            metadata={"stem": stem},
        )

    def _letter(self, row: TableRow, stem: str, domain: str, repeat: int) -> Problem:
        options = self._published(row)
        name = self._id(row, stem, *options.texts)
        if self.is_shuffled:
            options = options.shuffled(name, self.seed, repeat)
        instruction = self.instruction.replace("{letters}", options.listed())
        parts = [instruction, stem, options.lines()]
        question = "\n\n".join(part for part in parts if part)
        return letter_problem(name, question, options, stem=stem, domain=domain)

    def _published(self, row: TableRow) -> Options:
        """The options as they stand in the file."""
        if isinstance(self.options, str):
            texts = row.texts(self.options)
        else:
            texts = [row.text(column) for column in self.options or ()]
        texts = [text.strip() for text in texts]
        reference = row.text(self.reference).strip()
        letters = ascii_uppercase[: len(texts)]
        named = [
            place
            for place, (letter, text) in enumerate(zip(letters, texts, strict=False))
            if reference in (letter, text)
        ]
        if len(named) != 1:
            raise row.error(
                f"column {self.reference!r} is the letter or the text of {len(named)} options; "
                "needed: of one"
            )
        return row.options(texts, named[0])

    def _id(self, row: TableRow, *texts: str) -> str:
        return row.text(self.id) if self.id is not None else text_id(*texts)
