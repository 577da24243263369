"""``pool embed``: a vector for each question of a pool, through Lightning's ``predict``.

The distinct questions, in the order in which the pool has them first, are cut into blocks. A
process takes every n-th block, reads its texts, and writes its vectors as one file; what is there
is not computed again, so an interrupted command goes on where it was.
"""

from __future__ import annotations

import logging
import shutil
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException
from torch import Tensor

from nt_lightning.errors import UserError
from nt_lightning.evaluation.progress import progress_bar
from nt_lightning.files import digest, replacing_file
from nt_lightning.models import encoder_fingerprint, encoder_path, load_encoder, token_limit
from nt_lightning.traces.embeddings import (
    DTYPE,
    Keys,
    Part,
    Vectors,
    embeddings_folder,
    key_numbers,
    open_embeddings,
    read_info,
    text_digest,
    write_embeddings,
)
from nt_lightning.traces.pool import QUESTION_KEY, Pool

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

log = logging.getLogger(__name__)

BLOCK_SIZE = 1024  # questions in one file: a moment on a GPU, ten seconds on a CPU (our choice)
MIN_TOKENS = 8  # with fewer, a model's own special tokens are most of what it sees (our choice)
EXIT_SIGINT, EXIT_SIGTERM = 130, 143
RANK_ZERO_LOG = "lightning.pytorch.utilities.rank_zero"


# -- the questions ---------------------------------------------------------------------------------


class Questions(NamedTuple):
    """The distinct questions of a pool, without their texts.

    Args:
        keys: uint64 [Q], ascending.
        places: int64 [Q], in the order of the pool: where a question's key is in ``keys``.
        rows: int64 [Q], in the order of the pool: the first trace of a question.
    """

    keys: Keys
    places: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]

    @classmethod
    def of(cls, pool: Pool) -> Questions:
        """Those of a pool."""
        numbers = key_numbers(pool.read([QUESTION_KEY])[QUESTION_KEY])
        keys, first = np.unique(numbers, return_index=True)
        places = np.argsort(first)
        return cls(keys, places, first[places])

    @property
    def num_blocks(self) -> int:
        """Blocks of all questions, the last one perhaps smaller."""
        return -(-len(self.keys) // BLOCK_SIZE)

    def block(self, index: int) -> slice:
        """Part of ``places`` and ``rows`` that is a block."""
        return slice(index * BLOCK_SIZE, min((index + 1) * BLOCK_SIZE, len(self.keys)))


class Block(NamedTuple):
    """Questions that are embedded and written together."""

    number: int
    ids: list[str]  # a trace of each, for messages
    questions: list[str]


class BlockReader:
    """Reads the texts of some blocks, in order, with one shard of the pool in memory.

    Args:
        pool: The pool.
        questions: Its questions.
        blocks: Which blocks, ascending.
    """

    def __init__(self, pool: Pool, questions: Questions, blocks: Sequence[int]) -> None:
        self.pool = pool
        self.questions = questions
        self.blocks = blocks
        sizes = [shard["num_rows"] for shard in pool.manifest["shards"]]
        self._starts = np.cumsum([0, *sizes])
        self._held: tuple[int, pa.Table] | None = None

    def __iter__(self) -> Iterator[Block]:
        for index in self.blocks:
            texts = pa.concat_tables(self._read(self.questions.rows[self.questions.block(index)]))
            yield Block(index, texts["id"].to_pylist(), texts["question"].to_pylist())

    def _read(self, rows: npt.NDArray[np.int64]) -> Iterator[pa.Table]:
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        for shard in np.unique(shards).tolist():
            yield self._shard(shard).take(pa.array(rows[shards == shard] - self._starts[shard]))

    def _shard(self, index: int) -> pa.Table:
        if self._held is None or self._held[0] != index:
            self._held = None  # freed before the next is read
            file = self.pool.folder / self.pool.manifest["shards"][index]["file"]
            self._held = index, pq.read_table(file, columns=["id", "question"])
        return self._held[1]


# -- finished blocks -------------------------------------------------------------------------------


class BlockFiles:
    """Vectors of finished blocks, each file whole or absent.

    Args:
        folder: Where they lie until all are there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def missing(self, num_blocks: int) -> list[int]:
        """Blocks that are not there yet."""
        return [index for index in range(num_blocks) if not self._file(index).is_file()]

    def write(self, index: int, vectors: Vectors, num_cut: int) -> None:
        """Add a block.

        Args:
            index: Which one.
            vectors: float16 [B, D], in the order of its questions.
            num_cut: How many of its questions were too long.
        """
        with replacing_file(self._file(index)) as partial, partial.open("wb") as out:
            np.savez(out, vectors=vectors, num_cut=num_cut)

    def vectors(self, index: int) -> Vectors:
        """Vectors of a block, float16 [B, D]."""
        return np.asarray(self._read(index, "vectors"))

    def num_cut(self, index: int) -> int:
        """How many questions of a block were cut."""
        return int(self._read(index, "num_cut"))

    def remove(self) -> None:
        """Remove all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self, index: int, name: str) -> npt.NDArray[Any]:
        file = self._file(index)
        try:
            with np.load(file) as arrays:  # a zip archive: what is read is verified
                return np.asarray(arrays[name])
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
            raise UserError(f"{file} is damaged; remove it and give the command again") from None

    def _file(self, index: int) -> Path:
        return self.folder / f"block-{index:06d}.npz"


# -- the model -------------------------------------------------------------------------------------


class QuestionEmbedder(LightningModule):
    """Embeds blocks of questions; ``Trainer.predict`` runs it.

    Args:
        model_name: The model's name, for messages.
        folder: The model's folder.
        pool: The pool.
        questions: Its questions.
        files: Where vectors go.
        max_tokens: Longer questions are cut.
        batch_size: Questions at a time.
    """

    def __init__(
        self,
        model_name: str,
        folder: Path,
        pool: Pool,
        questions: Questions,
        files: BlockFiles,
        max_tokens: int,
        batch_size: int,
    ) -> None:
        super().__init__()
        self.model_name = model_name
        self.folder = folder
        self.pool = pool
        self.questions = questions
        self.files = files
        self.max_tokens = max_tokens
        self.batch_size = batch_size
        self.model: SentenceTransformer | None = None
        self._progress = ExitStack()
        self._num_done = 0

    def configure_model(self) -> None:
        """Load the model once."""
        if self.model is None:
            self.model = load_encoder(self.model_name, self.folder, self.max_tokens)
            limit = token_limit(self.model)
            if limit is not None and limit < self.max_tokens and self.trainer.is_global_zero:
                log.info("%s takes %d tokens of a question", self.model_name, limit)

    def setup(self, stage: str) -> None:
        """Take this process's blocks; the first process says which are missing."""
        missing = self.files.missing(self.questions.num_blocks)
        missing = self.trainer.strategy.broadcast(missing)
        self.blocks = missing[self.trainer.global_rank :: self.trainer.world_size]

    def predict_dataloader(self) -> BlockReader:
        """This process's blocks; Lightning takes any iterable."""
        return BlockReader(self.pool, self.questions, self.blocks)

    def forward(self, texts: list[str]) -> tuple[Tensor, int]:
        """Unit vectors float32 [B, D] of B texts, and how many of the texts were cut."""
        model = self.model
        assert model is not None
        prompt = model.prompts.get(model.default_prompt_name or "")
        features = model.preprocess(texts, prompt=prompt)
        num_cut = _num_cut(model, [f"{prompt or ''}{text}" for text in texts], features)
        features = {
            name: value.to(self.device) if isinstance(value, Tensor) else value
            for name, value in features.items()
        }
        pooled = model(features)["sentence_embedding"]
        return torch.nn.functional.normalize(pooled.float(), dim=1), num_cut

    def on_predict_start(self) -> None:
        """Begin to count."""
        sizes = [len(self.questions.rows[self.questions.block(index)]) for index in self.blocks]
        world = self.trainer.world_size
        self._num_done = 0
        self._report: Callable[[int], None] = self._progress.enter_context(
            progress_bar(
                "questions" if world == 1 else f"questions of process 1 of {world}",
                sum(sizes),
                enabled=self.trainer.is_global_zero,
            )
        )

    def predict_step(self, block: Block, batch_idx: int) -> None:
        """Embed a block, long questions first, and write it.

        Raises:
            UserError: A vector is not finite, or has no direction.
        """
        texts = block.questions
        order = sorted(range(len(texts)), key=lambda place: -len(texts[place]))
        vectors: Vectors | None = None
        num_cut = 0
        for start in range(0, len(order), self.batch_size):
            if self.trainer.received_sigterm:  # Lightning's predict loop does not look
                raise SIGTERMException
            places = order[start : start + self.batch_size]
            found, cut = self([texts[place] for place in places])
            lengths = found.norm(dim=1)
            if bad := (~(lengths > 0.5)).nonzero().flatten().tolist():  # NaN is not > 0.5
                raise UserError(
                    f"{self.model_name!r} has no finite vector for the question of trace "
                    f"{block.ids[places[bad[0]]]!r}"
                )
            if vectors is None:
                vectors = np.empty((len(texts), found.shape[1]), DTYPE)
            vectors[places] = found.cpu().numpy()
            num_cut += cut
            self._num_done += len(places)
            self._report(self._num_done)
        assert vectors is not None
        self.files.write(block.number, vectors, num_cut)

    def close(self) -> None:
        """End the progress bar."""
        self._progress.close()


def _num_cut(model: SentenceTransformer, texts: list[str], features: dict[str, Any]) -> int:
    """How many of the texts have more tokens than the model takes."""
    limit = token_limit(model)
    if limit is None or "attention_mask" not in features:
        return 0
    full = (features["attention_mask"].sum(dim=1) >= limit).nonzero().flatten().tolist()
    if not full:
        return 0
    uncut = model.tokenizer([texts[place] for place in full], truncation=False, verbose=False)
    return sum(len(ids) > limit for ids in uncut["input_ids"])


# -- the command -----------------------------------------------------------------------------------


def quieten() -> None:
    """One line per fact on stderr, without what other libraries say about loading."""
    from transformers.utils.logging import disable_progress_bar

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for name in ("httpx", "httpcore", "sentence_transformers", RANK_ZERO_LOG):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    disable_progress_bar()


def embed_questions(
    pool: Pool,
    model_name: str,
    *,
    max_tokens: int,
    batch_size: int,
    precision: str = "32-true",
    overwrite: bool = False,
    **trainer_options: Any,
) -> str | None:
    """Embed a pool's questions and store them beside it.

    Args:
        pool: The pool.
        model_name: See ``nt_lightning.models.encoder_path``.
        max_tokens: Longer questions are cut.
        batch_size: Questions at a time.
        precision: The ``Trainer``'s.
        overwrite: Make embeddings anew that are there.
        **trainer_options: ``accelerator``, ``devices`` and so on of the ``Trainer``.

    Returns:
        What was done, in a line; ``None`` on all processes but the first.

    Raises:
        UserError: An argument is wrong, there is no such model, or it gives no finite vector.
    """
    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size}; allowed: 1 and more")
    if max_tokens < MIN_TOKENS:
        raise UserError(f"max_tokens is {max_tokens}; allowed: {MIN_TOKENS} and more")
    began = time.monotonic()
    source = encoder_path(model_name)
    questions = Questions.of(pool)
    made_by = {
        "model_name": model_name,
        "model_fingerprint": encoder_fingerprint(source),
        "text_digest": text_digest(questions.keys),
        "max_tokens": max_tokens,
        "precision": precision,
    }
    key = digest(made_by)[:16]
    folder = embeddings_folder(pool.folder, key)
    if folder.is_dir() and not overwrite:
        open_embeddings(folder)  # every byte verified
        return _line(folder, "already there") if getattr(rank_zero_only, "rank", 0) == 0 else None
    # the blocks depend on the order of the pool, the embeddings do not
    work = f".{folder.name}-{digest([pool.digest, BLOCK_SIZE])[:8]}.work"
    files = BlockFiles(folder.with_name(work))
    embedder = QuestionEmbedder(model_name, source, pool, questions, files, max_tokens, batch_size)
    trainer = _predict(embedder, {"precision": precision, **trainer_options})
    trainer.strategy.barrier()  # the last block is written
    if not trainer.is_global_zero:
        return None
    _merge(folder, questions, files, made_by)
    return _line(folder, f"{time.monotonic() - began:.0f} s")


def _predict(embedder: QuestionEmbedder, options: dict[str, Any]) -> Trainer:
    try:
        trainer = Trainer(
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **options,
        )
    except (MisconfigurationException, ValueError) as error:
        said = ", ".join(f"{name} {value}" for name, value in options.items())
        raise UserError(f"{said}: {str(error).splitlines()[0]}") from None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*predict returned None.*")
            # torch's own deprecation inside Lightning
            warnings.filterwarnings("ignore", message=".*LeafSpec.*")
            trainer.predict(embedder, return_predictions=False)
    except SystemExit as stop:  # Lightning's answer to Ctrl+C and SIGTERM
        if trainer.is_global_zero:
            log.warning("stopped; the same command goes on where it was")
        code = EXIT_SIGTERM if isinstance(stop, SIGTERMException) else EXIT_SIGINT
        raise SystemExit(code) from None
    finally:
        embedder.close()
    return trainer


def _merge(folder: Path, questions: Questions, files: BlockFiles, made_by: dict[str, Any]) -> None:
    """Put the blocks together, one at a time in memory, and remove them."""
    blocks = range(questions.num_blocks)
    parts = (
        Part(questions.places[questions.block(index)], files.vectors(index)) for index in blocks
    )
    names = ("nt_lightning", "sentence-transformers", "transformers", "tokenizers", "torch")
    info = {
        **made_by,
        "num_cut": sum(map(files.num_cut, blocks)),
        "versions": {name: version(name) for name in names},
    }
    write_embeddings(folder, questions.keys, files.vectors(0).shape[1], parts, info)
    files.remove()


def _line(folder: Path, what: str) -> str:
    info = read_info(folder)
    return (
        f"{folder}: {info['num_questions']} questions, {info['dimensions']} dimensions, {what}, "
        f"{info['num_cut']} longer questions cut"
    )
