"""What each filter drops, and that it is counted under its first reason."""

import pyarrow as pa
import pytest

from nt_lightning.data.filters import Filters
from nt_lightning.errors import UserError
from nt_lightning.traces.pool import write_pool

ENGLISH = "Okay, so I need to find the sum of two numbers. Let me think about it. " * 20
CHINESE = "嗯，我需要先理解这个问题，然后一步一步地计算出正确的答案。" * 20
END = "So the answer must be seven."
FORMULAS = (
    r"\frac{a}{b} + \frac{c}{d} \implies \sin\theta \cdot \cos\phi = \sqrt{x}, $x^2 + 3x = 4$ "
    "s≡1 mod2, s≡0 mod3, s≡0 mod5. k=2k1+1 ⇒ s=6k1+3, 12*7=84, 1 Anthony no, 2 Dennis yes"
)
ROWS = [
    {},
    {"finish_reason": "length", "correct": False},
    {"finish_reason": None},
    {"correct": False},
    {"correct": None},
    {"response_tokens": 5},
    {"response_tokens": 20_000},
    {"response_tokens": None},
    {"reasoning": ENGLISH + CHINESE + "所以答案是七。"},
    {"reasoning": CHINESE + ENGLISH + END},
    {"reasoning": "", "answer": CHINESE + "所以答案是七。"},
    {"reasoning": FORMULAS},
    {"reasoning": "<thinking>so</thinking>"},
    {"answer": "<|end_of_thought|> 7"},
    {"reasoning": "Wait, I should check this again. " * 20},
    {"answer": "7, " * 100},
]
PLAIN = {
    "question": "q",
    "teacher": "t",
    "reasoning": ENGLISH + END,
    "answer": "The answer is seven.",
    "finish_reason": "stop",
    "correct": True,
    "response_tokens": 400,
}


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    rows = [{"id": str(i), **PLAIN, **row} for i, row in enumerate(ROWS)]
    table = pa.table({name: [row[name] for row in rows] for name in rows[0]})
    return write_pool(table, tmp_path_factory.mktemp("filters") / "pool", {}, rows_per_shard=5)


@pytest.mark.parametrize(
    ("filters", "dropped"),
    [
        (Filters(), {}),
        (
            Filters(finish_reason=("stop",)),
            {"finish_reason is length": [1], "finish_reason is null": [2]},
        ),
        (Filters(finish_reason=("stop", "length")), {"finish_reason is null": [2]}),
        (Filters(correct=True), {"not correct": [1, 3], "correct is null": [4]}),
        (
            Filters(min_tokens=10, max_tokens=16_384),
            {
                "under 10 tokens": [5],
                "over 16384 tokens": [6],
                "response_tokens is null": [7],
            },
        ),
        (Filters(languages=("en",)), {"language zh": [8, 9, 10]}),
        (Filters(languages=("en", "zh")), {"language other than en, zh": []}),
        (
            Filters(finish_reason=("stop", "length"), max_tokens=30_000),
            {
                "finish_reason is null": [2],
                "response_tokens is null": [7],
            },
        ),
        (
            Filters(min_tokens=0, max_tokens=30_000),
            {"response_tokens is null": [7], "over 30000 tokens": []},
        ),
        (
            Filters(think_tags=True),
            {"think tags in the reasoning": [12], "think tags in the answer": [13]},
        ),
        (Filters(loops=True), {"the reasoning loops": [14], "the answer loops": [15]}),
    ],
)
def test_each_filter(pool, filters, dropped):
    found = filters.apply(pool)
    assert found.dropped == {reason: len(rows) for reason, rows in dropped.items()}
    gone = {row for rows in dropped.values() for row in rows}
    assert found.rows.tolist() == [row for row in range(len(ROWS)) if row not in gone]


def test_together_each_trace_is_counted_once(pool):
    found = Filters(("stop",), True, 10, 16_384, ("en",), True, True).apply(pool)
    assert found.rows.tolist() == [0, 11]
    assert sum(found.dropped.values()) == 14
    assert found.dropped["not correct"] == 1  # the other one was cut off


def test_a_filter_that_drops_none_is_counted_too(pool):
    rows = pool.read().slice(0, 1)
    clean = write_pool(rows, pool.folder.parent / "clean", {})
    found = Filters(("stop",), True, 10, 16_384, ("en",), True, True).apply(clean)
    assert found.dropped == {
        "finish_reason other than stop": 0,
        "not correct": 0,
        "under 10 tokens": 0,
        "over 16384 tokens": 0,
        "language other than en": 0,
        "think tags": 0,
        "loops": 0,
    }


def test_a_rule_and_digits_at_the_end_are_no_loops(tmp_path):
    """Both go on to the end, but hold no word and are a small part of the text."""
    ends = [
        "-" * 80,
        "-" * 200,
        "|---" * 60 + "|",
        "0." + "3" * 60,
        "0." + "3" * 200,
        "Wait. " * 30,
    ]
    rows = [{"id": str(n), **PLAIN, "reasoning": ENGLISH + end} for n, end in enumerate(ends)]
    pool = write_pool(pa.Table.from_pylist(rows), tmp_path / "pool", {})
    found = Filters(loops=True).apply(pool)
    assert found.dropped == {"the reasoning loops": 1}
    assert found.rows.tolist() == [0, 1, 2, 3, 4]


def test_nothing_left_and_columns_that_are_missing(pool, tmp_path):
    with pytest.raises(UserError, match=r"leave none of 16 traces: 14 \(finish_reason is stop"):
        Filters(finish_reason=("tool",)).apply(pool)
    bare = write_pool(pool.read().drop_columns(["correct"]), tmp_path / "bare", {})
    with pytest.raises(UserError, match="column 'correct' is missing"):
        Filters(correct=True).apply(bare)


def test_arguments_that_cannot_be():
    with pytest.raises(UserError, match=r"filters.languages has 'english'; allowed: .*, en, "):
        Filters(languages=("english",))
    with pytest.raises(UserError, match=r"filters.min_tokens is 5; allowed: up to max_tokens \(4"):
        Filters(min_tokens=5, max_tokens=4)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Alors, il faut trouver la valeur de x telle que la somme soit nulle.", "fr"),
        ("Nun, ich muss zuerst die Frage verstehen und dann Schritt rechnen.", "de"),
        (CHINESE[:40], "zh"),
        (ENGLISH, None),
        ("List: 1 Aydan no, 2 Emir no, 3 Marc-Anthony yes, 4 Luke no, 5 Kirwin no", None),
        ("x = 3; for i in range(10): print(i); def foo(bar): return bar + 1", None),
    ],
)
def test_languages_of_sentences(tmp_path, text, found):
    rows = {name: [value] for name, value in {"id": "0", **PLAIN, "reasoning": text}.items()}
    pool = write_pool(pa.table(rows), tmp_path / "pool", {})
    if found is None:
        assert Filters(languages="en").apply(pool).dropped == {"language other than en": 0}
    else:
        with pytest.raises(UserError, match=f"language {found}"):
            Filters(languages=("en",)).apply(pool)
