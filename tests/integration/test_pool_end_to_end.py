"""From questions to a pool that ``fit`` accepts, with a real server and the commands of a user."""

import json

import pytest

from nt_lightning.models import model_path
from nt_lightning.traces.pool import Pool
from tests.integration.command import RECIPE, nt
from tests.servers.real import transformers_serve
from tests.tiny import save_tiny_student

STUDENT = "smollm2-135m-instruct"
QUESTIONS = [
    {"question": f"What is {a} + {b}? Reply with the number alone.", "reference_answer": str(a + b)}
    for a in (1, 2, 3, 4)
    for b in (2, 3)
]


@pytest.mark.timeout(900)
def test_import_generate_annotate_judge_verify_fit(tmp_path):
    lines = (json.dumps(row) for row in QUESTIONS)
    (tmp_path / "questions.jsonl").write_text("\n".join(lines))
    pools = {
        name: tmp_path / name for name in ("questions", "generated", "annotated", "judged", "out")
    }
    nt("pool", "import", "--input", tmp_path / "questions.jsonl", "--output", pools["questions"])
    assert Pool(pools["questions"], "questions").kind == "questions"

    with transformers_serve(model_path(STUDENT), tmp_path / "serve.log") as server:
        endpoint = {"model": server.model, "base_url": server.base_url, "concurrency": 2}
        first = {**endpoint, "name": "first", "samples": 2, "max_tokens": 12}
        second = {**endpoint, "name": "second", "max_tokens": 12, "temperature": 0.9}
        nt(
            *("pool", "generate", "--pool", pools["questions"], "--output", pools["generated"]),
            *("--teachers", json.dumps([first, second])),
        )
        teacher = Pool(pools["generated"])
        asked = teacher.manifest["lineage"]
        assert asked["requests"] == 24
        assert len(teacher) + sum(asked["dropped"].values()) == 24
        assert len(teacher) >= 12

        options = {**endpoint, "max_tokens": 24, "context_tokens": 4096}
        asking = [part for name, value in options.items() for part in (f".{name}", value)]
        as_annotator = [f"--annotator{p}" if n % 2 == 0 else p for n, p in enumerate(asking)]
        as_judge = [f"--judge{p}" if n % 2 == 0 else p for n, p in enumerate(asking)]
        nt(
            *("pool", "annotate", "--pool", pools["generated"], "--output", pools["annotated"]),
            *as_annotator,
        )
        nt(
            *("pool", "judge", "--pool", pools["annotated"], "--output", pools["judged"]),
            *("--second", "second", *as_judge),
        )
    nt("pool", "verify", "--pool", pools["judged"], "--output", pools["out"])

    made = Pool(pools["out"])
    rows = made.read().to_pylist()
    of_first = [row for row in rows if row["teacher"] == "first"]
    assert {row["correct"] for row in rows} <= {True, False, None}
    assert sum(row["correct"] is True for row in rows) >= 3  # a 135M model can add a little
    assert any(row["models_agree"] is not None for row in of_first)
    failed = made.manifest["lineage"]["from"]["lineage"]["from"]["lineage"]["failed"]
    topics = sum(row["domain"] is not None for row in rows)
    assert topics + sum(n for name, n in failed.items() if name.startswith("topic")) == len(rows)
    chain, lineage = [], made.manifest["lineage"]
    while lineage:
        chain.append(lineage["command"])
        lineage = lineage.get("from", {}).get("lineage")
    steps = ("verify", "judge", "annotate", "generate", "import")
    assert chain == [f"pool {name}" for name in steps]

    student = save_tiny_student(tmp_path / "student")
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(RECIPE.format(student=student, pool=pools["out"], runs=tmp_path / "runs"))
    nt("fit", "--config", recipe, "--data.num_traces", "null", "--data.mixing.system2", "none")
    assert list((tmp_path / "runs").glob("**/last.ckpt"))
