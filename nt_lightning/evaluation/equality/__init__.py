"""Whether an answer is the reference: certain, or no verdict."""
