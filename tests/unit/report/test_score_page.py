"""The page of a scored pool: its numbers and pictures, inert texts, and pools at the edges."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from nt_lightning.data.score_report import score_report
from nt_lightning.report import score_page
from nt_lightning.report.score_figures import INK, score_figures, teachers_of
from nt_lightning.report.score_page import render_score_page, score_tables, write_score_page
from nt_lightning.traces.scores import find_scores
from tests.scored import Response, scored_pool

VOID = {"meta", "br"}
EVIL = "</div></mark></svg><script>alert(1)</script><img src=x onerror='a()' title=\"{{ 7*7 }}\">"
LONG = [f"deepseek-ai/DeepSeek-R1-Distill-Qwen-and-more-of-a-long-name-{n}B" for n in range(12)]
FULL_INFO = {
    "model_fingerprint": "0123456789abcdef" * 4,
    "dtype": "float32",
    "splitter": {"class": "SentenceSteps", "arguments": {"merge": 4}},
    "scored_text": "plain",
}


class Page(HTMLParser):
    """The elements, attributes and texts that a browser would see; all elements are closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.given: list[tuple[str, str, str | None]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.given += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def of(self, tag: str, name: str) -> list[str | None]:
        return [value for found, key, value in self.given if (found, key) == (tag, name)]


def report_of(
    folder: Path,
    teachers: list[str],
    questions: int,
    windows: list[str],
    *,
    nulls: float = 0.0,
    common: bool = True,
    student: str = "student",
) -> dict[str, Any]:
    """A report of random scores; without ``common`` every question has one teacher."""
    rng = np.random.default_rng(0)
    responses: list[Response] = []
    for question in range(questions):
        for number, teacher in enumerate(teachers):
            if not common and question % len(teachers) != number:
                continue
            base = rng.normal(-2 - number, 0.1)
            own: dict[str, Any] = {f"lalp_{w}": base + rng.normal(0, 0.01) for w in windows}
            own |= {"galp": base, "rsr": -base, "clipped_rank_sum": -base, "surprisal_sum": 1.0}
            own |= {"ifd": None, "unscored_reason": None}
            if rng.random() < nulls:
                own = {**dict.fromkeys(own), "unscored_reason": "the response has no token"}
            length = int(rng.integers(20, 3_000))
            steps = {"length": length, "scored_steps": max(1, length // 20)}
            responses.append((f"q{question}", teacher, {**own, **steps}))
    pool = scored_pool(folder, responses, student=student)
    return score_report(pool, find_scores(pool))


def step(text: str, **others: Any) -> dict[str, Any]:
    names = ("id", "teacher", "question", "before", "text", "behind")
    return {
        **dict.fromkeys(names, text),
        "step": 2,
        "steps": 9,
        "tokens": 5,
        "score": -0.5,
    } | others


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("pool")
    found = report_of(folder, ["worse", "Qwen3-8B"][::-1], 60, ["0", "4"], student="Qwen2.5-7B")
    found["made_by"] |= FULL_INFO
    found["steps"] = {
        "most": [step("natural", before="It stood before. ", behind=" It came behind.")],
        "least": [step("odd", question="What was asked?", score=-9.25)],
    }
    return found


def test_the_page_and_its_numbers(report: dict[str, Any], tmp_path: Path) -> None:
    path = write_score_page(report, tmp_path)
    assert path == tmp_path / "naturalness.html"
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "naturalness.html",
        "naturalness.json",
    ]
    assert json.loads((tmp_path / "naturalness.json").read_text("utf-8")) == report
    html = path.read_text("utf-8")
    assert html == render_score_page(report)  # the same report, the same bytes
    text = Page(html).text
    places = [text.index(name) for name in (
        "How natural 120 responses are to Qwen2.5-7B", "Warnings", "What lalp_4 cannot tell",
        "Ranks under every score", "Distributions", "Windows", "Length",
        "Rank correlations between scores", "Quantiles", "The most natural steps",
        "The least natural steps",
    )]  # fmt: skip
    assert places == sorted(places)
    for wanted in (
        "0123456789abcdef", "SentenceSteps(merge=4)", "float32", "plain", "without lalp_4 0",
        "0, 4; the score is that of the last",
        "Over the 60 questions with lalp_4 for all teachers",
        "both of the family Qwen: a student finds its own family's responses more natural.",
        "arXiv:2604.06834", "arXiv:2510.03988", "arXiv:2601.14249", "7.2 % to 36.3 %",
        "0.51 for local surprisal and 0.86 for RSR", "length is a strong baseline",
        "Over the 120 responses that have every window", "120 of 120 responses;",
        "It stood before. natural It came behind.", "-9.25 · odd · step 2 of 9 · 5 tokens",
        "What was asked?",
    ):  # fmt: skip
        assert wanted in text, wanted


def test_tables_hold_ranks_correlations_and_quantiles(report: dict[str, Any]) -> None:
    html = render_score_page(report)
    ranking = report["teachers"]["rankings"][0]["teachers"]
    assert [one["teacher"] for one in ranking] == ["Qwen3-8B", "worse"]
    rows = {
        " ".join(name.split()): re.sub(r"<[^>]*>", " ", cells).split()
        for name, cells in re.findall(r'<tr[^>]*><th scope="row">([^<]*)</th>(.*)</tr>', html)
    }
    scores = [one["score"] for one in report["teachers"]["rankings"]]
    assert scores == ["lalp_4", "length", "lalp_0", "galp", "rsr"]  # ifd has no values
    for name in ("rsr ↓", "length", "tokens per step"):
        assert f"<span>{name}</span>" in html
    assert rows["questions"] == ["60"] * 5
    assert rows["Kendall"][0] == "+1.00"
    matrix = report["teachers"]["score_correlations"]
    line = matrix["scores"].index("galp")
    shown = ["–" if one is None else f"{one:.2f}" for one in matrix["spearman"][line]]
    assert rows["galp"][:-1] == shown
    own = report["distributions"]["lalp_4"]["worse"]
    first = html.index("<summary>lalp_4</summary>")
    row = html[html.index("2  worse", first) :].partition("</tr>")[0]
    assert re.findall("<td>([^<]*)", row) == [
        "60",
        *(f"{mark:#.4g}" for mark in (own["mean"], *own["quantiles"])),
    ]


def test_it_needs_nothing_else(report: dict[str, Any]) -> None:
    page = Page(render_score_page(report))
    assert not {"script", "link", "iframe", "img", "object", "base", "form"} & set(page.tags)
    for tag, name, value in page.given:
        assert not name.startswith("on")
        if name in ("src", "href", "xlink:href"):
            inside = (value or "").startswith(("#", "data:image/png;base64,"))
            assert inside or (tag == "a" and re.fullmatch(r"https://arxiv\.org/abs/[\d.]+", value))
        if "url(" in (value or ""):
            assert "url(#" in value
    assert any("default-src 'none'" in (value or "") for value in page.of("meta", "content"))


def test_texts_are_inert_and_whole(tmp_path: Path) -> None:
    found = report_of(tmp_path, [EVIL, "b"], 3, ["0", "4"], student=EVIL)
    found["steps"] = {"most": [step(EVIL)], "least": []}
    found["made_by"]["dtype"] = EVIL
    found["incomplete"] = {EVIL: 1}
    page = Page(render_score_page(found))
    assert not {"script", "img"} & set(page.tags)
    assert not [name for _, name, _ in page.given if name.startswith("on")]
    # heading, dtype, reason, warnings, ranks, quantiles of each score, six times in a step
    assert page.text.count(EVIL) >= 15
    assert [label for label in page.of("svg", "aria-label") if EVIL in (label or "")]
    found |= {"teachers": None, "not_compared": EVIL}
    found |= {"warnings": [{"code": "x", "text": EVIL}]}
    found["score_correlations"] = {"scores": ["galp"], "spearman": [[1.0]]}
    page = Page(render_score_page(found))
    assert not {"script", "img"} & set(page.tags)
    assert f"Teachers are not compared: {EVIL}" in page.text


@pytest.mark.parametrize(
    ("teachers", "questions", "windows", "others", "pictures"),
    [
        (["only"], 3, ["4"], {}, 3),
        (LONG, 4, ["0", "1", "2", "3", "4"], {}, 4),
        (["a", "_b"], 1, ["0", "4"], {}, 4),
        (["only"], 1, ["0", "25pct"], {}, 4),
        (["a", "b"], 9, ["0", "5pct", "100pct"], {"nulls": 0.4}, 4),
        (["a", "b", "c"], 9, ["0", "4"], {"common": False}, 3),
        (["a", "b"], 3, ["0", "4"], {"nulls": 1.1}, 0),
    ],
)
def test_pools_at_the_edges(
    tmp_path: Path,
    teachers: list[str],
    questions: int,
    windows: list[str],
    others: dict[str, Any],
    pictures: int,
) -> None:
    found = report_of(tmp_path, teachers, questions, windows, **others)
    page = Page(render_score_page(found))
    assert page.tags.count("svg") == pictures
    assert page.of("svg", "role") == ["img"] * pictures
    assert all(page.of("svg", "aria-label"))
    said = " ".join([page.text, *(alt or "" for alt in page.of("svg", "aria-label"))])
    assert not re.search(r"\bnan\b|None|\binf\b", said)
    for teacher in teachers:
        assert teacher in page.text
    assert ("Only one window was scored." in page.text) == (len(windows) == 1)
    assert ("Teachers are not compared" in page.text) == (found["teachers"] is None)
    out = io.StringIO()
    for table in score_tables(found):
        Console(file=out, width=100, markup=False).print(table)
    assert "Local naturalness by window" in out.getvalue()


def test_pictures_name_all_teachers_apart_in_the_pages_ink(tmp_path: Path) -> None:
    names = ["$a$", "_b", "c\nd", *LONG]
    found = report_of(tmp_path, names, 2, ["0", "4"])
    teachers = teachers_of(found)
    assert [one.name for one in teachers] == names
    assert len({one.label for one in teachers}) == len(names)
    assert len({(one.colour, one.marker) for one in teachers}) == len(names)
    figures = score_figures(found)
    assert list(figures) == ["ranking", "distributions", "windows", "lengths"]
    for svg in figures.values():
        assert INK not in svg
        assert "currentColor" in svg
        texts = re.findall("<text[^>]*>([^<]*)</text>", svg)
        labels = [one.label.replace(r"\$", "$") for one in teachers]
        assert set(labels) <= set(texts)
        assert not re.search(r'<svg[^>]*\s(width|height)="', svg)
    assert "3  c d" in labels
    assert "4  DeepSeek-R1-Dis…long-name-0B" in labels


def test_many_points_are_an_image(tmp_path: Path) -> None:
    few = score_figures(report_of(tmp_path / "few", ["a", "b"], 20, ["4"]))["lengths"]
    many = score_figures(report_of(tmp_path / "many", ["a", "b"], 400, ["4"]))["lengths"]
    assert "data:image/png;base64," not in few
    assert "data:image/png;base64," in many


def test_nothing_is_left_where_the_page_fails(
    report: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(report: Any) -> str:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(score_page, "render_score_page", fails)
        with pytest.raises(RuntimeError):
            write_score_page(report, tmp_path)
    monkeypatch.setattr(score_page, "render_score_page", lambda report: "\ud800")  # no UTF-8
    with pytest.raises(UnicodeEncodeError):
        write_score_page(report, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["naturalness.json"]


def test_tables_to_print(report: dict[str, Any]) -> None:
    out = io.StringIO()
    console = Console(file=out, width=100, highlight=False, markup=False)
    for table in score_tables(report):
        console.print(table)
    lines = [" ".join(line.split()) for line in out.getvalue().splitlines()]
    windows = report["windows"]
    for name, window in zip(("0", "4"), windows, strict=True):
        means = (window["mean"], *(window["teachers"][one] for one in ("Qwen3-8B", "worse")))
        numbers = " ".join(f"{mean:#.4g}" for mean in means)
        assert f"{name} {numbers} {window['rank_correlation']:+.2f}" in lines
    assert "Teachers by lalp_4" in lines
    assert any(line.startswith("same_family") for line in lines)


def test_tables_to_print_without_a_comparison(tmp_path: Path) -> None:
    found = report_of(tmp_path, ["a", "Qwen3"], 4, ["0", "25pct"], common=False, student="Qwen2.5")
    out = io.StringIO()
    for table in score_tables(found):
        Console(file=out, width=100, highlight=False, markup=False).print(table)
    said = " ".join(out.getvalue().split())
    assert "No question has lalp_25pct for all teachers" in said
    assert "are both of the family Qwen" in said
    assert "25 %" in said
