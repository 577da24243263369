"""Whether a trace's answer is right, by rules that would rather say nothing than be wrong."""
