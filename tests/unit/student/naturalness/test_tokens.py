"""Log-probabilities and ranks in tiles, against all logits at once."""

import pytest
import torch

from nt_lightning.student.loss import Head
from nt_lightning.student.naturalness.tokens import token_scores

VOCAB, WIDTH, ROW = 37, 8, 20


def make(bias=False, scale=1.0, softcap=None):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(VOCAB, WIDTH, generator=generator)
    head = Head(weight, torch.randn(VOCAB, generator=generator) if bias else None, scale, softcap)
    hidden = torch.randn(ROW, WIDTH, generator=generator)
    sources = torch.randint(0, ROW, (15,), generator=generator)
    targets = torch.randint(0, VOCAB, (15,), generator=generator)
    return hidden, sources, targets, head


@pytest.mark.parametrize("tile", [None, (1, 1), (4, 7), (100, 100)])
@pytest.mark.parametrize("num_ranked", [0, 6, 15])
@pytest.mark.parametrize(("bias", "scale", "softcap"), [(False, 1.0, None), (True, 0.5, 3.0)])
def test_tiles_change_nothing(bias, scale, softcap, num_ranked, tile):
    hidden, sources, targets, head = make(bias, scale, softcap)
    logits = head.logits(hidden[sources])
    wanted = logits.gather(1, targets[:, None])
    found = token_scores(hidden, sources, targets, head, num_ranked, tile)
    torch.testing.assert_close(
        found.log_probs, (wanted - logits.logsumexp(1, keepdim=True))[:, 0], atol=1e-5, rtol=1e-5
    )
    assert found.ranks.tolist() == (1 + (logits > wanted).sum(1))[:num_ranked].tolist()


def test_ties_share_the_better_rank():
    head = Head(torch.tensor([[1.0], [2.0], [2.0], [3.0]]))
    found = token_scores(torch.ones(1, 1), torch.zeros(4, dtype=int), torch.arange(4), head, 4)
    assert found.ranks.tolist() == [4, 2, 2, 1]


def test_large_logits_stay_finite():
    head = Head(torch.tensor([[1000.0], [-1000.0], [0.0]]))
    found = token_scores(
        torch.ones(1, 1), torch.zeros(3, dtype=int), torch.arange(3), head, tile=(2, 1)
    )
    assert found.log_probs.tolist() == [0.0, -2000.0, -1000.0]


@pytest.mark.parametrize("num_ranked", [0, 15])
@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda",
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
            ],
        ),
    ],
)
def test_logits_of_half_precision_are_float32(device, num_ranked):
    """What the states and weights of a student in bfloat16 give in float32, not rounded again."""
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(4096, WIDTH, generator=generator).bfloat16().to(device)
    hidden = torch.randn(ROW, WIDTH, generator=generator).bfloat16().to(device)
    sources, targets = torch.arange(15, device=device), torch.arange(15, device=device) * 7
    logits = hidden[sources].double() @ weight.double().T
    found = token_scores(hidden, sources, targets, Head(weight), num_ranked, tile=(4, 70))
    wanted = logits.gather(1, targets[:, None])
    assert found.log_probs.dtype == torch.float32
    torch.testing.assert_close(
        found.log_probs.double(), (wanted - logits.logsumexp(1, True))[:, 0], atol=1e-5, rtol=1e-5
    )
    assert found.ranks.tolist() == (1 + (logits > wanted).sum(1))[:num_ranked].tolist()


def test_nothing_scored():
    hidden, sources, targets, head = make()
    found = token_scores(hidden, sources[:0], targets[:0], head)
    assert found.log_probs.shape == found.ranks.shape == (0,)


def test_a_nan_stays_a_nan():
    hidden, sources, targets, head = make()
    hidden[sources[0]] = float("nan")
    assert token_scores(hidden, sources, targets, head, 3).log_probs[0].isnan()
    assert token_scores(hidden, sources, targets, head).log_probs[0].isnan()
