"""Selections by naturalness: who is taken, what is left out and why, what is refused."""

import json
import logging
import shutil
from functools import partial

import numpy as np
import pyarrow as pa
import pytest

from nt_lightning.data.assemble import pick
from nt_lightning.data.composition import ChainSelection, MixtureSelection
from nt_lightning.data.datamodule import TraceDataModule
from nt_lightning.data.filters import Filters
from nt_lightning.data.identity import identity_of
from nt_lightning.data.naturalness import NaturalnessSelection, TeacherSelection
from nt_lightning.data.selections import LongSelection, RandomSelection
from nt_lightning.errors import UserError
from nt_lightning.report.selection import write_report
from nt_lightning.subset import write_subset
from nt_lightning.traces.pool import Pool, write_pool
from nt_lightning.traces.scores import find_scores, scores_folder
from tests import scored
from tests.tiny import save_tiny_student

RNG = np.random.default_rng(8)
NAN = float("nan")
STUDENT = "smollm2-135m-instruct"  # of a data module that is told no other
scored_pool = partial(scored.scored_pool, student=STUDENT)
add_scores = partial(scored.add_scores, student=STUDENT)
# (question, teacher, what it has); by lalp_4 the best are a/y, b/x, c/x; e has no score, f no
# correct response, g a correct one without a score
BY_HAND = [
    ("a", "x", {"lalp_4": -2.0, "galp": -1.0}),
    ("a", "y", {"lalp_4": -1.0, "galp": -2.0}),
    ("b", "x", {"lalp_4": -2.0, "galp": -3.0}),
    ("b", "y", {"lalp_4": -1.0, "galp": -1.0, "correct": False}),
    ("b", "z", {"lalp_4": -3.0, "galp": -2.0}),
    ("c", "x", {"lalp_4": -5.0, "galp": -1.0}),
    ("e", "x", {"lalp_4": None, "galp": None, "unscored_reason": "too long"}),
    ("e", "y", {"lalp_4": NAN, "galp": -1.0}),
    ("f", "x", {"lalp_4": -1.0, "galp": -1.0, "correct": False}),
    ("f", "z", {"lalp_4": -1.0, "galp": -1.0, "correct": None}),
    ("g", "x", {"lalp_4": None, "galp": -1.0, "unscored_reason": "empty"}),
    ("g", "y", {"lalp_4": -0.1, "galp": -1.0, "correct": False}),
]


@pytest.fixture
def pool(tmp_path):
    return scored_pool(tmp_path / "pool", BY_HAND)


def random_responses(count=80, teachers=("t0", "t1", "t2"), seed=0):
    """Responses of all teachers to all questions; the later the teacher, the better."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        for place, teacher in enumerate(teachers):
            lalp, rank = rng.normal() + place, rng.uniform(10, 90)
            score = {"lalp_4": lalp, "galp": lalp + rng.normal(), "rsr": rank / (place + 1)}
            score |= {"clipped_rank_sum": rank, "surprisal_sum": place + 1.0}
            score |= {"length": int(rng.integers(20, 99)), "scored_steps": int(rng.integers(2, 9))}
            rows.append((f"q{number}", teacher, {"correct": rng.random() < 0.8, **score}))
    return rows


def taken(pool, data):
    """Ids of the training traces, and what was picked."""
    picked = pick(pool, data.wanted, data)
    ids = pool.read(["id"])["id"].take(pa.array(picked.rows[picked.chosen.train]))
    return sorted(ids.to_pylist()), picked


def reasons(picked):
    return {name: count for name, count in picked.chosen.reasons.counts().items() if count}


def test_the_best_correct_response_to_each_question(pool):
    ids, picked = taken(pool, NaturalnessSelection())
    assert ids == ["a/y", "b/x", "c/x"]
    assert reasons(picked) == {
        "best lalp_4 of several": 2,
        "the only correct response with lalp_4": 1,
        "no lalp_4 of a correct response": 2,
        "no correct response": 1,
    }
    assert picked.chosen.details["response_choice"]["without_score"] == {
        "too long": 1,
        "no value of this score": 1,
        "empty": 1,
    }


def test_among_all_by_another_score_or_teachers(pool):
    ids, picked = taken(pool, NaturalnessSelection(among="all"))
    assert ids[:3] == ["a/y", "b/y", "c/x"]
    assert ids[3] in ("f/x", "f/z")  # equal
    assert ids[4:] == ["g/y"]
    assert reasons(picked)["no lalp_4 of a response"] == 1
    assert taken(pool, NaturalnessSelection(score="galp"))[0] == ["a/x", "b/z", "c/x", "e/y", "g/x"]
    ids, picked = taken(pool, NaturalnessSelection(teachers=["z", "x"]))
    assert ids == ["a/x", "b/x", "c/x"]
    assert len(picked.rows) == 6


def test_filters_come_first(pool):
    data = NaturalnessSelection(among="all", filters=Filters(correct=True))
    ids, picked = taken(pool, data)
    assert ids == ["a/y", "b/x", "c/x"]
    assert sum(picked.dropped.values()) == 4
    assert reasons(picked)["no lalp_4 of a response"] == 2


def test_lower_is_better_for_rsr(tmp_path):
    rows = [
        (q, t, {"rsr": r, "clipped_rank_sum": r * n, "surprisal_sum": n})
        for q, t, r, n in (("a", "x", 3.0, 2.0), ("a", "y", 2.0, 1.0), ("b", "x", 5.0, 6.0))
    ]
    made = scored_pool(tmp_path / "pool", rows)
    ids, picked = taken(made, NaturalnessSelection(score="rsr"))
    assert ids == ["a/y", "b/x"]
    report = picked.chosen.details["response_choice"]
    assert report["controls"][0]["mean_score"] == round((2 + 30) / 7, 6)
    assert report["lower_is_better"]


def test_ties_are_broken_by_luck_and_both_ways(tmp_path):
    rows = [(f"q{n}", t, {"lalp_4": -1.0}) for n in range(200) for t in ("x", "y")]
    made = scored_pool(tmp_path / "pool", rows)
    one, again, other = (taken(made, NaturalnessSelection(seed=s))[0] for s in (0, 0, 1))
    assert one == again != other
    assert 70 < sum(name.endswith("x") for name in one) < 130


@pytest.mark.parametrize("kind", [NaturalnessSelection, TeacherSelection])
def test_budgets_are_nested_and_questions_the_same_whatever_the_score(tmp_path, kind):
    made = scored_pool(tmp_path / "pool", random_responses())
    small, large = (taken(made, kind(num_traces=n, num_val=9))[0] for n in (20, 50))
    assert len(small) == 20
    assert set(small) < set(large)
    by_galp, picked = taken(made, kind(score="galp", among="all", num_traces=20, num_val=9))
    _, by_lalp = taken(made, kind(among="all", num_traces=20, num_val=9))
    names = [
        {name.partition("/")[0] for name in made.read(["id"])["id"].take(
            pa.array(one.rows[one.chosen.train])).to_pylist()}
        for one in (picked, by_lalp)
    ]  # fmt: skip
    assert names[0] == names[1]
    assert len(by_galp) == 20
    _, random = taken(made, RandomSelection(num_traces=20, num_val=9))
    keys = made.read(["question_key"])["question_key"]
    val = [
        set(keys.take(pa.array(one.rows[one.chosen.val])).to_pylist()) for one in (random, picked)
    ]
    assert val[0] == val[1]  # validated on the same questions


@pytest.mark.parametrize("kind", [NaturalnessSelection, TeacherSelection])
def test_neither_order_nor_shards_matter(tmp_path, kind):
    rows = random_responses(count=60)
    shuffled = [rows[place] for place in RNG.permutation(len(rows))]
    pools = [
        scored_pool(tmp_path / "0", rows),
        scored_pool(tmp_path / "1", rows, rows_per_shard=7),
        scored_pool(tmp_path / "2", shuffled, rows_per_shard=50),
    ]
    found = []
    for made in pools:
        ids, picked = taken(made, kind(num_traces=30, num_val=5))
        details = json.loads(json.dumps(picked.chosen.details).replace(str(made.folder), ""))
        (report,) = details.values()
        report.pop("scores")
        found.append((ids, report))
    assert found[0] == found[1] == found[2]


def test_the_details_have_every_control(tmp_path):
    made = scored_pool(tmp_path / "pool", random_responses(), student="Qwen/Qwen2.5-7B")
    _, picked = taken(made, NaturalnessSelection(num_traces=40, model_name="Qwen/Qwen2.5-7B"))
    report = picked.chosen.details["response_choice"]
    names = [one["name"] for one in report["controls"]]
    assert names[:5] == ["selection", "stratified", "random", "longest", "shortest"]
    assert names[5] == "best teacher: t2"
    assert [one["questions"] for one in report["controls"][:5]] == [40] * 5
    selection, stratified, random = report["controls"][:3]
    assert selection["mean_score"] == max(one["mean_score"] for one in report["controls"])
    assert random["mean_score"] < stratified["mean_score"] < selection["mean_score"]
    assert selection["teachers"]["t2"] > 0.5
    for one in report["controls"]:
        assert sum(one["teachers"].values()) == pytest.approx(1, abs=1e-5)
    chosen = picked.rows[picked.chosen.train]
    mean = find_scores(made).better("lalp_4")[chosen].mean()
    assert selection["mean_score"] == pytest.approx(mean, abs=1e-5)
    assert report["scores"]["model_name"] == report["student"] == "Qwen/Qwen2.5-7B"
    json.dumps(picked.chosen.details)


def test_teacher_selection_takes_the_best_teachers_traces(tmp_path):
    made = scored_pool(tmp_path / "pool", random_responses())
    ids, picked = taken(made, TeacherSelection())
    assert ids == sorted(f"q{n}/t2" for n in range(80))
    report = picked.chosen.details["teacher_choice"]
    assert report["teacher"] == "t2"
    assert [one["score"] for one in report["rankings"]] == ["lalp_4", "length", "galp", "rsr"]
    assert [one["teacher"] for one in report["rankings"][0]["teachers"]] == ["t2", "t1", "t0"]
    assert report["rankings"][0]["common_prompts"] == 80
    rsr = report["rankings"][3]
    assert rsr["lower_is_better"]
    assert rsr["teachers"][0]["mean"] < rsr["teachers"][1]["mean"]
    for one in rsr["teachers"]:
        assert one["low"] < one["mean"] < one["high"]
    assert report["rank_correlations"]["kendall"][0][0] == 1
    json.dumps(report)
    assert taken(made, TeacherSelection(teachers=["t0", "t1"]))[0][0].endswith("t1")
    among_correct = taken(made, TeacherSelection(among="correct"))[1].chosen.details
    assert among_correct["teacher_choice"]["rankings"][0]["common_prompts"] < 60


def test_a_teacher_is_judged_over_common_questions(tmp_path):
    """x is better where both have answered, y has easy questions besides."""
    rows = [(f"q{n}", t, {"lalp_4": s}) for n in range(60) for t, s in (("x", -2.0), ("y", -3.0))]
    rows += [(f"easy{n}", "y", {"lalp_4": -0.1}) for n in range(200)]
    made = scored_pool(tmp_path / "pool", rows)
    ids, picked = taken(made, TeacherSelection())
    assert len(ids) == 60
    assert {name[-1] for name in ids} == {"x"}
    assert picked.chosen.details["teacher_choice"]["warnings"] == []


def test_what_cannot_be_compared_is_said(tmp_path):
    rows = [("a", "x", {"lalp_4": -1.0}), ("b", "x", {"lalp_4": -1.0}), ("c", "y", {"lalp_4": -1})]
    made = scored_pool(tmp_path / "pool", rows)
    with pytest.raises(UserError, match=r"no question has lalp_4 for all .* \(.*: x: 2, y: 1\)"):
        taken(made, TeacherSelection())
    none = [("a", t, {"lalp_4": -1.0, "correct": False}) for t in ("x", "y")]
    made = scored_pool(tmp_path / "none", none)
    with pytest.raises(UserError, match=r"with it: x: 0, y: 0\); name those to compare"):
        taken(made, TeacherSelection(among="correct"))


def test_one_teacher_is_no_choice(tmp_path, caplog):
    rows = [(f"q{n}", "only", {"lalp_4": -1.0 - n}) for n in range(5)]
    made = scored_pool(tmp_path / "pool", rows)
    for data, codes in (
        (NaturalnessSelection(), ["one_teacher", "one_response"]),
        (TeacherSelection(), ["one_teacher", "few_prompts"]),
    ):
        ids, picked = taken(made, data)
        assert len(ids) == 5
        (report,) = picked.chosen.details.values()
        assert [one["code"] for one in report["warnings"]] == codes
        assert caplog.messages[-len(codes) :] == [one["text"] for one in report["warnings"]]


def test_the_family_and_the_step_length_are_warned_of(tmp_path):
    rows = [
        (f"q{n}", t, {"lalp_4": -0.1 * s, "scored_steps": s, "length": 60})
        for n in range(60)
        for t, s in (("QwQ-32B", 2 + n % 5), ("DeepSeek-R1", 7 + n % 3))
    ]
    made = scored_pool(tmp_path / "pool", rows, student="Qwen2.5-7B")
    for kind in (NaturalnessSelection, TeacherSelection):
        (report,) = taken(made, kind(model_name="Qwen2.5-7B"))[1].chosen.details.values()
        assert [one["code"] for one in report["warnings"]] == ["same_family", "step_length"]


def test_an_empty_correct_set(tmp_path):
    rows = [(q, t, {"lalp_4": -1.0, "correct": False}) for q in "ab" for t in "xy"]
    made = scored_pool(tmp_path / "pool", rows)
    with pytest.raises(UserError, match=r"none of 2 candidates; left out: 2 \(no correct response"):
        taken(made, NaturalnessSelection())
    assert len(taken(made, NaturalnessSelection(among="all"))[0]) == 2


def test_too_large_a_budget_says_why(pool):
    left = r"at most 3, .*; left out: 2 \(no lalp_4 of a correct response\), 1 \(no correct"
    with pytest.raises(UserError, match=left):
        taken(pool, NaturalnessSelection(num_traces=4))


@pytest.mark.parametrize("kind", [NaturalnessSelection, TeacherSelection])
def test_bad_scores(pool, tmp_path, kind, monkeypatch):
    with pytest.raises(
        UserError, match="score 'lalp_9' is not in .*; it has: length, lalp_4, galp"
    ):
        taken(pool, kind(score="lalp_9"))
    with pytest.raises(UserError, match="teacher 'w' is not in the pool; it has: x, y, z"):
        taken(pool, kind(teachers=["w"]))
    with pytest.raises(UserError, match="data.among is 'some'; allowed: correct, all"):
        kind(among="some")
    other = scored_pool(tmp_path / "other", BY_HAND[:3])
    folder = scores_folder(other.folder, "0")
    with pytest.raises(UserError, match="has scores of other traces than those of"):
        taken(pool, kind(scores=str(folder)))
    add_scores(pool, {"lalp_4": [0.0] * len(BY_HAND)}, key="1")
    with pytest.raises(UserError, match="has several scores; name one with"):
        taken(pool, kind())
    assert taken(pool, kind(scores=str(scores_folder(pool.folder, "0"))))[0]
    monkeypatch.setattr(Filters, "apply", None)  # all is said before the filters take their time
    (scores_folder(pool.folder, "1") / "scores.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="scores.parquet is damaged"):
        taken(pool, kind(scores=str(scores_folder(pool.folder, "1"))))
    shutil.rmtree(pool.folder / "columns")
    with pytest.raises(UserError, match="has no scores; make them with\npython -m nt_lightning sc"):
        taken(pool, kind())


def test_verdicts_are_needed(tmp_path):
    rows = scored_pool(tmp_path / "pool", BY_HAND[:3]).read().drop_columns(["correct"])
    made = write_pool(rows, tmp_path / "bare", {})
    add_scores(made, {"lalp_4": [1.0, 2.0, 3.0]})
    with pytest.raises(UserError, match="column 'correct' is missing; .*pool verify"):
        taken(made, NaturalnessSelection())
    assert len(taken(made, NaturalnessSelection(among="all"))[0]) == 2


@pytest.mark.parametrize("kind", [NaturalnessSelection, TeacherSelection])
def test_as_a_part_it_is_refused(kind):
    said = f"data.selections.1 is {kind.__name__}, which chooses among the responses to a question"
    parts = [RandomSelection(), kind()]
    with pytest.raises(UserError, match=said):
        ChainSelection(selections=parts)
    with pytest.raises(UserError, match=said):
        MixtureSelection(selections=parts, shares=[0.5, 0.5])


def test_the_way_around_works(pool, tmp_path):
    """What the error says: its traces as a pool, and a composition from that."""
    write_subset(NaturalnessSelection(pool=str(pool.folder)), tmp_path / "out", [], False)
    chain = ChainSelection(selections=[RandomSelection(num_traces=2), RandomSelection()])
    assert len(taken(Pool(tmp_path / "out"), chain)[0]) == 2


@pytest.mark.parametrize("kind", [NaturalnessSelection, TeacherSelection])
def test_scores_are_part_of_the_caches_name(pool, tmp_path, kind):
    student = save_tiny_student(tmp_path / "student")
    add_scores(pool, {"lalp_4": [-2.0] * len(pool), "galp": [-2.0] * len(pool)}, student=student)

    def folder(**arguments):
        return kind(pool=str(pool.folder), model_name=student, **arguments).folder

    own = scores_folder(pool.folder, "0")
    first, named = folder(), folder(scores=str(own))
    assert first == folder() != named
    assert len({first, folder(score="galp"), folder(seed=1)}) == 3
    random = RandomSelection(str(pool.folder), student).folder
    add_scores(pool, {"lalp_4": [-1.0] * len(pool)}, student=student)  # anew
    assert folder() != first
    assert folder(scores=str(own)) != named
    assert RandomSelection(str(pool.folder), student).folder == random
    assert "sha256" in identity_of(kind(scores=str(own)), TraceDataModule)[1]["scores"]


@pytest.mark.parametrize("kind", [NaturalnessSelection, TeacherSelection])
def test_it_is_trained_on_and_shown(tmp_path, kind, caplog):
    student = save_tiny_student(tmp_path / "student")
    made = scored_pool(tmp_path / "pool", random_responses(count=12), student=student)
    given = {"pool": str(made.folder), "model_name": student, "num_traces": 5, "num_val": 2}
    data = kind(**given, max_tokens=256, tokens_per_step=512)
    with caplog.at_level(logging.INFO):
        data.prepare_data()
    data.setup("predict")
    assert len(data.traces("train")) == 5
    assert "thinking" in data.modes.no_think.instruction
    assert kind(**given).modes == data.modes  # without a cache, as predict asks for them
    audit = json.loads((data.folder / "selection.json").read_text())
    write_report(audit, tmp_path / "report")
    text = " ".join((tmp_path / "report" / "selection.txt").read_text().split())
    if kind is NaturalnessSelection:
        assert "Responses by lalp_4 of" in text
        assert "and other choices" in text
        for name in ("selection", "stratified", "random", "longest", "shortest", "best teacher"):
            assert name in text
    else:
        assert "Rankings by every score" in text
        assert "by others than t2, or of the same question" in text
        assert "few_prompts" in text


@pytest.mark.parametrize("kind", [NaturalnessSelection, TeacherSelection])
def test_select_writes_them_as_a_pool(tmp_path, kind, capsys):
    made = scored_pool(tmp_path / "pool", random_responses())
    write_subset(kind(pool=str(made.folder), num_traces=30), tmp_path / "out", [], False)
    assert len(Pool(tmp_path / "out")) == 30
    shown = capsys.readouterr().out
    assert ("stratified" in shown) == (kind is NaturalnessSelection)
    assert ("95 % interval" in shown) == (kind is TeacherSelection)


def test_a_budget_in_tokens_is_told_of_what_it_took(tmp_path):
    rows = random_responses()
    made = scored_pool(tmp_path / "pool", rows)
    counted = made.read().append_column("response_tokens", pa.array([100] * len(rows)))
    other = write_pool(counted, tmp_path / "counted", {})
    names = ("lalp_4", "length", "scored_steps")
    add_scores(other, {name: [own[name] for _, _, own in rows] for name in names})
    ids, picked = taken(other, NaturalnessSelection(num_tokens=1_250))
    assert len(ids) == 12
    assert picked.chosen.details["response_choice"]["controls"][0]["questions"] == 12
    assert "response_choice" not in taken(other, LongSelection(num_tokens=1_250))[1].chosen.details


# -- whose scores ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [NaturalnessSelection, TeacherSelection])
def test_the_students_own_scores_are_taken(pool, kind):
    """With those of another student beside them, which would choose otherwise."""
    wrong = [-1.0 if teacher == "x" else -9.0 for _, teacher, _ in BY_HAND]
    add_scores(pool, {"lalp_4": wrong}, key="1", student="another")
    given = {"among": "all", "teachers": ["x", "y"]}
    own, other = (taken(pool, kind(model_name=name, **given)) for name in (STUDENT, "another"))
    assert own[0] != other[0]
    (report,) = own[1].chosen.details.values()
    assert report["scores"]["model_name"] == STUDENT


@pytest.mark.parametrize("kind", [NaturalnessSelection, TeacherSelection])
def test_another_students_scores_are_taken_only_by_name(pool, kind, caplog):
    given = {"model_name": "some/student", "among": "all", "teachers": ["x", "y"]}
    with pytest.raises(UserError, match="no scores by 'some/student'") as raised:
        taken(pool, kind(**given))
    assert f"({STUDENT}, " in str(raised.value)
    assert "--model.model_name some/student" in str(raised.value)
    folder = str(scores_folder(pool.folder, "0"))
    (report,) = taken(pool, kind(**given, scores=folder))[1].chosen.details.values()
    assert report["warnings"][0]["code"] == "another_student"
    said = f"the scores are by '{STUDENT}' and the student is 'some/student'"
    assert said in report["warnings"][0]["text"]
    assert said in caplog.text


def test_the_cache_knows_whose_scores(pool):
    one, other = (
        identity_of(NaturalnessSelection(model_name=name), TraceDataModule) for name in "ab"
    )
    assert one != other


@pytest.mark.parametrize("kind", [NaturalnessSelection, TeacherSelection])
def test_the_cache_knows_of_which_weights(tmp_path, kind):
    """A second export into the student's folder: what the older weights chose is not taken."""
    (tmp_path / "config.json").write_text("{}")
    found = []
    for weights in (b"old", b"trained", b"old"):
        (tmp_path / "model.safetensors").write_bytes(weights)
        found.append(identity_of(kind(model_name=str(tmp_path)), TraceDataModule))
    assert found[0] == found[2] != found[1]


# -- validation ------------------------------------------------------------------------------------


def validated(pool, data):
    picked = pick(pool, data.wanted, data)
    ids = pool.read(["id"])["id"].take(pa.array(picked.rows[picked.chosen.val]))
    return sorted(ids.to_pylist()), picked


def test_validation_has_the_responses_that_other_selections_have(tmp_path):
    made = scored_pool(tmp_path / "pool", random_responses())
    given = {"num_val": 30, "num_traces": 20, "teachers": ["t1", "t0", "t2"]}
    default, _ = validated(made, RandomSelection(**given))
    ids, picked = validated(made, NaturalnessSelection(**given))
    assert ids == default
    assert {name[-2:] for name in ids} == {"t1"}
    best = made.read(["teacher"])["teacher"].take(pa.array(picked.rows[picked.chosen.train]))
    assert set(best.to_pylist()) == {"t0", "t1", "t2"}


def test_validation_says_nothing_of_the_teachers(tmp_path):
    """x is better by far where a question is kept for validation, y is elsewhere; x skips some."""
    names = [f"q{n}" for n in range(100)]
    rows = [(q, t, {"lalp_4": 0.0}) for q in names for t in "xy" if t == "y" or q[-1] != "3"]
    made = scored_pool(tmp_path / "plain", rows)
    kept = {
        name.partition("/")[0]
        for teacher in "xy"
        for name in validated(made, RandomSelection(num_val=40, teachers=[teacher]))[0]
    }
    assert 40 < len(kept) < 60
    better = {"x": lambda q: 9.0 if q in kept else -1.0, "y": lambda q: 0.0}
    rows = [(q, t, {"lalp_4": better[t](q)}) for q, t, _ in rows]
    made = scored_pool(tmp_path / "pool", rows)
    assert validated(made, TeacherSelection())[1].chosen.details["teacher_choice"]["teacher"] == "x"
    ids, picked = validated(made, TeacherSelection(num_val=40))
    report = picked.chosen.details["teacher_choice"]
    assert report["teacher"] == "y"
    skipped = {q for q in names if q[-1] == "3"}
    assert report["rankings"][0]["common_prompts"] == 90 - len(kept - skipped)
    assert {name.partition("/")[0] for name in ids} <= kept
