"""Requests to OpenAI-compatible servers: kept for good, never paid twice."""
