"""Students that are only asked: one in this process, and one behind a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import Callback, LightningModule

from nt_lightning.errors import UserError
from nt_lightning.evaluation.server import Server
from nt_lightning.evaluation.server_engine import ServerEngine
from nt_lightning.student.loading import LoRA, Quantization
from nt_lightning.student.module import StudentModule
from nt_lightning.student.responses import ResponseSettings
from nt_lightning.traces.formatting import PromptFormatter


class EvaluatedStudent(StudentModule):
    """Any Hugging Face causal LM, or a checkpoint (``--ckpt_path``), for ``test`` alone.

    Args:
        model_name: Hub id, a folder with safetensors, or ``smollm2-135m-instruct``.
        lora: The adapters of the checkpoint that is tested.
        quantization: The number format of its frozen base.
    """

    def __init__(
        self,
        model_name: str = "smollm2-135m-instruct",
        lora: LoRA | None = None,
        quantization: Quantization | None = None,
    ) -> None:
        super().__init__(model_name, lora, quantization, False, ResponseSettings())

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Nothing: the callback asks the benchmarks at the end of the epoch."""


class ServedStudent(LightningModule):
    """A student behind an OpenAI-compatible server, for ``test``; nothing is loaded here.

    Args:
        server: Where it is served.
        model_name: The same student for its tokenizer and configuration: a Hub id or a folder.

    Raises:
        UserError: Before anything runs: the command is not ``test``, there are several processes,
            or the server cannot be asked so.
    """

    def __init__(self, server: Server, model_name: str = "smollm2-135m-instruct") -> None:
        super().__init__()
        self.server, self.model_name = server, model_name

    def configure_callbacks(self) -> list[Callback]:
        """Refuse what a server cannot do, in the first hook that Lightning calls; there are none.

        ``setup`` would be too late: Lightning misses a ``training_step`` before it.
        """
        command = str(self.trainer.state.fn.value)  # type: ignore[union-attr]
        if command != "test":
            raise UserError(f"model: ServedStudent is only asked; allowed: test, not {command}")
        if self.trainer.world_size > 1:
            raise UserError(
                f"trainer: {self.trainer.world_size} processes ask one server; allowed: 1 "
                "(model.server.concurrency is the number of requests at a time)"
            )
        self.server.check("model.server")
        return []

    @contextmanager
    def engine(self, formatter: PromptFormatter, batch_size: int) -> Iterator[ServerEngine]:
        """What answers prompts.

        Args:
            formatter: With the student's tokenizer.
            batch_size: Unused; the server batches.
        """
        from transformers import AutoConfig

        from nt_lightning.models import model_path

        config = AutoConfig.from_pretrained(model_path(self.model_name))
        context = getattr(config, "max_position_embeddings", None)
        yield ServerEngine(self.server, formatter, config.model_type, context)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Nothing: the callback asks the benchmarks at the end of the epoch."""
