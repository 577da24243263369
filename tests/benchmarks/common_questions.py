"""python -m tests.benchmarks.common_questions OUTPUT [--questions 100]

A pool of the questions of ``mip_overthinking`` that all five teachers answered, those whose five
responses are shortest together. It is what the real run of naturalness in BENCHMARKS.md scores:

    python -m nt_lightning score --config recipes/score/local_naturalness.yaml \
        --data.pool OUTPUT --model.dtype bfloat16
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nt_lightning.__main__ import main as nt_lightning
from nt_lightning.traces.pool import QUESTION_KEY, Pool, write_pool

REPLIES = Path(__file__).parents[3] / "shared/data/mip_overthinking/response/gsm8k/normal"


def read_teachers(folder: Path) -> pa.Table:
    """All replies, imported as a user would."""
    tables = []
    for replies in sorted(REPLIES.iterdir()):
        output = folder / replies.name
        options = {"input": next(replies.iterdir()), "output": output, "teacher": replies.name}
        arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        assert nt_lightning(["pool", "import", *arguments]) == 0
        tables.append(Pool(output).read())
    return pa.concat_tables(tables, promote_options="default")


def common(traces: pa.Table, count: int) -> pa.Table:
    """The traces of the ``count`` questions that all teachers answered most briefly."""
    lengths = pc.add(
        pc.fill_null(pc.utf8_length(traces["reasoning"]), 0), pc.utf8_length(traces["answer"])
    )
    table = (
        pa.table({"key": traces[QUESTION_KEY], "teacher": traces["teacher"], "length": lengths})
        .group_by("key")
        .aggregate([("length", "sum"), ("teacher", "count_distinct")])
    )
    most = max(table["teacher_count_distinct"].to_pylist())
    table = table.filter(pc.equal(table["teacher_count_distinct"], most))
    order = np.argsort(table["length_sum"].to_numpy(), kind="stable")[:count]
    return traces.filter(pc.is_in(traces[QUESTION_KEY], table["key"].take(order)))


def main() -> None:
    """Write the pool."""
    parser = argparse.ArgumentParser()
    parser.add_argument("output")
    parser.add_argument("--questions", type=int, default=100)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        traces = common(read_teachers(Path(folder)), args.questions)
    ids = [
        f"{teacher}/{name}"
        for teacher, name in zip(
            traces["teacher"].to_pylist(), traces["id"].to_pylist(), strict=True
        )
    ]
    place = traces.column_names.index("id")
    traces = traces.set_column(place, "id", pa.array(ids)).drop_columns([QUESTION_KEY])
    write_pool(traces, args.output, {"made_by": "tests.benchmarks.common_questions"})
    print(f"{args.output}: {len(traces)} responses")


if __name__ == "__main__":
    main()
