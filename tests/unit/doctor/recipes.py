"""What the tests of ``doctor`` examine: tiny students, and some that are broken on purpose."""

from __future__ import annotations

from nt_lightning.data.selections import RandomSelection
from nt_lightning.student.sft import MaskedSFT
from nt_lightning.traces.formatting import EncodedExample, PromptFormatter


class MeanOfMeans(MaskedSFT):
    """Every micro-batch weighs the same, however few labels it has: the bug of many trainers."""

    def training_step(self, batch, batch_idx):
        loss = self.loss_sum(batch)
        parts = self.trainer.accumulate_grad_batches * self.trainer.world_size
        own = max(1, len(loss.per_label))
        return loss.total * (parts / own)


class ForgetsRanks(MaskedSFT):
    """Averages over ranks what is to be summed."""

    def training_step(self, batch, batch_idx):
        scale = self.trainer.accumulate_grad_batches / batch.step_labels
        return self.loss_sum(batch).total * scale


class _Stopless(PromptFormatter):
    def encode(self, examples):
        return [EncodedExample(ids[:-1], start) for ids, start in super().encode(examples)]


class NeverStops(RandomSelection):
    """Its traces have lost their stop token."""

    @property
    def formatter(self):
        whole = super().formatter
        return _Stopless(whole.tokenizer, whole.system_prompt)
