"""A layer's weights divided over devices that read the same rows: transformers' plan, torch's code.

Every other weight becomes a replica on those devices, so that all lie on one mesh: clipping and
fused optimizers take no tensors of two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
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
        UserError: The family has no plan that is known here, the plan leaves weights out, the heads
            cannot be divided, or embeddings or head have adapters.
    """
    plan = _plan_of(model, mesh.size())
    inputs, outputs = (find() for find in (model.get_input_embeddings, model.get_output_embeddings))
    if any(hasattr(module, "base_layer") for module in (inputs, outputs)):
        raise UserError(
            f"trainer.strategy.tensor_parallel_size is {mesh.size()} with adapters on embeddings "
            "or head; allowed: model.lora.target_modules within the layers"
        )
    _check_complete(model, layers[0], plan, mesh.size())
    for layer in layers:
        parallelize_module(layer, mesh, _styles(layer, plan))
    is_tied = inputs.weight is outputs.weight
    for module in model.modules():
        own = [*module.parameters(recurse=False)]
        if own and not any(isinstance(parameter, DTensor) for parameter in own):
            distribute_module(module, mesh, input_fn=_as_replica, output_fn=_as_it_was)  # type: ignore[arg-type]
    if is_tied:
        outputs.weight = inputs.weight


def share_generators(mesh: DeviceMesh, device: torch.device) -> None:
    """Give all of a group the first one's generators: dropout has to drop the same of a replica.

    Those of a checkpoint of another division, or of a student that the first rank alone has read,
    are others on each.

    Args:
        mesh: Of one dimension: the devices that compute a row together, which call it together.
        device: Theirs.
    """
    first, group = int(mesh.mesh.flatten()[0]), mesh.get_group()
    state = [torch.get_rng_state()]
    if device.type == "cuda":
        state.append(torch.cuda.get_rng_state(device))
    dist.broadcast_object_list(state, src=first, group=group, device=device)
    torch.set_rng_state(state[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[1], device)


def _styles(layer: nn.Module, plan: dict[str, str]) -> dict[str, ParallelStyle]:
    """What becomes of a layer's submodules, adapters included."""
    styles: dict[str, ParallelStyle] = {}
    for name, kind in plan.items():
        module = layer.get_submodule(name)
        if not hasattr(module, "base_layer"):
            styles[name] = _STYLES[kind]()
            continue
        styles[f"{name}.base_layer"] = _STYLES[kind]()
        for adapter in getattr(module, _ADAPTER[kind]):
            styles[f"{name}.{_ADAPTER[kind]}.{adapter}"] = _STYLES[kind]()
    return styles


def _check_complete(model: Any, layer: nn.Module, plan: dict[str, str], size: int) -> None:
    """Refuse weights within attention or MLP that the plan leaves out.

    They may read what each device alone has, and their gradients would be parts that nobody adds.
    """
    within = tuple(f"{name}." for name in plan)  # adapters
    for name, module in layer.named_modules():
        own = [*module.parameters(recurse=False)]
        if own and "." in name and name not in plan and not name.startswith(within):
            raise UserError(
                f"trainer.strategy.tensor_parallel_size is {size}; the plan of "
                f"{type(base_model(model)).__name__} leaves {name} out; allowed: 1"
            )


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
        if (getattr(config, name, None) or size) % size:
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
