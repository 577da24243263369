"""Tiny students for tests: real model classes with random weights, and a tokenizer to match."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedTokenizerFast,
)

from nt_lightning.traces.pool import write_pool

CHATML = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are helpful.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEMPLATES = {"chatml": CHATML}
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEXTS = [
    "What is 3 + 4? Think carefully before answering. Use about 40 words",
    "Answer directly without thinking",
    "<think>\nI add three and four. That gives seven.\n</think>\n\nAnswer: 7",
    "system user assistant You are helpful.",
]


def tiny_tokenizer(template: str | None = "chatml") -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of about 350 words with ``<|im_end|>`` as pad and eos."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=350,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(TEXTS, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        model_max_length=4096,
    )
    tokenizer.chat_template = TEMPLATES[template] if template else None
    return tokenizer


def save_tiny_student(folder: Path, family: str = "llama", **overrides: Any) -> str:
    """Save a randomly initialised model and its tokenizer as a Hugging Face folder.

    Args:
        folder: Where they go.
        family: A causal one of transformers, such as ``llama`` or ``gemma3_text``.
        **overrides: Entries of the model's configuration.
    """
    tokenizer = tiny_tokenizer()
    values: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if "sliding_window" in overrides and family == "gemma3_text":
        values["layer_types"] = ["sliding_attention", "full_attention"]
    config = AutoConfig.for_model(family, **{**values, **overrides})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        with torch.no_grad():  # larger than the families' own, so that a leak is plain to see
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(std=0.15)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def tiny_rows(count: int) -> pa.Table:
    """Traces of different lengths about small sums; two teachers, a verdict for each."""
    rows = range(count)
    return pa.table(
        {
            "id": [f"sum-{i:03d}" for i in rows],
            "question": [f"What is {i} + {i % 7}?" for i in rows],
            "teacher": ["long" if i % 3 else "short" for i in rows],
            "reasoning": [
                " ".join(f"I add {i} and {i % 7}." for _ in range(1 + i % 5)) for i in rows
            ],
            "answer": [f"Answer: {i + i % 7}" for i in rows],
            "models_agree": [i % 4 != 0 for i in rows],
        }
    )


def save_tiny_pool(folder: Path, count: int = 64) -> str:
    """Write ``tiny_rows`` as a pool."""
    write_pool(tiny_rows(count), folder, {"made_by": "tests"})
    return str(folder)
