"""The record's types, as other tools write them."""

import pyarrow as pa
import pytest

from nt_lightning.errors import UserError
from nt_lightning.traces.record import BadRow, bad_rows, check, conform

GOOD = {"answer": ["A"], "reasoning": [""], "teacher": ["t"], "question": ["Q"], "id": ["a"]}


@pytest.mark.parametrize(
    ("name", "values", "read"),
    [
        ("answer", pa.array(["A"], pa.large_string()), "A"),
        ("answer", pa.array(["A"], pa.string_view()), "A"),
        ("teacher", pa.array(["t"]).dictionary_encode(), "t"),
        ("num_steps", pa.array([5], pa.int8()), 5),
        ("num_steps", pa.array([5.0]), 5),
        ("num_steps", pa.array([None]), None),
        ("correct", pa.array([True]), True),
        ("reasoning_strategies", pa.array([["x"]], pa.large_list(pa.large_string())), ["x"]),
        ("reasoning_strategies", pa.array([[]]), []),
    ],
)
def test_types_of_other_tools(name, values, read):
    table = conform(pa.table({**GOOD, name: values}), "here")
    assert table[name].to_pylist() == [read]
    assert table.column_names[:5] == ["id", "question", "teacher", "reasoning", "answer"]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("answer", pa.array([5])),
        ("answer", pa.array([b"A"])),
        ("num_steps", pa.array([5.5])),
        ("num_steps", pa.array(["5"])),
        ("num_steps", pa.array([True])),
        ("correct", pa.array([1])),
        ("reasoning_strategies", pa.array(["abc"])),
        ("reasoning_strategies", pa.array([[1]])),
    ],
)
def test_another_type_is_refused(name, values):
    with pytest.raises(UserError, match=f"here: column '{name}' is "):
        conform(pa.table({**GOOD, name: values}), "here")


def test_every_violation_in_row_order():
    table = pa.table(
        {
            "id": ["a", "b", "a", "a"],
            "question": ["Q", None, "Q", " "],
            "teacher": ["t"] * 4,
            "reasoning": ["<think>", "", "", ""],
            "answer": ["A"] * 4,
        }
    )
    assert bad_rows(conform(table, "here")) == [
        BadRow(0, "reasoning", "holds the tag <think>; reasoning and answer are apart"),
        BadRow(1, "question", "is null"),
        BadRow(2, "id", "'a' appears twice"),
        BadRow(3, "question", "is empty"),
        BadRow(3, "id", "'a' appears twice"),
    ]
    with pytest.raises(UserError, match=r"here: row 0: column 'reasoning': .* \(and 4 more\)"):
        check(table, "here")
