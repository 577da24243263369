"""The student as a LightningModule: loaded, asked, saved; how it is trained is a subclass's."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from nt_lightning.data.batch import PackedBatch
from nt_lightning.data.questions import QuestionBatch
from nt_lightning.errors import UserError
from nt_lightning.evaluation.progress import progress_bar
from nt_lightning.evaluation.student_engine import StudentEngine
from nt_lightning.student import attention
from nt_lightning.student.checkpoint import align_to_step, check_same_data, check_same_student
from nt_lightning.student.head import base_model, verify_head
from nt_lightning.student.loading import (
    LoRA,
    Quantization,
    inference_copy,
    load_student,
    outline_student,
)
from nt_lightning.student.loading_sharded import load_on_first_rank
from nt_lightning.student.responses import ResponseFile, ResponseSettings, respond
from nt_lightning.student.sharding import (
    agreement,
    check_shareable,
    hidden_states,
    is_sharded,
    lent,
    rows_are_shared,
    shard,
)
from nt_lightning.traces.formatting import PromptFormatter
from nt_lightning.traces.modes import ThinkModes

log = logging.getLogger(__name__)
COMPUTE_DTYPES = {"bf16": torch.bfloat16, "16": torch.float16}


class StudentModule(LightningModule):
    """Any Hugging Face causal LM, with attention per trace, generation and checkpoints.

    Args:
        model_name: Hub id, folder with safetensors, or a name of ``models.WHEEL_MODELS``.
        lora: Low-rank adapters in place of trained weights.
        quantization: A frozen base in 4 or 8 bits, with ``lora``.
        activation_checkpointing: Recompute activations in the backward pass to save memory: those
            of every layer, or of every n-th.
        responses: How ``predict`` generates.

    Raises:
        UserError: Quantisation without LoRA.
    """

    def __init__(
        self,
        model_name: str,
        lora: LoRA | None,
        quantization: Quantization | None,
        activation_checkpointing: bool | int,
        responses: ResponseSettings,
    ) -> None:
        super().__init__()
        if quantization is not None and lora is None:
            raise UserError(
                f"model.quantization is {quantization!r} without model.lora; quantised weights "
                "cannot be trained: add lora, or leave quantization out"
            )
        self.model: Any = None
        self.model_name = model_name
        self.lora = lora
        self.quantization = quantization
        self.activation_checkpointing = activation_checkpointing
        self.responses = responses
        self.strict_loading = lora is None

    # -- the model -------------------------------------------------------------------------------

    def configure_model(self) -> None:
        """Load the student once, prove its head known, and choose its attention."""
        if self.model is not None:
            return
        attention.register()
        if self.device_mesh is not None:
            check_shareable(self.device_mesh, self.quantization, self.trainer.state.fn)
        if self.device_mesh is None:
            model = self._load()
            self._prepare(model)
        elif self.quantization is not None:  # packed weights have no outline: every rank reads them
            model = self._load()
            self._share(model)
        else:
            model = load_on_first_rank(
                self._load,
                lambda: outline_student(self.model_name, self.lora),
                self._share,
                self.device,
            )
        self.model = model

    def _load(self) -> Any:
        """A whole student, its head proved known."""
        model = load_student(
            self.model_name,
            lora=self.lora,
            quantization=self.quantization,
            device=self.device,
            compute_dtype=self._compute_dtype(),
        )
        verify_head(model)
        return model

    def _prepare(self, model: Any) -> None:
        """Recomputation and attention."""
        if self.activation_checkpointing:
            base_model(model).activation_checkpointing_enable(
                every_n_layers=int(self.activation_checkpointing)
            )
        backend = attention.backend_for(base_model(model), self.device, self._compute_dtype())
        base_model(model).set_attn_implementation(backend.name)
        self.attention_backend = backend

    def _share(self, model: Any) -> None:
        """Prepare a student and share it out over ModelParallelStrategy's devices."""
        self._prepare(model)
        shard(model, self.device_mesh, self._compute_dtype())  # type: ignore[arg-type]

    def forward(self, batch: PackedBatch) -> Tensor:
        """Final hidden states [T, D] of a packed row; every trace sees itself alone."""
        out = hidden_states(
            self.model,
            input_ids=batch.input_ids,
            position_ids=batch.position_ids,
            attention_mask=None,
            use_cache=False,
            cu_seq_lens_q=batch.cu_seqlens,
            cu_seq_lens_k=batch.cu_seqlens,
            max_length_q=batch.max_seqlen,
            max_length_k=batch.max_seqlen,
        )
        return out.last_hidden_state[0]  # type: ignore[no-any-return]

    # -- responses -----------------------------------------------------------------------------

    def on_predict_start(self) -> None:
        """Begin this rank's file of responses."""
        mode = self.trainer.datamodule.modes[self.responses.mode]  # type: ignore[attr-defined]
        self._response_mode = mode
        folder = self.trainer.strategy.broadcast(self.trainer.default_root_dir)
        self._response_file = ResponseFile(Path(folder), self.trainer.global_rank)

    def predict_step(self, batch: QuestionBatch, batch_idx: int) -> None:
        """Generate and write responses to a batch of questions."""
        formatter, mode = self.trainer.datamodule.formatter, self._response_mode  # type: ignore[attr-defined]
        bar = progress_bar("responses", len(batch.questions), enabled=self.trainer.is_global_zero)

        def told(num_done: int) -> None:
            report(num_done)
            if self.trainer.received_sigterm:
                raise SIGTERMException  # Lightning's predict loop does not look

        with self.generating() as model, bar as report:
            done = respond(model, formatter, mode, batch, self.responses, told)
        prompts = [formatter.prompt_text(question, mode) for question in batch.questions]
        self._response_file.append(batch, prompts, mode.name, done)

    def on_predict_end(self) -> None:
        """Put the ranks' files together."""
        self.trainer.strategy.barrier()
        if self.trainer.is_global_zero:
            path = self._response_file.merge(self.trainer.world_size)
            log.info("responses: %s", path)

    @contextmanager
    def engine(self, formatter: PromptFormatter, batch_size: int) -> Iterator[StudentEngine]:
        """What answers prompts, in place of the model in training, which is not touched.

        Args:
            formatter: With the student's tokenizer.
            batch_size: Responses at a time.

        Raises:
            UserError: Several devices compute each row together: they would have to ask alike.
        """
        if rows_are_shared(self.device_mesh):
            raise UserError(
                "a benchmark does not run in training with tensor_parallel_size above 1; take the "
                "callback out of the recipe and run `test` on the checkpoint"
            )
        agree = agreement(self.device) if is_sharded(self.model) else None
        with self.generating() as model:
            yield StudentEngine(model, formatter, batch_size, agree, self._compute_dtype())

    @contextmanager
    def generating(self) -> Iterator[Any]:
        """A copy of the model for ``generate``; the one in training is not touched.

        It shares the weights, or holds them in the dtype that training computes in: autocast
        would cast all of them again for every token. A sharded model is not copied: it generates
        itself, and is then as it was.
        """
        backend = attention.padded_backend(base_model(self.model))
        context = self.trainer.precision_plugin.forward_context
        if is_sharded(self.model):
            with torch.no_grad(), context(), lent(self.model, backend) as model:
                yield model
            return
        dtype = torch.float32 if self.quantization else self._compute_dtype()
        model = inference_copy(self.model, dtype)
        base_model(model).set_attn_implementation(backend)
        with torch.no_grad(), context() if self.quantization else nullcontext():
            yield model

    # -- checkpoints -----------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep trained weights alone under LoRA, and what other commands need beside them."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        saved = self._saved_names()
        weights = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: weights[name] for name in weights if name in saved}
        if self.trainer.training:
            self._align(checkpoint)
        checkpoint["nt_lightning"] = {
            "model_name": self.model_name,
            "think_modes": data.modes.to_dict(),
            "system_prompt": data.system_prompt,
            "lora": asdict(self.lora) if self.lora is not None else None,
            "quantization": self.quantization,
            "data": data.identity,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse what does not belong to this run; ask as the checkpoint's student was trained.

        Raises:
            UserError: The checkpoint holds other weights, adapters or, on resume, other data.
        """
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        notes = checkpoint.get("nt_lightning", {})
        lora = asdict(self.lora) if self.lora is not None else None
        check_same_student(
            notes,
            {"lora": lora, "quantization": self.quantization},
            set(checkpoint["state_dict"]),
            self._saved_names(),
        )
        if self.trainer.state.fn == "fit":
            check_same_data(notes, data.identity)
            self._align(checkpoint)
            if self.trainer.is_global_zero:
                done, steps = checkpoint["global_step"], data.num_steps
                log.info("going on behind step %d of %d", done, steps)
            return
        data.use_prompts(ThinkModes.from_dict(notes["think_modes"]), notes["system_prompt"])
        known = data.identity is not None  # a module without traces has nothing to compare
        if known and self.trainer.state.fn != "predict" and notes.get("data") != data.identity:
            log.warning(
                "the checkpoint was trained on other data than this command selects: "
                "it may have seen questions that validate it here"
            )

    def _saved_names(self) -> set[str]:
        """Weights that a checkpoint holds: all, or under LoRA the trained ones."""
        if self.lora is None:
            return set(self.state_dict())
        return {name for name, parameter in self.named_parameters() if parameter.requires_grad}

    def _align(self, checkpoint: dict[str, Any]) -> None:
        micro_batches = self.trainer.accumulate_grad_batches
        steps = self.trainer.datamodule.steps_per_epoch  # type: ignore[attr-defined]
        align_to_step(checkpoint, micro_batches, steps * micro_batches)

    def _compute_dtype(self) -> torch.dtype:
        name = str(self.trainer.precision).partition("-")[0]
        return COMPUTE_DTYPES.get(name, torch.float32)
