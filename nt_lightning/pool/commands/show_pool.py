"""``pool show``."""

from __future__ import annotations


def show_pool(pool: str) -> None:
    """Show a pool's manifest, columns, counts and lengths.

    Args:
        pool: Folder of the pool, of traces or of questions.
    """
    from rich.console import Console

    from nt_lightning.pool.show import tables
    from nt_lightning.traces.pool import Pool

    console = Console(highlight=False, markup=False)
    for table in tables(Pool(pool, "questions")):
        console.print(table, "")
