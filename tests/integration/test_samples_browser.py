"""The page of responses in a real browser: Chromium without a window, over its own protocol."""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evals.gsm8k import GSM8K
from nt_lightning.evaluation.judging import Asked, judge
from nt_lightning.report.samples_page import write_samples_page
from tests.integration.browser import CHROMIUM, Browser
from tests.integration.real_data import real_file
from tests.unit.report.test_samples_page import EVIL, row, store

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    one = Browser(tmp_path_factory.mktemp("chromium"))
    yield one
    one.close()


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """Ninety responses of two benchmarks, three modes and all outcomes."""
    made = []
    outcomes = ("answered", "answered", "looped", "truncated", "unparsed")
    for n in range(90):
        outcome = outcomes[n % 5]
        is_answered = outcome == "answered"
        made.append(row(
            benchmark=("math_500", "sums")[n % 2], problem_id=f"p{n}",
            mode=("no_think", "adaptive", "think")[n % 3],
            domain=("algebra", "geometry")[n % 7 > 3],
            outcome=outcome, correct=n % 4 == 1 if is_answered else None, num_tokens=1000 - 7 * n,
            rule="answer_colon" if is_answered else None, answer="2" if is_answered else None,
            span=[8, 9] if is_answered else None, obedient=(True, None, False)[n % 3],
            prompt=f"What is the double of {n}?",
        ))  # fmt: skip
    return made


@pytest.fixture(scope="module")
def page(rows, tmp_path_factory) -> Path:
    return write_samples_page(store(tmp_path_factory.mktemp("run"), rows))


VALUES = {
    "benchmark": lambda r: r["benchmark"],
    "mode": lambda r: r["mode"],
    "outcome": lambda r: r["outcome"],
    "verdict": lambda r: {True: "right", False: "wrong", None: "none"}[r["correct"]],
    "rule": lambda r: r["rule"] or "none",
    "domain": lambda r: r["domain"],
    "obedient": lambda r: {True: "yes", False: "no", None: "no rule"}[r["obedient"]],
}


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"benchmark": "math_500", "outcome": "looped"},
        {"mode": "think", "verdict": "wrong"},
        {"verdict": "right", "outcome": "looped"},  # nothing passes
        {"obedient": "no rule", "domain": "geometry", "rule": "none"},
    ],
)
def test_lists_and_counts_follow_the_filters(browser, page, rows, chosen):
    browser.open(page, "#" + "&".join(f"{name}={value}" for name, value in chosen.items()))

    def passing(but: str | None = None) -> list[dict[str, Any]]:
        wanted = {name: value for name, value in chosen.items() if name != but}
        return [r for r in rows if all(VALUES[name](r) == v for name, v in wanted.items())]

    ids = browser.texts("#list .id")
    assert sorted(ids) == sorted(r["problem_id"] for r in passing())
    assert browser.texts("#count") == [f"{len(ids)} of 90"]
    shown = browser.value(
        "[...document.querySelectorAll('#facets button')].map(b => [b.dataset.facet,"
        " b.dataset.value, b.lastChild.textContent, b.getAttribute('aria-pressed')])"
    )
    for facet, of in VALUES.items():
        counts = Counter(map(of, passing(but=facet)))
        for name, value, number, pressed in shown:
            if name == facet:
                assert int(number) == counts[value], (name, value)
                assert pressed == str(chosen.get(name) == value).lower()
    assert {name for name, *_ in shown} == set(VALUES)
    assert (browser.texts("#detail .missing") == []) == bool(ids)


def test_a_click_filters_and_another_lifts_it(browser, page):
    browser.open(page, "#open=0")
    assert browser.texts("#detail h2") == ["p0"]
    browser.click("button[data-facet=outcome][data-value=looped]")
    assert browser.state() == {"outcome": "looped"}  # p0 is not among them
    first = browser.texts("#list .id")[0]
    assert browser.texts("#detail h2") == [first]
    browser.click("button[data-facet=outcome][data-value=looped]")
    assert browser.state() == {}
    browser.click("#list li:nth-child(3) a")
    kept = browser.state()["open"]
    browser.click("button[data-facet=benchmark][data-value=math_500]")
    assert browser.state() == {"benchmark": "math_500", "open": kept}
    browser.click("#clear")
    assert browser.state() == {"open": kept}


def test_keys_and_links(browser, page):
    browser.open(page, "#outcome=looped&sort=longest")
    ids = browser.texts("#list .id")
    tokens = [1000 - 7 * int(name[1:]) for name in ids]
    assert len(ids) == 18
    assert tokens == sorted(tokens, reverse=True)
    for key, expected in [("j", 1), ("ArrowDown", 2), ("j", 3), ("k", 2), ("ArrowUp", 1)]:
        browser.press(key)
        assert browser.texts("#detail h2") == [ids[expected]]
        assert browser.texts("#list [aria-current] .id") == [ids[expected]]
    for _ in range(20):
        browser.press("j")
    assert browser.texts("#detail h2") == [ids[-1]]
    link = browser.value("location.hash")
    browser.open(page, link)
    assert browser.texts("#detail h2") == [ids[-1]]
    assert browser.texts("#list .id") == ids


def test_search_reads_ids_questions_and_responses(browser, rows, tmp_path):
    texts = [r | {"response": f"Answer: 2 ({r['problem_id']}-END)"} for r in rows]
    page = write_samples_page(store(tmp_path, texts))
    cases = {"P17": ["p17"], "double of 23?": ["p23"], "p5-end": ["p5"], "(p7-": ["p7"], "[": []}
    browser.open(page)
    for query, expected in cases.items():
        browser.press("/")
        browser.value("document.getElementById('query').select()")
        browser.send("Input.insertText", text=query)
        asked = "new URLSearchParams(location.hash.slice(1)).get('q')"
        browser.wait(f"{asked} === {json.dumps(query)}")
        browser.settle()
        assert browser.texts("#list .id") == expected
        assert browser.texts("#count") == [f"{len(expected)} of 90"]
        browser.press("Escape")


FORMULAS = [
    ("a $x^2$ b", ["x^2"], []),
    (r"\(x\) and \[y\] and $$z$$", ["x", "y", "z"], []),
    ("$5 and $6", [], []),
    ("pay $20,000 and then $30,000 more", [], []),
    ("$5-$6 each", [], []),
    ("$ x$ and $x $", [], []),
    (r"costs \$5, so $n=5$ and \$6", ["n=5"], []),
    (r"$a\$b$", [r"a\$b"], []),
    ("$a\nb$ but $a\n\nb$", ["a\nb"], []),
    (r"so \boxed{\frac{1}{2}} it is", [r"\boxed{\frac{1}{2}}"], []),
    (r"\boxed{3 and $x", [], []),
    (r"\[a \boxed{3}\]", [r"a \boxed{3}"], []),
    (r"\begin{align*}a&=b\\c&=d\end{align*}", [r"\begin{align*}a&=b\\c&=d\end{align*}"], []),
    (r"`$x$` and ```" + "\n$y$\n``` and $z$", ["z"], []),
    ("[asy] draw($x$); [/asy] $y$", ["y"], []),
    (r"$\frac{1}{$ and $\nosuchcommand$", [], [r"$\frac{1}{$", r"$\nosuchcommand$"]),
    (r"$\def\x{\x\x}\x$ then $y$", ["y"], [r"$\def\x{\x\x}\x$"]),
    (r"$\href{javascript:alert(1)}{x}$ then $y$", ["y"], None),
    (r"\[\n\]", [r"\n"], None),
    ("$$ $$", [], []),
    ("$🙂$ $b$", ["🙂", "b"], []),
]


def test_formulas(browser, page):
    browser.open(page)
    for text, formulas, broken in FORMULAS:
        browser.value(
            f"samplesText.show(document.getElementById('detail').appendChild(Object.assign("
            f"document.createElement('div'), {{id: 'try'}})), {json.dumps(text)})"
        )
        shown = browser.value(
            "[...document.querySelectorAll('#try .formula')].filter(e => e.querySelector('math'))"
            ".map(e => e.title)"
        )
        sources = browser.texts("#try .broken")
        if broken is None:
            assert browser.value("document.querySelectorAll('#try a').length") == 0
            assert set(formulas) >= set(shown) - {formulas[0]}
        else:
            assert (shown, sources) == (formulas, broken), text
        if not formulas and not sources:
            assert browser.texts("#try") == [text]
        browser.value("document.getElementById('try').remove()")


LOOPS = ["$", "$a", r"\(", r"\[", "$$", r"\boxed{", "`", "```", "[asy]", r"\begin{array}",
         "$5 and ", r"\$", "$x$ ", r"{\boxed{"]  # fmt: skip


@pytest.mark.parametrize("piece", LOOPS)
def test_looped_responses_are_shown_soon(browser, page, piece):
    browser.open(page)
    count = 110_000 // len(piece)
    seconds = browser.value(
        f"(() => {{ const text = {json.dumps(piece)}.repeat({count});"
        " const start = performance.now();"
        " samplesText.show(document.createElement('div'), text);"
        " return (performance.now() - start) / 1000; })()"
    )
    assert seconds < 8


RESPONSES = [
    ("so Answer: 2 of", (11, 12), "2", "mark"),
    (r"<think>2?</think> $\boxed{2}$ ok", (26, 27), "2", ".extracted"),
    (r"thus \boxed{\frac{1}{2}}.", (12, 23), "12", ".extracted"),
    (r"$x^2$ it is", (3, 4), "x2", ".extracted"),  # a mark behind ^ would change the formula
    ("🙂🙂 **(B)** 🙂", (6, 7), "B", "mark"),
]


@pytest.mark.parametrize(("response", "span", "shown", "selector"), RESPONSES)
def test_the_extracted_answer_is_marked(browser, tmp_path, response, span, shown, selector):
    answer = response[slice(*span)]
    one = row(response=response, span=list(span), answer=answer, correct=False)
    browser.open(write_samples_page(store(tmp_path, [one])))
    found = browser.texts(f".final {selector}")
    assert [text.replace("\u2062", "") for text in found] == [shown]


def test_reasoning_is_folded_apart(browser, tmp_path):
    think = "<think>Let $y$ be.</think>\n\nIt is $x$."
    rows = [row(problem_id="a", response=think, span=None),
            row(problem_id="b", response="<think>$z$ and on", span=None)]  # fmt: skip
    page = write_samples_page(store(tmp_path, rows))
    browser.open(page, "#open=0")
    assert browser.texts(".final") == ["It is x."]
    is_open = "document.querySelector('.reasoning').open"
    assert browser.value(is_open) is False
    assert browser.value("document.querySelectorAll('.reasoning math').length") == 0  # lazily
    browser.press("r")
    assert browser.value(is_open) is True
    assert browser.texts(".reasoning .text") == ["<think>Let y be.</think>"]
    assert browser.state()["reasoning"] == "1"
    browser.click(".reasoning summary")
    assert browser.value(is_open) is False
    browser.press("j")
    browser.wait("document.querySelector('.reasoning math') !== null")
    assert browser.value(is_open) is True  # there is nothing else
    browser.click(".head input")
    browser.wait("document.querySelector('.reasoning .text')?.textContent.includes('$z$')")


def test_two_runs_side_by_side(browser, rows, tmp_path):
    flipped = [r | {"correct": n % 3 == 0, "outcome": "answered", "response": "B says 2"}
               for n, r in enumerate(rows)]  # fmt: skip
    first, second = store(tmp_path / "one", rows), store(tmp_path / "two", flipped[:80])
    page = write_samples_page(first, second)
    a = {r["problem_id"]: r["correct"] is True for r in rows}
    b = {r["problem_id"]: r["correct"] is True for r in flipped[:80]}
    expected = {
        "only-b": {p for p in b if b[p] and not a[p]},
        "only-a": {p for p in b if a[p] and not b[p]},
        "both": {p for p in b if a[p] and b[p]},
        "neither": {p for p in b if not a[p] and not b[p]},
        "alone": set(a) - set(b),
    }
    assert all(expected.values())
    for name, ids in expected.items():
        browser.open(page, f"#pair={name}")
        assert set(browser.texts("#list .id")) == ids
        assert browser.texts(".response h3") == ["A one", "B two"]
        if name == "alone":
            assert browser.texts(".response .missing") == [
                "This run has no response to this question."
            ]
        else:
            assert browser.texts(".response:last-child .final") == ["B says 2"]
    left, right = browser.value(
        "[...document.querySelectorAll('.response')].map(e => e.getBoundingClientRect().left)"
    )
    assert right > left + 200


def test_texts_never_run_and_nothing_is_loaded(browser, tmp_path):
    names = ("problem_id", "prompt", "response", "answer", "rule", "reference_answer", "domain")
    attack = EVIL.replace("alert(", "window.ran = (") + "$<img src=x onerror='window.ran=1'>$"
    rows = [row(**dict.fromkeys(names, attack), span=[0, 20]),
            row(problem_id="next", domain="other")]  # fmt: skip
    page = write_samples_page(store(tmp_path / "<b onclick=ran>", rows))
    browser.open(page, "#open=0")
    browser.settle()
    assert browser.value("typeof window.ran") == "undefined"
    assert browser.texts("#detail h2") == [attack]
    assert browser.texts("#list .id")[0] == attack
    head = attack.partition("$<")[0]
    assert browser.texts(".final")[0].startswith(head)
    assert browser.value("document.querySelectorAll('img, b').length") == 0
    requests = [e["params"]["request"]["url"] for e in browser.events
                if e["method"] == "Network.requestWillBeSent"]  # fmt: skip
    assert {url.partition("#")[0] for url in requests} <= {"about:blank", page.as_uri()}
    bad = [e for e in browser.events
           if e["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")]  # fmt: skip
    assert bad == []


def test_the_policy_stops_what_escaping_would_miss(browser, page):
    browser.open(page)
    browser.value(
        "document.body.insertAdjacentHTML('beforeend', "
        "\"<img src='http://127.0.0.1:9/x.png' onerror='window.ran = 1'>\")"
    )
    browser.value(
        "document.body.append(Object.assign(document.createElement('script'),"
        " {textContent: 'window.ran = 2'}))"
    )
    browser.settle()
    assert browser.value("typeof window.ran") == "undefined"
    said = [e["params"]["entry"]["text"] for e in browser.events if e["method"] == "Log.entryAdded"]
    assert sum("Content Security Policy" in text for text in said) >= 2


def test_confidential_and_empty_responses(browser, tmp_path):
    rows = [row(problem_id="a", prompt="", response="", span=[5, 6]),
            row(problem_id="b", response="", span=None, answer=None)]  # fmt: skip
    page = write_samples_page(store(tmp_path, rows))
    browser.open(page, "#open=0")
    assert browser.texts("#detail .missing") == ["not stored: the benchmark is confidential"] * 2
    browser.press("j")
    assert browser.texts("#detail .missing") == ["an empty response"]


def test_without_javascript_the_page_says_where_to_read(browser, page):
    browser.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.send("Page.navigate", url="about:blank")
        browser.send("Page.navigate", url=page.as_uri())
        tree = ""
        end = time.monotonic() + 20
        while "evaluation" not in tree and time.monotonic() < end:
            nodes = browser.send("Accessibility.getFullAXTree")["nodes"]
            tree = " ".join(str(n.get("name", {}).get("value", "")) for n in nodes)
        assert "a JSON line each" in tree
        assert "Search in ids" not in tree
    finally:
        browser.send("Emulation.setScriptExecutionDisabled", value=False)


def test_a_narrow_window_needs_no_scrolling_sideways(browser, page):
    browser.send(
        "Emulation.setDeviceMetricsOverride",
        width=420,
        height=900,
        deviceScaleFactor=1,
        mobile=False,
    )
    try:
        browser.open(page, "#open=3")
        assert browser.value("document.documentElement.scrollWidth") <= 420
        assert browser.value("document.getElementById('filters').open") is False
    finally:
        browser.send("Emulation.clearDeviceMetricsOverride")


def test_all_that_can_be_used_has_a_name(browser, page):
    browser.open(page, "#open=3")
    nodes = browser.send("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "link", "searchbox", "combobox", "checkbox", "group", "image", "list"}
    used = [n for n in nodes if n.get("role", {}).get("value") in roles and not n.get("ignored")]
    assert len(used) > 40
    nameless = [n for n in used if not n.get("name", {}).get("value")]
    assert [n["role"]["value"] for n in nameless if n["role"]["value"] != "group"] == []


@pytest.fixture(scope="module")
def real_run(tmp_path_factory) -> Path:
    """Real responses of R1 to GSM8K, judged as in an evaluation."""
    answers = json.loads(real_file(
        "mip_overthinking", "response", "gsm8k", "normal", "deepseekR1", "response.json"
    ).read_text())  # fmt: skip
    replies = {one["question"].strip(): one["deepseek-reasoner (question)"] for one in answers}
    benchmark = GSM8K(path=str(real_file("gsm8k", "test.jsonl")))
    problems = [p for p in benchmark.problems() if p.metadata["stem"] in replies][:100]
    run = tmp_path_factory.mktemp("real")
    samples = (
        judge(benchmark, Asked(p, 0, "think", p.question), "<think>" + replies[p.metadata["stem"]],
              num_tokens=100, finish_reason="stop", stage="after")
        for p in problems
    )  # fmt: skip
    return store(run, [dataclasses.asdict(sample) for sample in samples])


def test_real_responses(browser, real_run):
    page = write_samples_page(real_run)
    browser.open(page, "#reasoning=1")
    num_formulas = 0
    for number in range(100):
        browser.wait(
            f"document.querySelector('#list a[data-number=\"{number}\"][aria-current]') !== null"
        )
        answer = browser.texts("#detail .found-answer")
        marked = browser.value("document.querySelectorAll('.final mark, .final .extracted').length")
        assert marked == (1 if answer else 0), number
        assert browser.texts("#detail .broken") == [], number
        num_formulas += browser.value("document.querySelectorAll('.final math').length")
        browser.press("j")
    assert num_formulas > 100
    assert [e for e in browser.events if e["method"] == "Runtime.exceptionThrown"] == []


@pytest.mark.slow
def test_a_large_page(browser, real_run, tmp_path):
    """2,000 responses of 20,000 characters of real text: below 25 MB, open within ten seconds."""
    lines = (real_run / "evaluation" / "after" / "gsm8k-think.jsonl").read_text().splitlines()
    text = " ".join(json.loads(line)["response"] for line in lines)
    rows = [row(problem_id=f"p{n}", response=text[(start := 1373 * n % (len(text) - 20_000)):
                start + 20_000], span=None) for n in range(2000)]  # fmt: skip
    page = write_samples_page(store(tmp_path, rows))
    assert page.stat().st_size < 25e6
    start = time.monotonic()
    browser.open(page)
    assert time.monotonic() - start < 10
    assert len(browser.texts("#list .id")) == 2000
