"""The result of an evaluation whose responses lie on several ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from nt_lightning.evaluation.benchmark import Problem
from nt_lightning.evaluation.responses import Responses, responses_of
from nt_lightning.evaluation.results import Sample
from nt_lightning.evaluation.summary import Result, summarise


class EvaluationMetric(Metric):
    """Gathers the responses of all ranks, as numbers, and gives every rank the same result.

    No text travels: problems go by their index, answers by a hash. Ranks may have any number of
    responses, none included. The result is that of ``aggregate`` over all samples, to the bit, and
    knows besides how many came from the cache.

    Args:
        problems: All problems of the benchmark that are asked, equal on all ranks.
        benchmark: Name of the benchmark.
        mode: Think mode.
        stage: ``before``, ``after``, ``step-<n>`` or ``test``.
        step: Optimizer steps done.
    """

    is_differentiable = False
    full_state_update = False
    rows: list[Tensor]
    num_reused: Tensor

    def __init__(
        self, problems: Sequence[Problem], *, benchmark: str, mode: str, stage: str, step: int
    ) -> None:
        super().__init__()
        domain_of = {problem.id: problem.domain for problem in problems}
        self._places = {name: place for place, name in enumerate(sorted(domain_of))}
        self._domains = [domain_of[name] for name in self._places]
        self._labels = {"benchmark": benchmark, "mode": mode, "stage": stage}
        self._step = step
        self.add_state("rows", default=[], dist_reduce_fx="cat")
        self.add_state("num_reused", default=torch.tensor(0), dist_reduce_fx="sum")
        self.reset()

    def reset(self) -> None:
        """Forget all samples."""
        super().reset()
        # A rank whose list is empty would take part in the gathering with another type and shape.
        self.rows.append(self._on_device(responses_of([], self._places)))

    def update(self, samples: Sequence[Sample], num_reused: int = 0) -> None:
        """Add this rank's own samples.

        Args:
            samples: Any number of them.
            num_reused: How many of their responses came from the cache.

        Raises:
            UserError: One is to a problem that is not asked.
        """
        self.rows.append(self._on_device(responses_of(samples, self._places)))
        self.num_reused += num_reused

    def compute(self) -> Result:
        """The result of all samples on all ranks; called by all of them.

        Raises:
            UserError: Two samples have one problem and repeat, as where ranks overlap.
        """
        rows = torch.cat(self.rows) if isinstance(self.rows, list) else self.rows
        responses = Responses(*rows.cpu().numpy().T)
        result = summarise(responses, self._domains, **self._labels, step=self._step)
        return replace(result, num_reused=int(self.num_reused))

    def _on_device(self, responses: Responses) -> Tensor:
        return torch.from_numpy(np.stack(responses, axis=1)).to(self.device)
