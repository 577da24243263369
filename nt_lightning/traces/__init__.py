"""Traces: the record and its columns, pools on disk, adapters, think modes, formatting."""
