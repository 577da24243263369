"""How every benchmark here measures: fresh processes, ours and the rival in turn, ratios of pairs.

CPU-seconds count, not wall time, so that other work on the machine disturbs little.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("torch", "transformers", "lightning", "trl", "accelerate", "numpy")
MIB = 1024
BARE_TRAINER: dict[str, Any] = {  # a run's loop without what it writes and shows
    "accelerator": "cpu",
    "gradient_clip_val": 1.0,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
}

Result = dict[str, Any]


class Meter:
    """CPU-seconds with children, wall seconds and peak memory of what stands in the ``with``.

    ``peak_mib`` is the process's highest resident memory in that time, ``extra_mib`` what of it
    was not there before.
    """

    def __enter__(self) -> Meter:
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # the kernel forgets the older peak
        self._resident = _status("VmRSS")
        self._cpu, self._wall = _cpu_seconds(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu_s = _cpu_seconds() - self._cpu
        self.wall_s = time.perf_counter() - self._wall
        self.peak_mib = _status("VmHWM")
        self.extra_mib = self.peak_mib - self._resident

    def result(self, **more: Any) -> Result:
        """The measured numbers and others beside them."""
        keys = ("cpu_s", "wall_s", "peak_mib", "extra_mib")
        return {**{key: round(getattr(self, key), 4) for key in keys}, **more}


class Ratio(NamedTuple):
    """A quotient over pairs of runs."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def ratio(over: Sequence[Result], under: Sequence[Result], key: str) -> Ratio:
    """``over[i][key] / under[i][key]`` of every pair."""
    quotients = [a[key] / b[key] for a, b in zip(over, under, strict=True)]
    return Ratio(median(quotients), min(quotients), max(quotients))


def fresh_process(module: str, side: str, options: Mapping[str, Any], threads: int = 1) -> Result:
    """Run ``python -m module --side side`` with options; its last line is the result as JSON."""
    command = [sys.executable, "-m", module, "--side", side]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def alternate(
    sides: Sequence[str], run: Callable[[str], Result], pairs: int, warm: int = 1
) -> dict[str, list[Result]]:
    """Results per side of ``pairs`` rounds in turn, after ``warm`` rounds that only warm up."""
    results: dict[str, list[Result]] = {side: [] for side in sides}
    for index in range(-warm, pairs):
        for side in sides if index % 2 else reversed(sides):
            result = run(side)
            if index >= 0:
                results[side].append(result)
            name = "warm-up" if index < 0 else index + 1
            print(f"  {name} {side}: {result}", file=sys.stderr, flush=True)
    return results


def median_of(results: Sequence[Result], key: str) -> float:
    """Median over runs."""
    return median(result[key] for result in results)


def machine() -> Result:
    """Hardware, and versions of what is installed: most rivals are extras."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0],
        "cores": len(names),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES if find_spec(name)},
    }


def report(name: str, setting: Result, rows: Sequence[tuple[str, object]]) -> None:
    """Print a table for people and one line of JSON for programs."""
    print(f"\n{name}: " + ", ".join(f"{key} {value}" for key, value in setting.items()))
    print("machine: " + ", ".join(f"{key} {value}" for key, value in machine().items()))
    width = max(len(label) for label, _ in rows)
    for label, value in rows:
        print(f"  {label:<{width}}  {f'{value:,.4g}' if isinstance(value, float) else value}")
    print(json.dumps({"name": name, **setting, "machine": machine(), "results": dict(rows)}))


def _cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _status(field: str) -> float:
    """A field of /proc/self/status, in MiB."""
    text = Path("/proc/self/status").read_text()
    return int(text.partition(f"{field}:")[2].split()[0]) / MIB
