"""The masks drawn by hand on training frames, and the script that scores methods on them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tuning_frames", ROOT / "scripts" / "tuning_frames.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def data(script: ModuleType, tmp_path: Path) -> Path:
    """A data folder with the sequences' names and no frame: a method that never moves a label reads none."""
    for folder in script.MASKS.iterdir():
        (tmp_path / script.FOLDER / folder.name).mkdir(parents=True)
    return tmp_path


def test_a_label_that_never_moves_scores_as_its_overlap_with_the_others(
    script: ModuleType, data: Path, tmp_path: Path
) -> None:
    row = script.evaluate(str(ROOT / "methods" / "copy_first.py"), "full method", None, 0, data)
    assert len(row["sequences"]) == 27
    first, *others = (
        np.asarray(Image.open(path)) > 0 for path in sorted((script.MASKS / "mallard-water").glob("*.png"))
    )
    for found, other in zip(row["sequences"]["mallard-water"], others, strict=True):
        overlap = 100 * (first & other).sum() / (first | other).sum()
        assert abs(found - overlap) < 30  # the mean of J and F, of which this is J
        assert 0 < found < 100
    script.save(tmp_path / "rows.json", [row | {"method": "a", "variant": "b"}])
    script.save(tmp_path / "rows.json", [row | {"method": "a", "variant": "c"}])
    script.save(tmp_path / "rows.json", [row | {"method": "a", "variant": "b", "J&F-Mean": 1.0}])
    kept = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [(r["variant"], r["J&F-Mean"] == 1.0) for r in kept] == [("c", False), ("b", True)]
    own = script.evaluate(
        str(ROOT / "methods" / "copy_first.py"), "full method", None, 0, data, own_size=True
    )
    script.save(tmp_path / "rows.json", [own | {"method": "a", "variant": "c"}])
    kept = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [(r["variant"], r["protocol"]) for r in kept] == [
        ("c", "stt"),
        ("b", "stt"),
        ("c", "stt, own size"),
    ]


def test_masks_are_of_one_size_a_sequence_and_hold_an_object(script: ModuleType, data: Path) -> None:
    for sequence in script.sequences(data):
        labels = [label for label in sequence.labels if label is not None]
        assert sequence.labels[0] is not None
        assert 2 <= len(labels) <= 3
        assert {label.shape for label in labels} == {sequence.size}
        assert all(0.005 < label.mean() < 0.5 for label in labels), sequence.name
        assert len(sequence) <= 33


def test_missing_data_is_one_sentence(script: ModuleType, tmp_path: Path) -> None:
    from corrbench.datasets.roots import DataMissing

    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(DataMissing, match="DAVIS-train-256 is not on this machine"):
        next(script.sequences(tmp_path / "elsewhere"))
