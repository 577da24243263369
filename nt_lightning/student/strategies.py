"""``--trainer.strategy fsdp2``: weights, gradients and optimizer states shared out over devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.plugins.io import AsyncCheckpointIO
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy, StrategyRegistry
from torch import Tensor
from torch.optim import Optimizer

from nt_lightning.errors import UserError
from nt_lightning.student.checkpoint_io import (
    check_together,
    open_checkpoint,
    save_folder,
    together,
)
from nt_lightning.student.shards import sharded_like


class FSDP2Strategy(ModelParallelStrategy):
    """ModelParallelStrategy with data parallelism over all devices of all nodes.

    Lightning's own default is tensor parallelism within a node: two devices would then read the
    same batches and nothing would say so. A checkpoint is a folder of every rank's shards, whole or
    absent; it is read by any number of devices, also by one without this strategy, and so are the
    files of one device and of ddp here.

    Args:
        tensor_parallel_size: So many devices, neighbours by their ranks, read the same rows and
            compute each layer together. For a student whose layers or rows are too large for one
            device; benchmarks and ``predict`` do not run then.
        process_group_backend: ``nccl`` or ``gloo``; chosen by the device if it is null.
    """

    def __init__(
        self, tensor_parallel_size: int = 1, process_group_backend: str | None = None
    ) -> None:
        super().__init__(
            data_parallel_size="auto",
            tensor_parallel_size=tensor_parallel_size,
            process_group_backend=process_group_backend,
        )
        self.tensor_parallel_size = tensor_parallel_size

    def setup_environment(self) -> None:
        """Share the data out over the groups of devices.

        Raises:
            UserError: The devices are no number of whole groups, or saving is asynchronous.
        """
        devices, size = self.num_nodes * self.num_processes, self.tensor_parallel_size
        if size < 1 or devices % size:
            raise UserError(
                f"trainer.strategy.tensor_parallel_size is {size}; allowed: a divisor of the "
                f"number of devices, {devices}"
            )
        if isinstance(self._checkpoint_io, AsyncCheckpointIO):
            raise UserError(
                "trainer.plugins has AsyncCheckpointIO under fsdp2; allowed there: none, since all "
                "ranks write a checkpoint together"
            )
        self._data_parallel_size = devices // size
        super().setup_environment()

    def setup_optimizers(self, trainer: Trainer) -> None:
        """Make the optimizers.

        Raises:
            UserError: One of them keeps a state that cannot be shared out, nor saved.
        """
        super().setup_optimizers(trainer)
        for kind in map(type, self.optimizers):
            if kind.__module__.partition(".")[0] == "bitsandbytes":
                raise UserError(
                    f"model.optimizer is {kind.__module__}.{kind.__name__} under fsdp2; allowed "
                    "there: those whose state is sharded as the weights are, such as torch.optim's"
                )

    # -- checkpoints: the same entries as on one device, with shards in place of tensors ----------

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Lightning hands over the optimizer's state as on one device."""
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """This rank's shards of the weights; nothing is gathered or copied."""
        assert self.lightning_module is not None
        return self.lightning_module.state_dict()

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """This rank's shards of an optimizer's state; nothing is gathered or copied."""
        return optimizer.state_dict()

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write a folder, all ranks together.

        Raises:
            CheckpointNotWritten: On all ranks, where any of them could not write.
        """
        save_folder(checkpoint, Path(self.broadcast(str(filepath))))

    def load_checkpoint(
        self, checkpoint_path: str | Path, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """This rank's shards of a folder or of a file; nothing in it is executed.

        Raises:
            UserError: On all ranks, where it is damaged or its tensors have other shapes.
        """
        path = Path(self.broadcast(str(checkpoint_path)))
        check_together(path)
        found: list[dict[str, Any]] = []  # what a rank has read stays with it
        together(lambda: found.append(sharded_like(open_checkpoint(path), self._counterparts())))
        return found[0]

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Put this rank's shards into the model."""
        Strategy.load_model_state_dict(self, checkpoint, strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Put this rank's shards into the optimizer."""
        Strategy.load_optimizer_state_dict(self, checkpoint)

    def _counterparts(self) -> Callable[[str], Tensor | None]:
        """Which of this run's tensors a checkpoint's entry is for, by its key."""
        assert self.lightning_module is not None
        found: dict[str, Tensor] = {
            f"state_dict/{name}": value
            for name, value in self.lightning_module.state_dict().items()
        }
        for index, optimizer in enumerate(self.optimizers):
            parameters = (p for group in optimizer.param_groups for p in group["params"])
            for place, parameter in enumerate(parameters):
                found[f"optimizer_states/{index}/state/{place}"] = parameter

        def counterpart(key: str) -> Tensor | None:
            return found.get(key if key.startswith("state_dict/") else key.rpartition("/")[0])

        return counterpart


# ``fsdp`` is the same: Lightning's FSDP1 refuses to clip by the norm, and flattens weights so that
# adapters cannot be told from what is frozen. By that name Lightning asks for a GPU.
for _name in ("fsdp2", "fsdp"):
    StrategyRegistry.register(
        _name, FSDP2Strategy, description="FSDP2 over all devices of all nodes", override=True
    )
