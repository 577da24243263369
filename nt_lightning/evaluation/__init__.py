"""The evaluation engine: benchmarks, generation, extraction, grading, statistics, results."""
