"""The losses of all stages: pure functions of tensors, registered in LOSSES."""

from corrbench.training.losses.chain import chain_distillation, chain_targets
from corrbench.training.losses.contrast import dense_info_nce, info_nce
from corrbench.training.losses.distillation import (
    ensemble_distillation,
    global_distillation,
    local_distillation,
    local_distillation_parts,
)
from corrbench.training.losses.reconstruction import carry_channel, reconstruction

__all__ = [
    "carry_channel",
    "chain_distillation",
    "chain_targets",
    "dense_info_nce",
    "ensemble_distillation",
    "global_distillation",
    "info_nce",
    "local_distillation",
    "local_distillation_parts",
    "reconstruction",
]
