"""The page of responses: what it holds, what it leaves out, and that texts stay data."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
import zlib
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nt_lightning.errors import UserError
from nt_lightning.evaluation.results import Result, RunResults, write_results
from nt_lightning.report.samples_data import (
    Pair,
    Stored,
    compared_stage,
    draw,
    join,
    stored_responses,
)
from nt_lightning.report.samples_page import ASSETS, SCRIPTS, write_samples_page

EVIL = "</script><script>alert(1)</script><!--<img src=x onerror='alert(2)'>\u2028]]>{{ 7*7 }}"
VOID = {"meta", "input"}


def row(**values: Any) -> dict[str, Any]:
    """A stored response; all fields can be given."""
    return {
        "benchmark": "sums",
        "problem_id": "p0",
        "mode": "think",
        "stage": "after",
        "repeat": 0,
        "prompt": "What is 1 + 1?",
        "response": "Answer: 2",
        "num_tokens": 4,
        "finish_reason": "stop",
        "outcome": "answered",
        "answer": "2",
        "rule": "answer_colon",
        "span": [8, 9],
        "correct": True,
        "obedient": None,
        "opened_think": False,
        "reference_answer": "2",
    } | values


def store(run: Path, rows: list[dict[str, Any]]) -> Path:
    """A run folder with these responses."""
    for one in rows:
        path = run / "evaluation" / one["stage"] / f"{one['benchmark']}-{one['mode']}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", newline="\n") as out:
            out.write(json.dumps(one, ensure_ascii=False) + "\n")
    return run


def content(page: Path) -> dict[str, Any]:
    """What the page's script unpacks."""
    packed = re.findall(r'<script type="text/plain" id="data">(.*?)</script>', page.read_text())
    return json.loads(zlib.decompress(base64.b64decode(packed[0], validate=True)))


def scripts(html: str) -> list[str]:
    """The text of every script that runs."""
    return re.findall(r"<script>(.*?)</script>", html, re.DOTALL)


class Tags(HTMLParser):
    """Elements and attributes; all elements are closed in the order of their opening."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.given: list[tuple[str, str, str | None]] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.given += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


def test_rows_reach_the_page_as_they_are_stored(tmp_path):
    stored = [
        row(problem_id="a", domain="algebra"),
        row(problem_id="b", stage="before", correct=False, answer="3", response="Answer: 3"),
        row(problem_id="c", stage="step-20", outcome="unparsed", answer=None, rule=None,
            span=None, correct=None, obedient=False, new_field=[1]),
        row(problem_id="d", stage="step-3", mode="no_think", repeat=2, prompt="other"),
    ]  # fmt: skip
    data = content(write_samples_page(store(tmp_path / "run", stored)))
    assert data["names"] == ["run"]
    assert [one["problem_id"] for one in data["rows"]] == ["b", "d", "c", "a"]  # by time
    assert [one["domain"] for one in data["rows"]] == ["", "", "", "algebra"]
    first, second = data["rows"][2]["responses"]
    assert second is None
    assert data["prompts"][first["prompt"]] == "What is 1 + 1?"
    assert len(data["prompts"]) == 2
    same = ("num_tokens", "finish_reason", "outcome", "answer", "rule", "correct", "obedient")
    assert {name: first[name] for name in same} == {name: stored[2][name] for name in same}
    assert (first["text"], first["reference"], first["span"]) == ("Answer: 2", "2", None)


@pytest.mark.parametrize(
    ("response", "reasoning"),
    [
        ("Answer: 42", ""),
        ("<think>1</think>Answer: 42", "<think>1</think>"),
        ("1</think>2</think>\n42", "1</think>2</think>"),
        ("<think>is it 42", "<think>is it 42"),
        ("😀</think>🙂 42 🙂", "😀</think>"),
    ],
)
def test_offsets_count_as_the_browser_does(tmp_path, response, reasoning):
    at = response.index("42") if "42" in response else 0
    run = store(tmp_path, [row(response=response, answer="42", span=[at, at + 2])])
    (one, _) = content(write_samples_page(run))["rows"][0]["responses"]
    units = response.encode("utf-16-le")
    start, end = one["span"]
    assert units[2 * start : 2 * end].decode("utf-16-le") == "42"
    assert units[: 2 * one["reasoning_end"]].decode("utf-16-le") == reasoning


def test_texts_are_data(tmp_path):
    name = "<img src=x onerror=alert(3)>"
    fields = ("problem_id", "prompt", "response", "answer", "rule", "reference_answer", "domain")
    evil = row(**dict.fromkeys(fields, EVIL), span=None)
    page = write_samples_page(store(tmp_path / name, [evil]))
    html = page.read_text()
    assert "alert(" not in html.replace("&lt;img src=x onerror=alert(3)&gt;", "")
    assert "7*7" not in html
    tags = Tags(html)
    assert tags.tags["script"] == len(SCRIPTS) + 1
    assert tags.tags["img"] == 0
    (one,) = content(page)["rows"]
    assert one["problem_id"] == one["domain"] == one["responses"][0]["text"] == EVIL


def test_broken_unicode_is_kept(tmp_path):
    path = tmp_path / "evaluation" / "after" / "sums-think.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(row(response="\ud800 2", span=[2, 3])) + "\n", encoding="ascii")
    (one,) = content(write_samples_page(tmp_path))["rows"]
    assert one["responses"][0]["text"] == "\ud800 2"


def test_nothing_is_loaded_and_no_other_script_runs(tmp_path):
    html = write_samples_page(store(tmp_path, [row()])).read_text()
    tags = Tags(html)
    policy = next(value for tag, _, value in tags.given if tag == "meta" and "default" in value)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    hashes = {
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in scripts(html)
    }
    assert len(hashes) == len(SCRIPTS)
    assert set(rules["script-src"].split()) == hashes
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["style-src"] == "'unsafe-inline'"
    assert set(rules) == {"default-src", "script-src", "style-src", "base-uri", "form-action"}
    loads = [one for one in tags.given if one[1] in ("src", "srcset", "data", "action", "style")]
    assert loads == []
    assert all(value.startswith("#") for _, name, value in tags.given if name == "href")
    assert not any(name.startswith("on") for _, name, _ in tags.given)
    styles = "".join(re.findall(r"<style>(.*?)</style>", html, re.DOTALL))
    assert "url(" not in styles
    assert "@import" not in styles
    assert not {"link", "iframe", "object", "embed", "base", "form"} & set(tags.tags)


def test_the_licence_of_temml_is_on_the_page(tmp_path):
    html = write_samples_page(store(tmp_path, [row()])).read_text()
    assert "Copyright (c) 2020 Ron Kok" in html
    assert "The above copyright notice and this permission notice shall be included" in html


@pytest.mark.parametrize("theme", [0, 1])
def test_text_has_contrast(theme):
    """WCAG 2.2, 1.4.3: 4.5 for text, with its formula of relative luminance."""
    css = (ASSETS / "samples_page.css").read_text()
    found = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    assert len(found) == 2
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]+);", found[theme]))

    def luminance(name: str) -> float:
        digits = colours[name][1:]
        digits = "".join(2 * d for d in digits) if len(digits) == 3 else digits
        parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    pairs = [
        (ink, page) for ink in ("ink", "dim", "link", "right", "wrong") for page in ("page", "box")
    ]
    for one, other in [*pairs, ("ink", "mark"), ("on-chosen", "chosen")]:
        low, high = sorted((luminance(one), luminance(other)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (one, other)


# ---------------------------------------------------------------------------- what is left out


def pairs_of(*groups: tuple[str, int]) -> list[Pair]:
    """Pairs without a second response: so many of each outcome, mixed."""
    made = [
        Pair(Stored("b", "think", f"{outcome}{n}", 0, "after", outcome, None, Path(), 0), None)
        for outcome, count in groups
        for n in range(count)
    ]
    return sorted(made, key=lambda pair: hashlib.md5(pair.first.problem_id.encode()).digest())


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (24, {"looped": 1, "unparsed": 3, "truncated": 10, "answered": 10}),
        (25, {"looped": 1, "unparsed": 3, "truncated": 11, "answered": 10}),
        (150, {"looped": 1, "unparsed": 3, "truncated": 46, "answered": 100}),
        (4, {"looped": 1, "unparsed": 1, "truncated": 1, "answered": 1}),
        (2, {"looped": 1, "unparsed": 1}),
        (150_000, {"looped": 1, "unparsed": 3, "truncated": 46, "answered": 4000}),
    ],
)
def test_rare_groups_are_whole_and_others_even(limit, expected):
    pairs = pairs_of(("answered", 4000), ("looped", 1), ("truncated", 46), ("unparsed", 3))
    taken = draw(pairs, limit)
    assert Counter(pair.first.outcome for pair in taken) == expected
    places = [pairs.index(pair) for pair in taken[:200]]
    assert places == sorted(places)


@settings(max_examples=40)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=5), st.integers(1, 80), st.randoms())
def test_the_draw_fills_its_room_whatever_the_order(sizes, limit, random):
    pairs = pairs_of(*((f"o{n}-", size) for n, size in enumerate(sizes)))
    taken = draw(pairs, limit)
    assert len(taken) == min(limit, len(pairs))
    counts = Counter(pair.first.outcome for pair in taken)
    whole = Counter(pair.first.outcome for pair in pairs)
    cut = [counts[name] for name in whole if counts[name] < whole[name]]
    assert all(counts[name] <= min(cut, default=0) + 1 for name in whole if cut)
    mixed = random.sample(pairs, len(pairs))
    if len(set(whole.values())) == len(whole):  # else equal groups take turns by their place
        assert set(draw(mixed, limit)) == set(taken)


def test_verdicts_and_the_other_run_make_groups(tmp_path):
    rows = [row(problem_id=f"p{n}", correct=n != 7) for n in range(200)]
    others = [row(problem_id=f"p{n}", correct=n != 50) for n in range(200)]
    first, second = store(tmp_path / "one", rows), store(tmp_path / "two", others)
    page = write_samples_page(first, second, max_responses=20)
    taken = content(page)["rows"]
    verdicts = Counter(tuple(r["correct"] for r in one["responses"]) for one in taken)
    assert verdicts == {(True, True): 8, (False, True): 1, (True, False): 1}
    assert "10 of 200 pairs are here" in page.read_text()


def test_the_page_says_what_it_leaves_out(tmp_path):
    run = store(tmp_path, [row(problem_id=f"p{n}") for n in range(30)])
    page = write_samples_page(run, max_responses=12)
    assert "12 of 30 responses are here" in page.read_text()
    assert len(content(page)["rows"]) == 12
    assert "are here, drawn" not in write_samples_page(run, max_responses=30).read_text()
    assert len(content(page)["rows"]) == 30  # the older page has gone


# ---------------------------------------------------------------------------- two runs


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        (["before", "after", "test", "step-9"], "after"),
        (["before", "test", "step-9"], "test"),
        (["step-9", "before", "step-10"], "step-10"),
        (["before"], "before"),
        (["before", "final"], "final"),
    ],
)
def test_the_stage_of_a_comparison(stages, expected):
    assert compared_stage(stages) == expected
    assert compared_stage(reversed(stages)) == expected


def test_two_runs_are_joined_by_question(tmp_path):
    first = store(tmp_path / "runs" / "one", [
        row(problem_id="p", repeat=1, response="1"),
        row(problem_id="p", repeat=0, response="2"),
        row(problem_id="q", response="3"),
        row(problem_id="p", stage="before", response="not compared"),
    ])  # fmt: skip
    second = store(tmp_path / "runs" / "two", [
        row(problem_id="p", repeat=0, stage="test", response="4"),
        row(problem_id="p", repeat=1, stage="test", response="5", prompt="asked otherwise"),
        row(problem_id="q", mode="no_think", stage="test", response="6"),
        row(problem_id="q", benchmark="products", stage="test", response="7"),
    ])  # fmt: skip
    joined = join(stored_responses(first), stored_responses(second))
    assert joined.stages == ("after", "test")
    assert joined.alone == (1, 2)
    page = write_samples_page(first, second)
    texts = [[r and r["text"] for r in one["responses"]] for one in content(page)["rows"]]
    assert texts == [["1", "5"], ["2", "4"], ["3", None]]
    assert content(page)["names"] == ["one", "two"]
    assert "1 of A (shown alone), 2 of B (left out)" in page.read_text()
    assert page == first / "samples.html"
    assert not (second / "samples.html").exists()


def test_runs_of_one_name_are_told_apart(tmp_path):
    runs = [store(tmp_path / name / "run", [row()]) for name in ("a", "b")]
    assert content(write_samples_page(*runs))["names"] == ["a/run", "b/run"]


def test_runs_without_a_common_question_are_refused(tmp_path):
    first = store(tmp_path / "one", [row()])
    second = store(tmp_path / "two", [row(repeat=1)])
    with pytest.raises(UserError, match="no response in common at the stages 'after' and 'after'"):
        write_samples_page(first, second)


# ---------------------------------------------------------------------------- the table, and errors


def results_of(*lines: tuple[str, str, str, float | None, float | None]) -> RunResults:
    """Results with an accuracy; whatever else they hold is absent."""
    absent = dict.fromkeys((field.name for field in dataclasses.fields(Result)), None)
    names = ("benchmark", "mode", "stage", "accuracy", "accuracy_stderr")
    return RunResults([Result(**absent | dict(zip(names, line, strict=True))) for line in lines])


def table_of(page: Path) -> list[list[str]]:
    """The cells of the page's table."""
    (table,) = re.findall(r"<table>(.*?)</table>", page.read_text(), re.DOTALL)
    lines = re.findall(r"<tr>(.*?)</tr>", table)
    return [re.findall(r"<t[hd].*?>(.*?)</t[hd]>", line) for line in lines]


def test_accuracies_of_a_run(tmp_path):
    run = store(tmp_path, [row()])
    lines = [("sums", "think", "after", 0.75, 0.031), ("sums", "think", "before", 0.5, None),
             ("sums", "no_think", "after", None, None)]  # fmt: skip
    write_results(run, results_of(*lines))
    link = '<a href="#benchmark=sums&amp;mode=think&amp;stage={}">{}</a>'
    assert table_of(write_samples_page(run)) == [
        ["benchmark", "mode", "before", "after"],
        ["sums", "think", link.format("before", "50.0"), link.format("after", "75.0 ± 3.1")],
        ["sums", "no_think", "–", "–"],
    ]


def test_accuracies_of_two_runs_are_those_of_the_compared_stages(tmp_path):
    first, second = (store(tmp_path / name, [row()]) for name in ("one", "two"))
    write_results(first, results_of(("sums", "think", "after", 0.75, 0.031),
                                    ("sums", "think", "before", 0.1, 0.01)))  # fmt: skip
    write_results(second, results_of(("sums", "think", "after", 0.5, 0.04)))
    link = '<a href="#benchmark=sums&amp;mode=think">{}</a>'
    assert table_of(write_samples_page(first, second)) == [
        ["benchmark", "mode", "A, after", "B, after"],
        ["sums", "think", link.format("75.0 ± 3.1"), link.format("50.0 ± 4.0")],
    ]


def test_a_run_without_results_has_no_table(tmp_path):
    assert "<table>" not in write_samples_page(store(tmp_path, [row()])).read_text()


def test_confidential_texts(tmp_path):
    rows = [row(problem_id="a", prompt="", response=""), row(problem_id="b", response="")]
    data = content(write_samples_page(store(tmp_path, rows)))
    stored = [one["responses"][0]["is_stored"] for one in data["rows"]]
    assert stored == [False, True]  # the second one is an empty response


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2 is no stored response"),
        ("3", "line 2 is no stored response"),
        ('{"benchmark": "sums"}', "line 2 is no stored response: it lacks mode, problem_id"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, message):
    path = store(tmp_path, [row()]) / "evaluation" / "after" / "sums-think.jsonl"
    with path.open("a") as out:
        out.write(line + "\n")
    with pytest.raises(UserError, match=f"sums-think.jsonl, {message}"):
        write_samples_page(tmp_path)
    assert not (tmp_path / "samples.html").exists()


def test_what_cannot_be_shown_is_refused(tmp_path):
    with pytest.raises(UserError, match="empty holds no responses; a run folder with evaluation/"):
        write_samples_page(tmp_path / "empty")
    run = store(tmp_path / "run", [row()])
    with pytest.raises(UserError, match="max_responses is 0; it must be 1 or more"):
        write_samples_page(run, max_responses=0)
    with pytest.raises(UserError, match="max_responses is 1; it must be 2 or more"):
        write_samples_page(run, run, max_responses=1)
