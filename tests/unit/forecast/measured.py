"""What a step really takes: the allocator's own record, by torch's profiler."""

from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from nt_lightning.data.batch import IGNORE_INDEX
from nt_lightning.forecast.setup import Setup
from nt_lightning.student import attention
from nt_lightning.student.head import backbone, base_model, head_of
from nt_lightning.student.loading import load_student
from nt_lightning.student.loss import next_token_loss
from nt_lightning.student.optim import PaperAdamW


def measured(setup: Setup) -> tuple[int, int]:
    """Peak bytes of a second step beside weights, gradients and states; and bytes of those."""
    model = load_student(setup.model_name, lora=setup.lora, quantization=setup.quantization)
    attention.register()
    base_model(model).set_attn_implementation(attention.NT_VARLEN)
    if setup.checkpointing:
        base_model(model).activation_checkpointing_enable(every_n_layers=setup.checkpointing)
    optimizer = PaperAdamW([p for p in model.parameters() if p.requires_grad])
    step(model, setup)
    optimizer.step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step(model, setup)
    kineto = profiler.profiler.kineto_results  # type: ignore[union-attr]
    events = sorted(
        (event.start_ns(), event.nbytes())
        for event in kineto.events()
        if event.name() == "[memory]"
    )
    live = peak = 0
    for _, size in events:
        live += size
        peak = max(peak, live)
    states = [x for kept in optimizer.state.values() for x in kept.values() if x.numel() > 1]
    weights = list(model.parameters())
    fixed = [*weights, *(p.grad for p in weights if p.grad is not None), *states]
    return peak, sum(tensor.numel() * tensor.element_size() for tensor in fixed)


def step(model: Any, setup: Setup) -> None:
    """Forward and backward pass of the fullest row; gradients are added to those that are there."""
    borders = torch.tensor([0, *setup.lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
    positions = torch.cat([torch.arange(length) for length in setup.lengths])[None]
    ids = torch.arange(setup.tokens)[None] % 300
    labels = ids[0].clone()
    labels[: setup.tokens - setup.labels] = IGNORE_INDEX
    with torch.autocast("cpu", setup.dtype, enabled=setup.dtype != torch.float32):
        hidden = backbone(model)(
            input_ids=ids,
            position_ids=positions,
            attention_mask=None,
            use_cache=False,
            cu_seq_lens_q=borders,
            cu_seq_lens_k=borders,
            max_length_q=max(setup.lengths),
            max_length_k=max(setup.lengths),
        ).last_hidden_state[0]
        loss = next_token_loss(hidden, labels, head_of(model))
    del hidden
    loss.total.backward()
