"""The responses of a pool as batches for the scorer, block by block."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import torch
from lightning.pytorch import LightningDataModule

import nt_lightning
from nt_lightning.data.assemble import open_pool
from nt_lightning.data.identity import own_arguments, sources_of
from nt_lightning.errors import UserError
from nt_lightning.files import digest, sha256_file
from nt_lightning.models import load_tokenizer, weights_fingerprint
from nt_lightning.student.naturalness.blocks import Block, BlockFiles, blocks_of, read_blocks
from nt_lightning.student.naturalness.encode import PLAIN_QUESTION, ResponseEncoder, ScoredText
from nt_lightning.student.naturalness.layout import (
    ALL_OF_FOUR,
    ScoreSpec,
    Window,
    plan_response,
)
from nt_lightning.student.naturalness.rows import ScoringBatch, make_batch
from nt_lightning.traces.formatting import PromptFormatter
from nt_lightning.traces.pool import Pool, PoolMaker
from nt_lightning.traces.steps import ColumnSteps, SentenceSteps, StepSplitter

TEXTS = ("id", "teacher", "question", "reasoning", "answer")
# modules that decide values; an edit of one makes older scores and blocks stale
DECIDING = (
    *(f"student/naturalness/{name}" for name in (
        "data", "layout", "rows", "attention", "tokens", "scores", "encode", "blocks", "verify",
        "scorer",
    )),
    *("student/attention", "student/head"),
    *("traces/steps", "traces/formatting", "traces/modes"),
)  # fmt: skip
PACKAGES = ("torch", "transformers", "tokenizers")


class ScoringBlock(NamedTuple):
    """A block's responses, laid out for the scorer."""

    block: Block
    traces: pa.Table  # id and teacher of each response
    batch: ScoringBatch


class ResponseScoring(LightningDataModule):
    """What ``score`` scores: every response of a pool, and how it is cut into steps.

    Args:
        pool: Folder of a pool, or what makes one (``class_path`` in a recipe).
        model_name: The student, whose tokenizer and template render the question; linked from the
            model in the command line.
        windows: Steps before each step, as numbers of steps or as shares of all steps of the
            response, such as 0.25 (our choice); all of them come out of one pass. Its cost grows
            with the widest one: a large share of a long response costs its length squared.
        splitter: Where steps begin: ``SentenceSteps`` (the default), ``NewlineSteps``,
            ``FixedTokenSteps``, ``ColumnSteps`` for the column ``step_starts``, or your own class.
        scored_text: ``plain`` is reasoning, empty line, answer; ``tagged`` has the think tags and
            the end of turn, as training labels them.
        ifd: Also read each response without its question, behind the BOS token where the
            tokenizer begins every text with it.
        max_tokens: Tokens of a packed row. It is no limit of a response: a longer one is read
            in several rows.
        system_prompt: A system turn; ``None`` leaves the template's own.

    Raises:
        UserError: An argument is out of its range.

    Source: Local Naturalness (arXiv:2510.03988); plain text is our choice.
    """

    def __init__(
        self,
        pool: PoolMaker | str | None = None,
        model_name: str = "smollm2-135m-instruct",
        windows: Sequence[Window] = ALL_OF_FOUR,
        splitter: StepSplitter | None = None,
        scored_text: ScoredText = "plain",
        ifd: bool = True,
        max_tokens: int = 4096,
        system_prompt: str | None = None,
    ) -> None:
        super().__init__()
        if max_tokens < 1:
            raise UserError(f"data.max_tokens is {max_tokens}; allowed: 1 and more")
        if not windows:
            raise UserError("data.windows is empty; allowed: at least one window, such as [4]")
        self.pool_source = pool
        self.model_name = model_name
        self.splitter = splitter or SentenceSteps()
        self.scored_text = scored_text
        self.max_tokens = max_tokens
        self.system_prompt = system_prompt
        self.spec = ScoreSpec(windows=tuple(windows), ifd=ifd)
        self.files = BlockFiles(Path("scores"), "cpu")
        self._mine: list[Block] = []
        # a few blocks may be left for many devices
        self.allow_zero_length_dataloader_with_multiple_devices = True

    @cached_property
    def pool(self) -> Pool:
        """The pool; a made one is kept in the cache."""
        pool = open_pool(self.pool_source)
        if self.reads_step_starts:
            pool.require(["step_starts"])
        return pool

    @property
    def reads_step_starts(self) -> bool:
        """Whether steps come from a column."""
        return isinstance(self.splitter, ColumnSteps)

    @cached_property
    def blocks(self) -> list[Block]:
        """Blocks of all traces."""
        return blocks_of(self.pool)

    @cached_property
    def encoder(self) -> ResponseEncoder:
        """Tokenises questions and responses and cuts steps."""
        formatter = PromptFormatter(load_tokenizer(self.model_name), self.system_prompt)
        return ResponseEncoder(formatter, self.splitter, scored_text=self.scored_text)

    @cached_property
    def empty_prompt(self) -> tuple[int, ...]:
        """What stands in front of a response without its question.

        The tokenizer's BOS token, where it puts one in front of any text and the question's prompt
        begins with it, too; else nothing (our choice).
        """
        tokenizer = self.encoder.formatter.tokenizer
        bos = tokenizer.bos_token_id
        texts = tokenizer("a")["input_ids"], self.encoder.formatter.prompt_ids("a", PLAIN_QUESTION)
        return (bos,) if all(ids[:1] == [bos] for ids in texts) else ()

    @cached_property
    def made_by(self) -> dict[str, Any]:
        """What the scores depend on, but for the precision and the device of the products."""
        return {
            "model_name": self.model_name,
            "model_fingerprint": weights_fingerprint(self.model_name),
            "formatter": digest(self.encoder.formatter.fingerprint()),
            "pool_digest": self.pool.digest,
            "splitter": _about(self.splitter),
            "windows": list(self.spec.windows),
            "scored_text": self.scored_text,
            "ifd": self.spec.ifd,
            "empty_prompt": list(self.empty_prompt),
            "code": _code_digest(),
            "versions": {name: version(name) for name in PACKAGES},
        }

    def store_in(self, folder: Path, device: str) -> None:
        """Name the folder of the scores, beside which finished blocks of a device are kept."""
        self.files = BlockFiles(folder, device)

    def prepare_data(self) -> None:
        """Make the pool where the cache does not hold it."""
        open_pool(self.pool_source)

    def setup(self, stage: str) -> None:
        """Take this process's blocks; the first process says which are missing."""
        trainer: Any = self.trainer
        missing = trainer.strategy.broadcast(self.files.missing(self.blocks))
        self._mine = missing[trainer.global_rank :: trainer.world_size]

    @property
    def num_stored(self) -> int:
        """Responses whose scores are kept."""
        missing = self.files.missing(self.blocks)
        return len(self.pool) - sum(block.end - block.start for block in missing)

    @property
    def num_mine(self) -> int:
        """Responses that this process has to score."""
        return sum(block.end - block.start for block in self._mine)

    def predict_dataloader(self) -> Blocks:
        """This process's blocks; Lightning takes any iterable."""
        scorer: Any = self.trainer.lightning_module  # type: ignore[union-attr]
        known = {"context": scorer.context, "empty_prompt": self.empty_prompt}
        return Blocks(self, self._mine, replace(self.spec, **known))

    def transfer_batch_to_device(
        self, batch: ScoringBlock, device: torch.device, dataloader_idx: int
    ) -> ScoringBlock:
        """Leave all where it is: the scorer moves one row at a time."""
        return batch


class Blocks:
    """Reads and lays out some blocks, in order.

    Args:
        data: Where they come from.
        blocks: Which ones, ascending.
        spec: What is scored.
    """

    def __init__(self, data: ResponseScoring, blocks: list[Block], spec: ScoreSpec) -> None:
        self.data, self.blocks, self.spec = data, blocks, spec
        self._columns = [*TEXTS, *(["step_starts"] if data.reads_step_starts else [])]

    def __len__(self) -> int:
        return len(self.blocks)

    def __iter__(self) -> Iterator[ScoringBlock]:
        encoder = self.data.encoder
        for block, table in read_blocks(self.data.pool, self.blocks, self._columns):
            tokens = [
                encoder.encode(**{name: row[name] for name in row if name != "teacher"})
                for row in table.rename_columns({"id": "trace_id"}).to_pylist()
            ]
            plans = [plan_response(one, self.spec) for one in tokens]
            batch = make_batch(plans, self.spec, self.data.max_tokens)
            yield ScoringBlock(block, table.select(["id", "teacher"]), batch)


def _about(splitter: StepSplitter) -> dict[str, Any]:
    """Name, sources and arguments of a splitter.

    Raises:
        UserError: Its arguments have no names by which they could be told.
    """
    cls = type(splitter)
    for parameter in inspect.signature(cls).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise UserError(
                f"{cls.__name__} takes {str(parameter).partition(':')[0]}; scores are kept by the "
                "arguments of their splitter: give each one a name in its __init__"
            )
    return {
        "class": cls.__qualname__,
        "sources": sources_of(cls, StepSplitter),
        "arguments": own_arguments(splitter, StepSplitter),
    }


@cache
def _code_digest() -> str:
    """Digest of the code that decides values."""
    package = Path(nt_lightning.__file__).parent
    return digest([sha256_file(package / f"{name}.py") for name in DECIDING])
