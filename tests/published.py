"""Students of published shapes without weights, and traces as long as the paper's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from transformers import AutoConfig

from nt_lightning.traces.pool import write_pool
from tests.tiny import tiny_tokenizer

# Llama 3 herd (arXiv:2407.21783), table 3, and the models' own config.json
SHAPES: dict[str, dict[str, Any]] = {
    "llama-3.1-8b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
    },
    "llama-3.3-70b": {
        "hidden_size": 8192,
        "intermediate_size": 28672,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
    },
}
SENTENCE = "I add three and four. "


def save_published_student(folder: Path, name: str) -> str:
    """Write a published ``config.json`` and a small tokenizer beside it; there are no weights."""
    config = AutoConfig.for_model(
        "llama",
        **SHAPES[name],
        num_key_value_heads=8,
        vocab_size=128_256,
        max_position_embeddings=131_072,
        rope_theta=500_000.0,
        tie_word_embeddings=False,
    )
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


def save_long_pool(folder: Path, count: int, mean: int, longest: int) -> str:
    """Write traces whose reasoning has log-normal lengths.

    Args:
        folder: Where the pool goes.
        count: Traces.
        mean: Tokens of reasoning in the mean, about.
        longest: Tokens at most.
    """
    sigma = 0.6
    rng = np.random.default_rng(0)
    lengths = rng.lognormal(np.log(mean) - sigma**2 / 2, sigma, count).clip(64, longest)
    each = len(tiny_tokenizer()(SENTENCE)["input_ids"])
    rows = range(count)
    table = pa.table(
        {
            "id": [f"long-{i}" for i in rows],
            "question": [f"What is {i} + {i % 7}?" for i in rows],
            "teacher": ["long"] * count,
            "reasoning": [SENTENCE * max(1, int(length / each)) for length in lengths],
            "answer": [f"Answer: {i + i % 7}" for i in rows],
            "models_agree": [i % 4 != 0 for i in rows],
        }
    )
    write_pool(table, folder, {"made_by": "tests"})
    return str(folder)
