"""The forecast as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from rich.table import Table

from nt_lightning.forecast.options import gib

PARTS = {
    "weights": "weights",
    "gathered_layers": "layers gathered at one time",
    "gathered_rest": "embeddings and head, gathered",
    "unpacked": "a weight unpacked",
    "gradients": "gradients",
    "buckets": "DDP's buckets",
    "optimizer": "optimizer states",
    "casts": "weights in the dtype computed in",
    "activations": "activations",
    "loss": "loss, in chunks",
    "backward": "backward pass of a layer",
}


def tables(report: Mapping[str, Any]) -> Iterator[Table]:
    """Plan, work and memory of a forecast.

    Args:
        report: What ``forecast.json`` holds.
    """
    yield _table("plan", _plan_rows(report["run"], report["devices"]))
    yield _table("work", _work_rows(report))
    yield _table("memory of a device", _memory_rows(report["memory"]))


def _table(title: str, rows: Mapping[str, str]) -> Table:
    table = Table(title=title, show_header=False, title_justify="left", min_width=60)
    table.add_column()
    table.add_column(justify="right")
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _plan_rows(run: Mapping[str, Any], devices: Mapping[str, Any]) -> dict[str, str]:
    return {
        "traces": f"{run['traces']:,}",
        "tokens of an epoch": f"{run['tokens']:,}",
        "labelled tokens of an epoch": f"{run['labelled_tokens']:,}",
        "longest trace": f"{run['longest']:,}",
        "rows, and how full": f"{run['bins']:,}, {run['fill']:.1%}",
        "rows of a step": f"{run['bins_per_step']:,}",
        "devices": f"{devices['number']} ({devices['strategy']}, {devices['name']})",
        "rows of a device in a step": f"{run['micro_batches']:,}",
        "idle share": f"{run['idle_share']:.1%}",
        "steps of an epoch": f"{run['steps_per_epoch']:,}",
        "steps in all": f"{run['steps']:,} ({run['epochs']:,.4g} epochs)",
    }


def _work_rows(report: Mapping[str, Any]) -> dict[str, str]:
    student, run, time = report["student"], report["run"], report["time"]
    rows = {
        "weights": f"{student['weights']:,}",
        "trained": f"{student['trained']:,}",
        "FLOPs": f"{run['model_flops']:.4g}",
        "FLOPs of recomputation": f"{run['recomputed_flops']:.4g}",
        "FLOPs a token": f"{run['model_flops'] / run['tokens_in_all']:.4g}",
    }
    if time["seconds"] is None:
        return {**rows, "time": "unknown: give --gpu or --peak_tflops"}
    length = str(timedelta(seconds=max(1, round(time["seconds"]))))
    return {
        **rows,
        f"time at {time['mfu']:.0%} MFU": f"{length}, without evaluation",
        "tokens a second, all devices": f"{time['tokens_per_s']:,.0f}",
        "peak used then, recomputation too": f"{time['peak_used']:.0%}",
    }


def _memory_rows(memory: Mapping[str, Any]) -> dict[str, str]:
    room, total = memory["room"], memory["total"]
    rows = {PARTS[name]: gib(size) for name, size in memory["parts"].items() if size}
    rows["in all"] = gib(total)
    rows["of"] = f"{gib(room)} ({total / room:.0%})" if room else "unknown: give --gpu"
    rows["verdict"] = memory["verdict"]
    rows["what a row takes, all activations kept"] = gib(memory["activations_if_kept"])
    rows["what a row takes, recomputed"] = gib(memory["activations_if_recomputed"])
    return rows
