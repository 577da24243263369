"""Sampling by given draws."""

from __future__ import annotations

import pytest
import torch

from nt_lightning.evaluation.sampling import sample, uniform_draws


@pytest.mark.parametrize(("top_p", "kept"), [(1.0, 5), (0.9, 4), (0.6, 2), (0.01, 1)])
def test_it_draws_from_the_nucleus(top_p: float, kept: int) -> None:
    """Evenly spread draws meet each token as often as its share of the nucleus."""
    probs = torch.tensor([0.05, 0.4, 0.1, 0.3, 0.15])
    draws = [(i + 0.5) / 2000 for i in range(2000)]
    logits = (probs.log() * 0.5).expand(2000, 5)
    tokens = sample(logits, draws, temperature=0.5, top_p=top_p)
    best = probs.sort(descending=True).indices[:kept]
    expected = torch.zeros(5)
    expected[best] = probs[best] / probs[best].sum()
    share = torch.bincount(tokens, minlength=5) / 2000
    torch.testing.assert_close(share, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("top_p", [1.0, 0.95])
def test_a_draw_at_the_very_end_is_a_token(top_p: float) -> None:
    logits = torch.tensor([[0.0, 0.0, -torch.inf]])
    assert sample(logits, [1 - 2**-24], temperature=1.0, top_p=top_p).item() in (0, 1)


@pytest.mark.parametrize("warn_only", [False, True])
@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_deterministic_algorithms_are_put_aside(
    monkeypatch: pytest.MonkeyPatch, top_p: float, warn_only: bool
) -> None:
    """CUDA has no deterministic running sum, so that it raises; here it is made to."""
    logits, draws = torch.randn(50, 7, generator=torch.Generator().manual_seed(0)), [0.7] * 50
    expected = sample(logits, draws, temperature=1.0, top_p=top_p)
    original, seen = torch.Tensor.cumsum, []

    def as_on_cuda(self: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        seen.append(torch.are_deterministic_algorithms_enabled())
        return original(self, *args, **kwargs)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(torch.Tensor, "cumsum", as_on_cuda)
    torch.use_deterministic_algorithms(True, warn_only=warn_only)
    try:
        assert torch.equal(sample(logits, draws, temperature=1.0, top_p=top_p), expected)
        with pytest.raises(RuntimeError):
            sample(logits, draws[:3], temperature=1.0, top_p=top_p)
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled() is warn_only
    finally:
        torch.use_deterministic_algorithms(False)
    assert seen
    assert not any(seen)
    sample(logits, draws, temperature=1.0, top_p=top_p)
    assert not torch.are_deterministic_algorithms_enabled()


def test_draws_depend_on_seed_and_key() -> None:
    assert uniform_draws(3, "a", 6) == uniform_draws(3, "a", 6)
    assert uniform_draws(3, "a", 6)[:4] == uniform_draws(3, "a", 4)
    assert uniform_draws(3, "a", 6) != uniform_draws(3, "b", 6)
    assert uniform_draws(3, "a", 6) != uniform_draws(4, "a", 6)
    assert all(0 <= draw < 1 for draw in uniform_draws(0, "a", 1000))
