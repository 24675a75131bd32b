# ruff: noqa: C408 (settings read as they do in a method file)
"""`ablate` from end to end on a tiny benchmark, and its table against hand-made records."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from corrbench import ablation as ab
from corrbench import ablation_table as at
from corrbench.ablation_check import SeedCheck, check_seed
from corrbench.training import cache, loop

METHOD = '''
"""A tiny STT."""
method = dict(
    type="LabelPropagation", colour="lab", protocol="stt", checkpoint=None,
    backbone=dict(type="ResNet", depth=18, width=8, stem_pool=None, strides=(1, 2, 2, 1), layer=3),
)
training = [
    dict(type="Spatial", backbone=dict(type="ResNet", width=8, layer=4), dataset=dict(type="Photos", folders=["clips"]),
         updates=1, batch=4, queue=8, dim=8, crop=32, bn_groups=2),
    dict(type="Temporal", backbone=dict(type="ResNet", width=8, stem_pool=None, strides=(1, 2, 2, 4), layer=4),
         teacher=dict(type="ResNet", width=8, layer=4), dataset=dict(type="Videos", folders=["clips"]),
         updates=2, batch=2, crop=64, radii=(3, 2), lr=1e-3),
]
schedules = {"one": {"training.1.updates": 1}}
ablations = {
    "no global": {"training.1.global_weight": 0.0},
    "spatial only": {"training.1.updates": 0, "method.colour": "rgb"},
    "supervised": {"training.1.teacher_weights": "imagenet-r18"},
}
'''


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A method file, two clips to train on, and a DAVIS folder of two sequences to evaluate on."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CORRBENCH_CHECKPOINTS", str(tmp_path / "no-checkpoints"))
    monkeypatch.setenv("CORRBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "tiny.py").write_text(METHOD.lstrip())
    rng = np.random.default_rng(0)
    davis = tmp_path / "data" / "DAVIS"
    (davis / "ImageSets" / "2017").mkdir(parents=True)
    (davis / "ImageSets" / "2017" / "val.txt").write_text("bear\ncow\n")
    for name, folder in (("bear", davis / "JPEGImages/480p/bear"), ("cow", davis / "JPEGImages/480p/cow"),
                         ("a", tmp_path / "data/clips/a"), ("b", tmp_path / "data/clips/b")):  # fmt: skip
        folder.mkdir(parents=True)
        texture = rng.integers(0, 256, (8, 12, 3), dtype=np.uint8)
        image = np.asarray(Image.fromarray(texture).resize((150, 100), Image.Resampling.BICUBIC))
        for t in range(4):
            Image.fromarray(image[t : t + 72, 2 * t : 2 * t + 128]).save(folder / f"{t:05d}.jpg", quality=95)
            if name in ("bear", "cow"):
                mask = np.zeros((72, 128), np.uint8)
                mask[20 - t : 50 - t, 40 - 2 * t : 80 - 2 * t] = 1
                png = Image.fromarray(mask).convert("P")
                png.putpalette([0, 0, 0, 128, 0, 0])
                target = davis / "Annotations/480p" / name / f"{t:05d}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                png.save(target)
    return tmp_path


def run(place: Path, **settings: Any) -> tuple[ab.Ablation, list[str]]:
    said: list[str] = []
    shared = dict(out=place / "runs", report=place / "report", progress=False, say=said.append, device="cpu")
    shared |= dict(overrides=("protocol.resize=native",))
    tasks = Path(__file__).parents[1] / "tasks"
    return ab.ablate(place / "tiny.py", tasks / "davis.py", **(shared | settings)), said


def no_network(*_: Any, **__: Any) -> Any:
    from corrbench import zoo

    raise zoo.CheckpointMissing("checkpoint 'imagenet-r18' is not on this machine")


def test_ablate_trains_shares_evaluates_and_writes(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corrbench.zoo.locate", no_network)
    result, said = run(place, seeds={ab.FULL: 2, "no global": 2})
    assert [(row.name, row.seeds) for row in result.rows] == [
        (ab.FULL, (0, 1)), ("no global", (0, 1)), ("spatial only", (0,)), ("supervised", ()),
    ]  # fmt: skip
    assert len(list(cache.folder_of_stages().glob("*/stage.json"))) == 6  # 2 seeds of spatial, 2 + 2 temporal
    full, without, spatial, supervised = result.rows
    assert full.difference is None
    assert full.spread is not None
    assert without.difference == pytest.approx(np.mean(np.subtract(without.values, full.values)))
    assert spatial.spread is None
    assert supervised.reason is not None
    assert "imagenet-r18" in supervised.reason
    assert any(line.startswith("left out: supervised: checkpoint 'imagenet-r18'") for line in said)
    record = result.records["spatial only", 0]
    assert record.data["resolved"]["method"]["colour"] == "rgb"
    assert record.data["seed"] == 0
    assert record.data["checkpoint"]["trained"]["ablation"] == "spatial only"

    names = {path.suffix: path for path in result.files}
    assert set(names) == {".md", ".json", ".csv"}
    text = names[".md"].read_text()
    assert "not run: checkpoint 'imagenet-r18'" in text
    assert json.loads(names[".json"].read_text())["rows"][1]["name"] == "no global"
    with open(names[".csv"], newline="") as handle:
        assert [row["name"] for row in csv.DictReader(handle)] == [row.name for row in result.rows]
    assert len(list((place / "report" / "stages").glob("*/stage.json"))) == 6
    assert len(list((place / "report" / "records").glob("*/*/record.json"))) == 5
    page = (place / "report" / "README.md").read_text()
    assert "own sequences in DAVIS layout, frames at their own size" in page
    assert "2 sequences cannot" not in page  # no question is known for this method
    assert str(place) not in "".join(p.read_text() for p in (place / "report").rglob("*.json"))

    before = {p: p.read_bytes() for p in (place / "report").rglob("*") if p.is_file()}
    again, said = run(place, seeds={ab.FULL: 2, "no global": 2})
    assert "6 of them trained already" in said[0]
    assert again.rows == result.rows
    assert {p: p.read_bytes() for p in before} == before


def test_only_and_schedule_narrow_what_is_done(place: Path) -> None:
    result, said = run(place, only=["no global"], schedule="one")
    assert [row.name for row in result.rows] == [ab.FULL, "no global"]
    assert "3 stages, 0 of them trained already" in said[0]
    assert all("1 of 1 updates" in line for line in said[1:4])
    assert result.files[0].name == "tiny-davis-one-stt-frames-at-their-own-size.md"


def test_names_that_are_not_there_are_refused(place: Path) -> None:
    with pytest.raises(ValueError, match=r"'no globl' is no ablation.*'no global'"):
        run(place, only=["no globl"])
    (place / "tiny.py").write_text('method = dict(type="CopyFirst")\n')
    with pytest.raises(ValueError, match="has no `ablations"):
        run(place)


def test_a_diverged_variant_is_in_the_table_with_its_reason(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = cache.train_missing

    def train(*args: Any, changes: dict[str, Any], **settings: Any) -> Any:
        if "training.1.global_weight" in changes:
            raise loop.Diverged("training diverged at update 1: local = nan")
        return whole(*args, changes=changes, **settings)

    monkeypatch.setattr(cache, "train_missing", train)
    result, _ = run(place, only=["no global"])
    assert result.rows[1].value is None
    assert "seed 0: training diverged at update 1" in at.markdown(result)


class _Scores:
    """A score that is the weighted mean of one value a sequence."""

    names = ("a", "b", "c", "d", "e", "f", "g", "h")

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        return weights @ self.values / weights.sum(1)

    def value(self) -> float:
        return float(self.values.mean())

    def by_sequence(self) -> np.ndarray:
        return self.values


def test_differences_are_paired_over_seeds_and_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    base = [_Scores(rng.normal(50, 20, 8)) for _ in range(3)]
    worse = [_Scores(s.values - 2 + rng.normal(0, 0.1, 8)) for s in base]
    monkeypatch.setattr(at.sc, "exchange", lambda a, b: _Scores(np.concatenate([a.values, b.values])))
    found = at._difference(worse, base)  # type: ignore[arg-type]
    assert found["difference"] == pytest.approx(-2, abs=0.1)
    assert (
        -2.2 < found["low"] <= found["difference"] <= found["high"] < -1.8
    )  # although sequences differ by 20
    assert found["lower_on"] == 8
    assert found["p"] == pytest.approx(2 / 2**8)


def test_a_seed_trained_again_gives_the_reported_score(place: Path) -> None:
    shared = {"schedule": "one", "overrides": ("protocol.resize=native",), "device": "cpu"}
    run(place, only=["spatial only"], schedule="one")
    task = Path(__file__).parents[1] / "tasks" / "davis.py"
    how: dict[str, Any] = shared | {"report": place / "report", "out": place / "again", "progress": False}
    found = check_seed(place / "tiny.py", task, name="spatial only", say=lambda text: None, **how)
    assert found.same_weights
    assert found.again == found.reported
    assert found.holds
    assert "the same weights to the last bit: holds" in found.line()
    assert len(list((place / "again" / "cache").rglob("stage.json"))) == 1
    with pytest.raises(ValueError, match="has no run of 'full method' with seed 3"):
        check_seed(place / "tiny.py", task, seed=3, say=lambda text: None, **how)


@pytest.mark.parametrize(
    ("again", "seeds", "same", "holds"),
    [
        (50.0, (50.1, 50.2), False, False),
        (50.0, (50.1, 49.8), False, True),
        (40.0, (50.0,), True, True),
        (50.0, (50.0,), False, False),
    ],
)
def test_when_a_seed_counts_as_the_same(
    again: float, seeds: tuple[float, ...], same: bool, holds: bool
) -> None:
    found = SeedCheck("full method", 0, "J&F-Mean", seeds[0], again, seeds, same)
    assert found.holds is holds
    assert ("does NOT hold" in found.line()) is (not holds and len(seeds) > 1)
