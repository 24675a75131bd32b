"""Backbones: a frame to a feature map. Importing this package registers them all."""

from __future__ import annotations

from corrbench.backbones import centred, descriptors, mobilenet, resnet, vit, whitened  # noqa: F401  (registers)
