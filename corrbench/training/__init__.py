"""Training: stages (STAGES), losses (LOSSES), the loop that runs them and the cache that keeps what they made."""

from corrbench.training import chain, dense, ensemble, losses, spatial, temporal, whitening

__all__ = ["chain", "dense", "ensemble", "losses", "spatial", "temporal", "whitening"]
