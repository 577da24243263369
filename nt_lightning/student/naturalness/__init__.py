"""Naturalness of responses: a student's own step-wise log-probabilities, exact, in one pass."""
