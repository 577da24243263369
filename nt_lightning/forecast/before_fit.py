"""Says before the first step what will not fit the GPU."""

from __future__ import annotations

import logging

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from nt_lightning.data.datamodule import TraceDataModule
from nt_lightning.forecast.memory import memory_of
from nt_lightning.forecast.options import refuse
from nt_lightning.forecast.setup import lengths_of, setup_of
from nt_lightning.student.sft import MaskedSFT

log = logging.getLogger(__name__)


class FitsInMemory(Callback):
    """Compares the forecast of a run with a GPU's free memory, before the student is loaded.

    More than is free is a warning, since a forecast is no measurement; weights, gradients and
    optimizer states alone being more is an error. Both name the ways that would fit.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forecast, compare and say.

        Raises:
            UserError: Weights, gradients and states alone are more than is free.
        """
        data = trainer.datamodule  # type: ignore[attr-defined]
        ours = isinstance(pl_module, MaskedSFT) and isinstance(data, TraceDataModule)
        room = free_bytes(trainer.strategy.root_device)
        divided = getattr(trainer.strategy, "tensor_parallel_size", 1) > 1  # not forecast
        if stage != "fit" or not ours or room is None or divided:
            return
        setup = setup_of(
            pl_module,
            data,
            strategy=trainer.strategy,
            world_size=trainer.world_size,
            precision=str(trainer.precision),
            on_gpu=trainer.strategy.root_device.type == "cuda",
        )
        warning = refuse(setup, memory_of(setup), room, int(lengths_of(data)[0].max()))
        if warning is not None and trainer.is_global_zero:
            log.warning(warning)


def free_bytes(device: torch.device) -> int | None:
    """Free memory of a GPU; of other devices nothing is known."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
