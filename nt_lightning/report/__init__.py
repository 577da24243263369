"""What is shown of a run, made from its files alone."""
