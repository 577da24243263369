"""The base of all selections: a pool becomes packed batches whose steps are known beforehand."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from nt_lightning.data.assemble import (
    Wanted,
    assemble,
    cache_folder,
    filled_modes,
    open_pool,
    pick,
)
from nt_lightning.data.audit import write_audit
from nt_lightning.data.batch import PackedTraces
from nt_lightning.data.budget import Budget
from nt_lightning.data.certificate import CERTIFICATE, certify, refuse_uncertified
from nt_lightning.data.choose import Responses, one_per_question
from nt_lightning.data.filters import Filters
from nt_lightning.data.identity import identity_of, own_arguments
from nt_lightning.data.loader import PlanSampler, ResumableLoader, data_ranks
from nt_lightning.data.mixing import Mixing
from nt_lightning.data.plan import EpochPlan, Ints, plan_epoch
from nt_lightning.data.prepare import OnLong, load_tokenised, read_info
from nt_lightning.data.questions import question_loader
from nt_lightning.data.selected import Selected
from nt_lightning.data.show import show_examples
from nt_lightning.data.vectors import PREFIX
from nt_lightning.errors import UserError
from nt_lightning.files import replacing_folder, write_json
from nt_lightning.models import load_tokenizer
from nt_lightning.traces.formatting import PromptFormatter
from nt_lightning.traces.modes import ThinkModes
from nt_lightning.traces.pool import QUESTION_KEY, Pool, PoolMaker

log = logging.getLogger(__name__)
QUESTIONS_AT_A_TIME = 64


class TraceDataModule(LightningDataModule, ABC):
    """Traces of a pool, selected, mixed, tokenised and packed into optimizer steps.

    A subclass is one selection: it overrides ``select`` and, where it reads more than ids,
    ``selection_columns``. One that chooses among the responses to a question, too, overrides
    ``responses``.

    Args:
        pool: Folder of a pool, or what makes one (``class_path`` in a recipe); a made pool is kept
            in the cache. A selection that is a part of another has none.
        model_name: The student, whose tokenizer and template render the traces; linked from the
            model in the command line.
        num_traces: Traces to train on; ``None`` takes what the selection's rule keeps, such as all.
        num_tokens: Instead of ``num_traces`` the tokens of their responses, as the teacher wrote
            them (``response_tokens``), to compare selections at equal cost.
        num_val: Traces kept apart, by question, for the validation loss.
        mixing: Which examples are System-2.
        modes: The think modes.
        filters: What is left out before anything else.
        teachers: Teachers to take, in order of preference, one trace per question; ``None``: all,
            in order of appearance.
        max_tokens: Room of one packed row, and the longest trace with its prompt.
        tokens_per_step: Tokens of one optimizer step over all devices, labelled or not; rounded to
            whole rows of ``max_tokens``. The paper has about 400,000.
        on_long: What becomes of a trace longer than ``max_tokens``: ``error``, ``drop`` or ``cut``.
        system_prompt: A system turn; ``None`` leaves the template's own.
        seed: Seed of validation split, selection, mixing and order.
        num_workers: Processes that pack rows ahead; packing takes about a millisecond a row.

    Raises:
        UserError: An argument is out of its range.
    """

    selection_columns: tuple[str, ...] = ()

    def __init__(
        self,
        pool: PoolMaker | str | None = None,
        model_name: str = "smollm2-135m-instruct",
        num_traces: int | None = None,
        num_tokens: int | None = None,
        num_val: int = 0,
        mixing: Mixing = Mixing(),
        filters: Filters = Filters(),
        modes: ThinkModes = ThinkModes(),
        teachers: list[str] | None = None,
        max_tokens: int = 16_384,
        tokens_per_step: int = 400_000,
        on_long: OnLong = "error",
        system_prompt: str | None = None,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self.wanted = Wanted(
            Budget(num_traces, num_tokens),
            filters,
            num_val,
            mixing,
            modes,
            tuple(teachers) if teachers is not None else None,
            max_tokens,
            on_long,
            seed,
        )
        if tokens_per_step < max_tokens:
            raise UserError(
                f"data.tokens_per_step is {tokens_per_step}; allowed: max_tokens ({max_tokens}) "
                "and more"
            )
        self.pool_source = pool
        self.model_name = model_name
        self.bins_per_step = round(tokens_per_step / max_tokens)
        self.system_prompt = system_prompt
        self.num_workers = num_workers
        self.info: dict[str, Any] = {}
        self._formatter: PromptFormatter | None = None
        self._splits: dict[str, datasets.Dataset] = {}
        self._accumulate: int | None = None

    @abstractmethod
    def select(self, columns: pa.Table, size: int | None, seed: int) -> Selected:
        """Choose among candidates: a pure function.

        Args:
            columns: ``id`` and ``selection_columns`` of the candidates, one trace per question.
            size: Traces wanted, at most ``columns.num_rows``; ``None``: as many as the rule keeps.
            seed: Seed of the draw.

        Returns:
            Row numbers into ``columns``, best first: ``size`` of them, or fewer where the rule
            allows no more (the caller says so to the user); and the reason of each candidate.
        """

    def responses(self, pool: Pool, wanted: Wanted, left: Ints) -> Responses:
        """One response for each question: that of the first teacher in order.

        Args:
            pool: The pool.
            wanted: What the run wants: teachers and seed.
            left: Rows that the filters have left, ascending.
        """
        table = pool.read([QUESTION_KEY, "teacher"])
        return Responses(one_per_question(table, wanted.teachers, left))

    def require(self, pool: Pool) -> None:
        """Raise UserError where the pool lacks what ``responses`` reads."""

    @property
    def column_folders(self) -> tuple[str, ...]:
        """Folders below the pool's ``columns`` that are read, as patterns; the cache knows them."""
        embedded = any(name.startswith(PREFIX) for name in self.selection_columns)
        return ("embedding-*",) if embedded else ()

    # -- what the rest of a run asks for ---------------------------------------------------------

    @property
    def formatter(self) -> PromptFormatter:
        """Renders prompts for this run's student."""
        if self._formatter is None:
            self._formatter = PromptFormatter(load_tokenizer(self.model_name), self.system_prompt)
        return self._formatter

    @property
    def modes(self) -> ThinkModes:
        """The think modes with ``{K}`` filled from the training set, or those of a checkpoint."""
        if "modes" not in self.info:  # predict without a checkpoint
            pool = open_pool(self.pool_source)
            picked = pick(pool, self.wanted, self)
            self.info["modes"] = filled_modes(pool, self.wanted, picked).to_dict()
        return ThinkModes.from_dict(self.info["modes"])

    @property
    def teacher_names(self) -> list[str]:
        """Teachers of the training set; ``PackedBatch.teachers`` indexes it."""
        return list(self.info["teachers"])

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the whole run, from the plan and the trainer's limits."""
        trainer = self._need_trainer()
        epochs = trainer.max_epochs if trainer.max_epochs is not None else 1
        total = self.steps_per_epoch * epochs if epochs >= 0 else trainer.max_steps
        return min(total, trainer.max_steps) if trainer.max_steps >= 0 else total

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch.

        ``trainer.limit_train_batches`` counts micro-batches; what it leaves of the last step is
        left out, but the first one is always whole.
        """
        trainer = self._need_trainer()
        steps = self.plan(0).num_steps
        micro_batches = trainer.accumulate_grad_batches
        limit = trainer.limit_train_batches
        if isinstance(limit, float):
            limit = int(limit * steps * micro_batches)
        return max(1, min(steps, limit // micro_batches))

    @property
    def identity(self) -> dict[str, Any]:
        """What a resumed run must have in common with the run that wrote the checkpoint."""
        return {
            "traces": self.info["digest"],
            "max_tokens": self.wanted.max_tokens,
            "bins_per_step": self.bins_per_step,
            "seed": self.wanted.seed,
        }

    @property
    def about(self) -> dict[str, Any]:
        """Name and arguments of the selection, for its audit."""
        arguments = own_arguments(self, TraceDataModule)
        return {"selection": type(self).__name__, "arguments": arguments}

    def use_prompts(self, modes: ThinkModes, system_prompt: str | None) -> None:
        """Ask as the student was trained, whatever this module's own traces say.

        Args:
            modes: Think modes of the checkpoint, ``{K}`` filled.
            system_prompt: Its system turn.
        """
        self.info["modes"] = modes.to_dict()
        if system_prompt != self.system_prompt:
            self.system_prompt, self._formatter = system_prompt, None

    def traces(self, split: str) -> datasets.Dataset:
        """Tokenised traces of ``train`` or ``val``."""
        return self._splits[split]

    def trace_ids(self, rows: Sequence[int]) -> list[str]:
        """Ids of training rows, as they stand in ``PackedBatch.rows``."""
        return list(self._splits["train"].select_columns("id")[list(rows)]["id"])

    def plan(self, epoch: int) -> EpochPlan:
        """The training plan of an epoch."""
        return self._plan("train", epoch)

    # -- Lightning's hooks -----------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Make pool and tokenised traces where the cache does not hold them."""
        if self._needs_questions_alone():
            open_pool(self.pool_source)
            return
        folder = self.folder
        if (folder / "info.json").is_file():
            return
        pool = open_pool(self.pool_source)
        with replacing_folder(folder) as partial:
            picked = pick(pool, self.wanted, self)
            write_audit(pool, self.wanted, picked, self.about, partial)
            info = assemble(pool, self.wanted, picked, self.formatter, partial)
            write_json(partial / "info.json", info)
            write_json(partial / CERTIFICATE, self.certify(pool, partial, info))

    def certify(self, pool: Pool, folder: Path, info: dict[str, Any]) -> dict[str, Any]:
        """The mask certificate of the tokenised traces in a folder, made anew."""
        max_tokens, on_long = self.wanted.max_tokens, self.wanted.on_long
        return certify(pool, folder, self.formatter, info, max_tokens=max_tokens, on_long=on_long)

    def setup(self, stage: str) -> None:
        """Open the tokenised traces and set the gradient accumulation that the plan needs.

        Raises:
            UserError: The mask certificate says that traces are not fit to train on, or no
                validation traces are there to be validated on.
        """
        if self._needs_questions_alone():
            return
        folder = self.folder
        self.info = read_info(folder)
        names = ("train", "val") if self.wanted.num_val else ("train",)
        self._splits = {name: load_tokenised(folder / f"{name}.arrow") for name in names}
        if stage in ("validate", "test") and not self.wanted.num_val:
            raise UserError(f"data.num_val is 0; {stage} needs at least 1")
        if stage == "fit":
            refuse_uncertified(folder)
            if not self.wanted.num_val:
                self._need_trainer().limit_val_batches = 0
            self._set_accumulation()
            if self._need_trainer().is_global_zero:
                show_examples(self._splits["train"], self.formatter)

    def train_dataloader(self) -> ResumableLoader:
        """Micro-batches of this rank; K of them make one optimizer step."""
        trainer = self._need_trainer()
        frozen = trainer.overfit_batches > 0  # the same batches in every epoch
        sampler = PlanSampler(
            lambda epoch: self.plan(0 if frozen else epoch),
            *data_ranks(trainer),
            self.steps_per_epoch,
        )
        return self._loader("train", sampler)

    def val_dataloader(self) -> ResumableLoader:
        """Validation rows, divided like training rows."""
        trainer = self._need_trainer()
        sampler = PlanSampler(lambda _: self._plan("val", 0), *data_ranks(trainer))
        return self._loader("val", sampler)

    def test_dataloader(self) -> ResumableLoader:
        """The validation rows."""
        return self.val_dataloader()

    def predict_dataloader(self) -> DataLoader[tuple[str, str]]:
        """Every question of the pool once, in order, a share for this rank."""
        trainer = self._need_trainer()
        pool = open_pool(self.pool_source)
        rows = one_per_question(pool.read([QUESTION_KEY, "teacher"]), self.wanted.teachers)
        if len(rows) < trainer.world_size:
            raise UserError(
                f"the pool has {len(rows)} questions for {trainer.world_size} devices; predict "
                "needs one for each: give fewer with --trainer.devices"
            )
        table = pool.read(["id", "question"]).take(pa.array(rows))
        return question_loader(
            table["id"].to_pylist(),
            table["question"].to_pylist(),
            QUESTIONS_AT_A_TIME,
            trainer.global_rank,
            trainer.world_size,
        )

    # -- parts -----------------------------------------------------------------------------------

    @cached_property
    def folder(self) -> Path:
        """Cache folder of the tokenised traces, named by everything that they depend on."""
        return cache_folder(
            self.pool_source,
            self.wanted,
            identity_of(self, TraceDataModule),
            self.column_folders,
            self.formatter,
        )

    def _needs_questions_alone(self) -> bool:
        return self.trainer is not None and self.trainer.state.fn == "predict"

    def _plan(self, split: str, epoch: int) -> EpochPlan:
        traces = self._splits[split]
        arrow = traces.data.table
        lengths = arrow["num_tokens"].to_numpy().astype(np.int64)
        labels = lengths - arrow["num_prompt"].to_numpy()
        return plan_epoch(
            lengths,
            labels,
            max_tokens=self.wanted.max_tokens,
            bins_per_step=self.bins_per_step,
            seed=self.wanted.seed,
            epoch=epoch,
            shuffle=split == "train",
        )

    def _loader(self, split: str, sampler: PlanSampler) -> ResumableLoader:
        trainer = self._need_trainer()
        connector = trainer._accelerator_connector
        if trainer.world_size > 1 and connector.use_distributed_sampler:
            raise UserError(
                "trainer.use_distributed_sampler is True; the plan divides the data itself: "
                "set it to False"
            )
        on_gpu = trainer.strategy.root_device.type == "cuda"
        traces = PackedTraces(self._splits[split], self.teacher_names)
        return ResumableLoader(traces, sampler, self.num_workers, pin_memory=on_gpu)

    def _set_accumulation(self) -> None:
        trainer = self._need_trainer()
        needed = self.plan(0).micro_batches(data_ranks(trainer).number)
        if trainer.accumulate_grad_batches not in (1, needed) or (
            self._accumulate is None and trainer.accumulate_grad_batches not in (1,)
        ):
            raise UserError(
                f"trainer.accumulate_grad_batches is {trainer.accumulate_grad_batches}; the plan "
                "sets it: leave it out and choose data.tokens_per_step"
            )
        trainer.accumulate_grad_batches = self._accumulate = needed
        if self.steps_per_epoch < self.plan(0).num_steps and trainer.limit_train_batches:
            trainer.limit_train_batches = self.steps_per_epoch * needed

    def _need_trainer(self) -> Any:
        assert self.trainer is not None, "the data module has no trainer yet"
        return self.trainer
