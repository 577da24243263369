"""Which kernel is chosen, and the per-trace attention against a dense mask."""

import importlib.util
import logging

import pytest
import torch

from nt_lightning.student import attention
from nt_lightning.student.attention import backend_for, choose_backend, nt_varlen


@pytest.mark.parametrize(
    ("device", "dtype", "softcap", "capability", "packages", "name", "why"),
    [
        ("cpu", torch.float32, False, 0, {"flash_attn"}, "nt_varlen", "per-trace SDPA"),
        ("mps", torch.float16, False, 0, set(), "nt_varlen", "per-trace SDPA"),
        ("cuda", torch.float32, False, 9, {"flash_attn"}, "nt_varlen", "do not take"),
        ("cuda", torch.bfloat16, False, 9, {"flash_attn_interface"}, "flash_attention_3", "3 is"),
        ("cuda", torch.bfloat16, False, 8, {"flash_attn_interface"}, "nt_varlen", "torch varlen"),
        (
            "cuda",
            torch.bfloat16,
            True,
            9,
            {"flash_attn", "flash_attn_interface"},
            "flash_attention_2",
            "2 is installed",
        ),
        ("cuda", torch.float16, False, 8, {"flash_attn"}, "flash_attention_2", "2 is installed"),
        ("cuda", torch.bfloat16, False, 9, set(), "nt_varlen", "torch varlen"),
        ("cuda", torch.bfloat16, True, 9, set(), "nt_varlen", "softcap"),
        ("cuda", torch.bfloat16, False, 7, {"flash_attn"}, "nt_varlen", "capability 7"),
    ],
)
def test_dispatch(monkeypatch, device, dtype, softcap, capability, packages, name, why):
    monkeypatch.setattr(attention, "_has", packages.__contains__)
    backend = choose_backend(device, dtype, softcap=softcap, capability=capability)
    assert backend.name == name
    assert why in backend.why


def test_one_log_line_says_which_and_why(caplog):
    class Model:
        class config:
            @staticmethod
            def get_text_config():
                return object()

    with caplog.at_level(logging.INFO):
        backend_for(Model, torch.device("cpu"), torch.float32)
    assert caplog.messages == ["attention: nt_varlen (per-trace SDPA, the exact one on cpu)"]


def dense(query, key, value, borders, window, softcap):
    """Every pair of positions scored, with a T x T mask: the definition."""
    total, groups = query.shape[2], query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, 1) for x in (key, value))
    place = torch.arange(total)
    trace = torch.searchsorted(borders[1:].long(), place, right=True)
    allowed = (trace[:, None] == trace) & (place[:, None] >= place)
    if window is not None:
        allowed &= place[:, None] - place < window
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    return (scores.masked_fill(~allowed, -torch.inf).softmax(-1) @ value).transpose(1, 2)


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("window", [None, 1, 4, 7])
def test_equals_the_dense_mask(window, softcap):
    torch.manual_seed(0)
    borders = torch.tensor([0, 1, 6, 10, 31, 38], dtype=torch.int32)  # up to three windows of 7
    make = lambda heads: torch.randn(1, heads, 38, 8, requires_grad=True)  # noqa: E731
    inputs = (make(4), make(2), make(2))
    ours, _ = nt_varlen(
        None, *inputs, None, cu_seq_lens_q=borders, sliding_window=window, softcap=softcap
    )
    want = dense(*inputs, borders, window, softcap)
    torch.testing.assert_close(ours, want, rtol=1e-5, atol=1e-5)
    weight = torch.randn_like(want)
    for ours_grad, want_grad in zip(
        torch.autograd.grad((ours * weight).sum(), inputs),
        torch.autograd.grad((want * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours_grad, want_grad, rtol=1e-4, atol=1e-5)


def test_a_mask_or_a_second_row_is_refused():
    row = torch.randn(1, 2, 4, 8)
    with pytest.raises(ValueError, match="no attention mask"):
        nt_varlen(None, row, row, row, torch.ones(1, 1, 4, 4))
    with pytest.raises(ValueError, match="one packed row"):
        nt_varlen(None, *(row.repeat(2, 1, 1, 1),) * 3, None)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("window", [None, 64])
def test_the_cuda_kernel_equals_the_dense_mask(window):
    torch.manual_seed(0)
    borders = torch.tensor([0, 100, 300, 512], dtype=torch.int32)
    inputs = [torch.randn(1, heads, 512, 64, dtype=torch.bfloat16) for heads in (8, 2, 2)]
    want = dense(*(x.float() for x in inputs), borders, window, None)
    ours, _ = nt_varlen(
        None,
        *(x.cuda() for x in inputs),
        None,
        cu_seq_lens_q=borders.cuda(),
        max_length_q=212,
        sliding_window=window,
    )
    torch.testing.assert_close(ours.float().cpu(), want, rtol=2e-2, atol=2e-2)


def test_the_probe_for_packages_is_real():
    assert attention._has("torch")
    assert not attention._has("no_such_package")
    assert attention._has("flash_attn") == (importlib.util.find_spec("flash_attn") is not None)


def test_float32_on_the_cpu_also_under_autocast(monkeypatch):
    seen = []
    attend = attention.F.scaled_dot_product_attention

    def spy(query, *args, **kwargs):
        out = attend(query, *args, **kwargs)
        seen.append((query.dtype, out.dtype))
        return out

    monkeypatch.setattr(attention.F, "scaled_dot_product_attention", spy)
    query = torch.randn(1, 2, 5, 8, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        out, _ = nt_varlen(torch.nn.Module(), query, query, query, None)
    assert seen == [(torch.float32, torch.float32)]
    assert out.dtype == torch.bfloat16


def test_under_cuda_autocast_the_kernel_gets_half_precision(monkeypatch):
    """RoPE makes float32 of query and key; a tensor that says it is on CUDA stands for one."""
    seen = []

    class OnCUDA(torch.Tensor):
        is_cuda = True

    def kernel(query, key, value, *rest):
        seen.extend([query.dtype, key.dtype, value.dtype])
        return query

    monkeypatch.setattr(attention, "_torch_varlen", kernel)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda _: True)
    monkeypatch.setattr(torch, "get_autocast_dtype", lambda _: torch.bfloat16)
    query = torch.randn(1, 2, 5, 8).as_subclass(OnCUDA)
    nt_varlen(torch.nn.Module(), query, query, query.bfloat16(), None)
    assert seen == [torch.bfloat16] * 3
