"""Backbones: a frame to a feature map. Importing this package registers them all."""

from __future__ import annotations

from corrbench.backbones import (  # noqa: F401  (registers)
    adapted,
    centred,
    descriptors,
    mobilenet,
    resnet,
    vit,
    whitened,
)
