"""Masked-question SFT: the LightningModule that trains a student on packed traces."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor

from nt_lightning.data.batch import PackedBatch
from nt_lightning.data.questions import QuestionBatch
from nt_lightning.errors import UserError
from nt_lightning.evaluation.generation import generate
from nt_lightning.student import attention
from nt_lightning.student.checkpoint import align_to_step, check_same_data, check_same_student
from nt_lightning.student.head import backbone, base_model, head_of, verify_head
from nt_lightning.student.host_memory import keep_freed_blocks
from nt_lightning.student.loading import LoRA, Quantization, inference_copy, load_student
from nt_lightning.student.loss import LossSum, next_token_loss
from nt_lightning.student.meter import GroupedLoss
from nt_lightning.student.optim import PaperAdamW
from nt_lightning.student.responses import ResponseFile, ResponseSettings
from nt_lightning.traces.modes import ThinkModes

log = logging.getLogger(__name__)
Schedule = Literal["constant", "linear", "cosine"]
COMPUTE_DTYPES = {"bf16": torch.bfloat16, "16": torch.float16}


class MaskedSFT(LightningModule):
    """Supervised fine-tuning on responses; the question is masked.

    The loss of an optimizer step is the sum over its labelled tokens divided by their number, over
    all micro-batches and ranks: the plan knows that number beforehand.

    Args:
        model_name: The student: a Hub id, a folder with safetensors, or ``smollm2-135m-instruct``,
            which comes out of a wheel on PyPI.
        optimizer: Optimizer; the default is the paper's AdamW. Norms and biases are not decayed
            (our choice).
        schedule: Learning rate over the run; the paper's is constant.
        warmup_steps: Optimizer steps of linear warm-up; none is our default.
        lora: Train low-rank adapters instead of all weights.
        quantization: Keep a frozen base in 4 or 8 bits, with ``lora``.
        activation_checkpointing: Recompute activations in the backward pass to save memory.
        responses: How ``predict`` generates.

    Raises:
        UserError: Quantisation without LoRA.

    Source: NaturalThoughts (arXiv:2507.01921), section 3.
    """

    def __init__(
        self,
        model_name: str = "smollm2-135m-instruct",
        optimizer: OptimizerCallable = lambda params: PaperAdamW(params),
        schedule: Schedule = "constant",
        warmup_steps: int = 0,
        lora: LoRA | None = None,
        quantization: Quantization | None = None,
        activation_checkpointing: bool = False,
        responses: ResponseSettings = ResponseSettings(),
    ) -> None:
        super().__init__()
        if quantization is not None and lora is None:
            raise UserError(
                f"model.quantization is {quantization!r} without model.lora; quantised weights "
                "cannot be trained: add lora, or leave quantization out"
            )
        self.model: Any = None
        self.model_name = model_name
        self.optimizer = optimizer
        self.schedule = schedule
        self.warmup_steps = warmup_steps
        self.lora = lora
        self.quantization = quantization
        self.activation_checkpointing = activation_checkpointing
        self.responses = responses
        self.strict_loading = lora is None
        self.train_loss: GroupedLoss | None = None
        self.val_loss: GroupedLoss | None = None
        self._step_rows: list[Tensor] = []

    # -- the model -------------------------------------------------------------------------------

    def configure_model(self) -> None:
        """Load the student once, prove its head known, and choose its attention."""
        if self.model is not None:
            return
        attention.register()
        model = load_student(
            self.model_name, lora=self.lora, quantization=self.quantization, device=self.device
        )
        verify_head(model)
        if self.activation_checkpointing:
            base_model(model).activation_checkpointing_enable()
        backend = attention.backend_for(base_model(model), self.device, self._compute_dtype())
        base_model(model).set_attn_implementation(backend.name)
        self.attention_backend = backend
        self.model = model

    def setup(self, stage: str) -> None:
        """Meters for the losses of this data's teachers, and memory for training on the CPU.

        Raises:
            UserError: Training in a precision or by a strategy that this module does not know.
        """
        if stage == "fit":
            self._check_trainer()
        if stage == "fit" and self.device.type == "cpu":
            keep_freed_blocks()
        teachers = getattr(self.trainer, "datamodule", None)
        names = teachers.teacher_names if teachers is not None else []
        self.train_loss, self.val_loss = GroupedLoss(names), GroupedLoss(names)

    def _check_trainer(self) -> None:
        """Float32 master weights, no loss scaling, and whole gradients on every rank."""
        precision = str(self.trainer.precision)
        if precision not in ("bf16-mixed", "32-true"):
            raise UserError(
                f"trainer.precision is {precision!r}; allowed: bf16-mixed, 32-true (updates in "
                "half precision would be rounded away without float32 master weights)"
            )
        if not isinstance(self.trainer.strategy, SingleDeviceStrategy | DDPStrategy):
            raise UserError(
                f"trainer.strategy is {type(self.trainer.strategy).__name__}; allowed: one "
                "device, or ddp"
            )

    def forward(self, batch: PackedBatch) -> Tensor:
        """Final hidden states [T, D] of a packed row; every trace sees itself alone."""
        out = backbone(self.model)(
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

    def loss_sum(self, batch: PackedBatch) -> LossSum:
        """Summed loss of one micro-batch."""
        return next_token_loss(self(batch), batch.labels[0], head_of(self.model))

    # -- training --------------------------------------------------------------------------------

    def training_step(self, batch: PackedBatch, batch_idx: int) -> Tensor:
        """This micro-batch's share of the step's mean loss per labelled token."""
        loss = self.loss_sum(batch)
        assert self.train_loss is not None
        self.train_loss.update(batch, loss)
        self._step_rows.append(batch.rows)
        # Lightning divides by the accumulation, DDP and FSDP by the ranks: undo both.
        parts = self.trainer.accumulate_grad_batches * self.trainer.world_size
        return loss.total * (parts / batch.step_labels)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by norm, log the norm, and stop before a step that is not finite."""
        if gradient_clip_algorithm not in (None, "norm"):
            raise UserError(
                f"trainer.gradient_clip_algorithm is {gradient_clip_algorithm!r}; allowed: norm"
            )
        grads = [p for p in self.parameters() if p.grad is not None]
        norm = torch.nn.utils.clip_grad_norm_(grads, gradient_clip_val or float("inf"))
        if not torch.isfinite(norm):
            raise NonFiniteStep(self.global_step, self._ids_of_step())
        self._step_rows.clear()
        self._log_step(norm)

    def _ids_of_step(self) -> list[str]:
        rows = torch.cat(self._step_rows).tolist() if self._step_rows else []
        return self.trainer.datamodule.trace_ids(rows)  # type: ignore[attr-defined, no-any-return]

    def _log_step(self, norm: Tensor) -> None:
        """Log the losses of the micro-batches since the last logged step."""
        if (self.global_step + 1) % self.trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return
        assert self.train_loss is not None
        values = {f"train/{name}": value for name, value in self.train_loss.compute().items()}
        self.train_loss.reset()
        values["train/grad_norm"] = norm
        self.log("train/loss", values.pop("train/loss"), prog_bar=True, batch_size=1)
        self.log_dict(values, batch_size=1)

    def configure_optimizers(self) -> Any:
        """The optimizer over decayed and undecayed weights, and its schedule."""
        from transformers import get_scheduler

        trained = [p for p in self.parameters() if p.requires_grad]
        optimizer = self.optimizer(
            [
                {"params": [p for p in trained if p.ndim > 1]},
                {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
            ]
        )
        scheduler = get_scheduler(
            "constant_with_warmup" if self.schedule == "constant" else self.schedule,
            optimizer,
            num_warmup_steps=self.warmup_steps,
            num_training_steps=self.trainer.datamodule.num_steps,  # type: ignore[attr-defined]
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    # -- validation ------------------------------------------------------------------------------

    def validation_step(self, batch: PackedBatch, batch_idx: int) -> None:
        """Add one micro-batch to the validation loss."""
        assert self.val_loss is not None
        self.val_loss.update(batch, self.loss_sum(batch))

    def on_validation_epoch_end(self) -> None:
        """Log the validation loss, in all, per mode and per teacher."""
        assert self.val_loss is not None
        values = {f"val/{name}": value for name, value in self.val_loss.compute().items()}
        self.val_loss.reset()
        self.log_dict(values, batch_size=1)

    test_step = validation_step
    on_test_epoch_end = on_validation_epoch_end

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
        settings = self.responses
        with self.generating() as model:
            done = generate(
                model,
                formatter,
                [formatter.prompt_ids(question, mode) for question in batch.questions],
                prefix=mode.prefix,
                max_new_tokens=settings.max_new_tokens,
                batch_size=settings.batch_size,
                temperature=settings.temperature,
                top_p=settings.top_p,
                seed=settings.seed,
                keys=batch.ids,
            )
        prompts = [formatter.prompt_text(question, mode) for question in batch.questions]
        self._response_file.append(batch, prompts, mode.name, done)

    def on_predict_end(self) -> None:
        """Put the ranks' files together."""
        self.trainer.strategy.barrier()
        if self.trainer.is_global_zero:
            path = self._response_file.merge(self.trainer.world_size)
            log.info("responses: %s", path)

    @contextmanager
    def generating(self) -> Iterator[Any]:
        """A copy of the model for ``generate``; the one in training is not touched.

        It shares the weights, or holds them in the dtype that training computes in: autocast
        would cast all of them again for every token.
        """
        dtype = torch.float32 if self.quantization else self._compute_dtype()
        model = inference_copy(self.model, dtype)
        base_model(model).set_attn_implementation(attention.padded_backend(base_model(model)))
        context = (
            self.trainer.precision_plugin.forward_context() if self.quantization else nullcontext()
        )
        with torch.no_grad(), context:
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
            return
        data.use_prompts(ThinkModes.from_dict(notes["think_modes"]), notes["system_prompt"])
        if self.trainer.state.fn != "predict" and notes["data"] != data.identity:
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


class NonFiniteStep(UserError):
    """A step whose gradient is not finite: nothing was updated.

    Args:
        step: Optimizer steps taken before it.
        trace_ids: Traces of this rank in the step.
    """

    def __init__(self, step: int, trace_ids: list[str]) -> None:
        shown = ", ".join(trace_ids[:20]) + (" ..." if len(trace_ids) > 20 else "")
        super().__init__(
            f"the gradient of step {step + 1} is not finite; no weight was changed and the last "
            f"checkpoint is kept. Traces of the step: {shown}"
        )
        self.step = step
        self.trace_ids = trace_ids
