"""GPQA-Diamond on made-up rows; no row of the set is in this repository."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from evals.gpqa_diamond import GPQADiamond
from nt_lightning.errors import UserError
from nt_lightning.evaluation.extraction import extract


def row(**changes: object) -> dict[str, object]:
    values = {
        "Record ID": "rec1",
        "Question": "Which is a noble gas?\n",
        "Correct Answer": "Neon\n",
        "Incorrect Answer 1": "Oxygen",
        "Incorrect Answer 2": "Nitrogen",
        "Incorrect Answer 3": "Fluorine",
        "High-level domain": "Chemistry",
        "Subdomain": "Chemistry (general)",
    }
    return {**values, **changes}


def write(path: Path, *rows: dict[str, object]) -> str:
    with path.open("w", encoding="utf-8", newline="") as handle:
        table = csv.DictWriter(handle, fieldnames=list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return str(path)


def test_a_problem(tmp_path: Path) -> None:
    benchmark = GPQADiamond(write(tmp_path / "g.csv", row()))
    (problem,) = benchmark.problems()
    shown = problem.metadata["option_texts"]
    assert sorted(shown) == ["Fluorine", "Neon", "Nitrogen", "Oxygen"]
    assert problem.question == (
        "Answer the following multiple choice question. The last line of your response should be "
        "of the following format: 'Answer: $LETTER' (without quotes) where LETTER is one of ABCD."
        "\n\nWhich is a noble gas?\n\n"
        f"A) {shown[0]}\nB) {shown[1]}\nC) {shown[2]}\nD) {shown[3]}"
    )
    assert (problem.id, problem.kind, problem.domain) == ("rec1", "letter", "Chemistry")
    assert problem.metadata["subdomain"] == "Chemistry (general)"
    assert problem.metadata["options"] == "ABCD"
    assert benchmark.baselines([problem]) == {"chance": 0.25}


def test_each_run_has_its_order_and_the_letter_follows(tmp_path: Path) -> None:
    rows = [row(**{"Record ID": f"rec{n}"}) for n in range(40)]
    benchmark = GPQADiamond(write(tmp_path / "g.csv", *rows))
    problems = benchmark.problems()
    assert len(problems) == 40
    assert {problem.reference_answer for problem in problems} == set("ABCD")
    for problem in problems:
        assert benchmark.variant(problem, 0) == problem
        letters = set()
        for repeat in range(24):
            asked = benchmark.variant(problem, repeat)
            assert f"{asked.reference_answer}) Neon" in asked.question.split("\n")
            for letter in "ABCD":
                answer = extract(f"Answer: {letter}", asked.kind).answer
                assert answer is not None
                assert benchmark.grade(asked, answer) == (letter == asked.reference_answer)
            letters.add(asked.reference_answer)
        assert len(letters) >= 3
    again = GPQADiamond(write(tmp_path / "reversed.csv", *rows[::-1]))
    assert again.problems() == problems


def test_nothing_of_it_is_to_be_stored() -> None:
    assert GPQADiamond.is_confidential


def test_the_steps_to_get_access(monkeypatch: pytest.MonkeyPatch) -> None:
    def gated(name: str, config: str, *, split: str, revision: str) -> None:
        assert (name, config, split) == ("Idavidrein/gpqa", "gpqa_diamond", "train")
        assert revision == "633f5ee89ab8ad4522a9f850766b73f62147ffdd"
        raise FileNotFoundError(f"Dataset '{name}' is a gated dataset on the Hub.")

    monkeypatch.setattr("datasets.load_dataset", gated)
    with pytest.raises(UserError) as caught:
        GPQADiamond().problems()
    assert str(caught.value) == (
        "GPQADiamond: path is null, but Idavidrein/gpqa cannot be loaded: Dataset "
        "'Idavidrein/gpqa' is a gated dataset on the Hub.; the set is gated: (1) log in at "
        "https://huggingface.co and accept the conditions on "
        "https://huggingface.co/datasets/Idavidrein/gpqa, (2) create a token with read access at "
        "https://huggingface.co/settings/tokens, (3) run `hf auth login` with it, or set "
        "HF_TOKEN, and start again; or give path, a file of "
        "https://huggingface.co/datasets/Idavidrein/gpqa"
    )


SECRETS = ("noble", "Neon", "Oxygen", "Nitrogen", "Fluorine")


@pytest.mark.parametrize(
    "changes",
    [{"Record ID": ""}, {"Question": " "}, {"Correct Answer": ""}, {"Incorrect Answer 3": None}],
)
def test_errors_tell_no_text_of_the_row(tmp_path: Path, changes: dict[str, object]) -> None:
    path = write(tmp_path / "g.csv", row(), row(**changes))
    with pytest.raises(UserError, match=r"g\.csv: row 1 .*needed: a text") as caught:
        GPQADiamond(path).problems()
    assert not any(secret in str(caught.value) for secret in SECRETS)


def test_a_file_without_a_header_tells_no_text(tmp_path: Path) -> None:
    path = tmp_path / "g.csv"
    with path.open("w", newline="") as handle:
        csv.writer(handle).writerows([row().values(), row().values()])
    with pytest.raises(UserError, match="no column 'Record ID', .*; found: 8 others") as caught:
        GPQADiamond(str(path)).problems()
    assert not any(secret in str(caught.value) for secret in SECRETS)
    path = tmp_path / "g.jsonl"
    path.write_text(json.dumps({"noble": "Neon"}) + "\n")
    with pytest.raises(UserError, match="found: 1 others") as caught:
        GPQADiamond(str(path)).problems()
    assert not any(secret in str(caught.value) for secret in SECRETS)
