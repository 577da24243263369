"""MMLU-Pro: prompts by hand, and all questions of the stored outputs."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from evals.mmlu_pro import MMLUPro
from nt_lightning.errors import UserError
from nt_lightning.evaluation.extraction import extract

DATA = Path(__file__).parents[4] / "shared" / "data" / "mmlu_pro"
OUTPUTS = DATA / "model_outputs_Meta-Llama-3_1-8B-Instruct_5shots.zip"
real = pytest.mark.skipif(not OUTPUTS.is_file(), reason="../shared/data/mmlu_pro is not here")


def row(**changes: object) -> dict[str, object]:
    values = {
        "question_id": 70,
        "question": "Which?",
        "options": ["w", "N/A", "y", "N/A"],
        "answer": "C",
        "answer_index": 2,
        "cot_content": "",
        "category": "computer science",
        "src": "ori",
    }
    return {**values, **changes}


def write(path: Path, *rows: dict[str, object]) -> str:
    path.write_text("".join(json.dumps(values) + "\n" for values in rows), encoding="utf-8")
    return str(path)


def test_a_problem_without_its_padding(tmp_path: Path) -> None:
    (problem,) = MMLUPro(write(tmp_path / "m.jsonl", row())).problems()
    assert problem.question == (
        "The following is a multiple choice question about computer science. Finish your answer "
        'with "the answer is (X)" where X is the correct letter choice, one of A or B.\n\n'
        "Question:\nWhich?\nOptions:\nA. w\nB. y"
    )
    assert (problem.id, problem.reference_answer) == ("70", "B")
    assert (problem.domain, problem.metadata["options"]) == ("computer science", "AB")


def test_all_ten_letters_are_named(tmp_path: Path) -> None:
    ten = row(options=list("0123456789"), answer="J")
    (problem,) = MMLUPro(write(tmp_path / "m.jsonl", ten)).problems()
    assert "one of A, B, C, D, E, F, G, H, I, or J." in problem.question
    assert (problem.metadata["options"], problem.reference_answer) == ("ABCDEFGHIJ", "J")


def test_mistakes(tmp_path: Path) -> None:
    bad = row()
    del bad["category"]
    with pytest.raises(UserError, match=r"m\.jsonl: row 0 .*: no column 'category'; found: ques"):
        MMLUPro(write(tmp_path / "m.jsonl", bad)).problems()
    with pytest.raises(UserError, match="letter of the right option is none of 2 options"):
        MMLUPro(write(tmp_path / "m.jsonl", row(answer="D"))).problems()


def shot(question: str, **changes: object) -> dict[str, object]:
    steps = "A: Let's think step by step. It is. The answer is (B)."
    values = {"question": question, "options": ["no", "yes", "N/A"], "answer": "B"}
    return {**row(**values, cot_content=steps, src="cot_lib"), **changes}


def asked(tmp_path: Path, *shots: dict[str, object], num_shots: int) -> MMLUPro:
    path = write(tmp_path / "m.jsonl", row())
    shots_path = write(tmp_path / "s.jsonl", *shots)
    return MMLUPro(path, num_shots=num_shots, shots_path=shots_path)


def test_shots_are_of_the_category_and_in_order(tmp_path: Path) -> None:
    shots = [
        shot("First? "),
        shot("Of law?", category="law"),
        shot("Second?", options=["1", "N/A", "3"], answer="C", cot_content=" Said otherwise.\n"),
        shot("Third?"),
    ]
    (problem,) = asked(tmp_path, *shots, num_shots=2).problems()
    assert problem.question == (
        "The following are multiple choice questions (with answers) about computer science. Think "
        'step by step and then finish your answer with "the answer is (X)" where X is the correct '
        "letter choice, one of A or B.\n\n"
        "Question:\nFirst?\nOptions:\nA. no\nB. yes\n"
        "Answer: Let's think step by step. It is. The answer is (B).\n\n"
        "Question:\nSecond?\nOptions:\nA. 1\nB. 3\n"
        "Said otherwise.\n\n"
        "Question:\nWhich?\nOptions:\nA. w\nB. y"
    )
    assert (problem.metadata["stem"], problem.metadata["option_texts"]) == ("Which?", ("w", "y"))
    assert (problem.id, problem.reference_answer) == ("70", "B")


def test_never_fewer_shots_than_asked_for(tmp_path: Path) -> None:
    """Other harnesses go on with as many as there are."""
    shots = [shot(f"{number}?") for number in range(4)] + [shot("Of law?", category="law")]
    (problem,) = asked(tmp_path, *shots, num_shots=4).problems()
    assert problem.question.count("Answer: Let's think step by step.") == 4
    with pytest.raises(UserError) as caught:
        asked(tmp_path, *shots, num_shots=5).problems()
    digest = hashlib.sha256((tmp_path / "s.jsonl").read_bytes()).hexdigest()[:12]
    assert str(caught.value) == (
        f"MMLUPro: num_shots is 5, but s.jsonl, sha256 {digest} has 4 of category "
        "'computer science'"
    )
    with pytest.raises(UserError, match="num_shots is 1, but .* has 0 of category 'computer sci"):
        asked(tmp_path, *shots[4:], num_shots=1).problems()


def test_shots_are_told_in_the_version(tmp_path: Path) -> None:
    path, shots_path = write(tmp_path / "m.jsonl", row()), write(tmp_path / "s.jsonl", shot("?"))
    none = MMLUPro(path).version
    assert none == MMLUPro(path, num_shots=0).version
    hub = MMLUPro.table.revision
    assert MMLUPro(path, num_shots=5).version == (
        f"{none}, shots: 5 of TIGER-Lab/MMLU-Pro at {hub}, validation"
    )
    mine = MMLUPro(path, num_shots=5, shots_path=shots_path).version
    assert mine.startswith(f"{none}, shots: 5 of s.jsonl, sha256 ")
    write(tmp_path / "s.jsonl", shot("Another?"))
    other = MMLUPro(path, num_shots=5, shots_path=shots_path).version
    assert len({none, MMLUPro(path, num_shots=5).version, mine, other}) == 4


def test_shots_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[object, ...]] = []

    def load(name: str, config: str | None, *, split: str, revision: str) -> object:
        seen.append((name, config, split, revision))
        return iter([shot(f"{number}?") for number in range(5)])

    monkeypatch.setattr("datasets.load_dataset", load)
    path = write(tmp_path / "m.jsonl", row(), row(question_id=71))
    benchmark = MMLUPro(path, revision="main", num_shots=5)
    assert [problem.question.count("Question:") for problem in benchmark.problems()] == [6, 6]
    assert seen == [("TIGER-Lab/MMLU-Pro", None, "validation", "main")]


def test_wrong_shots(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", row())
    with pytest.raises(UserError, match="^MMLUPro: num_shots is 6; allowed: 0 to 5$"):
        MMLUPro(path, num_shots=6)
    with pytest.raises(UserError, match="shots_path is 's.jsonl', but num_shots is 0; .* null$"):
        MMLUPro(path, shots_path="s.jsonl")
    with pytest.raises(UserError, match=r"MMLUPro: shots_path is 'nowhere\.jsonl', which is no "):
        MMLUPro(path, num_shots=5, shots_path="nowhere.jsonl").problems()
    with pytest.raises(UserError, match="row 0 .*: column 'cot_content' has an empty text"):
        asked(tmp_path, row(), num_shots=1).problems()
    bare = shot("?")
    del bare["cot_content"]
    with pytest.raises(UserError, match="no column 'cot_content'; found: question_id"):
        asked(tmp_path, bare, num_shots=1).problems()


@real
def test_all_questions(tmp_path: Path) -> None:
    with zipfile.ZipFile(OUTPUTS) as archive:
        (name,) = archive.namelist()
        path = Path(archive.extract(name, tmp_path))
    rows = {str(values["question_id"]): values for values in json.loads(path.read_text())}
    benchmark = MMLUPro(str(path))
    problems = benchmark.problems()
    assert len(problems) == len({problem.id for problem in problems}) == 12_032
    counts = Counter(problem.domain for problem in problems)
    assert len(counts) == 14
    assert counts["math"] == 1351
    for domain, count in Counter(problem.domain for problem in problems[:1000]).items():
        assert abs(count - counts[domain] * 1000 / 12_032) <= 1
    unclear = []
    for problem in problems:
        asked, gold = rows[problem.id], problem.reference_answer
        assert (gold, len(problem.metadata["options"])) == (asked["answer"], len(asked["options"]))
        assert f"\n{gold}. " in problem.question
        if gold != "ABCDEFGHIJ"[asked["answer_index"]]:
            unclear.append(problem.id)
    # there the published letter and number disagree; the official judge takes the letter
    assert unclear == ["3983"]
    for problem in problems[:300]:
        for letter in problem.metadata["options"]:
            found = extract(
                f"So the answer is ({letter}).", "letter", options=problem.metadata["options"]
            )
            assert found.answer is not None
            right = letter == problem.reference_answer
            assert benchmark.grade(problem, found.answer) == right
    # some questions have fewer than ten options
    assert 0.1 < benchmark.baselines(problems)["chance"] < 0.12
