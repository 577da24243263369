"""The student: loading, attention per trace, the loss on labelled positions, the training module."""
