"""Training: stages (STAGES), losses (LOSSES), the loop that runs them and the cache that keeps what they made."""

from corrbench.training import (
    chain,
    dense,
    ensemble,
    feature_reconstruction,
    losses,
    spatial,
    temporal,
    whitening,
)

__all__ = [
    "chain",
    "dense",
    "ensemble",
    "feature_reconstruction",
    "losses",
    "spatial",
    "temporal",
    "whitening",
]
