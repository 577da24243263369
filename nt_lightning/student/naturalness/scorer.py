"""The student as a scorer: ``predict`` gives every response of a batch its scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Literal, NoReturn

import numpy as np
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from nt_lightning.errors import UserError
from nt_lightning.evaluation.progress import progress_bar
from nt_lightning.student.head import backbone, base_model, head_of, verify_head
from nt_lightning.student.host_memory import keep_freed_blocks
from nt_lightning.student.loading import load_student
from nt_lightning.student.module import StudentModule
from nt_lightning.student.naturalness import attention
from nt_lightning.student.naturalness.blocks import BlockFiles, block_table
from nt_lightning.student.naturalness.data import ScoringBlock
from nt_lightning.student.naturalness.layout import Ints, ResponsePlan
from nt_lightning.student.naturalness.rows import ScoringBatch, ScoringRow
from nt_lightning.student.naturalness.scores import ResponseScores, response_scores
from nt_lightning.student.naturalness.tokens import TokenScores, token_scores
from nt_lightning.student.naturalness.verify import exact_context, verify_runs
from nt_lightning.student.responses import ResponseSettings


class NaturalnessScorer(StudentModule):
    """Scores responses by a student's own log-probabilities, step by step.

    Args:
        model_name: The student before training: a Hub id, a folder with safetensors, or
            ``smollm2-135m-instruct``.
        dtype: Of the weights and the products; a log-probability is float32 in any case.

    Source: Local Naturalness (arXiv:2510.03988).
    """

    def __init__(
        self,
        model_name: str = "smollm2-135m-instruct",
        dtype: Literal["float32", "bfloat16"] = "float32",
    ) -> None:
        super().__init__(model_name, None, None, False, ResponseSettings())
        self.dtype_name = dtype
        self._progress = ExitStack()
        self._num_done = 0
        self._report: Callable[[int], None] = lambda _: None

    def configure_model(self) -> None:
        """Load the student, and prove that runs behind one question are what they are alone."""
        if self.model is not None:
            return
        attention.register()
        if self.device.type == "cpu":
            keep_freed_blocks()
        model = load_student(self.model_name, dtype=getattr(torch, self.dtype_name))
        verify_head(model)
        verify_runs(model)
        base_model(model).set_attn_implementation(attention.NT_RUNS)
        self.model = model

    @property
    def context(self) -> int:
        """Tokens that the student can read at once; see ``exact_context``."""
        return exact_context(base_model(self.model).config.get_text_config())

    def forward(self, row: ScoringRow) -> Tensor:  # type: ignore[override]
        """Final hidden states [R, D] of a packed row; every run sees its question and itself."""
        return run_states(self.model, row)

    def score_row(self, row: ScoringRow) -> TokenScores:
        """Log-probabilities of a row's scored tokens, and ranks of those that want one."""
        hidden = self(row)
        return token_scores(hidden, row.sources, row.targets, head_of(self.model), row.num_ranked)

    # -- predict ---------------------------------------------------------------------------------

    def on_predict_start(self) -> None:
        """Begin to count."""
        trainer: Any = self.trainer
        self._num_done, world = 0, trainer.world_size
        label = "responses" if world == 1 else f"responses of process 1 of {world}"
        bar = progress_bar(label, trainer.datamodule.num_mine, enabled=trainer.is_global_zero)
        self._report = self._progress.enter_context(bar)

    def predict_step(self, block: ScoringBlock, batch_idx: int) -> None:  # type: ignore[override]
        """Score a block's responses and write them."""
        found = self.score_batch(block.batch)
        files: BlockFiles = self.trainer.datamodule.files  # type: ignore[attr-defined]
        files.write(block.block, block_table(block.traces, found))
        self._num_done += len(found)
        self._report(self._num_done)

    def on_predict_end(self) -> None:
        """There are no files of responses to put together."""

    def close_progress(self) -> None:
        """End the progress bar, also where an error has ended ``predict``."""
        self._progress.close()

    def score_batch(self, batch: ScoringBatch) -> list[ResponseScores]:
        """Scores of a batch's responses, in its order.

        Raises:
            UserError: The student gives a token no finite log-probability; the trace is named.
        """
        borders = np.cumsum([0, *(plan.num_values for plan in batch.plans)])
        values, ranks = np.full(borders[-1], np.nan), np.zeros(borders[-1], dtype=np.int64)
        for number, row in enumerate(batch.rows):
            self._report(self._num_done + len(batch.plans) * number // len(batch.rows))
            if self._trainer is not None and self.trainer.received_sigterm:
                raise SIGTERMException  # Lightning's predict loop does not look
            found = self.score_row(row.to(self.device))
            slots = row.slots.cpu().numpy()
            values[slots] = found.log_probs.cpu().numpy()
            ranks[slots[: row.num_ranked]] = found.ranks.cpu().numpy()
            if not np.isfinite(values[slots]).all():
                bad = slots[~np.isfinite(values[slots])]
                self._refuse(batch.plans, np.searchsorted(borders, bad, side="right") - 1)
        results = []
        for plan, start in zip(batch.plans, borders[:-1], strict=True):
            own = ranks[start : start + len(plan.tokens.response)]
            part = values[start : start + plan.num_values]
            results.append(response_scores(plan, part, own, batch.spec.windows))
        return results

    def _refuse(self, plans: Sequence[ResponsePlan], bad: Ints) -> NoReturn:
        found = [repr(plans[index].tokens.id) for index in np.unique(bad)]
        ids = ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
        raise UserError(
            f"{self.model_name} in {self.model.dtype} gives no finite log-probability to a token "
            f"of trace {ids}; its weights are damaged, or it needs --model.dtype float32"
        )


def run_states(model: Any, row: ScoringRow) -> Tensor:
    """Final hidden states [R, D] of a packed row."""
    with torch.no_grad():
        out = backbone(model)(
            input_ids=row.input_ids,
            position_ids=row.position_ids,
            attention_mask=None,
            use_cache=False,
            run_layout=row.layout,
        )
    return out.last_hidden_state[0]  # type: ignore[no-any-return]
