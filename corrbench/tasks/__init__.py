"""Tasks: what is propagated and how it is scored. Importing this package registers them in TASKS."""

from corrbench.tasks.segmentation import VideoObjectSegmentation

__all__ = ["VideoObjectSegmentation"]
