"""``python -m nt_lightning pool``: one command a file.

Arrow and torch are imported by the functions that need them, so that ``--help`` and a mistake
answer at once.
"""

from __future__ import annotations

from nt_lightning.pool.commands.annotate_pool import annotate_pool
from nt_lightning.pool.commands.decontaminate_pool import decontaminate_pool
from nt_lightning.pool.commands.dedup_pool import dedup_pool
from nt_lightning.pool.commands.embed_pool import embed_pool
from nt_lightning.pool.commands.export_pool import export_pool
from nt_lightning.pool.commands.generate_pool import generate_pool
from nt_lightning.pool.commands.import_pool import import_pool
from nt_lightning.pool.commands.judge_pool import judge_pool
from nt_lightning.pool.commands.show_pool import show_pool
from nt_lightning.pool.commands.verify_pool import verify_pool

COMMANDS = {
    "import": import_pool,
    "dedup": dedup_pool,
    "decontaminate": decontaminate_pool,
    "generate": generate_pool,
    "annotate": annotate_pool,
    "judge": judge_pool,
    "verify": verify_pool,
    "embed": embed_pool,
    "show": show_pool,
    "export": export_pool,
}
