"""torch.compile for a backbone that only computes features: weights frozen, batch normalisation folded into convolutions
unless it is adapted to each video."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class Compiled:
    """`backbone` compiled at its first call. An instance is called like the backbone, within `torch.inference_mode`.

    The results are the backbone's up to rounding (about 1e-6 of their size in float32). Compiling takes tens of seconds an
    input size, so batches that are too short are padded to `batch`: a frame's features do not depend on the others. What
    has no weights (copies, Lab, HOG) is called as it is.
    """

    def __init__(self, backbone: nn.Module) -> None:
        self.useful = any(True for _ in backbone.parameters())
        self.forward = (
            torch.compile(backbone, options={"freezing": not getattr(backbone, "adapted", False)})
            if self.useful
            else backbone
        )

    def __call__(self, images: torch.Tensor, batch: int) -> torch.Tensor:
        """Feature maps of (B, 3, H, W), B at most `batch`; ValueError where torch cannot compile here."""
        if not self.useful:
            return self.forward(images)
        short = batch - len(images)
        padded = F.pad(images, (0, 0, 0, 0, 0, 0, 0, short)) if short > 0 else images
        try:
            maps = self.forward(padded.contiguous(memory_format=torch.channels_last))
        except torch._dynamo.exc.TorchDynamoException as error:
            raise ValueError(
                f"--compile: torch cannot compile this backbone here ({str(error).splitlines()[0]}); install a C++ "
                "compiler (g++), or leave --compile out"
            ) from None
        return maps[: len(images)]
