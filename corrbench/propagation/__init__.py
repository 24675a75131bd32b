"""Label propagation: the neighbours of every query, then labels carried along them.

Labels do not enter the affinity, so the best keys of all frames are found first (`neighbours`, the expensive part) and
labels follow by a cheap sequential gather (`propagate`). `carry` does both, under any protocol.
"""

from corrbench.propagation.carry import carry, choose_method, neighbours, propagate
from corrbench.propagation.types import Context, Neighbours, Window

__all__ = ["Context", "Neighbours", "Window", "carry", "choose_method", "neighbours", "propagate"]
