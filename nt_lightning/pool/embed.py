"""``pool embed``: a vector for each question of a pool, through Lightning's ``predict``.

The distinct questions, in the order in which the pool has them first, are cut into blocks. A
process takes every n-th block, reads its texts, and writes its vectors as one file; what is there
is not computed again, so an interrupted command goes on where it was.
"""

from __future__ import annotations

import logging
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

from nt_lightning.errors import UserError
from nt_lightning.files import digest
from nt_lightning.pool.embed_blocks import BlockFiles, Questions
from nt_lightning.pool.embedder import QuestionEmbedder
from nt_lightning.pool.encoder import encoder_fingerprint, encoder_path
from nt_lightning.traces.column_folders import read_info
from nt_lightning.traces.embeddings import (
    Part,
    embeddings_folder,
    open_embeddings,
    text_digest,
    write_embeddings,
)
from nt_lightning.traces.pool import Pool

log = logging.getLogger(__name__)

MIN_TOKENS = 8  # with fewer, a model's own special tokens are most of what it sees (our choice)
EXIT_SIGINT, EXIT_SIGTERM = 130, 143
RANK_ZERO_LOG = "lightning.pytorch.utilities.rank_zero"


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
        model_name: See ``nt_lightning.pool.encoder.encoder_path``.
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
    folder = embeddings_folder(pool.folder, digest(made_by)[:16])
    if folder.is_dir() and not overwrite:
        open_embeddings(folder)  # every byte verified
        return _line(folder, "already there") if getattr(rank_zero_only, "rank", 0) == 0 else None
    files = BlockFiles.beside(folder, pool)
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
        terminated = isinstance(stop, SIGTERMException) or stop.code == EXIT_SIGTERM
        code = EXIT_SIGTERM if terminated else EXIT_SIGINT
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
