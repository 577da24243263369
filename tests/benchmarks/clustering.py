"""python -m tests.benchmarks.clustering [--points 20000] [--sides ours hdbscan-best ...]

HDBSCAN of embeddings, ours against other packages and against shortcuts: CPU-seconds, wall time,
peak memory, clusters, noise, and agreement (adjusted Rand index, noise as one more cluster) with
``hdbscan-best``, which is exact in float64, and with the planted clusters.

``python -m tests.benchmarks.clustering --points 100000 --sides ours`` fits all points;
``--points 1000000 --sides ours`` fits 100,000 of them and assigns the others. Each side runs once
in a fresh process, with as many threads as there are cores; numba's compilation counts.
hdbscan's ``generic`` is left out: it needs several matrices of all pairs in float64. UMAP and
fast-hdbscan come with ``pip install umap-learn fast-hdbscan``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

from tests.benchmarks.protocol import Meter, Result, fresh_process, report

NAME = "tests.benchmarks.clustering"
DIMENSIONS = 384
NUM_CLUSTERS = 40
NUM_TOPICS = 8
BACKGROUND = 0.2
SIZES = {"min_cluster_size": 25, "min_samples": 10}
HDBSCAN_OPTIONS = {
    "hdbscan-best": {"algorithm": "best"},  # Prim on a k-d tree in so many dimensions
    "hdbscan-boruvka": {"algorithm": "boruvka_kdtree", "core_dist_n_jobs": 1},  # counts all time
}
COMPONENTS = {"pca-15": 15, "pca-50": 50, "umap-10": 10}
SIDES = ("ours", *HDBSCAN_OPTIONS, "scikit-learn", "fast-hdbscan", *COMPONENTS)
EXACT = "hdbscan-best"


def draw_points(size: int, file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors, float16 in a memory map, [N, D], and the cluster each was planted in, [N].

    Eight topics are random directions. A cluster's centre is its topic plus 0.9 of a random
    direction; its size is lognormal (sigma 1), so that a few clusters have most points. It lies on
    a bent manifold of 4 to 11 dimensions, with a radius of 0.25 to 0.9 and a quarter of that as
    noise in all dimensions. A fifth of the points are background, -1: a random direction, drawn
    towards a topic by 0 to 1.2.
    """
    rng = np.random.default_rng(0)
    topics = _unit(rng.standard_normal((NUM_TOPICS, DIMENSIONS)))
    shares = rng.lognormal(0, 1, NUM_CLUSTERS)
    sizes = np.maximum(shares / shares.sum() * (1 - BACKGROUND) * size, 60).astype(int)
    row_of = rng.permutation(size)
    points = np.lib.format.open_memmap(file, "w+", np.float16, (size, DIMENSIONS))
    planted = np.full(size, -1)
    start = 0
    for number, count in enumerate(sizes):
        basis = np.linalg.qr(rng.standard_normal((DIMENSIONS, rng.integers(4, 12))))[0]
        centre = _unit(topics[number % NUM_TOPICS] + 0.9 * _unit(rng.standard_normal(DIMENSIONS)))
        radius = rng.uniform(0.25, 0.9)
        rows = row_of[start : start + count]
        inner = rng.standard_normal((count, basis.shape[1])) / basis.shape[1] ** 0.5
        wide = rng.standard_normal((count, DIMENSIONS), dtype=np.float32) / DIMENSIONS**0.5
        points[rows] = _unit(centre + radius * ((inner + 0.3 * inner**2) @ basis.T + 0.25 * wide))
        planted[rows] = number
        start += count
    rows = row_of[start:]
    wide = rng.standard_normal((len(rows), DIMENSIONS), dtype=np.float32) / DIMENSIONS**0.5
    towards = rng.uniform(0, 1.2, (len(rows), 1)).astype(np.float32)
    points[rows] = _unit(
        wide + towards * topics[rng.integers(0, NUM_TOPICS, len(rows))].astype(np.float32)
    )
    points.flush()
    return np.load(file, mmap_mode="r"), planted


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def run(side: str, size: int, folder: Path, exact_sample: int) -> Result:
    """Cluster with one side; its labels go to a file of the folder."""
    from sklearn.metrics import adjusted_rand_score

    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as drawn:
        points, planted = draw_points(size, Path(drawn, "points.npy"))
        more = {}
        if side == "ours":
            labels, meter, more = run_ours(points, planted, exact_sample)
        else:
            whole = points.astype(np.float64 if side.startswith("hdbscan") else np.float32)
            with Meter() as meter:
                labels = run_rival(side, whole)
    np.save(folder / f"{side}.npy", labels)
    return meter.result(
        clusters=int(labels.max()) + 1,
        noise=float((labels < 0).mean()),
        planted=adjusted_rand_score(planted, labels),
        **more,
    )


def run_ours(
    points: np.ndarray, planted: np.ndarray, exact_sample: int
) -> tuple[np.ndarray, Meter, Result]:
    """Ours, which takes the float16 rows as they are, and how fitted and assigned rows differ."""
    from sklearn.metrics import adjusted_rand_score

    from nt_lightning.data.clusters import cluster

    luck = np.random.default_rng(1).random(len(points))
    with Meter() as meter:
        found = cluster(points, luck, **SIZES)
    more: Result = {"num_fitted": found.num_fitted, "agreement": found.agreement}
    order = np.argsort(luck)
    for name, rows in (("fitted", order[: found.num_fitted]), ("rest", order[found.num_fitted :])):
        if found.num_fitted < len(points):
            more[f"{name}_noise"] = float((found.labels[rows] < 0).mean())
            more[f"{name}_planted"] = adjusted_rand_score(planted[rows], found.labels[rows])
    if exact_sample:
        more |= _against_exact(points, luck, found.labels, exact_sample)
    return found.labels, meter, more


def _against_exact(points: np.ndarray, luck: np.ndarray, labels: np.ndarray, count: int) -> Result:
    """Agreement with hdbscan's exact fit of a sample: of our fit of it, and of all our labels."""
    from sklearn.metrics import adjusted_rand_score

    from nt_lightning.data.clusters import cluster

    sample = np.argsort(luck)[:count]
    exact = run_rival(EXACT, points[sample].astype(np.float64))
    same = cluster(points[sample], luck[sample], **SIZES).labels
    return {
        "exact_sample": count,
        "same_sample_to_exact": adjusted_rand_score(exact, same),
        "all_labels_to_exact": adjusted_rand_score(exact, labels[sample]),
    }


def run_rival(side: str, points: np.ndarray) -> np.ndarray:
    """Labels of a package, or of a shortcut in front of it."""
    if side == "scikit-learn":
        from sklearn.cluster import HDBSCAN as ScikitHDBSCAN

        # scikit-learn counts the point itself
        sizes = {**SIZES, "min_samples": SIZES["min_samples"] + 1}
        return ScikitHDBSCAN(**sizes, copy=True).fit(points).labels_
    if side == "fast-hdbscan":
        from fast_hdbscan import HDBSCAN as FastHDBSCAN

        return FastHDBSCAN(**SIZES).fit(points).labels_
    from hdbscan import HDBSCAN

    if side in HDBSCAN_OPTIONS:
        return HDBSCAN(**SIZES, **HDBSCAN_OPTIONS[side]).fit(points).labels_
    if side.startswith("pca"):
        from sklearn.decomposition import PCA

        reduced = PCA(COMPONENTS[side], random_state=0).fit_transform(points)
    else:
        from umap import UMAP

        reduced = UMAP(n_components=COMPONENTS[side], min_dist=0.0, n_neighbors=30).fit_transform(
            points
        )
    return HDBSCAN(**SIZES, core_dist_n_jobs=1).fit(reduced).labels_


def main() -> None:
    """Measure one side, or compare all."""
    from sklearn.metrics import adjusted_rand_score

    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=20_000)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
    parser.add_argument("--side", choices=SIDES, help="measure this side alone, in this process")
    parser.add_argument(
        "--exact_sample", type=int, default=0, help="also hold ours against hdbscan on so many"
    )
    parser.add_argument("--labels", type=Path, help="folder for the labels of every side")
    args = parser.parse_args()
    folder = args.labels or Path(tempfile.mkdtemp())
    if args.side:
        print(json.dumps(run(args.side, args.points, folder, args.exact_sample)))
        return
    options = {"points": args.points, "exact_sample": args.exact_sample, "labels": folder.resolve()}
    threads = os.cpu_count() or 1
    rows: list[tuple[str, object]] = []
    results = {}
    for side in args.sides:
        results[side] = fresh_process(NAME, side, options, threads)
        print(f"  {side}: {results[side]}", file=sys.stderr)
    for side, result in results.items():
        if EXACT in results:
            exact, labels = (np.load(folder / f"{name}.npy") for name in (EXACT, side))
            result["exact"] = adjusted_rand_score(exact, labels)
        if "ours" in results:
            result["cpu_s / ours"] = result["cpu_s"] / results["ours"]["cpu_s"]
        rows += [(f"{side}, {key}", value) for key, value in result.items()]
    report("clustering", {"points": args.points, "threads": threads, **SIZES}, rows)


if __name__ == "__main__":
    main()
