"""Memory of a micro-batch beside weights and gradients: its steps are gone through on shapes.

The student's own code runs on fake tensors (torch's ``FakeTensorMode``), which have shapes and
dtypes and no memory: what autograd keeps, what autocast casts and what is recomputed is as in
training, for any family. What a kernel takes for itself is not seen; the largest such piece that
we know of is a float32 copy of the head's gradient on a CPU in bfloat16.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from nt_lightning.forecast.live import CASTS, LiveBytes
from nt_lightning.forecast.setup import Setup
from nt_lightning.forecast.weights import base_linears, layers_of, outline
from nt_lightning.student import attention
from nt_lightning.student.head import backbone, base_model, head_of
from nt_lightning.student.loss import CHUNK, CPU_CHUNK, _HeadLoss

KERNEL_SHAPES = "nt_kernel_shapes"
FORWARD, LOSS, BACKWARD = "forward", "loss", "backward"


class StepMemory(NamedTuple):
    """Bytes at the moment when most is alive, beside weights, gradients and states."""

    casts: int  # weights in the dtype that is computed in, made by autocast
    activations: int  # what the forward pass leaves for the backward pass
    loss: int  # logits of a chunk, gradients of the head and of its rows
    backward: int  # gradients on their way


def step_memory(setup: Setup) -> StepMemory:
    """Memory of the fullest row, at the worst moment of its step.

    Layers are alike: a student of few is gone through, and one of twice as many, and what is
    more in the second is a layer's share.
    """
    every = max(1, setup.checkpointing)
    few = 2 * every
    num_layers = len(layers_of(outline(setup.model_name, None)))
    if num_layers <= 2 * few:
        return _worst(_peaks(setup, num_layers))
    small, large = _peaks(setup, few), _peaks(setup, 2 * few)
    times = (num_layers - 2 * few) / few
    peaks = {}
    for phase, peak in large.items():
        before = small[phase]
        tags = peak.keys() | before.keys()
        peaks[phase] = Counter(
            {tag: round(peak[tag] + times * (peak[tag] - before[tag])) for tag in tags}
        )
    return _worst(peaks)


def _worst(peaks: dict[str, Counter[str]]) -> StepMemory:
    worst = max(peaks.values(), key=Counter.total)
    return StepMemory(worst[CASTS], worst[FORWARD], worst[LOSS], worst[BACKWARD])


def _peaks(setup: Setup, num_layers: int) -> dict[str, Counter[str]]:
    """What is alive at the peak of each phase, by the phase that made it."""
    fakes = FakeTensorMode()
    model = _on_shapes(setup, num_layers, fakes)
    weights = list(model.parameters())
    known = [*weights, *(p.grad for p in weights if p.grad is not None), *model.buffers()]
    with fakes, LiveBytes(known) as live:
        live.enter(FORWARD)
        with torch.autocast("cpu", setup.dtype, enabled=setup.dtype != torch.float32):
            hidden = _hidden_states(model, setup)
            live.enter(LOSS)
            loss = _loss(model, hidden, setup)
        del hidden
        live.enter(BACKWARD)
        loss.backward()
    return live.peaks


def _on_shapes(setup: Setup, num_layers: int, fakes: FakeTensorMode) -> Any:
    """The first layers of a student as it trains, its weights and gradients fake.

    FSDP2 gathers a layer in the dtype that is computed in; bitsandbytes unpacks to it.
    """
    model = outline(setup.model_name, setup.lora)
    backbone(model).layers = layers_of(model)[:num_layers]
    in_layers = {id(parameter) for parameter in layers_of(model).parameters()}
    as_computed = in_layers if setup.shards > 1 else set()
    if setup.quantization is not None:
        as_computed = {id(linear.weight) for linear in base_linears(model)}
    # FSDP2 makes a gradient whole and shares it out at once where a step is one row
    keeps_whole = setup.shards == 1 or setup.micro_batches > 1
    made: dict[int, nn.Parameter] = {}
    with fakes:
        for module in model.modules():
            for name, weight in module._parameters.items():
                if weight is not None:
                    dtype = setup.dtype if id(weight) in as_computed else weight.dtype
                    if id(weight) not in made:
                        has_grad = keeps_whole or id(weight) in in_layers
                        made[id(weight)] = _fake_weight(weight, dtype, has_grad)
                    module._parameters[name] = made[id(weight)]
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
    if setup.checkpointing:
        base_model(model).activation_checkpointing_enable(every_n_layers=setup.checkpointing)
    attention.register()
    _register_kernel_shapes()
    name = KERNEL_SHAPES if setup.on_gpu else attention.NT_VARLEN
    base_model(model).set_attn_implementation(name)
    return model


def _fake_weight(weight: nn.Parameter, dtype: torch.dtype, has_grad: bool) -> nn.Parameter:
    fake = nn.Parameter(torch.empty(weight.shape, dtype=dtype), weight.requires_grad)
    if weight.requires_grad and has_grad:
        fake.grad = torch.empty_like(fake)
    return fake


def _hidden_states(model: Any, setup: Setup) -> Tensor:
    ids = torch.zeros(1, setup.tokens, dtype=torch.int64)
    borders = _Borders([0])
    for length in setup.lengths:
        borders.append(borders[-1] + length)
    longest = max(setup.lengths)
    out = backbone(model)(
        input_ids=ids,
        position_ids=torch.zeros_like(ids),
        attention_mask=None,
        use_cache=False,
        cu_seq_lens_q=borders,
        cu_seq_lens_k=borders,
        max_length_q=longest,
        max_length_k=longest,
    )
    return out.last_hidden_state[0]  # type: ignore[no-any-return]


def _loss(model: Any, hidden: Tensor, setup: Setup) -> Tensor:
    """``next_token_loss`` behind its look at the labels, which fake ones do not have."""
    rows = hidden.index_select(0, torch.zeros(setup.labels, dtype=torch.int64)).to(setup.dtype)
    targets = torch.zeros(setup.labels, dtype=torch.int64)
    head = head_of(model)
    chunk = CHUNK if setup.on_gpu else CPU_CHUNK
    total, _ = _HeadLoss.apply(
        rows, head.weight, head.bias, targets, head.scale, head.softcap, chunk
    )
    return total  # type: ignore[no-any-return]


class _Borders(list[int]):
    """Cumulative lengths with a tensor's way to say them; a fake tensor has no values."""

    def tolist(self) -> list[int]:
        return list(self)


class _KernelShapes(torch.autograd.Function):
    """What a flash kernel keeps: its inputs, its output, one float32 for each token and head."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = torch.empty_like(query)
        norms = query.new_empty(query.shape[:-1], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, out, norms)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        query, key, value, *_ = ctx.saved_tensors
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


def _kernel_shapes(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any
) -> tuple[Tensor, None]:
    """Attention's signature in transformers; [1, heads, T, head_dim] to [1, T, heads, head_dim]."""
    if torch.is_autocast_enabled("cpu"):  # as ``nt_varlen`` on a GPU
        half = torch.get_autocast_dtype("cpu")
        query, key, value = query.to(half), key.to(half), value.to(half)
    out: Tensor = _KernelShapes.apply(
        *(x.transpose(1, 2).contiguous() for x in (query, key, value))
    )
    return out, None


def _register_kernel_shapes() -> None:
    from transformers import AttentionInterface

    AttentionInterface.register(KERNEL_SHAPES, _kernel_shapes)
