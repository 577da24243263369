"""Data modules: a selection of traces, mixed, tokenised, planned and packed."""
