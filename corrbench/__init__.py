"""corrbench: the reproducibility benchmark for video correspondence."""

__version__ = "0.1.0"
