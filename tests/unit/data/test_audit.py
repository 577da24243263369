"""The audit of a selection: every number of it counted by hand on a pool of ten traces."""

import itertools
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nt_lightning.data.assemble import Picked
from nt_lightning.data.audit import ids_digest, write_audit
from nt_lightning.data.choose import Chosen
from nt_lightning.data.filters import Filters
from nt_lightning.data.selected import Reasons
from nt_lightning.data.selections import RandomSelection
from nt_lightning.traces.pool import write_pool

ABOUT = {"selection": "RandomSelection", "arguments": {}}
WANTED = RandomSelection(
    num_traces=4,
    num_val=1,
    seed=7,
    teachers=["x", "y", "z"],
    filters=Filters(min_tokens=0, max_tokens=900, loops=True),
).wanted
COLUMNS = {
    "teacher": ["x", "x", "y", "x", "y", "x", "x", "x", "y", "z"],
    "domain": ["maths", "maths", "physics", None, "maths", "physics", None, "maths", "law", "law"],
    "reasoning_strategies": [
        ["a", "b"], ["a"], None, [], ["b", "c"], ["a"], ["c"], ["z"], ["b"], ["z"]
    ],
    "verbosity": [0, 10, 10, 3, 3, 3, None, 5, None, 5],
    "models_agree": [True, False, True, None, True, False, False, True, True, True],
    "response_tokens": [10, 20, 30, None, 50, 60, 70, 999, 80, 999],
    "num_steps": [1, 2, 2, 3, 4, None, 4, 9, 2, 9],
}  # fmt: skip
# Trace 7 is dropped by a filter, trace 9 asks what trace 8 asks; the rest are candidates.
CANDIDATES = [0, 1, 2, 3, 4, 5, 6, 8]
VALIDATION, TRAIN = [0], [1, 2, 3, 7]  # places among the candidates: traces 0; 1, 2, 3 and 8
REASONS = Reasons(
    np.array([3, 0, 1, 0, 0, 1, 1, 1]), ["easy", "hard", "never", "kept for validation"]
)
# printf 't1\nt2\nt3\nt8' | sha256sum
DIGEST = "18a560c36abe2c3a3319b468e484762d6fdaf63655c5b7c8863af2a3dc16b416"


def save(folder, count, **columns):
    text = [f"t{n}" for n in range(count)]
    fixed = {"id": text, "question": [f"Q of {name}" for name in text], "teacher": ["x"] * count}
    rows = {**fixed, "reasoning": text, "answer": text, **columns}
    return write_pool(pa.table(rows), folder, {}, rows_per_shard=3)


def picked(candidates=CANDIDATES, train=TRAIN, reasons=REASONS, details=None):
    chosen = Chosen(np.array(train), np.array(VALIDATION), reasons, details or {})
    codes = np.zeros(len(candidates), np.int8)
    return Picked(np.array(candidates), {"over 900 tokens": 1, "loops": 0}, chosen, codes)


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return save(tmp_path_factory.mktemp("audit") / "pool", 10, **COLUMNS)


@pytest.fixture
def audit(pool, tmp_path):
    return write_audit(pool, WANTED, picked(), ABOUT, tmp_path)


def test_what_was_wanted_and_how_many_are_left_at_each_step(audit, pool, tmp_path):
    expected = {
        "selection": "RandomSelection",
        "seed": 7,
        "budget": {"num_traces": 4, "num_tokens": None},
        "filters": {"min_tokens": 0, "max_tokens": 900, "loops": True},
        "teachers": ["x", "y", "z"],
        "pool": {"digest": pool.digest, "traces": 10},
        "dropped": {"over 900 tokens": 1, "loops": 0},
        "left_by_filters": 9,
        "candidates": 8,
        "validation": 1,
        "selected": 4,
        "details": {},
    }
    assert {name: audit[name] for name in expected} == expected
    assert json.loads((tmp_path / "selection.json").read_text()) == audit
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "selected.parquet",
        "selection.json",
    ]


def test_reasons_with_most_candidates_first(audit):
    assert audit["reasons"] == [
        {"reason": "hard", "candidates": 4, "selected": 2},
        {"reason": "easy", "candidates": 3, "selected": 2},
        {"reason": "kept for validation", "candidates": 1, "selected": 0},
    ]


@pytest.mark.parametrize(
    ("name", "counted"),
    [
        ("teacher", [("x", 5, 2), ("y", 3, 2)]),
        ("domain", [("maths", 3, 1), ("physics", 2, 1), (None, 2, 1), ("law", 1, 1)]),
        ("reasoning_strategies", [("a", 3, 1), ("b", 3, 1), ("c", 2, 0)]),
        ("verbosity", [(3, 3, 1), (10, 2, 2), (None, 2, 1), (0, 1, 0)]),
        ("models_agree", [(True, 4, 2), (False, 3, 1), (None, 1, 1)]),
    ],
)
def test_values_before_and_after(audit, name, counted):
    found = [(one["value"], one["before"], one["after"]) for one in audit["distributions"][name]]
    assert found == counted
    assert set(audit["distributions"]) == set(COLUMNS) - {"response_tokens", "num_steps"}


def test_many_values_end_in_one_line(tmp_path):
    """45 domains: the first six times, the others once; the last five are one line."""
    domains = [*(f"d{n}" for n in range(45)), *["d0"] * 5]
    pool = save(tmp_path / "pool", 50, domain=domains)
    reasons = Reasons(np.zeros(50, np.int64), ["by chance"])
    few = picked(range(50), [0, 3, 41, 44, 48], reasons)
    found = write_audit(pool, WANTED, few, ABOUT, tmp_path)["distributions"]["domain"]
    assert len(found) == 41
    assert found[0] == {"value": "d0", "before": 6, "after": 2}
    assert found[3] == {"value": "d3", "before": 1, "after": 1}
    assert found[39] == {"value": "d39", "before": 1, "after": 0}
    assert found[40] == {"value": "5 more values", "before": 5, "after": 2}


def test_few_different_lengths_have_a_bin_each(audit):
    """Steps 1, 2, 2, 3, 4, 4 and 2, of which 2, 2, 3 and 2 are taken."""
    assert audit["lengths"]["num_steps"] == {
        "edges": [0.5, 1.5, 2.5, 3.5, 4.5],
        "before": [1, 3, 1, 2],
        "after": [0, 3, 1, 0],
        "mean": [2.6, 2.2],
        "median": [2.0, 2.0],
        "sum": [18.0, 9.0],
    }


def test_many_different_lengths_have_bins_of_equal_ratios(audit):
    """Tokens 10, 20, 30, 50, 60, 70 and 80, of which 20, 30 and 80 are taken; one is unknown."""
    found = audit["lengths"]["response_tokens"]
    assert (sum(found["before"]), sum(found["after"])) == (7, 3)
    assert len(found["before"]) == len(found["after"]) == len(found["edges"]) - 1 == 24
    assert (found["edges"][0], found["edges"][-1]) == (10, 81)
    ratios = np.array(found["edges"][1:]) / found["edges"][:-1]
    np.testing.assert_allclose(ratios, 8.1 ** (1 / 24), rtol=0.02)
    assert (found["before"][0], found["before"][-1], found["after"][-1]) == (1, 1, 1)
    assert found["mean"] == [45.7, 43.3]
    assert found["median"] == [50.0, 30.0]
    assert found["sum"] == [320.0, 130.0]


def test_the_bins_are_counted_by_the_edges_that_are_shown(tmp_path):
    """Lengths 40 to 89: each bin has as many as there are integers from its edge to the next."""
    pool = save(tmp_path / "pool", 50, response_tokens=list(range(40, 90)))
    reasons = Reasons(np.zeros(50, np.int64), ["by chance"])
    few = picked(range(50), [0, 49], reasons)
    found = write_audit(pool, WANTED, few, ABOUT, tmp_path)["lengths"]["response_tokens"]
    edges = found["edges"]
    expected = [sum(a <= n < b for n in range(40, 90)) for a, b in itertools.pairwise(edges)]
    assert found["before"] == expected


def test_lengths_that_no_selected_trace_has_are_left_out(tmp_path):
    pool = save(tmp_path / "pool", 10, num_steps=[5, *[None] * 9], response_tokens=[4] * 10)
    audit = write_audit(pool, WANTED, picked(), ABOUT, tmp_path)
    assert set(audit["lengths"]) == {"response_tokens"}
    assert audit["lengths"]["response_tokens"]["edges"] == [3.5, 4.5]
    assert set(audit["distributions"]) == {"teacher"}


def test_the_digest_is_of_the_set_of_ids(audit):
    assert audit["ids_sha256"] == DIGEST
    assert ids_digest(pa.chunked_array([["t8", "t2"], ["t1", "t3"]])) == audit["ids_sha256"]
    assert ids_digest(pa.chunked_array([["t8", "t2", "t1"]])) != audit["ids_sha256"]


def test_selected_ids_with_their_reasons(audit, tmp_path):
    table = pq.read_table(tmp_path / "selected.parquet")
    assert table.column_names == ["id", "reason"]
    assert table.to_pylist() == [
        {"id": "t1", "reason": "easy"},
        {"id": "t2", "reason": "hard"},
        {"id": "t3", "reason": "easy"},
        {"id": "t8", "reason": "hard"},
    ]


def test_details_get_the_questions_of_the_traces_that_they_name(pool, tmp_path):
    clusters = [{"name": "c0", "nearest_ids": ["t8", "t3"]}, {"name": "c1", "nearest_ids": []}]
    details = {"Part": {"clusters": clusters}, "nearest_ids": ["t0"], "plain": [1, "t2", None]}
    found = write_audit(pool, WANTED, picked(details=details), ABOUT, tmp_path)["details"]
    assert found == {
        "Part": {
            "clusters": [
                {
                    "name": "c0",
                    "nearest_ids": ["t8", "t3"],
                    "nearest_questions": ["Q of t8", "Q of t3"],
                },
                {"name": "c1", "nearest_ids": [], "nearest_questions": []},
            ]
        },
        "nearest_ids": ["t0"],
        "nearest_questions": ["Q of t0"],
        "plain": [1, "t2", None],
    }
