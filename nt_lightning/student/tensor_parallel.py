"""A layer's weights divided over devices that read the same rows: transformers' plan, torch's code.

Every other weight becomes a replica on those devices, so that all lie on one mesh: clipping and
fused optimizers take no tensors of two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, distribute_module
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)

from nt_lightning.errors import UserError
from nt_lightning.student.head import base_model

_STYLES: dict[str, Callable[[], ParallelStyle]] = {
    "colwise": ColwiseParallel,
    "rowwise": RowwiseParallel,
    # a norm of queries or keys: each device reads its heads; any dimension but the last will do
    "replicated_with_grad_allreduce": lambda: SequenceParallel(use_local_output=True),
}
_ADAPTER = {"colwise": "lora_B", "rowwise": "lora_A"}  # the half with the divided dimension


def parallelize(model: Any, layers: nn.ModuleList, mesh: DeviceMesh) -> None:
    """Divide a model's layers over a mesh by its family's plan; adapters are divided as they are.

    Args:
        model: A whole model, or one on the meta device; the same on every rank.
        layers: Its decoder layers.
        mesh: Of one dimension: the devices that compute a row together.

    Raises:
        UserError: The family has no plan that is known here, or its heads cannot be divided.
    """
    plan = _plan_of(model, mesh.size())
    for layer in layers:
        styles: dict[str, ParallelStyle] = {}
        for name, kind in plan.items():
            module = layer.get_submodule(name)
            if not hasattr(module, "base_layer"):
                styles[name] = _STYLES[kind]()
                continue
            styles[f"{name}.base_layer"] = _STYLES[kind]()
            for adapter in getattr(module, _ADAPTER[kind]):
                styles[f"{name}.{_ADAPTER[kind]}.{adapter}"] = _STYLES[kind]()
        parallelize_module(layer, mesh, styles)
    inputs, outputs = (find() for find in (model.get_input_embeddings, model.get_output_embeddings))
    is_tied = inputs.weight is outputs.weight
    for module in model.modules():
        own = [*module.parameters(recurse=False)]
        if own and not any(isinstance(parameter, DTensor) for parameter in own):
            distribute_module(module, mesh, input_fn=_as_replica, output_fn=_as_it_was)  # type: ignore[arg-type]
    if is_tied:
        outputs.weight = inputs.weight


def _plan_of(model: Any, size: int) -> dict[str, str]:
    """The family's plan for one layer: a style by the name of a submodule."""
    family, config = type(base_model(model)).__name__, base_model(model).config.get_text_config()
    prefix = "layers.*."
    plan = {
        name.removeprefix(prefix): kind
        for name, kind in (config.base_model_tp_plan or {}).items()
        if name.startswith(prefix)
    }
    if not plan or set(plan.values()) - set(_STYLES):
        raise UserError(
            f"trainer.strategy.tensor_parallel_size is {size}; {family} has no plan for that here; "
            "allowed: 1"
        )
    for name in ("num_attention_heads", "num_key_value_heads", "intermediate_size"):
        if getattr(config, name) % size:
            raise UserError(
                f"trainer.strategy.tensor_parallel_size is {size}; allowed: a divisor of "
                f"{family}'s {name}, {getattr(config, name)}"
            )
    return plan


def _as_replica(module: nn.Module, inputs: tuple[Tensor, ...], mesh: DeviceMesh) -> Any:
    return tuple(
        DTensor.from_local(value, mesh, [Replicate()], run_check=False) for value in inputs
    )


def _as_it_was(module: nn.Module, output: DTensor, mesh: DeviceMesh) -> Tensor:
    return output.to_local()
