"""Training: stages (STAGES), losses (LOSSES), the loop that runs them and the cache that keeps what they made."""

from corrbench.training import dense, ensemble, losses, spatial, temporal, whitening

__all__ = ["dense", "ensemble", "losses", "spatial", "temporal", "whitening"]
