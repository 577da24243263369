"""The student as ``export`` writes it, loaded again."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nt_lightning.doctor.finding import EXACT, ROUNDED, Finding, difference
from nt_lightning.doctor.room import need_disk, need_memory
from nt_lightning.doctor.subject import Subject
from nt_lightning.student.attention import padded_backend
from nt_lightning.student.head import base_model
from nt_lightning.student.hf_folder import write_folder
from nt_lightning.student.trained import Checkpoint

TOKENS = 64


@torch.no_grad()
def export_keeps_logits(subject: Subject) -> Finding:
    """Logits of the folder that ``export`` writes, loaded again, against the student's own.

    In float32, adapters merged; written to the temporary folder and removed. Relative difference.
    Allowed: 1e-5; 5e-2 for a quantised base, which the folder holds unpacked.

    Raises:
        NotChecked: There is no room for the folder, or for three copies in memory.
        UserError: ``export`` itself finds that the folder is another model.
    """
    from transformers import AutoModelForCausalLM

    module = subject.module
    size = 4 * base_model(module.model).num_parameters()
    (batch,) = subject.batches([0], subject.plan_of([[0]]))
    ids = batch.input_ids[:, :TOKENS]
    ours = own_logits(subject, ids)  # first: what is exported may share its memory
    with tempfile.TemporaryDirectory(prefix="nt-doctor-") as name:
        need_disk(size, Path(name), "the exported folder")
        need_memory(3 * size, torch.device("cpu"), "export, with the folder loaded again,")
        folder = Path(name) / "student"
        written = write_folder(checkpoint_of(subject), folder, "float32")
        reloaded = AutoModelForCausalLM.from_pretrained(folder).eval()
        need_memory(size, subject.device, "the folder, loaded beside the student,")
        theirs = _logits(reloaded.to(subject.device), ids)
    detail = f"{written.num_bytes / 1e9:.3g} GB written and loaded, logits of {ids.shape[1]} tokens"
    allowed = EXACT if module.quantization is None else ROUNDED
    return Finding(difference(theirs, ours), allowed, detail)


def checkpoint_of(subject: Subject) -> Checkpoint:
    """What a checkpoint of the student as it is now would say."""
    module, data = subject.module, subject.data
    saved = module._saved_names()
    weights = {
        name.removeprefix("model."): value.cpu()
        for name, value in module.state_dict().items()
        if name in saved
    }
    return Checkpoint(
        path=Path("doctor"),
        weights=weights,
        model_name=module.model_name,
        modes=data.modes,
        system_prompt=data.system_prompt,
        lora=module.lora,
        quantization=module.quantization,
        step=0,
        epoch=0,
    )


def own_logits(subject: Subject, ids: Tensor) -> Tensor:
    """The student's logits of one row, by the attention that generates."""
    model: Any = subject.module.model
    base_model(model).set_attn_implementation(padded_backend(base_model(model)))
    try:
        return _logits(model, ids)
    finally:
        base_model(model).set_attn_implementation(subject.module.attention_backend.name)


def _logits(model: Any, ids: Tensor) -> Tensor:
    return model(input_ids=ids, use_cache=False).logits[0].float()  # type: ignore[no-any-return]
