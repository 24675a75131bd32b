"""Metrics: pure functions of ground truth and prediction. Importing this package registers them in METRICS."""

from corrbench.metrics.davis import jaccard_and_boundary
from corrbench.metrics.iou import class_counts
from corrbench.metrics.pck import pose_counts
from corrbench.registry import METRICS

METRICS.register_module(name="JF", module=jaccard_and_boundary)
METRICS.register_module(name="PCK", module=pose_counts)
METRICS.register_module(name="IoU", module=class_counts)
