"""Different values of each list against sets."""

import pyarrow as pa

from nt_lightning.data import lists
from nt_lightning.data.lists import distinct_pairs, num_different

ROWS = [["a", "b", "a"], None, [], ["c", None, "c"], [None], ["b"], ["a", "b", "c", "a"]]


def test_each_value_of_a_list_counts_once(monkeypatch):
    monkeypatch.setattr(lists, "PIECE", 2)
    kind = pa.list_(pa.string())
    column = pa.chunked_array([pa.array(ROWS[:3], kind), pa.array(ROWS[3:], kind)])
    expected = [len(set(row or []) - {None}) for row in ROWS]
    assert num_different(column).tolist() == expected
    first, found = 0, []
    for pairs in distinct_pairs(column):
        found += [
            (first + row, pairs.values[code])
            for row, code in zip(pairs.rows.tolist(), pairs.codes.tolist(), strict=True)
        ]
        first += pairs.size
    wanted = [(i, value) for i, row in enumerate(ROWS) for value in set(row or []) - {None}]
    assert sorted(found) == sorted(wanted)
    assert num_different(pa.chunked_array([], kind)).tolist() == []
