"""What texts have in common: words, hashes of runs of them, and questions quoted in other texts."""
