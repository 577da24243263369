"""Points to cluster."""

import numpy as np


def clouds(size, dimensions, number, seed=0, noise=0.2):
    """Clouds of different size and width, and a background."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(number, 3.0))
    which = rng.choice(number, size, p=shares)
    width = rng.uniform(0.3, 1.0, number)[which, None] / np.sqrt(dimensions)
    points = rng.standard_normal((number, dimensions))[which] / np.sqrt(dimensions)
    points = points + width * rng.standard_normal((size, dimensions))
    far = rng.random(size) < noise
    points[far] = rng.standard_normal((far.sum(), dimensions)) * 1.5 / np.sqrt(dimensions)
    return points.astype(np.float32), rng.random(size)


def islands():
    """Clouds so far apart that no neighbour graph is connected."""
    rng = np.random.default_rng(3)
    which = rng.integers(0, 12, 1_500)
    points = 3 * rng.standard_normal((12, 20))[which] + rng.standard_normal((1_500, 20)) * 0.3
    return points.astype(np.float32), rng.random(1_500)
