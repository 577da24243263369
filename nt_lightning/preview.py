"""``preview``: examples of a recipe, tokens coloured by masked and trained."""

from __future__ import annotations

import html as html_escape
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow.compute as pc
from rich.console import Console
from rich.text import Text

from nt_lightning.data.datamodule import TraceDataModule
from nt_lightning.files import replacing_file
from nt_lightning.traces.modes import MODE_NAMES

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<title>nt_lightning preview</title>
<style>body{{font:15px/1.6 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}
pre{{white-space:pre-wrap;background:#f6f6f4;padding:1rem;border-radius:6px}}
.m{{color:#888}} .t{{background:#d6efd8;color:#123}} .t:nth-child(even){{background:#bfe4c3}}
</style></head><body><h1>What is trained</h1><p><span class="m">grey: masked</span>,
<span class="t">green: trained, one box per token</span></p>{body}</body></html>
"""


class Shown(NamedTuple):
    """One example as tokens, each with whether it is trained."""

    title: str
    tokens: list[tuple[str, bool]]


def preview(data: TraceDataModule, num_examples: int, html: Path | None) -> None:
    """Print examples of each mode, and write them as a page.

    Args:
        data: A data module that is set up.
        num_examples: Examples per mode.
        html: File for the page; ``None`` writes none.
    """
    shown = list(examples(data, num_examples))
    console = Console()
    for example in shown:
        text = Text()
        for index, (token, trained) in enumerate(example.tokens):
            style = (
                ("black on green" if index % 2 else "black on bright_green") if trained else "dim"
            )
            text.append(token, style)
        console.rule(example.title)
        console.print(text)
    if html is not None:
        with replacing_file(html) as partial:
            partial.write_text(PAGE.format(body="".join(map(_as_html, shown))), encoding="utf-8")
        console.print(f"written to {html}")


def examples(data: TraceDataModule, num_examples: int) -> Iterator[Shown]:
    """The first training examples of each mode, token by token."""
    traces = data.traces("train")
    modes = traces.data.table["mode"]
    tokenizer = data.formatter.tokenizer
    for code, name in enumerate(MODE_NAMES):
        rows = pc.indices_nonzero(pc.equal(modes, code))[:num_examples].to_pylist()
        for row in rows:
            example = traces[row]
            ids, num_prompt = example["input_ids"], example["num_prompt"]
            tokens = [(str(tokenizer.decode([i])), at >= num_prompt) for at, i in enumerate(ids)]
            title = (
                f"{name}: {example['id']} ({example['teacher']}), "
                f"{len(ids) - num_prompt} of {len(ids)} tokens trained"
            )
            yield Shown(title, tokens)


def _as_html(example: Shown) -> str:
    spans = "".join(
        f'<span class="{"t" if trained else "m"}">{html_escape.escape(token)}</span>'
        for token, trained in example.tokens
    )
    return f"<h2>{html_escape.escape(example.title)}</h2><pre>{spans}</pre>"
