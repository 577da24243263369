"""The module that Lightning's ``predict`` runs: texts of a block to vectors, and to the disk."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from nt_lightning.errors import UserError
from nt_lightning.evaluation.progress import progress_bar
from nt_lightning.pool.embed_blocks import Block, BlockFiles, BlockReader, Questions
from nt_lightning.pool.encoder import load_encoder, token_limit
from nt_lightning.traces.embeddings import DTYPE, Vectors
from nt_lightning.traces.pool import Pool

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

log = logging.getLogger(__name__)


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
        found: list[Vectors] = []
        num_cut = 0
        for start in range(0, len(order), self.batch_size):
            if self.trainer.received_sigterm:  # Lightning's predict loop does not look
                raise SIGTERMException
            places = order[start : start + self.batch_size]
            vectors, cut = self([texts[place] for place in places])
            self._refuse_bad(vectors, [block.ids[place] for place in places])
            found.append(vectors.cpu().numpy().astype(DTYPE))
            num_cut += cut
            self._num_done += len(places)
            self._report(self._num_done)
        self.files.write(block.number, np.concatenate(found)[np.argsort(order)], num_cut)

    def close(self) -> None:
        """End the progress bar."""
        self._progress.close()

    def _refuse_bad(self, vectors: Tensor, ids: list[str]) -> None:
        lengths = vectors.norm(dim=1)
        if bad := (~(lengths > 0.5)).nonzero().flatten().tolist():  # NaN is not > 0.5
            raise UserError(
                f"{self.model_name!r} has no finite vector for the question of trace "
                f"{ids[bad[0]]!r}"
            )


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
