"""Runs the command line as a user would, on a tiny student and pool."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests import forked
from tests.tiny import save_tiny_pool, save_tiny_student

ROOT = Path(__file__).parent.parent.parent
RECIPE = """
seed_everything: 1
model:
  class_path: MaskedSFT
  init_args: {{model_name: {student}}}
data:
  class_path: RandomSelection
  init_args: {{pool: {pool}, num_val: 4, max_tokens: 256, tokens_per_step: 512, num_traces: 40}}
trainer:
  accelerator: cpu
  default_root_dir: {runs}
  max_epochs: 2
  log_every_n_steps: 1
  enable_progress_bar: false
  enable_model_summary: false
  callbacks:
    - class_path: callbacks.rng_state.RNGState
    - class_path: callbacks.run_summary.RunSummary
    - class_path: callbacks.throughput.Throughput
    - class_path: callbacks.last_checkpoint.LastCheckpoint
      init_args: {{every_n_train_steps: 3}}
"""


def write_recipe(folder: Path) -> Path:
    """A student, a pool and a recipe in ``folder``."""
    student = save_tiny_student(folder / "student", attention_dropout=0.1)
    pool = save_tiny_pool(folder / "pool")
    recipe = folder / "tiny.yaml"
    recipe.write_text(RECIPE.format(student=student, pool=pool, runs=folder / "runs"))
    return recipe


def _hear_ctrl_c() -> None:
    """A shell's background job ignores SIGINT, and so would all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def nt(*arguments: object, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m nt_lightning``; for several devices it has to be able to start itself."""
    given, environment = [*map(str, arguments)], {**os.environ, **env}
    if "--trainer.devices" in given:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "nt_lightning", *given],
            cwd=ROOT,
            capture_output=True,
            text=True,
            env=environment,
            preexec_fn=_hear_ctrl_c,
        )
    else:
        done = forked.nt_lightning(given, ROOT, environment)
    assert not check or done.returncode == 0, done.stderr[-3000:]
    return done
