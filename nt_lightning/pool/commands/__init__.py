"""``python -m nt_lightning pool``: one command a file.

Arrow and torch are imported by the functions that need them, so that ``--help`` and a mistake
answer at once.
"""

from __future__ import annotations

from nt_lightning.pool.commands.embed_pool import embed_pool
from nt_lightning.pool.commands.export_pool import export_pool
from nt_lightning.pool.commands.import_pool import import_pool
from nt_lightning.pool.commands.show_pool import show_pool

COMMANDS = {
    "import": import_pool,
    "export": export_pool,
    "show": show_pool,
    "embed": embed_pool,
}
