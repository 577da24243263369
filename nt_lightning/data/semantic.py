"""Selections by question embeddings: spread over clusters, or near to curated questions."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pyarrow as pa

from nt_lightning.data.clusters import Clusters, cluster
from nt_lightning.data.datamodule import TraceDataModule
from nt_lightning.data.draws import even_over_groups
from nt_lightning.data.neighbours import nearest_in_turns
from nt_lightning.data.plan import Ints
from nt_lightning.data.randomness import uniform_from_ids
from nt_lightning.data.selected import Reasons, Selected, reasons_from
from nt_lightning.data.selections import luck_of
from nt_lightning.data.vectors import (
    DEFAULT_MODEL,
    MADE_BY,
    Vectors,
    as_vectors,
    embedding_column,
    made_by,
)
from nt_lightning.errors import UserError
from nt_lightning.traces.embeddings import find_embeddings
from nt_lightning.traces.pool import Pool

NOISE = "noise"
NEAREST = 3  # questions shown for each cluster
BLOCK = 2**16


class SemanticSelection(TraceDataModule):
    """Uniform over the clusters of the questions' embeddings (HDBSCAN).

    ``python -m nt_lightning pool embed`` writes the embeddings before. A cluster with too few
    traces gives all it has. The paper clusters embeddings by Llama-3.1-8B-Instruct and draws
    uniformly from each cluster; pooling, sizes, sampling and what becomes of noise are our choice.

    Args:
        embedding_model: Whose embeddings are read.
        min_cluster_size: Fitted questions that make a cluster.
        min_samples: Neighbours that make a core point; ``None``: as ``min_cluster_size``.
        max_fitted: Questions to fit; of a larger pool a sample is, and the others are assigned
            to the cluster of the nearest one.
        reduction: ``pca`` or ``umap`` before clustering; both can merge clusters.
        num_dimensions: Dimensions that the reduction leaves.
        noise: Whether noise is one more ``cluster`` or is left out (``drop``).
        **rest: Arguments of ``TraceDataModule``.

    Source: NaturalThoughts (arXiv:2507.01921), section 2.
    """

    def __init__(
        self,
        *,
        embedding_model: str = DEFAULT_MODEL,
        min_cluster_size: int = 25,
        min_samples: int | None = None,
        max_fitted: int = 100_000,
        reduction: Literal["none", "pca", "umap"] = "none",
        num_dimensions: int = 50,
        noise: Literal["cluster", "drop"] = "cluster",
        **rest: Any,
    ) -> None:
        super().__init__(**rest)
        self.embedding_model = embedding_model
        self.min_cluster_size, self.min_samples = min_cluster_size, min_samples
        self.max_fitted = max_fitted
        self.reduction, self.num_dimensions = reduction, num_dimensions
        self.noise = noise

    @property
    def selection_columns(self) -> tuple[str, ...]:  # type: ignore[override]
        """The embeddings."""
        return (embedding_column(self.embedding_model),)

    def select(self, columns: pa.Table, size: int | None, seed: int) -> Selected:
        """The same number of rows of each cluster, at random within it."""
        vectors = as_vectors(columns[self.selection_columns[0]])
        found = cluster(
            vectors,
            uniform_from_ids(columns["id"], seed, "clusters"),
            min_cluster_size=self.min_cluster_size,
            min_samples=self.min_samples,
            max_fitted=self.max_fitted,
            reduction=self.reduction,
            num_dimensions=self.num_dimensions,
        )
        count = int(found.labels.max(initial=-1)) + 1
        groups = np.where(found.labels < 0, count, found.labels)  # noise comes last
        rows = np.flatnonzero(groups < count) if self.noise == "drop" else np.arange(len(groups))
        order = even_over_groups(groups[rows], luck_of(columns, seed)[rows])
        names = [f"cluster {number}" for number in range(count)]
        details = _about(found, vectors, groups, [*names, NOISE], columns["id"])
        return Selected(rows[order[:size]], Reasons(groups, [*names, NOISE]), details)


class NearestNeighbourSelection(TraceDataModule):
    """The nearest neighbours of curated questions, such as LIMO's or S1K's.

    ``python -m nt_lightning pool embed`` writes the embeddings of both pools before. Cosine
    similarity; the curated questions take turns, each taking its nearest trace that is still
    free (both our choice). A question that is in both pools is its own nearest neighbour.

    Args:
        neighbours_of: Folder of a pool with the curated questions.
        embedding_model: Whose embeddings are read.
        **rest: Arguments of ``TraceDataModule``.

    Source: NaturalThoughts (arXiv:2507.01921), section 2.
    """

    def __init__(
        self, *, neighbours_of: str, embedding_model: str = DEFAULT_MODEL, **rest: Any
    ) -> None:
        super().__init__(**rest)
        self.neighbours_of, self.embedding_model = neighbours_of, embedding_model

    @property
    def selection_columns(self) -> tuple[str, ...]:  # type: ignore[override]
        """The embeddings."""
        return (embedding_column(self.embedding_model),)

    def select(self, columns: pa.Table, size: int | None, seed: int) -> Selected:
        """Rows by nearness to the curated questions in turns."""
        if size is None:
            raise UserError(
                "the rule of NearestNeighbourSelection keeps no number of its own; give "
                "num_traces or num_tokens"
            )
        column = self.selection_columns[0]
        curated = find_embeddings(Pool(self.neighbours_of), self.embedding_model)
        made = (columns.schema.field(column).metadata or {}).get(MADE_BY.encode())
        if made is not None and made.decode() != made_by(curated):
            raise UserError(
                f"the embeddings of {self.neighbours_of} and of the pool differ in the model's "
                "weights or in max_tokens: embed both alike"
            )
        vectors, luck = as_vectors(columns[column]), luck_of(columns, seed)
        rows, best = nearest_in_turns(np.asarray(curated.vectors), vectors, luck, size)
        edges = (0.9, 0.8, 0.7, 0.6, 0.5)
        names = [f"similarity {edge} and more" for edge in edges]
        reasons = reasons_from([best >= edge for edge in edges], names, "similarity under 0.5")
        return Selected(rows, reasons, {"curated_questions": len(curated.vectors)})


def _about(
    found: Clusters, vectors: Vectors, groups: Ints, names: list[str], ids: pa.ChunkedArray
) -> dict[str, Any]:
    """What the audit shows of the clusters: sizes, noise, agreement, questions at their centres."""
    sizes = np.bincount(groups, minlength=len(names))
    central = _most_central(vectors, groups, len(names))
    clusters = []
    for number in np.flatnonzero(sizes).tolist():
        nearest = [] if names[number] == NOISE else ids.take(pa.array(central[number])).to_pylist()
        clusters.append({"name": names[number], "size": int(sizes[number]), "nearest_ids": nearest})
    return {
        "num_clusters": len(names) - 1,
        "noise_share": round(float(sizes[-1] / len(groups)), 5),
        "fitted": found.num_fitted,
        "agreement": round(found.agreement, 5),
        "agreement_points": found.agreement_points,
        "clusters": clusters,
    }


def _most_central(vectors: Vectors, groups: Ints, count: int) -> list[Ints]:
    """Rows nearest to the mean of each group."""
    centres = np.zeros((count, vectors.shape[1]), dtype=np.float32)
    for start in range(0, len(vectors), BLOCK):
        part = slice(start, start + BLOCK)
        order = np.argsort(groups[part], kind="stable")
        own, firsts = np.unique(groups[part][order], return_index=True)
        centres[own] += np.add.reduceat(vectors[part][order].astype(np.float32), firsts, axis=0)
    near = np.empty(len(vectors), dtype=np.float32)
    for start in range(0, len(vectors), BLOCK):
        part = slice(start, start + BLOCK)
        near[part] = np.einsum("nd,nd->n", vectors[part].astype(np.float32), centres[groups[part]])
    order = np.lexsort((-near, groups))
    starts = np.searchsorted(groups[order], np.arange(count + 1))
    return [order[a : min(a + NEAREST, b)] for a, b in zip(starts, starts[1:], strict=False)]
