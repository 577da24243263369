"""``--trainer.strategy fsdp2``: weights, gradients and optimizer states shared out over devices."""

from __future__ import annotations

from lightning.pytorch.strategies import ModelParallelStrategy, StrategyRegistry


class FSDP2Strategy(ModelParallelStrategy):
    """ModelParallelStrategy with data parallelism over all devices of all nodes.

    Lightning's own default is tensor parallelism within a node: two devices would then read the
    same batches and nothing would say so.

    Args:
        save_distributed_checkpoint: Every rank writes its own shards into one folder; false
            gathers the weights into one file on rank 0.
        process_group_backend: ``nccl`` or ``gloo``; chosen by the device if it is null.
    """

    def __init__(
        self,
        save_distributed_checkpoint: bool = True,
        process_group_backend: str | None = None,
    ) -> None:
        super().__init__(
            data_parallel_size="auto",
            tensor_parallel_size=1,
            save_distributed_checkpoint=save_distributed_checkpoint,
            process_group_backend=process_group_backend,
        )

    def setup_environment(self) -> None:
        """All devices share the data."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()


StrategyRegistry.register(
    "fsdp2", FSDP2Strategy, description="FSDP2 over all devices of all nodes", override=True
)
