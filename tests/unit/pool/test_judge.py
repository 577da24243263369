"""Agreement of two teachers: by rules, by a model where these say nothing, never by chance."""

import json

import pyarrow as pa
import pytest

from nt_lightning.errors import UserError
from nt_lightning.pool.annotators import Annotator
from nt_lightning.pool.commands.judge_pool import judge_pool
from nt_lightning.traces.pool import Pool, write_pool
from tests.servers.chat import chat

CHOICE = "Which is even?\nA) 1\nB) 2\nC) 3"
# question, first answer, second answer, verdict, what decides
PAIRS = [
    ("1 + 1?", "So it is \\boxed{2}.", "The answer is 2.", True, "number"),
    ("1 + 1?", "So it is \\boxed{2}.", "The answer is 3.", False, "number"),
    ("Half?", "\\boxed{\\frac{1}{2}}", "The answer is $0.5$.", True, "number"),
    ("x?", "\\boxed{x^2 - 1}", "\\boxed{(x-1)(x+1)}", True, "math-verify"),
    (CHOICE, "The answer is (B).", "Answer: B", True, "letter"),
    (CHOICE, "The answer is (B).", "Answer: C", False, "letter"),
    ("Capital?", "Answer: Paris", "The answer is paris.", True, "exact"),
]
UNDECIDED = [
    ("Why?", "Answer: because it rains in autumn", "Answer: due to autumn rain", "free text"),
    ("Sum?", "Answer: 7", "I would have to think about that. Let us see what comes.", "free text"),
]


def write(folder, pairs, together=True):
    rows = []
    for n, (question, first, second, *_) in enumerate(pairs):
        shared = {"question": f"{n}. {question}", "reasoning": ""}
        rows.append({**shared, "id": f"a{n}", "teacher": "r1", "answer": first})
        if together:
            rows.append({**shared, "id": f"b{n}", "teacher": "llama", "answer": second})
        else:
            rows[-1] |= {"second_teacher": "llama", "second_answer": second}
    write_pool(pa.Table.from_pylist(rows), folder, {}, rows_per_shard=3)
    return str(folder)


def verdicts(folder):
    columns = ["id", "models_agree", "agreed_by", "second_teacher", "second_answer"]
    return {row.pop("id"): row for row in Pool(folder).read(columns).to_pylist()}


@pytest.mark.parametrize("together", [True, False])
def test_rules(tmp_path, together):
    pool = write(tmp_path / "in", PAIRS, together)
    second = "llama" if together else None
    judge_pool(pool, str(tmp_path / "out"), second=second, workers=1)
    found = verdicts(tmp_path / "out")
    for n, (_, _, answer, agree, by) in enumerate(PAIRS):
        assert found[f"a{n}"] == {
            "models_agree": agree,
            "agreed_by": by,
            "second_teacher": "llama",
            "second_answer": answer,
        }, PAIRS[n]
        if together:  # nobody is the other side of itself
            assert found[f"b{n}"]["models_agree"] is None
            assert found[f"b{n}"]["agreed_by"] == "no second answer"


def test_without_a_judge_the_rest_is_null_and_listed(tmp_path, capsys):
    pool = write(tmp_path / "in", UNDECIDED)
    judge_pool(pool, str(tmp_path / "out"), second="llama", workers=1)
    found = verdicts(tmp_path / "out")
    for n, (*_, by) in enumerate(UNDECIDED):
        assert (found[f"a{n}"]["models_agree"], found[f"a{n}"]["agreed_by"]) == (None, by)
    listed = (tmp_path / "out" / "judge" / "undecided.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in listed] == ["a0", "a1"]
    assert "4 traces, 4 of them undecided" in capsys.readouterr().out


def test_a_judge_is_asked_about_the_rest_alone(tmp_path):
    pool = write(tmp_path / "in", [*PAIRS, *UNDECIDED])
    with chat(lambda body: json.dumps({"agree": "autumn" in str(body["messages"])})) as server:
        judge = Annotator(model="llama-8b", base_url=server.url, timeout_s=5)
        for name in ("one", "two"):
            judge_pool(pool, str(tmp_path / name), second="llama", judge=judge, workers=1)
        assert len(server.bodies) == len(UNDECIDED)
        assert any("due to autumn rain" in text for text in server.texts)
    found = verdicts(tmp_path / "two")
    assert [found[f"a{n}"]["models_agree"] for n in (7, 8)] == [True, False]
    assert found["a7"]["agreed_by"].startswith("llama-8b judge:")
    assert found["a0"]["agreed_by"] == "number"


def test_a_judge_that_says_nothing_leaves_null(tmp_path):
    pool = write(tmp_path / "in", UNDECIDED)
    with chat(lambda body: "They agree, I think.") as server:
        judge = Annotator(model="m", base_url=server.url, timeout_s=5)
        judge_pool(pool, str(tmp_path / "out"), second="llama", judge=judge, workers=1)
        assert len(server.bodies) == 4  # one repair each
    assert {row["models_agree"] for row in verdicts(tmp_path / "out").values()} == {None}


def test_another_pool_has_the_second_teacher(tmp_path):
    first = write(tmp_path / "first", PAIRS[:2], together=False)
    second = write(tmp_path / "second", PAIRS[:2])
    judge_pool(first, str(tmp_path / "out"), second="llama", second_pool=second, workers=1)
    found = verdicts(tmp_path / "out")
    assert [found[f"a{n}"]["models_agree"] for n in (0, 1)] == [True, False]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "column 'second_teacher' is missing; .*pool judge` writes it"),
        ({"second": "qwen"}, "has no trace of 'qwen'; it has: llama, r1"),
        ({"second": "llama", "workers": 0}, "workers is 0; allowed: 1 and more"),
        ({"second": "llama", "limit_s": 0.0}, "limit_s is 0.0; allowed: more than 0"),
        ({"judge": Annotator(model="m", max_tokens=0)}, "judge.max_tokens is 0; allowed: 1"),
    ],
)
def test_wrong_arguments(tmp_path, options, problem):
    pool = write(tmp_path / "in", PAIRS[:1])
    with pytest.raises(UserError, match=problem):
        judge_pool(pool, str(tmp_path / "out"), **{"workers": 1, **options})
