"""Forward passes: packed traces against each alone, and the attention against eager."""

from __future__ import annotations

import torch

from nt_lightning.doctor.finding import Finding, difference, tolerance
from nt_lightning.doctor.subject import Subject
from nt_lightning.student.head import backbone, base_model

SHORT_ROW = 64


@torch.no_grad()
def packed_equals_single(subject: Subject) -> Finding:
    """Hidden states of all traces in one row against those of each trace in a row of its own.

    Largest relative difference of a trace. Allowed: ``tolerance``.
    """
    rows = list(range(len(subject.sample)))
    (together,) = subject.batches([0], subject.plan_of([rows]))
    alone = subject.batches(rows, subject.plan_of([[row] for row in rows]))
    gaps = []
    with subject.precision():
        packed = subject.module(together)
        borders = together.cu_seqlens.tolist()
        for start, end, batch in zip(borders[:-1], borders[1:], alone, strict=True):
            gaps.append(difference(packed[start:end], subject.module(batch)))
    detail = f"hidden states of {len(rows)} traces, {borders[-1]} tokens"
    return Finding(max(gaps), tolerance(subject.compute_dtype), detail)


@torch.no_grad()
def attention_equals_eager(subject: Subject) -> Finding:
    """Hidden states of the shortest trace's first tokens against the family's eager attention.

    Relative difference. Allowed: ``tolerance``.
    """
    (batch,) = subject.batches([0], subject.plan_of([[0]]))
    length = min(SHORT_ROW, batch.input_ids.shape[1])
    ids = batch.input_ids[:, :length]
    short = batch._replace(
        input_ids=ids,
        position_ids=batch.position_ids[:, :length],
        cu_seqlens=torch.tensor([0, length], dtype=torch.int32, device=ids.device),
        max_seqlen=length,
    )
    model, backend = base_model(subject.module.model), subject.module.attention_backend
    with subject.precision():
        ours = subject.module(short)
        model.set_attn_implementation("eager")
        try:
            eager = backbone(subject.module.model)(input_ids=ids, use_cache=False)
        finally:
            model.set_attn_implementation(backend.name)
    gap = difference(ours, eager.last_hidden_state[0])
    detail = f"{backend.name} ({backend.why}) against eager, {length} tokens"
    return Finding(gap, tolerance(subject.compute_dtype), detail)
