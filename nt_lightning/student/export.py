"""``python -m nt_lightning export``: a checkpoint as a Hugging Face folder.

torch is imported when the arguments are known to be right, so that ``--help`` answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from nt_lightning.errors import UserError


def export(
    ckpt_path: str,
    output: str,
    dtype: Literal["float32", "bfloat16"] = "bfloat16",
    merge_lora: bool = True,
) -> None:
    """Write a checkpoint as a Hugging Face folder.

    The folder holds safetensors, tokenizer, chat template, generation config, think modes and a
    model card. It is loaded again and its logits are compared with the checkpoint's before it
    appears under its name.

    Args:
        ckpt_path: Checkpoint of a run, such as runs/x/checkpoints/last.ckpt.
        output: The new folder.
        dtype: Number format of the weights that are written.
        merge_lora: Add LoRA adapters to the weights; false writes a PEFT adapter folder, which
            needs the base model to be loaded.
    """
    source, target = Path(ckpt_path), Path(output)
    if not source.exists():
        raise UserError(f"ckpt_path: {ckpt_path}: there is no such checkpoint")
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise UserError(f"output: {output} exists and is not empty; name a new folder")
    from nt_lightning.student.hf_folder import write_folder
    from nt_lightning.student.trained import read_checkpoint

    written = write_folder(read_checkpoint(source), target, dtype, merge_lora=merge_lora)
    print(
        f"{output}: {written.num_parameters:,} parameters in {dtype}, "
        f"{written.num_bytes / 1e9:.3g} GB; loaded again, its logits differ by at most "
        f"{written.gap:.2g}"
    )
