"""A sweep gives the records that single runs give, and computes what they share once."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from corrbench import api, methods, runner, sweeping
from corrbench.cli import main
from corrbench.propagation import Context, Window, neighbours, propagate
from corrbench.record import Record
from corrbench.store import Store

ROOT = Path(__file__).parent.parent
LAB, RESNET = (str(ROOT / "methods" / f"{name}.py") for name in ("lab", "random_resnet18"))
TASK = str(ROOT / "tasks" / "davis.py")
SMALL = ["protocol.resize=short 96", "protocol.context=3"]


def options(data: Path, out: Path, **more: Any) -> dict[str, Any]:
    return {"overrides": SMALL, "data": data, "out": out, "device": "cpu"} | more


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often features, neighbours and propagations were computed."""
    counts: Counter[str] = Counter()

    def count(name: str, function: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            counts[name] += 1
            return function(*args, **kwargs)

        return wrapped

    monkeypatch.setattr(
        methods.LabelPropagation, "features", count("features", methods.LabelPropagation.features)
    )
    for name in ("neighbours", "propagate", "carry"):
        monkeypatch.setattr(methods, name, count(name, getattr(methods, name)))
    return counts


# --- the grid ------------------------------------------------------------------------------------------------------


def test_axes_from_text_and_from_a_mapping() -> None:
    text = ["protocol=stt,crw", "k=5,10", "radius=6,none", "topk=20", "normalise=true", "resize=short 240"]
    axes = {
        "protocol": ["stt", "crw"], "topk": [5, 10, 20], "radius": [6, None], "normalise": [True], "resize": ["short 240"],
    }  # fmt: skip
    assert sweeping.parse_over(text) == axes
    assert sweeping.parse_over(axes) == axes
    assert sweeping.parse_over("topk=5,10") == {"topk": [5, 10]}
    assert sweeping.parse_over({"topk": 5, "protocol": "stt"}) == {"topk": [5], "protocol": ["stt"]}


@pytest.mark.parametrize(
    ("over", "sentence"),
    [
        (["topk"], "write SWITCH=VALUE,VALUE"), (["topk="], "write SWITCH=VALUE,VALUE"),
        (["topk=5,,10"], "write SWITCH=VALUE,VALUE"), (["topc=5"], "'topc' is no switch of a protocol.*Did you mean 'topk'"),
        ({"name": ["x"]}, "'name' is no switch"), ({"topk": []}, "no values"),
    ],
)  # fmt: skip
def test_what_is_no_axis_is_refused(over: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        sweeping.parse_over(over)


def test_a_grid_is_every_combination_and_one_at_a_time_a_star() -> None:
    axes = {"protocol": ["stt", "crw"], "topk": [5, 10], "radius": [6, None]}
    assert len(sweeping.settings(axes)) == 8
    star = sweeping.settings(axes, one_at_a_time=True)
    assert len(star) == 2 * (1 + 2 + 2)
    assert star[:3] == [{"protocol": "stt"}, {"protocol": "stt", "topk": 5}, {"protocol": "stt", "topk": 10}]
    assert sweeping.settings({"topk": [5]}, one_at_a_time=True) == [{}, {"topk": 5}]


# A value of every switch that is not STT's own.
OTHER = {
    "context": 2, "early": "unique", "mask": "circle", "radius": 5, "strict": True, "first_masked": False,
    "normalise": False, "topk": 3, "topk_scope": "frame", "temperature": 0.2, "stored": "hard", "down": "bilinear",
    "up": "bilinear-nearest", "minmax": False, "sigma": 2.0, "sigma_in": "cells", "background": True, "decode_top": 3,
    "decode_at": "grid", "resize": "short 64", "score_first": True,
}  # fmt: skip


def test_every_switch_can_be_swept(tiny_davis: Path, tmp_path: Path) -> None:
    assert set(OTHER) == set(sweeping.AXES) - {"protocol"}
    found = sweeping.plans(
        [LAB], TASK, sweeping.settings({k: [v] for k, v in OTHER.items()}, one_at_a_time=True), data=tiny_davis, device="cpu"
    )  # fmt: skip
    assert len({plan.key for plan in found}) == len(OTHER) + 1
    for plan, (name, value) in zip(found[1:], OTHER.items(), strict=True):
        assert getattr(plan.protocol, name) == value


def test_points_that_come_to_the_same_are_run_once(tiny_davis: Path, tmp_path: Path) -> None:
    def plans(over: Any, **more: Any) -> list[Any]:
        return sweeping.plans(
            [LAB], TASK, sweeping.settings(sweeping.parse_over(over), **more), **options(tiny_davis, tmp_path)
        )

    assert len(plans(["topk=10,10", "temperature=0.07,.07"])) == 1  # STT's own values
    assert len(plans(["topk=10,5"], one_at_a_time=True)) == 2
    assert len(plans(["mask=none,square", "radius=3,6"])) == 3  # without a mask no radius matters
    assert len(plans(["mask=none", "radius=none,3", "strict=false,true"])) == 1
    assert len(plans(["protocol=stt,vfs", "mask=square,circle"])) == 4  # vfs is strict


def test_radius_none_is_no_mask_and_a_radius_makes_a_mask(tiny_davis: Path, tmp_path: Path) -> None:
    def windows(protocol: str) -> list[tuple[str, float]]:
        points = sweeping.settings({"protocol": [protocol], "radius": [4, None, "none"]})
        plans = sweeping.plans([LAB], TASK, points, **options(tiny_davis, tmp_path))
        return [(plan.protocol.mask, plan.protocol.radius) for plan in plans]

    assert windows("stt") == [("square", 4), ("none", 12)]
    assert windows("crw") == [("circle", 4), ("none", 12)]
    assert windows("uvc") == [("square", 4), ("none", 0)]  # which has no mask of its own
    given = sweeping.plans(
        [LAB], TASK, [{"radius": 4}], data=tiny_davis, device="cpu", protocol="crw", overrides=["protocol.mask=none"]
    )  # fmt: skip
    assert given[0].protocol.mask == "square"


def test_values_that_a_protocol_refuses_are_said_before_anything_runs(
    tiny_davis: Path, tmp_path: Path
) -> None:
    for over, sentence in (
        (["topk=0"], "topk=0: expected at least 1"),
        (["protocol=sst"], "Did you mean 'stt'"),
    ):
        with pytest.raises(ValueError, match=sentence):
            sweeping.sweep(LAB, TASK, over, **options(tiny_davis, tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


# --- the records ---------------------------------------------------------------------------------------------------


def tables(record: Record) -> dict[str, str]:
    return record.data["files"]  # sha256 of scores.csv and frames.csv


@pytest.mark.parametrize(
    ("method", "protocols", "settings"),
    [(LAB, ["stt", "crw", "uvc"], 12), (RESNET, ["crw"], 4)],
    ids=["lab", "resnet"],
)
def test_records_of_a_sweep_are_those_of_single_runs(
    method: str, protocols: list[str], settings: int, tiny_davis: Path, tmp_path: Path, counted: Counter[str]
) -> None:
    """Equal keys, equal tables to the last bit, whatever was shared."""
    given = options(tiny_davis, tmp_path / "swept")
    over = {"protocol": protocols, "topk": [2, 7], "radius": [3, None]}
    swept = sweeping.sweep(method, TASK, over, cache=tmp_path / "cache", **given)
    assert len(swept) == settings
    assert counted["features"] == 2  # sequences, all at one input size
    # two windows under stt and crw each; uvc takes its top-k a frame, so it goes another way
    searched = len(set(protocols) - {"uvc"})
    assert counted["neighbours"] == 2 * 2 * searched
    assert counted["propagate"] == 2 * 4 * searched
    assert counted["carry"] == 2 * 4 * (len(protocols) - searched)
    for record in swept:
        point = {"topk": record.protocol["settings"]["topk"], "mask": record.protocol["settings"]["mask"]}
        overrides = [*SMALL, *(f"protocol.{k}={v}" for k, v in point.items())]
        if point["mask"] != "none":
            overrides.append("protocol.radius=3")
        name = record.protocol["name"]
        alone = api.run(
            method, TASK, protocol=name, **options(tiny_davis, tmp_path / "alone", overrides=overrides)
        )
        assert alone.key == record.key
        assert alone.signature == record.signature
        assert tables(alone) == tables(record)
        assert alone.summary == record.summary
        assert (alone.cost["shared"], record.cost["shared"]) == (False, True)


@pytest.mark.parametrize("path", ["native", "tiled", "reference"])
def test_more_neighbours_cut_to_topk_are_those_that_were_asked_for(path: str) -> None:
    """Prefixes of one search are the searches with fewer, to the last bit, ties and missing keys included."""
    from corrbench.propagation import choose_method

    if path == "native" and choose_method("cpu") != "native":
        pytest.skip("the native search cannot be built here: there is no C++ compiler")
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(5, 80, 9, 11, generator=generator)
    features[:, :, 2:5, 3:7] = features[:1, :, 2:3, 3:4]  # a patch of equal vectors: ties
    label = torch.rand(3, 9, 11, generator=generator)
    for window in (
        Window("square", 1),
        Window("circle", 4, strict=True, first_masked=False),
        Window("none", 0),
    ):
        for context in (Context(3, "twice"), Context(2, "copies"), Context(3, "unique")):
            many = neighbours(features, window, context, 50, method=path)
            for k in (1, 5, 10):
                few = neighbours(features, window, context, k, method=path)
                assert torch.equal(many.index[..., :k], few.index)
                assert torch.equal(many.similarity[..., :k], few.similarity)
                assert torch.equal(propagate(many, label, 0.07, k), propagate(few, label, 0.07, k))


def test_a_cache_that_was_filled_before_gives_the_same_and_computes_nothing(
    tiny_davis: Path, tmp_path: Path, counted: Counter[str]
) -> None:
    over = {"topk": [2, 5]}
    one = sweeping.sweep(LAB, TASK, over, cache=tmp_path / "cache", **options(tiny_davis, tmp_path / "one"))
    before = counted.copy()
    two = sweeping.sweep(LAB, TASK, over, cache=tmp_path / "cache", **options(tiny_davis, tmp_path / "two"))
    assert counted["features"] == before["features"]
    assert counted["neighbours"] == before["neighbours"]
    assert [tables(r) for r in one] == [tables(r) for r in two]


def test_a_cache_that_can_keep_nothing_changes_no_number(tiny_davis: Path, tmp_path: Path) -> None:
    over = {"topk": [2, 5]}
    kept = sweeping.sweep(LAB, TASK, over, cache=tmp_path / "cache", **options(tiny_davis, tmp_path / "one"))
    (tmp_path / "file").write_text("")
    none = sweeping.sweep(LAB, TASK, over, cache=tmp_path / "file", **options(tiny_davis, tmp_path / "two"))
    assert [tables(r) for r in kept] == [tables(r) for r in none]


def test_twenty_settings_cost_the_features_once_and_twenty_propagations(
    tiny_davis: Path, tmp_path: Path, counted: Counter[str]
) -> None:
    over = {"topk": [1, 2, 5, 10, 20], "temperature": [0.03, 0.07, 0.2, 1.0]}
    records = sweeping.sweep(
        RESNET, TASK, over, cache=tmp_path / "cache", **options(tiny_davis, tmp_path / "runs")
    )
    assert len(records) == 20
    assert len({r.key for r in records}) == 20
    assert counted == {"features": 2, "neighbours": 2, "propagate": 40}  # two sequences


def test_several_methods_and_methods_without_features(
    tiny_davis: Path, tmp_path: Path, counted: Counter[str]
) -> None:
    several = [LAB, str(ROOT / "methods" / "copy_first.py"), RESNET]
    records = sweeping.sweep(
        several, TASK, ["topk=2,5"], cache=tmp_path / "cache", **options(tiny_davis, tmp_path / "runs")
    )
    assert [r.method["name"] for r in records] == ["lab"] * 2 + ["copy_first"] * 2 + ["random_resnet18"] * 2
    assert counted["features"] == 4
    floor = [r for r in records if r.method["name"] == "copy_first"]
    assert tables(floor[0]) == tables(floor[1])
    assert not floor[0].cost["shared"]


def test_plans_of_several_tasks_side_by_side(tiny_davis: Path, tmp_path: Path) -> None:
    """One method on two tasks with other sequences: each goes over its own."""
    given = options(tiny_davis, tmp_path / "runs")
    part = [*SMALL, "task.dataset.sequences=['blackswan']"]
    todo = sweeping.plans([LAB], TASK, [{"topk": 2}], **given)
    todo += sweeping.plans([LAB], TASK, [{"topk": 2}], **(given | {"overrides": part}))
    records = sweeping.execute(todo, Store(tmp_path / "cache"))
    assert [r.dataset["sequences"] for r in records] == [2, 1]


# --- interruption, and other processes -----------------------------------------------------------------------------


def test_an_interrupted_sweep_goes_on_where_it_stopped(
    tiny_davis: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: Counter[str]
) -> None:
    over, given = {"topk": [2, 5, 9]}, options(tiny_davis, tmp_path / "cut")
    whole = sweeping.sweep(
        LAB, TASK, over, cache=tmp_path / "whole", **(given | {"out": tmp_path / "whole_runs"})
    )
    counted.clear()
    seen: list[tuple[int | None, str]] = []

    def stop(plan: Any, name: str) -> None:
        seen.append((plan.protocol.topk, name))
        if len(seen) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweeping.sweep(LAB, TASK, over, cache=tmp_path / "cache", progress=stop, **given)
    assert seen == [(2, "bike-packing"), (5, "bike-packing"), (9, "bike-packing"), (2, "blackswan")]
    again = sweeping.sweep(LAB, TASK, over, cache=tmp_path / "cache", **given)
    assert counted == {"features": 2, "neighbours": 2, "propagate": 6}  # nothing twice
    assert [tables(r) for r in again] == [tables(r) for r in whole]


def test_sequences_that_another_process_is_at_come_last(tiny_davis: Path, tmp_path: Path) -> None:
    (plan,) = sweeping.plans([LAB], TASK, [{"topk": 2}], **options(tiny_davis, tmp_path / "runs"))
    store, seen = Store(tmp_path / "cache"), []
    with Store(tmp_path / "cache").claim(f"{sweeping._shared(plan)[:16]}-bike-packing"):
        sweeping.execute([plan], store, lambda _, name: seen.append(name))
    assert seen == ["blackswan", "bike-packing"]


def test_a_full_disk_is_said_in_one_sentence(
    tiny_davis: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from corrbench.tasks.segmentation import VideoObjectSegmentation

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(VideoObjectSegmentation, "save", full)
    with pytest.raises(
        ValueError, match="no space is left on the disk; free some and run the same command again"
    ):
        sweeping.sweep(
            LAB, TASK, ["topk=2"], cache=tmp_path / "cache", **options(tiny_davis, tmp_path / "runs")
        )


# --- the command ---------------------------------------------------------------------------------------------------


def test_the_command_says_what_it_would_do_then_does_it_then_has_nothing_to_do(
    tiny_davis: Path, tmp_path: Path
) -> None:
    words = [
        "sweep", LAB, TASK, "--data", str(tiny_davis), "--out", str(tmp_path / "runs"), "--cache", str(tmp_path / "cache"),
        "--over", "topk=2,5", "--over", "radius=3,none", "-o", "protocol.resize=short 96", "-o", "protocol.context=3",
        "--device", "cpu",
    ]  # fmt: skip
    dry = CliRunner().invoke(main, [*words, "--dry-run"])
    assert dry.exit_code == 0, dry.output
    assert "4 settings, 0 of them finished" in dry.output
    assert dry.output.count("to do") == 4
    assert not (tmp_path / "runs").exists()
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert "6 computed, 10 reused" in done.output  # two of features, four of neighbours; the rest found
    again = CliRunner().invoke(main, [*words, "--dry-run"])
    assert "4 settings, 4 of them finished" in again.output


def test_the_notes_of_a_run_before_sharing_was_noted_are_read(tiny_davis: Path, tmp_path: Path) -> None:
    plan = api.plan(LAB, TASK, **options(tiny_davis, tmp_path / "runs"))
    runner.predict(plan)
    for note in (plan.folder / "predictions").glob("*.json"):
        old = json.loads(note.read_text())
        del old["shared"]
        note.write_text(json.dumps(old))
    assert runner.score(plan).cost["shared"] is False
