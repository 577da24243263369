"""The first example of each mode, decoded, with its masked part marked."""

from __future__ import annotations

import logging

import datasets
import pyarrow.compute as pc

from nt_lightning.traces.formatting import PromptFormatter
from nt_lightning.traces.modes import MODE_NAMES

log = logging.getLogger(__name__)
SHOWN_CHARACTERS = 600


def show_examples(traces: datasets.Dataset, formatter: PromptFormatter) -> None:
    """Log one tokenised example per mode; what stands between the marks is not trained on."""
    modes = traces.data.table["mode"]
    for code, name in enumerate(MODE_NAMES):
        row = pc.index(modes, code).as_py()
        if row < 0:
            continue
        example = traces[row]
        ids, num_prompt = example["input_ids"], example["num_prompt"]
        masked = formatter.tokenizer.decode(ids[:num_prompt])
        trained = formatter.tokenizer.decode(ids[num_prompt:])
        log.info(
            "first %s example, %s: %d of %d tokens trained\n[masked>%s<masked]%s",
            name,
            example["id"],
            len(ids) - num_prompt,
            len(ids),
            masked,
            _shorten(str(trained)),
        )


def _shorten(text: str) -> str:
    if len(text) <= SHOWN_CHARACTERS:
        return text
    half = SHOWN_CHARACTERS // 2
    return f"{text[:half]} ... {text[-half:]}"
