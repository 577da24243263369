"""Benchmark definitions: one short versioned file each, no torch."""
