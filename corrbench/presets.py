"""The values of the protocol presets, by kind of task: what each paper's released code has where it is not STT's VOS.

Read by `protocol.preset`, whose docstring says where they come from.
"""

from __future__ import annotations

# joints and parts of STT (configs/test and data sets of its release); what is not named is VOS's
_STT_POSE: dict[str, object] = {"resize": "square 320", "radius": 5, "minmax": False, "score_first": True}
_STT_PARTS: dict[str, object] = {"resize": "square 560", "radius": 16, "score_first": True}
_SIZES_POSE: dict[str, object] = {"resize": "square 320", "minmax": False, "score_first": True}
_SIZES_PARTS: dict[str, object] = {"resize": "square 560", "score_first": True}
_CRW_JOINTS: dict[str, object] = {
    "sigma": 0.5,
    "sigma_in": "cells",
    "background": True,
    "decode_at": "grid",
    "score_first": False,
}
_DINO: dict[str, object] = {
    "context": 7,
    "early": "unique",
    "topk": 5,
    "temperature": 0.1,
    "down": "nearest",
    "up": "bilinear-nearest",
    "resize": "short 480 floor 64",
}
_CRW: dict[str, object] = {
    "early": "copies",
    "mask": "circle",
    "strict": True,
    "first_masked": False,
    "temperature": 0.05,
    "down": "bilinear",
    "minmax": False,
    "resize": "native",
}
_UVC: dict[str, object] = {
    "context": 7,
    "early": "unique",
    "mask": "none",
    "radius": 0,
    "normalise": False,
    "topk": 5,
    "topk_scope": "frame",
    "temperature": 1.0,
    "down": "nearest",
    "up": "bilinear-nearest",
    "resize": "short 480 floor 64",
}
_480X880: dict[str, object] = {
    "context": 20,
    "early": "copies",
    "mask": "circle",
    "radius": 20,
    "strict": True,
    "first_masked": False,
    "topk": 7,
    "temperature": 0.7,
    "down": "nearest",
    "up": "bilinear-nearest",
    "minmax": False,
    "resize": "exact 480x880",
}

PRESETS: dict[str, dict[str, dict[str, object]]] = {
    "stt": {"vos": {}, "pose": _STT_POSE, "parts": _STT_PARTS},
    "stt-s4": {
        "vos": {"radius": 35},
        "pose": _STT_POSE | {"radius": 12},
        "parts": _STT_PARTS | {"radius": 35},
    },
    "vfs": {"vos": {"mask": "circle", "strict": True}, "pose": _SIZES_POSE, "parts": _SIZES_PARTS},
    "crw": {
        "vos": _CRW,
        # the paper's 7 context frames and the README's radius; 3 pixels on the grid are averaged
        "pose": _CRW_JOINTS | {"context": 7, "decode_top": 3, "resize": "square 320"},
        "parts": {"context": 4, "resize": "square 560", "up": "bilinear-nearest", "score_first": True},
    },
    "dino": {"vos": _DINO},
    "dinov3": {
        "vos": _DINO
        | {
            "mask": "circle",
            "temperature": 0.2,
            "down": "nearest-exact",
            "up": "nearest",
            "resize": "short 960 ceil 16",
        }
    },
    "uvc": {
        "vos": _UVC,
        "pose": _CRW_JOINTS | {"topk": 20, "stored": "minmax", "resize": "square 320"},
        "parts": {"context": 1, "resize": "square 560"},
    },
    "timecycle": {
        "vos": {
            "context": 7,
            "early": "copies",
            "mask": "none",
            "radius": 0,
            "topk": 5,
            "topk_scope": "frame",
            "temperature": 512**-0.5,
            "stored": "minmax",
            "down": "bilinear",
            "resize": "square 320",
        }
    },
    "mast-like": {
        "vos": {
            "context": 3,
            "early": "unique",
            "radius": 12,
            "normalise": False,
            "topk": None,
            "temperature": 1.0,
            "stored": "hard",
            "down": "nearest",
            "minmax": False,
            "resize": "native",
        }
    },
    "siammae": {
        "vos": _480X880,
        "pose": _CRW_JOINTS | {"resize": "square 320"},
        "parts": {"topk": 10, "resize": "long 880 floor 64", "score_first": True},
    },
}
