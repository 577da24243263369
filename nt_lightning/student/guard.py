"""Steps that must not be taken: NaN, Inf and spikes of the gradient, held back on the device."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from nt_lightning.errors import UserError
from nt_lightning.student.bad_steps import KINDS, BadStep, Step

POLICIES = ("stop", "skip")


@dataclass(frozen=True)
class Guard:
    """What becomes of a step whose gradient is NaN, Inf or a spike; it never changes a weight.

    Its traces are written to ``bad_steps.jsonl`` in the run's folder. A skipped step counts as a
    step: the data and the learning rate go on, the optimizer's moments and own count do not (our
    choice, so that every later step has the traces that it would have had).

    Args:
        policy: ``stop`` ends the run at the first such step, ``skip`` goes on.
        max_skipped: With ``skip``: steps of the whole run that may be skipped; one more ends it.
        spike: A gradient norm above ``spike`` times the median of the last ``window`` steps taken
            is one; ``None``: only NaN and Inf are.
        window: Steps of that median; before as many are taken, there are no spikes.

    Raises:
        UserError: An argument is out of its range.
    """

    policy: Literal["stop", "skip"] = "stop"
    max_skipped: int = 10
    spike: float | None = None
    window: int = 64

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise UserError(
                f"model.guard.policy is {self.policy!r}; allowed: {', '.join(POLICIES)}"
            )
        for name in ("max_skipped", "window"):
            if getattr(self, name) < 1:
                value = getattr(self, name)
                raise UserError(f"model.guard.{name} is {value}; allowed: 1 and more")
        if self.spike is not None and not self.spike > 1:
            raise UserError(f"model.guard.spike is {self.spike}; allowed: more than 1, or null")


class StepGuard:
    """Judges every step on the device; the host learns of it one step later.

    The judgement of a step goes to the optimizer as a tensor, and to the host by a copy that it
    waits for when the next step's work is enqueued: the device is never idle. All ranks wait for
    the same step, so that all of them stop at the same one (asking whether the copy is there
    already would not need the wait, and let one rank go on into a reduction alone). Until the host
    knows that the run ends, the device holds every further step back.

    A loss that is not finite makes the gradient so (the head's is made of the same logits), and
    the gradient is summed over ranks: the norm is all that has to be watched.

    Args:
        settings: What is bad, and how much of it is borne.
    """

    def __init__(self, settings: Guard) -> None:
        self._allowed = settings.max_skipped if settings.policy == "skip" else 0
        self._spike = settings.spike
        self.skipped = torch.zeros(())  # float32 on the device: steps of the run that were bad
        self._ended = torch.zeros(())
        self._norms = torch.full((settings.window,), math.nan)  # of steps taken, the last one last
        self._unread: tuple[Tensor, torch.cuda.Event | None, Step] | None = None

    def judge(self, norm: Tensor, step: Step, *, over_ranks: bool) -> Tensor:
        """Judge a step before it is taken.

        Args:
            norm: Norm of its gradient before clipping, a scalar.
            step: Which it is.
            over_ranks: Whether each rank has computed ``norm`` from gradients of its own, which
                memory may have corrupted on one of them: then all refuse what one refuses.

        Returns:
            1 where the step must not be taken, else 0; float32 scalar on the norm's device.
        """
        self._move(norm.device)
        norm = norm.detach().float()
        if self._spike is None:
            limit = torch.full((), math.inf, device=norm.device)  # a kernel; no copy to wait for
        else:
            limit = self._norms.median() * self._spike
        # a norm that is not finite would break a maximum
        seen = torch.stack(
            [norm.isnan(), norm.isinf(), norm > limit, norm.nan_to_num(0.0, 0.0, 0.0)]
        )
        if over_ranks:
            dist.all_reduce(seen, op=dist.ReduceOp.MAX)
        bad, norm = seen[:3].max(), seen[3]
        self.skipped = self.skipped + bad
        self._ended = torch.maximum(self._ended, bad * (self.skipped > self._allowed))
        if self._spike is not None:
            later = torch.cat([self._norms[1:], norm[None]])
            self._norms = torch.where(bad > 0, self._norms, later)
        self._send(torch.cat([seen, torch.stack([limit, self._ended])]), step)
        return torch.maximum(bad, self._ended)

    def settle(self) -> BadStep | None:
        """What the host did not know yet: the last judged step, if it was bad.

        The host waits for the judgement; a second call answers ``None``.
        """
        if self._unread is None:
            return None
        (values, event, step), self._unread = self._unread, None
        if event is not None:
            event.synchronize()
        *flags, norm, limit, ended = values.tolist()
        kind = next((kind for kind, flag in zip(KINDS, flags, strict=True) if flag), None)
        if kind is None:
            return None
        return BadStep(
            step,
            kind,
            norm if kind == "spike" else None,
            limit if math.isfinite(limit) else None,
            bool(ended),
        )

    def state_dict(self) -> dict[str, Any]:
        """Counts and norms as plain values, for a checkpoint; ``settle`` comes first."""
        norms = [norm for norm in self._norms.tolist() if not math.isnan(norm)]
        return {"skipped": int(self.skipped), "norms": norms}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint was written; the window may be another."""
        self.skipped = torch.tensor(float(state["skipped"]))
        norms = torch.tensor(state["norms"][-len(self._norms) :])
        self._norms = torch.full_like(self._norms, math.nan, device="cpu")
        self._norms[len(self._norms) - len(norms) :] = norms

    def _move(self, device: torch.device) -> None:
        """Put what is kept where the norms are; only the first call does anything."""
        self.skipped, self._ended = self.skipped.to(device), self._ended.to(device)
        self._norms = self._norms.to(device)

    def _send(self, values: Tensor, step: Step) -> None:
        """Begin the copy to the host; from a GPU it goes to pinned memory, behind the kernels."""
        event = None
        copied = values.to("cpu", non_blocking=values.is_cuda)
        if values.is_cuda:
            event = torch.cuda.Event()
            event.record(torch.cuda.current_stream(values.device))
        self._unread = (copied, event, step)
