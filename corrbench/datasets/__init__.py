"""Data sets: strict readers of DAVIS, JHMDB, VIP and BADJA, and a benchmark rendered on the spot."""

from __future__ import annotations

from corrbench.datasets.badja import BADJA
from corrbench.datasets.davis import DAVIS
from corrbench.datasets.images import image_size, read_image, read_index_mask
from corrbench.datasets.jhmdb import JHMDB
from corrbench.datasets.moving import MixedVideos, MovingPhotos
from corrbench.datasets.origins import ORIGINS, Origin
from corrbench.datasets.rendered import Mark, read_mark
from corrbench.datasets.roots import DataMissing, find_root
from corrbench.datasets.sequence import Sequence, read_frames
from corrbench.datasets.synthetic import Synthetic, synthetic_config
from corrbench.datasets.unlabelled import Photos, Videos
from corrbench.datasets.vip import VIP

__all__ = [
    "BADJA",
    "DAVIS",
    "JHMDB",
    "ORIGINS",
    "VIP",
    "DataMissing",
    "Mark",
    "MixedVideos",
    "MovingPhotos",
    "Origin",
    "Photos",
    "Sequence",
    "Synthetic",
    "Videos",
    "find_root",
    "image_size",
    "read_frames",
    "read_image",
    "read_index_mask",
    "read_mark",
    "synthetic_config",
]
