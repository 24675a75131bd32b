"""J and F in frames/s at 480 x 854, masks in memory: `pytest benchmarks/test_metrics.py --benchmark-only`.

One row a form and number of objects; the group's ratios are those of one run. `python benchmarks/metrics.py` takes
interleaved ratios and saves them.
"""

from __future__ import annotations

import davis_per_frame
import numpy as np
import pytest
import torch

from corrbench.metrics import davis, native

FRAMES = 20
OBJECTS = (1, 2, 5)


def per_frame(truth: np.ndarray, found: np.ndarray, objects: int) -> tuple[np.ndarray, np.ndarray]:
    return davis_per_frame.jaccard_and_boundary(truth, found, objects)


def compiled(truth: np.ndarray, found: np.ndarray, objects: int) -> tuple[np.ndarray, np.ndarray]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CORRBENCH_NATIVE", "native")
        if not native.available():
            pytest.skip("no C++ compiler here")
        return davis.jaccard_and_boundary(truth, found, objects)


def by_numpy(truth: np.ndarray, found: np.ndarray, objects: int) -> tuple[np.ndarray, np.ndarray]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CORRBENCH_NATIVE", "off")
        return davis.jaccard_and_boundary(truth, found, objects)


def gpu(truth: torch.Tensor, found: torch.Tensor, objects: int) -> tuple[np.ndarray, np.ndarray]:
    return davis.jaccard_and_boundary(truth, found, objects)


FORMS = [per_frame, by_numpy, compiled, pytest.param(gpu, marks=pytest.mark.gpu)]


@pytest.mark.parametrize("objects", OBJECTS)
@pytest.mark.parametrize("form", FORMS)
def test_jaccard_and_boundary(benchmark, form, objects: int) -> None:  # type: ignore[no-untyped-def]
    masks = davis_per_frame.made_up_masks(objects, FRAMES)
    expected = davis_per_frame.jaccard_and_boundary(*(mask[:2] for mask in masks), objects)
    arguments = tuple(torch.tensor(mask, device="cuda") for mask in masks) if form is gpu else masks
    benchmark.group = f"J and F, {objects} objects, {FRAMES} frames"
    found = benchmark.pedantic(form, (*arguments, objects), rounds=5, warmup_rounds=1)
    benchmark.extra_info["frames_per_second"] = FRAMES / benchmark.stats.stats.min
    for values, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(values[:, :2], wanted)
