"""The operator's command for firstpull."""

__version__ = "0.1.0"
