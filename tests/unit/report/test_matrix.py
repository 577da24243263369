"""The table's cells by hand, and a picture that is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread
from matplotlib.text import Text
from rich.console import Console

from nt_lightning.evaluation.outcomes import OUTCOMES
from nt_lightning.evaluation.results import Result
from nt_lightning.report.matrix import changes_of, mode_matrix, plot_mode_matrix


def result(
    mode: str, stage: str, accuracy: float | None, benchmark: str = "sums", **changes: object
) -> Result:
    values: dict[str, object] = {
        "step": 0 if stage == "before" else 9,
        "num_problems": 64,
        "accuracy_stderr": None if accuracy is None else 0.05,
        "obedience": None if mode == "adaptive" else 0.5,
        "think_share": 1.0 if mode == "think" else 0.0,
        "mean_response_tokens": None if accuracy is None else 1234.4,
        "outcomes": dict(zip(OUTCOMES, (0.7, 0.1, 0.15, 0.05), strict=True)),
    }
    return Result(benchmark, mode, stage, accuracy=accuracy, **{**values, **changes})  # type: ignore[arg-type]


BOTH = [
    result("think", "before", 0.1),
    result("no_think", "before", 0.2),
    result("think", "step-5", 0.3),
    result("no_think", "after", 0.4),
    result("think", "after", 0.5, mean_response_tokens=88.0, obedience=1.0),
    result("adaptive", "after", 0.6, "more"),
]


def rendered(results: list[Result], width: int = 80, **baselines: dict[str, float]) -> list[str]:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(mode_matrix(results, baselines))
    console.file.close()
    return console.export_text().split("\n")


def test_changes_are_first_and_last_in_the_order_of_the_modes() -> None:
    got = [
        (c.benchmark, c.mode, c.before and c.before.accuracy, c.after and c.after.accuracy)
        for c in changes_of(BOTH)
    ]
    assert got == [
        ("sums", "no_think", 0.2, 0.4),
        ("sums", "think", 0.1, 0.5),
        ("more", "adaptive", None, 0.6),
    ]


def test_the_newest_stage_stands_for_a_missing_after() -> None:
    results = [result("think", "step-5", 0.3), result("think", "step-10", 0.4)]
    (change,) = changes_of(results)
    assert change.before is None
    assert change.after == results[1]


def test_table_cells() -> None:
    lines = [" ".join(line.split()) for line in rendered(BOTH, sums={"chance": 0.25})]
    assert "sums Think 10.0±5.0 50 100 1,234 70/10/15/5" in lines
    assert "64 problems → 50.0±5.0 → 100 → 100 → 88 → 70/10/15/5" in lines
    assert "more Adaptive 60.0±5.0 0 1,234 70/10/15/5" in lines
    assert "sums (chance) 25.0" in lines
    assert not any("…" in line for line in lines)


@pytest.mark.parametrize(("stage", "is_trained"), [("test", False), ("step-5", True)])
def test_a_student_that_was_only_tested_has_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, is_trained: bool
) -> None:
    texts: list[str] = []
    draw = Text.draw

    def told(self: Text, renderer: Any) -> None:
        texts.append(self.get_text())
        draw(self, renderer)

    monkeypatch.setattr(Text, "draw", told)
    results = [result("think", stage, 0.3)]
    plot_mode_matrix(results, tmp_path / "m.png")
    assert any("Think modes" in text for text in texts)
    assert any("training" in text for text in texts) == is_trained
    title = rendered(results)[0].strip()
    assert title == f"Think modes{', before → after training' if is_trained else ''}"


def test_a_long_name_fits_a_narrow_terminal() -> None:
    lines = rendered([result("think", "before", 0.1, "reasoning_gym"), *BOTH])
    assert not any("…" in line for line in lines)
    assert max(map(len, lines)) <= 80


def test_missing_numbers_are_dashes() -> None:
    text = "\n".join(rendered([result("think", "after", None, think_share=None)]))
    assert "–" in text
    assert "None" not in text


def test_a_number_without_an_error_stands_alone() -> None:
    lines = rendered([result("think", "after", 0.5, accuracy_stderr=None, obedience=None)])
    assert "50.0 – 100 1,234 70/10/15/5" in " ".join(" ".join(lines).split())


@pytest.mark.parametrize(
    "results",
    [
        BOTH,
        BOTH[:1],
        [result("think", "after", 0.0)],
        [result("think", "after", None)],
        [result("think", "before", None), result("think", "after", 0.5, accuracy_stderr=None)],
        [result("think", "after", 0.5, mean_response_tokens=None)],
        [result("think", "after", None, outcomes=dict.fromkeys(OUTCOMES), think_share=None)],
    ],
    ids=[
        *("all", "before only", "zero", "nothing evaluated"),
        *("no error", "no tokens", "no outcomes"),
    ],
)
def test_the_picture(tmp_path: Path, results: list[Result]) -> None:
    path = tmp_path / "deep" / "matrix.png"
    plot_mode_matrix(results, path, {"sums": {"chance": 0.25, "majority": 0.3}})
    assert "None" not in "".join(rendered(results))
    image = imread(path)
    panels = len({r.benchmark for r in results})
    assert image.shape[:2] == (750, 150 * (1.2 + 5 * panels))
    assert image[..., :3].std() > 0.05
    assert [p.name for p in path.parent.iterdir()] == ["matrix.png"]


def test_no_global_state_of_pyplot(tmp_path: Path) -> None:
    plot_mode_matrix(BOTH, tmp_path / "m.png")
    import sys

    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []
