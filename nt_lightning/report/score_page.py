"""The report of a scored pool: a page for the browser, its numbers as JSON, tables to print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rich import box
from rich.table import Table

from nt_lightning.files import replacing_file, write_json
from nt_lightning.report.naturalness_tables import naturalness_tables
from nt_lightning.report.score_figures import score_figures, teachers_of, window_label

Report = Mapping[str, Any]
PAGE = Path(__file__).with_name("score_page.html.jinja")
POSITIVE, NEGATIVE = "0 114 178", "213 94 0"  # Okabe and Ito's blue and vermilion
FULL = 0.5  # opacity at the end of a scale: text on it stays readable on light and dark pages
PRINTED = 8  # teachers with a column of their own in the table of windows


def write_score_page(report: Report, folder: Path) -> Path:
    """Write a report as ``naturalness.html`` and ``naturalness.json``, each whole or not at all.

    The page needs no other file, no network and no script; texts of traces stand in it as text.

    Args:
        report: What ``score_report`` returns, and in ``steps`` what ``extreme_steps`` returns.
        folder: Where they go; older ones there are replaced.

    Returns:
        The page.
    """
    page = render_score_page(report)
    write_json(folder / "naturalness.json", report)
    path = folder / "naturalness.html"
    with replacing_file(path) as partial:
        partial.write_text(page, encoding="utf-8")
    return path


def render_score_page(report: Report) -> str:
    """The page of ``write_score_page`` as HTML."""
    environment = Environment(
        loader=FileSystemLoader(PAGE.parent),
        autoescape=True,  # whatever the ending of the template's name
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    figures = dict.fromkeys(("ranking", "distributions", "windows", "lengths"))
    told = report["teachers"] or report
    steps = report.get("steps", {})
    return environment.get_template(PAGE.name).render(
        report=report,
        score=report["score"],
        student=report["student"],
        facts=list(_facts(report)),
        warnings=[_sentence(warning["text"]) for warning in told["warnings"]],
        figures=figures | score_figures(report),
        ranks=_ranks(report["teachers"]) if report["teachers"] else None,
        correlations=_correlations(report, told["score_correlations"]),
        quantiles=list(_quantiles(report)),
        extremes=[(name, steps[name]) for name in ("most", "least") if name in steps],
    )


def score_tables(report: Report) -> Iterator[Table]:
    """The teachers, or why they are not compared, warnings, and the windows.

    Args:
        report: What ``score_report`` returns.
    """
    if report["teachers"] is not None:
        yield from naturalness_tables({"teacher_choice": report["teachers"]})
    else:
        table = _table("Teachers are not compared", "")
        table.add_column("", overflow="fold")
        for text in (report["not_compared"], *(one["text"] for one in report["warnings"])):
            table.add_row(_sentence(text))
        yield table
    yield _window_table(report)


def _window_table(report: Report) -> Table:
    """A line for each window; teachers by their numbers where they were compared."""
    windows = report["windows"]
    caption = f"over the {windows[0]['responses']:,} responses that have every window"
    names = [one.name for one in teachers_of(report)[:PRINTED]] if report["teachers"] else []
    if names:
        caption += "; teachers by their numbers above"
    table = _table("Local naturalness by window", caption)
    labels = ("window", "mean", *map(str, range(1, len(names) + 1)), "rank correlation\nwith last")
    for label in labels:
        table.add_column(label, justify="right", no_wrap=True)
    for one in windows:
        means = (one["mean"], *(one["teachers"][name] for name in names))
        correlation = _signed(one["rank_correlation"])
        table.add_row(window_label(one["window"]), *map(_number, means), correlation)
    return table


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    """What was scored, how, and what was not."""
    made = report["made_by"]
    if "model_fingerprint" in made:
        yield "weights", made["model_fingerprint"][:16]
    if "dtype" in made:
        yield "dtype", made["dtype"]
    if "splitter" in made:
        splitter = made["splitter"]
        given = ", ".join(f"{name}={value!r}" for name, value in splitter["arguments"].items())
        yield "steps", f"{splitter['class']}({given})"
    labels = [window_label(one["window"]) for one in report["windows"]]
    yield "windows", f"{', '.join(labels)}; the score is that of the last"
    for key, name in (("scored_text", "text"), ("pool_digest", "pool"), ("created", "scored")):
        if key in made:
            yield name, str(made[key])[:19]
    yield "teachers", f"{len(report['points']['teachers']):,}"
    yield f"without {report['score']}", f"{report['unscored']:,}"
    for reason, count in report["incomplete"].items():
        yield "without some score", f"{count:,}: {reason}"


def _ranks(teachers: Report) -> dict[str, Any]:
    """Rank and mean of each teacher under each score, best first under the one that decides."""
    rankings = teachers["rankings"]
    places = [
        {one["teacher"]: (rank, one["mean"]) for rank, one in enumerate(ranking["teachers"], 1)}
        for ranking in rankings
    ]
    lines = []
    for number, name in enumerate(places[0], 1):
        cells = []
        for found in places:
            rank, mean = found[name]
            share = 1 - (rank - 1) / max(len(found) - 1, 1)
            cells.append((rank, _number(mean), _colour(POSITIVE, share * FULL)))
        lines.append((f"{number}  {name}", cells))
    like = dict(
        zip(
            teachers["rank_correlations"]["scores"],
            teachers["rank_correlations"]["kendall"][0],
            strict=True,
        )
    )
    names = [ranking["score"] for ranking in rankings]
    arrows = ["↓" if ranking["lower_is_better"] else "" for ranking in rankings]
    return {
        "scores": [f"{name} {arrow}".strip() for name, arrow in zip(names, arrows, strict=True)],
        "lines": lines,
        "below": [
            ("questions", [f"{ranking['common_prompts']:,}" for ranking in rankings]),
            ("Kendall", [_signed(like[name]) for name in names]),
        ],
    }


def _correlations(report: Report, found: Report) -> dict[str, Any]:
    """The matrix of rank correlations as cells, and a column for the tokens per step."""
    per_step = {one["score"]: one["tokens_per_step"] for one in report["lengths"]}
    lines = [
        (name, [_heat(value) for value in (*values, per_step.get(name))])
        for name, values in zip(found["scores"], found["spearman"], strict=True)
    ]
    return {"columns": [*found["scores"], "tokens per step"], "lines": lines}


def _quantiles(report: Report) -> Iterator[tuple[str, list[tuple[str, list[str]]]]]:
    """Cells of each score by teacher; the score that decides is the first."""
    found, main = report["distributions"], report["score"]
    names = [one.name for one in teachers_of(report)]
    for score in (main, *(name for name in found if name != main)):
        lines = []
        for number, name in enumerate(names, 1):
            own = found[score][name]
            marks: Sequence[float | None] = own["quantiles"] or [None] * 5
            cells = [f"{own['responses']:,}", *map(_number, (own["mean"], *marks))]
            lines.append((f"{number}  {name}", cells))
        yield score, lines


def _heat(value: float | None) -> tuple[str, str]:
    """Text and style of a correlation's cell."""
    if value is None:
        return "–", ""
    return f"{value:.2f}", _colour(POSITIVE if value > 0 else NEGATIVE, abs(value) * FULL)


def _colour(colour: str, opacity: float) -> str:
    return f"background: rgb({colour} / {100 * opacity:.0f}%)"


def _sentence(text: str) -> str:
    """With its stop, and a capital unless it begins with the name of a score."""
    begin = text[:1].upper() if text.partition(" ")[0].isalpha() else text[:1]
    return f"{begin}{text[1:]}{'' if text.endswith('.') else '.'}"


def _table(title: str, caption: str) -> Table:
    return Table(title=title, caption=caption or None, box=box.HORIZONTALS, pad_edge=False)


def _number(value: float | None) -> str:
    """Four digits, or all before the point."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:#.4g}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"
