"""Chat templates in the manner of real families, each with a small tokenizer that knows its tokens.

The tokenizers have no merges: one token is one byte, so that ids can be written by hand.
"""

from __future__ import annotations

from typing import NamedTuple

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast


class Chat(NamedTuple):
    """``stop`` ends an assistant turn; ``bos`` is a token that the tokenizer adds by itself."""

    template: str
    special: tuple[str, ...]
    eos: str
    stop: str
    bos: str | None = None
    think_tokens: bool = False
    system: bool = True


_PROMPT = "{% endfor %}{% if add_generation_prompt %}"

CHATS = {
    "smollm2": Chat(
        "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM<|im_end|>\n{% endif %}"
        "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
        f"{_PROMPT}<|im_start|>assistant\n{{% endif %}}",
        ("<|im_start|>", "<|im_end|>"),
        eos="<|im_end|>",
        stop="<|im_end|>",
    ),
    "qwen2.5": Chat(
        "{% if messages[0]['role'] == 'system' %}<|im_start|>system\n{{ messages[0]['content'] }}"
        "<|im_end|>\n{% else %}<|im_start|>system\nYou are Qwen.<|im_end|>\n{% endif %}"
        "{% for m in messages %}{% if m['role'] != 'system' %}"
        "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endif %}"
        f"{_PROMPT}<|im_start|>assistant\n{{% endif %}}",
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        eos="<|endoftext|>",
        stop="<|im_end|>",
    ),
    "llama3": Chat(
        "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>"
        "\n\n{{ m['content'] | trim }}<|eot_id|>"
        f"{_PROMPT}<|start_header_id|>assistant<|end_header_id|>\n\n{{% endif %}}",
        (
            "<|begin_of_text|>",
            "<|end_of_text|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eot_id|>",
        ),
        eos="<|end_of_text|>",
        stop="<|eot_id|>",
        bos="<|begin_of_text|>",
    ),
    "gemma": Chat(
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
        "{{ raise_exception('System role not supported') }}{% endif %}{% for m in messages %}"
        "{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
        "<start_of_turn>{{ role }}\n{{ m['content'] | trim }}<end_of_turn>\n"
        f"{_PROMPT}<start_of_turn>model\n{{% endif %}}",
        ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
        eos="<eos>",
        stop="<end_of_turn>",
        bos="<bos>",
        system=False,
    ),
    "mistral": Chat(
        "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}"
        "[INST] {{ m['content'] }} [/INST]{% elif m['role'] == 'assistant' %}"
        "{{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}",
        ("<s>", "</s>", "[INST]", "[/INST]"),
        eos="</s>",
        stop="</s>",
        bos="<s>",
    ),
    "qwen3": Chat(
        "{% for m in messages %}{% set text = m['content'] %}{% if m['role'] == 'assistant' %}"
        "{% set text = text.split('</think>')[-1].lstrip('\n') %}"
        "{% if loop.last %}{% set text = '<think>\n\n</think>\n\n' + text %}{% endif %}{% endif %}"
        "<|im_start|>{{ m['role'] }}\n{{ text }}<|im_end|>\n"
        f"{_PROMPT}<|im_start|>assistant\n"
        "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n"
        "{% endif %}{% endif %}",
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        eos="<|im_end|>",
        stop="<|im_end|>",
        think_tokens=True,
    ),
    "qwen3-instruct": Chat(  # a generation prompt that closes the thinking before it begins
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
        f"{_PROMPT}<|im_start|>assistant\n<think>\n\n</think>\n\n{{% endif %}}",
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        eos="<|im_end|>",
        stop="<|im_end|>",
        think_tokens=True,
    ),
    "deepseek-r1-distill": Chat(
        "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}"
        "{% elif m['role'] == 'user' %}<｜User｜>{{ m['content'] }}"
        "{% else %}<｜Assistant｜>{{ m['content'].split('</think>')[-1] }}<｜end｜>{% endif %}"
        f"{_PROMPT}<｜Assistant｜><think>\n{{% endif %}}",
        ("<｜begin｜>", "<｜end｜>", "<｜User｜>", "<｜Assistant｜>"),
        eos="<｜end｜>",
        stop="<｜end｜>",
        bos="<｜begin｜>",
        think_tokens=True,
    ),
    "deepseek-v3.1": Chat(
        "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}"
        "{% elif m['role'] == 'user' %}<｜User｜>{{ m['content'] }}"
        "{% else %}<｜Assistant｜></think>{{ m['content'] }}<｜end｜>{% endif %}"
        f"{_PROMPT}<｜Assistant｜></think>{{% endif %}}",
        ("<｜begin｜>", "<｜end｜>", "<｜User｜>", "<｜Assistant｜>"),
        eos="<｜end｜>",
        stop="<｜end｜>",
        bos="<｜begin｜>",
        think_tokens=True,
    ),
    "plain": Chat(  # no token ends a turn: eos has to
        "{% for m in messages %}{{ m['role'] | capitalize }}: {{ m['content'] }}\n"
        f"{_PROMPT}Assistant: {{% endif %}}",
        ("</s>",),
        eos="</s>",
        stop="</s>",
    ),
}


def byte_tokenizer(name: str) -> PreTrainedTokenizerFast:
    """The tokenizer of a template: special tokens first, then one token for each byte."""
    chat = CHATS[name]
    words = [*chat.special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(word, special=True) for word in chat.special])
    if chat.think_tokens:  # as in Qwen3 and DeepSeek-R1: one token each, but not "special"
        backend.add_tokens([AddedToken("<think>"), AddedToken("</think>")])
    if chat.bos:
        backend.post_processor = processors.TemplateProcessing(
            f"{chat.bos} $A", special_tokens=[(chat.bos, words.index(chat.bos))]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=chat.eos, bos_token=chat.bos, pad_token=chat.eos
    )
    tokenizer.chat_template = chat.template
    return tokenizer
