"""nt_lightning: the PyTorch Lightning toolkit for distilling reasoning."""

__version__ = "0.1.0"
