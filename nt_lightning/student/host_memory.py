"""How the C library keeps the memory of training and scoring on the CPU."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # <malloc.h>
_NEVER = 2**31 - 1


def keep_freed_blocks() -> bool:
    """Let glibc use freed blocks again where it would hand large ones back to the system.

    Every micro-batch frees logits and activations and asks for the same sizes again; each page
    that comes from the system anew is cleared by it. Measured on the 31M Llama of
    ``tests/benchmarks/sft_throughput.py``: 3 % (float32) and 8 % (bfloat16) of the CPU time, for
    5 % more resident memory; and on scores of real traces by SmolLM2-135M
    (``tests/benchmarks/naturalness.py``) 6 % (float32).

    Returns:
        Whether the C library took the setting; others than glibc have none and are left alone.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _NEVER))
