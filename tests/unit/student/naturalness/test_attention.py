"""Attention behind a shared prefix, against a dense mask."""

import pytest
import torch

from nt_lightning.student.naturalness import attention
from nt_lightning.student.naturalness.attention import RunLayout, Segment, nt_runs, visible

LAYOUTS = {
    "one prefix": (Segment(9, ()),),
    "runs": (Segment(5, (7, 1, 4)),),
    "two segments": (Segment(5, (7, 1)), Segment(0, (6,)), Segment(3, (2, 9, 2))),
    "longer than a chunk": (Segment(20, (150, 70)), Segment(40, (30,))),
    "a run without a token": (Segment(5, (7, 0)), Segment(0, (0,)), Segment(3, (0, 2))),
}


def dense_mask(segments, window):
    """Who sees whom, token by token, [R, R]: the definition."""
    who = [
        (number, run, (prefix if run else 0) + place)
        for number, (prefix, runs) in enumerate(segments)
        for run, length in enumerate((prefix, *runs))
        for place in range(length)
    ]
    return torch.tensor(
        [
            [
                segment == other
                and (run == own or run == 0)
                and place >= at
                and (window is None or place - at < window)
                for other, run, at in who
            ]
            for segment, own, place in who
        ]
    )


def dense(query, key, value, mask, scaling, softcap):
    groups = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    scores = query @ key.transpose(-1, -2) * (scaling or query.shape[-1] ** -0.5)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    return (scores.masked_fill(~mask, float("-inf")).softmax(-1) @ value).transpose(1, 2)


def make(segments, width=8):
    total = sum(prefix + sum(runs) for prefix, runs in segments)
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, heads, total, width, generator=generator) for heads in (4, 2, 2)]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(attention, "CHUNK", 64)


@pytest.mark.parametrize("segments", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("window", [None, 1, 6, 100])
@pytest.mark.parametrize(("scaling", "softcap"), [(None, None), (0.3, None), (0.3, 2.0)])
def test_runs_against_a_dense_mask(segments, window, scaling, softcap):
    query, key, value = make(segments)
    found, _ = nt_runs(None, query, key, value, None, scaling, RunLayout(segments), window, softcap)
    want = dense(query, key, value, dense_mask(segments, window), scaling, softcap)
    torch.testing.assert_close(found, want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("segments", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("window", [None, 1, 6])
def test_mask_mod_is_the_dense_mask(segments, window):
    """What FlexAttention is told, without compiling it."""
    index = RunLayout(segments).index(torch.device("cpu"))
    place = torch.arange(index.shape[1])
    found = visible(index, window)(None, None, place[:, None], place[None])
    assert torch.equal(found, dense_mask(segments, window))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("window", [None, 60, 300])
@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float32, 1e-3), (torch.bfloat16, 3e-2)])
def test_flex_attention_on_a_gpu(window, softcap, dtype, allowed):
    """Rows of many blocks, runs within a block and across them, a torn prefix, none at all."""
    segments = (Segment(200, (150, 70, 0, 1)), Segment(0, (300,)), Segment(40, (30,) * 12))
    inputs = [part.to(dtype) for part in make(segments, 64)]
    on_gpu = [part.cuda() for part in inputs]
    found, _ = nt_runs(None, *on_gpu, None, None, RunLayout(segments), window, softcap)
    exact = [part.float() for part in inputs]
    want = dense(*exact, dense_mask(segments, window), None, softcap)
    torch.testing.assert_close(found.float().cpu(), want, atol=allowed, rtol=allowed)


def test_masks_are_made_once_for_all_layers():
    layout, cpu = RunLayout(LAYOUTS["runs"]), torch.device("cpu")
    assert layout.block_mask(None, cpu) is layout.block_mask(None, cpu)
    assert layout.band(6, cpu) is layout.band(6, cpu)
    assert layout.block_mask(6, cpu) is not layout.block_mask(None, cpu)


def test_no_mask_grows_with_the_square_of_the_row():
    """Two thousand runs of ten tokens: the mask has a chunk's rows and a run's columns."""
    layout = RunLayout((Segment(30, (10,) * 2000),))
    assert layout.band(None, torch.device("cpu")).shape == (40, 80)
    long = RunLayout((Segment(30, (5000,)),))
    assert long.band(None, torch.device("cpu")).shape == (64, 5030 + 64)


def test_without_a_layout_the_row_is_one_prefix():
    query, key, value = make((Segment(9, ()),))
    found, _ = nt_runs(None, query, key, value, None)
    want = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, is_causal=True, enable_gqa=True
    )
    torch.testing.assert_close(found, want.transpose(1, 2), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("rows", "mask"), [(2, None), (1, torch.ones(1, 1, 9, 9))])
def test_padded_batches_are_refused(rows, mask):
    query, key, value = (x.expand(rows, -1, -1, -1) for x in make((Segment(9, ()),)))
    with pytest.raises(ValueError, match="one packed row and no attention mask"):
        nt_runs(None, query, key, value, mask)
