"""``score``: every response of a pool scored by a student, through Lightning's ``predict``."""

from __future__ import annotations

import logging
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from nt_lightning.errors import UserError
from nt_lightning.files import digest
from nt_lightning.student.head import base_model
from nt_lightning.student.naturalness.blocks import whole_table
from nt_lightning.student.naturalness.data import ResponseScoring
from nt_lightning.student.naturalness.scorer import NaturalnessScorer
from nt_lightning.traces.scores import Scores, open_scores, scores_folder, write_scores

log = logging.getLogger(__name__)


def score_responses(
    trainer: Trainer, scorer: NaturalnessScorer, data: ResponseScoring, *, overwrite: bool
) -> Scores | None:
    """Score a pool's responses and store the scores in its folder.

    What finished blocks hold is not computed again, so an interrupted command goes on where it
    was; what is there as a whole is only read. ``overwrite`` begins anew every time, also where an
    earlier one was interrupted: its blocks may come from what was to be overwritten. Several
    machines need the pool on a disk that they share.

    At the end the processes wait for each other. Under NCCL they give up after half an hour, where
    one has that much more to do; the blocks are kept then, and the same command goes on.

    Args:
        trainer: Runs ``predict``, on as many processes as it has.
        scorer: The student.
        data: The responses.
        overwrite: Score anew what is there.

    Returns:
        The scores; ``None`` on all processes but the first.

    Raises:
        UserError: Model or data are of another kind, the trainer has an option with which not
            every response would be scored as it is, or a log-probability is not finite.
    """
    _refuse(trainer, scorer, data)
    made_by = {**data.made_by, "dtype": scorer.dtype_name}
    folder = scores_folder(data.pool.folder, digest(made_by)[:16])
    first = getattr(rank_zero_only, "rank", 0) == 0
    if folder.is_dir() and not overwrite:
        log.info("scores are already there: %s", folder)
        return open_scores(folder) if first else None
    data.store_in(folder, trainer.strategy.root_device.type)
    if overwrite and first:
        data.files.remove()  # before the first process says which blocks are missing
    _predict(trainer, scorer, data, "begins anew" if overwrite else "goes on with the others")
    trainer.strategy.barrier()  # all blocks are written
    if not trainer.is_global_zero:
        return None
    return _put_together(folder, scorer, data, made_by)


def _predict(
    trainer: Trainer, scorer: NaturalnessScorer, data: ResponseScoring, again: str
) -> None:
    """Score what is missing; say what is kept where that is stopped."""
    try:
        trainer.predict(scorer, data, return_predictions=False)
    except (SystemExit, SIGTERMException):  # Lightning's answers to Ctrl+C and to SIGTERM
        kept = f"{data.num_stored} of {len(data.pool)} responses are kept"
        log.warning("stopped; %s, the same command %s", kept, again)
        raise
    finally:
        scorer.close_progress()  # Lightning calls no hook for it where an error ends predict


def _put_together(
    folder: Path, scorer: NaturalnessScorer, data: ResponseScoring, made_by: dict[str, Any]
) -> Scores:
    """All blocks as the scores of the pool; the blocks are removed."""
    files, blocks = data.files, data.blocks
    table = whole_table(files, blocks)
    info = {
        **made_by,
        "nt_lightning": version("nt_lightning"),
        "model_type": base_model(scorer.model).config.get_text_config().model_type,
        "device": data.trainer.strategy.root_device.type,  # type: ignore[union-attr]
        "incomplete": len(table) - table["unscored_reason"].null_count,
    }
    write_scores(folder, table, (files.read(block, steps=True) for block in blocks), info)
    files.remove()
    return open_scores(folder)


def _refuse(trainer: Trainer, scorer: NaturalnessScorer, data: ResponseScoring) -> None:
    """Raise UserError for what ``score`` cannot run with."""
    for given, wanted in ((scorer, NaturalnessScorer), (data, ResponseScoring)):
        if not isinstance(given, wanted):
            raise UserError(
                f"score takes {wanted.__name__}, not {type(given).__name__}; start from "
                "recipes/score/local_naturalness.yaml"
            )
    if trainer.precision != "32-true":
        raise UserError(
            f"trainer.precision is {trainer.precision!r}; score takes the precision of its "
            "products from model.dtype: leave it out"
        )
    for name, all_of_it in (("fast_dev_run", False), ("limit_predict_batches", 1.0)):
        value = getattr(trainer, name)
        if (type(value), value) != (type(all_of_it), all_of_it):
            raise UserError(
                f"trainer.{name} is {value!r}; score needs every response of the pool: leave it "
                "out, and score a smaller pool to try something"
            )
    whole = isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy)
    if not whole or isinstance(trainer.strategy, DeepSpeedStrategy):  # which is a DDPStrategy
        raise UserError(
            f"trainer.strategy is {type(trainer.strategy).__name__}; allowed: one device, or ddp"
        )
