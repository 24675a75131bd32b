"""The pixel counts of J and F by compiled code (`davis.cpp`), where there is a compiler: same counts, less time."""

from __future__ import annotations

import ctypes

import numpy as np
import numpy.typing as npt

Masks = npt.NDArray[np.uint8]


def available() -> bool:
    """Whether the library is there or could be built; the first call may compile for a few seconds.

    `$CORRBENCH_NATIVE` chooses, as for propagation: `off` is never.
    """
    from corrbench.propagation import compiled  # imports torch: not for those who only import the metrics

    name = compiled.target()
    return name != "off" and compiled.library(name) is not None


def counts(
    truth_THW: Masks, found_THW: Masks, ids: tuple[int, ...], radius: int
) -> tuple[npt.NDArray[np.int64], Masks]:
    """What `davis._counts` counts, (6, objects, T), and the highest id of each frame of `found`, (T,)."""
    from corrbench.propagation import compiled

    library = compiled.library(compiled.target())
    assert library is not None
    truth, found = np.ascontiguousarray(truth_THW), np.ascontiguousarray(found_THW)
    numbers = np.array(ids, dtype=np.uint8)
    result = np.zeros((6, len(ids), len(truth)), dtype=np.int64)
    tops = np.zeros(len(truth), dtype=np.uint8)
    library.davis_counts(
        *(ctypes.c_void_p(array.ctypes.data) for array in (truth, found)),
        *(ctypes.c_int32(size) for size in truth.shape),
        ctypes.c_void_p(numbers.ctypes.data),
        ctypes.c_int32(len(ids)),
        ctypes.c_int32(radius),
        *(ctypes.c_void_p(array.ctypes.data) for array in (result, tops)),
    )
    return result, tops
