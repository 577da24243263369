"""The embedded pool: synthetic, verified traces and held-out questions, made in seconds."""

from nt_lightning.pool.embedded.families import DEFAULT_FAMILIES, FAMILIES
from nt_lightning.pool.embedded.pool import EmbeddedPool
from nt_lightning.pool.embedded.questions import HeldOutQuestion, held_out_questions
from nt_lightning.pool.embedded.scoring import Guessing, baselines, guessing, score
from nt_lightning.pool.embedded.teachers import TEACHERS

__all__ = [
    "DEFAULT_FAMILIES",
    "FAMILIES",
    "TEACHERS",
    "EmbeddedPool",
    "Guessing",
    "HeldOutQuestion",
    "baselines",
    "guessing",
    "held_out_questions",
    "score",
]
