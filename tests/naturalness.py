"""Scoring in tests: tiny students, random responses, and naturalness as it is defined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from nt_lightning.student.attention import padded_backend
from nt_lightning.student.head import base_model
from nt_lightning.student.naturalness import attention
from nt_lightning.student.naturalness.layout import ResponseTokens, ScoreSpec, plan_response
from nt_lightning.student.naturalness.rows import make_batch
from nt_lightning.student.naturalness.scorer import NaturalnessScorer
from nt_lightning.student.naturalness.scores import ResponseScores

LONG = 10**6


def load_scorer(folder: str, windows: Sequence[int | float]) -> NaturalnessScorer:
    """A scorer with its weights, outside a trainer."""
    scorer = NaturalnessScorer(folder)
    scorer.windows = tuple(windows)
    scorer.configure_model()
    return scorer.eval()


def random_response(
    steps: Sequence[int], prompt: int, vocab: int, seed: int = 0, name: str = "r"
) -> ResponseTokens:
    """Random ids, in steps of so many tokens."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(3, vocab, prompt), rng.integers(3, vocab, sum(steps))
    return ResponseTokens(name, *ids, np.array(steps, dtype=np.int64))


def score(
    scorer: NaturalnessScorer, tokens: Sequence[ResponseTokens], max_tokens: int = LONG, **spec: Any
) -> list[ResponseScores]:
    """Scores of responses that are one batch."""
    wanted = ScoreSpec(scorer.windows, **{"context": scorer.context, **spec})
    plans = [plan_response(one, wanted) for one in tokens]
    return scorer.score_batch(make_batch(plans, wanted, max_tokens))


@torch.no_grad()
def stock_logits(model: Any, ids: Sequence[int]) -> torch.Tensor:
    """The model's own logits [T, V] with its stock attention."""
    inner = base_model(model)
    inner.set_attn_implementation(padded_backend(inner))
    logits = model(input_ids=torch.tensor(ids)[None], use_cache=False).logits[0].float()
    inner.set_attn_implementation(attention.NT_RUNS)
    return logits


def naive_log_probs(
    model: Any, context: Sequence[int], target: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities and ranks of ``target`` behind ``context``, by one plain forward."""
    logits = stock_logits(model, [*context, *target])[len(context) - 1 : -1]
    wanted = logits.gather(1, torch.tensor(target)[:, None])
    log_probs = logits.log_softmax(-1).gather(1, torch.tensor(target)[:, None])[:, 0]
    return log_probs.double().numpy(), (1 + (logits > wanted).sum(1)).numpy()


def naive_step(model: Any, one: ResponseTokens, step: int, window: int) -> float:
    """Mean log-probability of a step behind the question and the ``window`` steps before it."""
    borders = np.concatenate([[0], np.cumsum(one.step_lengths)])
    before = one.response[borders[max(0, step - window)] : borders[step]]
    target = one.response[borders[step] : borders[step + 1]].tolist()
    return float(naive_log_probs(model, [*one.prompt, *before], target)[0].mean())


def naive_local(model: Any, one: ResponseTokens, window: int) -> np.ndarray:
    """``naive_step`` of every step, [p]."""
    return np.array([naive_step(model, one, n, window) for n in range(len(one.step_lengths))])


def assert_same(one: ResponseScores, same: ResponseScores, name: str = "") -> None:
    """Scores within 1e-5, everything else equal."""
    ours, theirs = one.columns(), same.columns()
    assert ours.keys() == theirs.keys()
    for column, value in ours.items():
        if isinstance(value, float):
            assert theirs[column] == pytest.approx(value, rel=1e-5, abs=1e-5), (name, column)
        else:
            assert theirs[column] == value, (name, column)
