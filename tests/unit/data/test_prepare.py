"""Prompts that alone are too long, and errors that name the trace."""

import numpy as np
import pyarrow as pa
import pytest

from nt_lightning.data.prepare import Assigned, Losses, load_tokenised, tokenise
from nt_lightning.errors import UserError
from nt_lightning.traces.formatting import PromptFormatter
from nt_lightning.traces.modes import MODE_NAMES, ThinkModes
from nt_lightning.traces.pool import write_pool
from tests.tiny import tiny_rows, tiny_tokenizer

MAX_TOKENS = 300
LONG_QUESTION = "What is one and one and one? " * 30


def prepare(tmp_path, on_long, **changes):
    """Tokenise three traces, the middle one with changed columns."""
    rows = tiny_rows(3).to_pylist()
    rows[1].update(changes)
    table = pa.Table.from_pylist(rows)
    codes = np.full(3, MODE_NAMES.index("think"), np.int8)
    return tokenise(
        write_pool(table, tmp_path / "pool", {}),
        Assigned(np.arange(3), codes),
        PromptFormatter(tiny_tokenizer()),
        ThinkModes().with_num_words(40),
        max_tokens=MAX_TOKENS,
        on_long=on_long,
        path=tmp_path / "out.arrow",
    )


def test_a_prompt_that_fills_the_row_is_dropped_and_counted(tmp_path):
    lost = prepare(tmp_path, "drop", question=LONG_QUESTION)
    assert lost == Losses(traces=1, tokens=lost.tokens, answers=1, ids=["sum-001"])
    assert lost.tokens > 0
    assert load_tokenised(tmp_path / "out.arrow")["id"][:] == ["sum-000", "sum-002"]


@pytest.mark.parametrize(
    ("on_long", "changes", "advice"),
    [
        ("error", {"question": LONG_QUESTION}, "drop"),
        ("cut", {"question": LONG_QUESTION}, "drop"),
        ("error", {"reasoning": LONG_QUESTION}, "drop or cut"),
    ],
)
def test_only_advice_that_helps_is_given(tmp_path, on_long, changes, advice):
    message = rf"trace sum-001 has \d+ tokens .*raise it, or set on_long to {advice}$"
    with pytest.raises(UserError, match=message):
        prepare(tmp_path, on_long, **changes)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"answer": "7<|im_end|>"}, ": the response to .* holds the stop token"),
        ({"reasoning": " "}, " of teacher .* has no reasoning"),
    ],
)
def test_a_trace_that_cannot_be_trained_on_is_named(tmp_path, changes, problem):
    with pytest.raises(UserError, match=f"trace sum-001{problem}"):
        prepare(tmp_path, "error", **changes)
