"""``score``: every response of a pool scored by a student, through Lightning's ``predict``."""

from __future__ import annotations

import logging
from importlib.metadata import version
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from nt_lightning.errors import UserError
from nt_lightning.files import digest
from nt_lightning.student.naturalness.blocks import whole_table
from nt_lightning.student.naturalness.data import ResponseScoring
from nt_lightning.student.naturalness.scorer import NaturalnessScorer
from nt_lightning.traces.scores import Scores, open_scores, scores_folder, write_scores

log = logging.getLogger(__name__)
PACKAGES = ("nt_lightning", "torch", "transformers", "tokenizers")


def score_responses(
    trainer: Trainer, scorer: NaturalnessScorer, data: ResponseScoring, *, overwrite: bool
) -> Scores | None:
    """Score a pool's responses and store the scores beside it.

    What finished blocks hold is not computed again, so an interrupted command goes on where it
    was; what is there as a whole is only read.

    Args:
        trainer: Runs ``predict``, on as many processes as it has.
        scorer: The student.
        data: The responses.
        overwrite: Score anew what is there.

    Returns:
        The scores; ``None`` on all processes but the first.

    Raises:
        UserError: Model or data are of another kind, or the student's log-probabilities are not
            finite.
    """
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
    made_by = {**data.made_by, "dtype": scorer.dtype_name}
    folder = scores_folder(data.pool.folder, digest(made_by)[:16])
    first = getattr(rank_zero_only, "rank", 0) == 0
    if folder.is_dir() and not overwrite:
        log.info("scores are already there: %s", folder)
        return open_scores(folder) if first else None
    data.store_in(folder)
    try:
        trainer.predict(scorer, data, return_predictions=False)
    except (SystemExit, SIGTERMException):  # Lightning's answers to Ctrl+C and to SIGTERM
        kept = f"{data.num_stored} of {len(data.pool)} responses are kept"
        log.warning("stopped; %s, the same command goes on with the others", kept)
        raise
    trainer.strategy.barrier()  # the last block is written
    if not trainer.is_global_zero:
        return None
    files, blocks = data.files, data.blocks
    steps = (files.read(block, steps=True) for block in blocks)
    info: dict[str, Any] = {**made_by, "versions": {name: version(name) for name in PACKAGES}}
    table = whole_table(files, blocks)
    info["unscored"] = len(table) - table["galp"].is_valid().to_numpy().sum().item()
    write_scores(folder, table, steps, info)
    files.remove()
    return open_scores(folder)
