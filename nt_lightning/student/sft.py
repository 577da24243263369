"""Masked-question SFT: the LightningModule that trains a student on packed traces."""

from __future__ import annotations

from typing import Any, Literal

import torch
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor
from torch.distributed.tensor import DTensor

from nt_lightning.data.batch import PackedBatch
from nt_lightning.data.loader import data_ranks
from nt_lightning.errors import UserError
from nt_lightning.student.bad_steps import Step, report
from nt_lightning.student.guard import Guard, StepGuard
from nt_lightning.student.head import head_of
from nt_lightning.student.host_memory import keep_freed_blocks
from nt_lightning.student.loading import LoRA, Quantization
from nt_lightning.student.loss import LossSum, next_token_loss
from nt_lightning.student.meter import GroupedLoss
from nt_lightning.student.module import StudentModule
from nt_lightning.student.optim import (
    PaperAdamW,
    hold_back,
    hyper_parameters,
    use_hyper_parameters,
)
from nt_lightning.student.responses import ResponseSettings
from nt_lightning.student.sharding import is_sharded, rows_are_shared
from nt_lightning.student.strategies import FSDP2Strategy
from nt_lightning.student.tensor_parallel import share_generators

Schedule = Literal["constant", "linear", "cosine"]


class MaskedSFT(StudentModule):
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
        activation_checkpointing: Recompute activations in the backward pass to save memory: of
            every layer, or of every n-th.
        responses: How ``predict`` generates.
        guard: What becomes of a step whose gradient is not finite, or a spike.

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
        activation_checkpointing: bool | int = False,
        responses: ResponseSettings = ResponseSettings(),
        guard: Guard = Guard(),
    ) -> None:
        super().__init__(model_name, lora, quantization, activation_checkpointing, responses)
        self.optimizer = optimizer
        self.schedule = schedule
        self.warmup_steps = warmup_steps
        self.train_loss: GroupedLoss | None = None
        self.val_loss: GroupedLoss | None = None
        self.guard = guard
        self._step_guard = StepGuard(guard)

    def setup(self, stage: str) -> None:
        """Meters for the losses of this data's teachers, and memory for training on the CPU.

        Raises:
            UserError: Training in a precision or by a strategy that this module does not know.
        """
        if stage == "predict":
            return
        if stage == "fit":
            self._check_trainer()
            self._step_guard = StepGuard(self.guard)
            if self.device.type == "cpu":
                keep_freed_blocks()
        data = getattr(self.trainer, "datamodule", None)
        names = data.teacher_names if data is not None else []
        copies = self.trainer.world_size // data_ranks(self.trainer).number
        self.train_loss, self.val_loss = (GroupedLoss(names, copies) for _ in range(2))

    def _check_trainer(self) -> None:
        """Float32 master weights, no loss scaling, and whole gradients on every rank."""
        precision = str(self.trainer.precision)
        if precision not in ("bf16-mixed", "32-true"):
            raise UserError(
                f"trainer.precision is {precision!r}; allowed: bf16-mixed, 32-true (updates in "
                "half precision would be rounded away without float32 master weights)"
            )
        allowed = SingleDeviceStrategy | DDPStrategy | FSDP2Strategy
        if not isinstance(self.trainer.strategy, allowed):
            raise UserError(
                f"trainer.strategy is {type(self.trainer.strategy).__name__}; allowed: one "
                "device, ddp or fsdp2"
            )

    def loss_sum(self, batch: PackedBatch) -> LossSum:
        """Summed loss of one micro-batch."""
        return next_token_loss(self(batch), batch.labels[0], head_of(self.model))

    # -- training --------------------------------------------------------------------------------

    def on_train_start(self) -> None:
        """Let the configuration's learning rate and decay win over a resumed checkpoint's."""
        if rows_are_shared(self.device_mesh):
            share_generators(self.device_mesh["tensor_parallel"], self.device)  # type: ignore[index]
        optimizer, scheduler = self.trainer.optimizers[0], self.lr_schedulers()
        use_hyper_parameters(self._configured, optimizer, scheduler)  # type: ignore[arg-type]

    def on_train_batch_start(self, batch: PackedBatch, batch_idx: int) -> None:
        """Let a sharded student sum its gradients over ranks once a step."""
        if is_sharded(self.model):
            is_last = not self.trainer.fit_loop._should_accumulate()
            self.model.set_requires_gradient_sync(is_last)

    def training_step(self, batch: PackedBatch, batch_idx: int) -> Tensor:
        """This micro-batch's share of the step's mean loss per labelled token."""
        loss = self.loss_sum(batch)
        assert self.train_loss is not None
        self.train_loss.update(batch, loss)
        # Lightning divides by the accumulation, DDP and FSDP by the data's ranks: undo both.
        parts = self.trainer.accumulate_grad_batches * data_ranks(self.trainer).number
        return loss.total * (parts / batch.step_labels)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by norm, log the norm, and hold back a step that is not finite or a spike.

        Raises:
            NonFiniteStep: The step before this one was bad, and ends the run.
        """
        if gradient_clip_algorithm not in (None, "norm"):
            raise UserError(
                f"trainer.gradient_clip_algorithm is {gradient_clip_algorithm!r}; allowed: norm"
            )
        grads = [p for p in self.parameters() if p.grad is not None]
        norm = torch.nn.utils.clip_grad_norm_(grads, gradient_clip_val or float("inf"))
        # a group of tensor-parallel devices has replicas, too, and each reads its own
        is_shared = isinstance(norm, DTensor) and norm.device_mesh.ndim == 1
        is_own = self.trainer.world_size > 1 and not is_shared
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        self._settle()
        refused = self._step_guard.judge(norm, self._this_step(), over_ranks=is_own)
        hold_back(optimizer, refused)
        self._log_step(norm)

    def _this_step(self) -> Step:
        plan = self.trainer.train_dataloader.plan_sampler.plan  # type: ignore[union-attr]
        index = self.trainer.fit_loop.batch_idx // self.trainer.accumulate_grad_batches
        return Step(self.global_step + 1, self.current_epoch, plan.step_rows(index))

    def _settle(self) -> None:
        """Learn of the last step, and report it if it was bad."""
        bad = self._step_guard.settle()
        if bad is not None:
            report(bad, self.trainer)

    def on_train_epoch_end(self) -> None:
        """Learn of the epoch's last step."""
        self._settle()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the guard's counts; a checkpoint behind a step that ends the run is none.

        Raises:
            NonFiniteStep: The last step was bad, and ends the run.
        """
        self._settle()
        super().on_save_checkpoint(checkpoint)
        checkpoint["nt_lightning"]["guard"] = self._step_guard.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on counting where the checkpoint's run was."""
        super().on_load_checkpoint(checkpoint)
        notes = checkpoint.get("nt_lightning", {})
        if self.trainer.state.fn == "fit" and "guard" in notes:
            self._step_guard.load_state_dict(notes["guard"])

    def _log_step(self, norm: Tensor) -> None:
        """Log the losses of the micro-batches since the last logged step."""
        if (self.global_step + 1) % self.trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return
        assert self.train_loss is not None
        values = {f"train/{name}": value for name, value in self.train_loss.compute().items()}
        self.train_loss.reset()
        values |= {"train/grad_norm": norm, "train/skipped_steps": self._step_guard.skipped}
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
        self._configured = hyper_parameters(optimizer)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    # -- validation ------------------------------------------------------------------------------

    def validation_step(self, batch: PackedBatch, batch_idx: int) -> None:
        """Add one micro-batch to the validation loss."""
        assert self.val_loss is not None
        self.val_loss.update(batch, self.loss_sum(batch))

    def on_validation_end(self) -> None:
        """Share out again what a forward pass without a backward pass has left whole."""
        if is_sharded(self.model):
            self.model.reshard()

    def on_validation_epoch_end(self) -> None:
        """Log the validation loss, in all, per mode and per teacher."""
        assert self.val_loss is not None
        values = {f"val/{name}": value for name, value in self.val_loss.compute().items()}
        self.val_loss.reset()
        self.log_dict(values, batch_size=1)

    test_step = validation_step
    on_test_epoch_end = on_validation_epoch_end
