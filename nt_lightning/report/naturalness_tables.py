"""What a selection by naturalness tells of teachers and responses, as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

Report = Mapping[str, Any]


def naturalness_tables(details: Report) -> Iterator[Table]:
    """The choice beside its controls, the ranking of the teachers, and what to be warned of.

    Args:
        details: Those of an audit; other selections' have no such tables.
    """
    if "response_choice" in details:
        report = details["response_choice"]
        yield _controls(report)
        yield from _warnings(report["warnings"])
    if "teacher_choice" in details:
        report = details["teacher_choice"]
        yield _ranking(report["rankings"][0])
        yield _side_by_side(report)
        yield from _warnings(report["warnings"])


def choice_of(control: Report) -> str:
    """What a control is called where there is little room."""
    return str(control["name"].partition(":")[0])


def _controls(report: Report) -> Table:
    """A line for each number and teacher, a column for each choice."""
    score, controls, gain = report["score"], report["controls"], report["gain"]
    caption = (
        f"{score} is better than a random choice's by {gain['total']:.4g}, and by "
        f"{gain['with_shares_held']:.4g} with each teacher's share held (stratified): the rest "
        f"comes from the choice of teachers; {controls[-1]['name']}"
    )
    if controls[-1]["questions"] < controls[0]["questions"]:
        caption += ", for the questions that it has answered: not the same ones"
    table = _table(f"Responses by {score} of {report['student']}, and other choices", caption)
    table.add_column("", overflow="fold")
    for control in controls:
        name = choice_of(control).replace(" ", "\n")
        table.add_column(name, justify="right", no_wrap=True)
    for name, key, form in (
        ("questions", "questions", "{:,}"),
        (f"mean {score}", "mean_score", "{:.4g}"),
        ("mean tokens", "mean_tokens", "{:,.0f}"),
        ("tokens / step", "tokens_per_step", "{:,.1f}"),
    ):
        table.add_row(name, *(form.format(control[key]) for control in controls))
    table.add_row("same response", *(_percent(control["overlap"]) for control in controls))
    table.add_section()
    for teacher in controls[0]["teachers"]:
        table.add_row(teacher, *(_percent(one["teachers"][teacher]) for one in controls))
    return table


def _ranking(ranking: Report) -> Table:
    """Teachers by the score that decides."""
    score, gap = ranking["score"], ranking["gap"]
    caption = f"over the {ranking['common_prompts']:,} questions with {score} for all teachers"
    if gap:
        caption += (
            f"; best minus second: {gap['value']:.4g} ({gap['low']:.4g} to {gap['high']:.4g})"
        )
    table = _table(f"Teachers by {score}", caption)
    table.add_column("", justify="right")
    table.add_column("teacher", overflow="fold")
    for name in (f"mean {score}", "95 % interval", "best with\nprobability"):
        table.add_column(name, justify="right", no_wrap=True)
    for number, one in enumerate(ranking["teachers"], 1):
        interval = f"{one['low']:.4g} to {one['high']:.4g}"
        mean, best = f"{one['mean']:.4g}", _percent(one["best"])
        table.add_row(str(number), one["teacher"], mean, interval, best)
    return table


def _side_by_side(report: Report) -> Table:
    """The ranking by every score, and how it goes with the one that decides."""
    first = report["score"]
    caption = (
        f"teachers by their numbers above; tau: Kendall's of the ranking with that by {first}; "
        f"rho: Spearman's of the responses' scores with {first}; step length: rank correlation of "
        "the score (higher is better) with the tokens per step, over all responses and within "
        "teachers; length: the longer first; an ifd above 1 counts as none"
    )
    table = _table("Rankings by every score", caption)
    table.add_column("score", no_wrap=True)
    table.add_column("best first")
    for name in ("questions", "tau", "rho", "step\nlength", "within\nteachers"):
        table.add_column(name, justify="right", no_wrap=True)
    numbers = {one["teacher"]: n for n, one in enumerate(report["rankings"][0]["teachers"], 1)}
    tau = _with_first(report["rank_correlations"]["kendall"], report["rank_correlations"])
    rho = _with_first(report["score_correlations"]["spearman"], report["score_correlations"])
    lengths = {one["score"]: one for one in report["step_length"]}
    for ranking in report["rankings"]:
        name = ranking["score"]
        order = " ".join(str(numbers[one["teacher"]]) for one in ranking["teachers"])
        length = lengths[name]
        found = (tau[name], rho[name], length["across"], length["within"])
        table.add_row(name, order, f"{ranking['common_prompts']:,}", *map(_signed, found))
    return table


def _with_first(matrix: Sequence[Sequence[float | None]], found: Report) -> dict[str, float | None]:
    return dict(zip(found["scores"], matrix[0], strict=True))


def _warnings(warnings: Sequence[Mapping[str, str]]) -> Iterator[Table]:
    if warnings:
        table = _table("Warnings", "")
        table.show_header = False
        table.add_column("", no_wrap=True)
        table.add_column("", overflow="fold")
        for warning in warnings:
            table.add_row(warning["code"], warning["text"])
        yield table


def _table(title: str, caption: str) -> Table:
    return Table(title=title, caption=caption or None, box=box.HORIZONTALS, pad_edge=False)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"
