"""Tasks: what is propagated and how it is scored. Importing this package registers them in TASKS."""

from corrbench.tasks.parts import PartPropagation
from corrbench.tasks.pose import PosePropagation
from corrbench.tasks.segmentation import VideoObjectSegmentation

__all__ = ["PartPropagation", "PosePropagation", "VideoObjectSegmentation"]
