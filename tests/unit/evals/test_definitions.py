"""What holds for every definition: a name of its own, pinned data, no torch."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import evals
from evals.aime import AIME2024, AIME2025
from evals.gpqa_diamond import GPQADiamond
from evals.gsm8k import GSM8K
from evals.math_500 import Math500
from evals.mmlu_pro import MMLUPro
from evals.super_gpqa import SuperGPQA
from nt_lightning.evaluation.benchmark_data import HubBenchmark

HUB = {
    GPQADiamond: ("gpqa_diamond", "Idavidrein/gpqa", "gpqa_diamond", "train", 198),
    MMLUPro: ("mmlu_pro", "TIGER-Lab/MMLU-Pro", None, "test", 12_032),
    SuperGPQA: ("super_gpqa", "m-a-p/SuperGPQA", None, "train", 26_529),
    AIME2024: ("aime_2024", "HuggingFaceH4/aime_2024", None, "train", 30),
    AIME2025: ("aime_2025", "math-ai/aime25", None, "test", 30),
    Math500: ("math_500", "HuggingFaceH4/MATH-500", None, "test", 500),
    GSM8K: ("gsm8k", "openai/gsm8k", "main", "test", 1_319),
}


@pytest.mark.parametrize("benchmark", HUB)
def test_where_it_comes_from(benchmark: type[HubBenchmark]) -> None:
    table = benchmark.table
    assert (benchmark.name, table.name, table.config, table.split, table.size) == HUB[benchmark]
    assert re.fullmatch("[0-9a-f]{40}", table.revision)
    number = 2 if benchmark is Math500 else 1
    assert benchmark().version == f"{number} ({table.name} at {table.revision})"
    assert bool(benchmark.access) == benchmark.is_confidential == (benchmark is GPQADiamond)


def test_none_imports_torch() -> None:
    files = sorted(Path(evals.__file__).parent.glob("*.py"))
    names = [f"evals.{file.stem}" for file in files if file.stem != "__init__"]
    assert len(names) == 8
    code = f"import sys, {', '.join(names)}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
