"""``pool verify``: columns, counts, lineage and mistakes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import reasoning_gym

from nt_lightning.errors import UserError
from nt_lightning.pool.commands.verify_pool import verify_pool
from nt_lightning.pool.embedded import EmbeddedPool
from nt_lightning.traces.pool import Pool, write_pool

ROOT = Path(__file__).parents[3]
ANSWERS = [
    ("\\boxed{1}", "1", True, "number"),
    ("\\boxed{2}", "1", False, "number"),
    ("\\boxed{x+x}", "$2x$", True, "math-verify"),
    ("\\boxed{1}", None, None, "no reference"),
    ("It is hard to say.", "a mystery", None, "free text"),
]


def rows_of(answers: list[tuple[str, str | None]], **more: Any) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "id": str(number),
                "question": f"What is {number}?",
                "teacher": "t",
                "reasoning": "",
                "answer": answer,
                "reference_answer": reference,
                **more,
            }
            for number, (answer, reference) in enumerate(answers)
        ]
    )


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    rows = rows_of([(answer, reference) for answer, reference, _, _ in ANSWERS] * 3, score=0.5)
    write_pool(rows, tmp_path / "pool", {"made": "here"}, rows_per_shard=4)
    return tmp_path / "pool"


def test_columns_counts_and_lineage(
    pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    verify_pool(str(pool), str(out), workers=2)
    verified = Pool(out)
    table = verified.read()
    assert table["id"].to_pylist() == [str(number) for number in range(15)]
    assert table["correct"].to_pylist() == [correct for _, _, correct, _ in ANSWERS] * 3
    assert table["verified_by"].to_pylist() == [by for _, _, _, by in ANSWERS] * 3
    assert table["score"].to_pylist() == [0.5] * 15
    lineage = verified.manifest["lineage"]
    assert lineage["command"] == "pool verify"
    assert lineage["right"] == {"number": 3, "math-verify": 3}
    assert lineage["wrong"] == {"number": 3}
    assert lineage["undecided"] == {"no reference": 3, "free text": 3}
    assert set(lineage["versions"]) == {"nt_lightning", "math-verify", "sympy", "reasoning-gym"}
    assert lineage["from"]["lineage"] == {"made": "here"}
    said = capsys.readouterr().out
    assert said == (
        f"{out}: 15 traces, 6 right, 3 wrong, 6 undecided (3 no reference, 3 free text)\n"
    )


def test_verdicts_are_replaced(tmp_path: Path) -> None:
    rows = rows_of([("\\boxed{1}", "1")], correct=False, verified_by="me")
    write_pool(rows, tmp_path / "pool", {})
    verify_pool(str(tmp_path / "pool"), str(tmp_path / "out"), workers=1)
    table = Pool(tmp_path / "out").read(["correct", "verified_by"])
    assert table.to_pylist() == [{"correct": True, "verified_by": "number"}]


def test_the_embedded_pool_is_right_by_its_scorers(tmp_path: Path) -> None:
    maker = EmbeddedPool(num_questions=16)
    write_pool(maker.make(), tmp_path / "pool", maker.lineage())
    verify_pool(str(tmp_path / "pool"), str(tmp_path / "out"), workers=2)
    assert set(Pool(tmp_path / "out").read(["verified_by"])["verified_by"].to_pylist()) == {
        "reasoning-gym"
    }
    assert all(Pool(tmp_path / "out").read(["correct"])["correct"].to_pylist())


def test_without_references_it_names_the_column(tmp_path: Path) -> None:
    rows = rows_of([("1", "1")]).drop_columns(["reference_answer"])
    write_pool(rows, tmp_path / "pool", {})
    with pytest.raises(UserError, match="column 'reference_answer' is missing"):
        verify_pool(str(tmp_path / "pool"), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("with_column", [True, False])
def test_questions_of_reasoning_gym_need_no_reference(tmp_path: Path, with_column: bool) -> None:
    config = {"seed": 45, "size": 50}
    entry = reasoning_gym.create_dataset("gcd", **config)[3]
    rows = rows_of([(f"<answer>{entry['answer']}</answer>", None), ("\\boxed{1}", None)])
    sources = pa.array(["reasoning_gym/gcd", "mine"])
    made = pa.array([json.dumps({"config": config, "index": 3}), None])
    asked = pa.array([entry["question"], "What is 1?"])
    rows = rows.append_column("source", sources).append_column("reasoning_gym", made)
    rows = rows.drop_columns(["question"]).append_column("question", asked)
    if not with_column:
        rows = rows.drop_columns(["reference_answer"])
    write_pool(rows, tmp_path / "pool", {})
    verify_pool(str(tmp_path / "pool"), str(tmp_path / "out"), workers=1)
    table = Pool(tmp_path / "out").read(["correct", "verified_by"])
    assert table["correct"].to_pylist() == [True, None]
    assert table["verified_by"].to_pylist() == ["reasoning-gym", "no reference"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers is 0; allowed: 1 and more"),
        ({"limit_s": 0.0}, "limit_s is 0.0; allowed: more than 0"),
        ({"limit_s": float("nan")}, "limit_s is nan"),
    ],
)
def test_arguments_that_cannot_be(
    pool: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        verify_pool(str(pool), str(tmp_path / "out"), **options)


def test_a_pool_that_is_there_is_kept(pool: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is the pool that is read"):
        verify_pool(str(pool), str(pool))
    write_pool(rows_of([("1", "1")]), tmp_path / "out", {})
    with pytest.raises(UserError, match="--overwrite true"):
        verify_pool(str(pool), str(tmp_path / "out"))
    verify_pool(str(pool), str(tmp_path / "out"), workers=1, overwrite=True)
    assert len(Pool(tmp_path / "out")) == 15


def test_ctrl_c_ends_the_workers_and_leaves_nothing(tmp_path: Path) -> None:
    write_pool(rows_of([("\\boxed{9^{9^{9^{9}}}}", "1")] * 4), tmp_path / "pool", {})
    code = (
        "from nt_lightning.pool.commands.verify_pool import verify_pool\n"
        f"verify_pool({str(tmp_path / 'pool')!r}, {str(tmp_path / 'out')!r}, 2, limit_s=60.0)"
    )
    command = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # no background job
    )
    deadline = time.monotonic() + 60
    while len(workers := children_of(command.pid)) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1.0)
    command.send_signal(signal.SIGINT)
    assert command.wait(20) != 0
    assert len(workers) == 2
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pool"]


def children_of(process: int) -> list[int]:
    listed = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(child) for child in listed.split()]


def test_help_needs_no_heavy_import() -> None:
    code = (
        "import sys, nt_lightning.pool.commands.verify_pool\n"
        "print([name for name in ('torch', 'pyarrow', 'sympy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_workers_import_no_torch() -> None:
    code = (
        "import sys, nt_lightning.pool.verification.worker as worker\n"
        "worker.load(True); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
