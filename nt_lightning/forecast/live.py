"""Bytes of tensors that live at one time, seen operation by operation."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CASTS = "weights cast"


class LiveBytes(TorchDispatchMode):
    """Counts the storages that operations make, by the phase in which they were made.

    With fake tensors nothing is computed and nothing is allocated.

    Args:
        known: Tensors that were there before: weights and gradients, which are not counted. What
            is cast from one of them is counted as ``CASTS``, in whatever phase.
    """

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()
        self.phase = ""
        self.peaks: dict[str, Counter[str]] = {}
        self._known = {tensor.untyped_storage()._cdata for tensor in known}
        self._alive: set[int] = set()
        self._live: Counter[str] = Counter()

    def enter(self, phase: str) -> None:
        """Begin a phase; its peak is looked for from here on."""
        self.phase = phase
        self.peaks[phase] = Counter(self._live)

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._see(tensor, self._tag(func, args))
        return out

    def _tag(self, func: Any, args: tuple[Any, ...]) -> str:
        is_cast = func is torch.ops.aten._to_copy.default
        if is_cast and args[0].untyped_storage()._cdata in self._known:
            return CASTS
        return self.phase

    def _see(self, tensor: Tensor, tag: str) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._alive or key in self._known:
            return
        size = storage.nbytes()
        self._alive.add(key)
        self._live[tag] += size
        weakref.finalize(storage, self._drop, key, tag, size)
        if self._live.total() > self.peaks[self.phase].total():
            self.peaks[self.phase] = Counter(self._live)

    def _drop(self, key: int, tag: str, size: int) -> None:
        self._alive.discard(key)
        self._live[tag] -= size
