"""The student: loading, attention per trace, loss on labelled positions, the module."""
