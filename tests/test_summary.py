"""The numbers of a record, checked against sums done by hand and against brute-force resampling."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from corrbench import summary

RNG = np.random.default_rng(3)


def vos_table() -> dict[str, np.ndarray]:
    names = ["b", "b", "a", "c", "c", "c"]  # not sorted: the order of appearance is kept
    table = {"sequence": np.array(names), "object": np.array(list("121123"))}
    for column in summary.VOS_COLUMNS:
        table[column] = RNG.random(6)
    return {**table, "frames": np.full(6, 10)}


def pose_table(clips: int = 4, joints: int = 3) -> dict[str, np.ndarray]:
    names = [f"clip{c}" for c in range(clips) for _ in range(joints)]
    annotated = RNG.integers(20, 40, clips * joints)
    lost = RNG.integers(0, 5, clips * joints)
    table = {
        "sequence": np.array(names),
        "joint": np.array([f"j{j}" for _ in range(clips) for j in range(joints)]),
        "annotated": annotated,
        "lost": lost,
        "count": annotated - lost,
        "count_no0": annotated - lost - 1,
    }
    for at in ("0.1", "0.2"):
        table[f"hits@{at}"] = RNG.integers(1, 15, clips * joints)
        table[f"hits_no0@{at}"] = table[f"hits@{at}"] - 1
        table[f"hits_annotated@{at}"] = table[f"hits@{at}"] + 1
    return table


def parts_table(clips: int = 4, classes: int = 3) -> dict[str, np.ndarray]:
    intersection = RNG.integers(0, 50, clips * classes)
    union = intersection + RNG.integers(1, 50, clips * classes)
    return {
        "sequence": np.array([f"v{c}" for c in range(clips) for _ in range(classes)]),
        "class": np.array([k for _ in range(clips) for k in range(classes)]),
        "intersection": intersection,
        "union": union,
        "intersection_no0": intersection // 2,
        "union_no0": union,
    }


TABLES = {"vos": vos_table, "pose": pose_table, "parts": parts_table}


def resampled(table: dict[str, np.ndarray], picks: list[int]) -> dict[str, np.ndarray]:
    """Brute force: the table of a data set that holds the picked sequences, each copy under its own name."""
    names = summary.sequence_names(table)
    rows, copies = [], []
    for copy, pick in enumerate(picks):
        found = np.flatnonzero(np.asarray(table["sequence"]) == names[pick])
        rows.extend(found)
        copies.extend([f"copy{copy}"] * len(found))
    return {name: np.asarray(column)[rows] for name, column in table.items()} | {"sequence": np.array(copies)}


def test_vos_is_the_mean_over_objects_not_over_sequences() -> None:
    table = vos_table()
    found = summary.summarise("vos", table)
    assert found["J-Mean"] == pytest.approx(100 * table["J-Mean"].mean(), abs=1e-12)
    assert found["F-Decay"] == pytest.approx(100 * table["F-Decay"].mean(), abs=1e-12)
    assert found["J&F-Mean"] == pytest.approx((found["J-Mean"] + found["F-Mean"]) / 2, abs=1e-12)
    by_sequence = [table["J-Mean"][:2].mean(), table["J-Mean"][2], table["J-Mean"][3:].mean()]
    assert abs(found["J-Mean"] - 100 * np.mean(by_sequence)) > 1e-3
    assert list(found) == ["J&F-Mean", *summary.VOS_COLUMNS]


def test_pose_pools_frames_for_each_joint_and_then_averages_joints() -> None:
    table = {
        "sequence": ["a", "a", "b", "b"],
        "joint": ["neck", "hand", "neck", "hand"],
        "annotated": [10, 4, 30, 0],
        "lost": [0, 1, 10, 0],
        "count": [10, 3, 20, 0],
        "count_no0": [9, 2, 19, 0],
        "hits@0.1": [10, 2, 5, 0],
        "hits_no0@0.1": [9, 1, 4, 0],
        "hits_annotated@0.1": [10, 2, 7, 0],
    }
    found = summary.summarise("pose", table)
    assert found["PCK@0.1"] == pytest.approx(100 * (15 / 30 + 2 / 3) / 2)
    assert found["PCK@0.1 (no frame 0)"] == pytest.approx(100 * (13 / 28 + 1 / 2) / 2)
    assert found["lost"] == pytest.approx(100 * (10 / 40 + 1 / 4) / 2)
    assert found["PCK@0.1 (lost = miss)"] == pytest.approx(100 * (17 / 40 + 2 / 4) / 2)
    names, values = summary.per_sequence("pose", table)
    assert names == ("a", "b")
    assert values["PCK@0.1"] == pytest.approx(
        [100 * (1 + 2 / 3) / 2, 25.0]
    )  # no hand in b: only the neck counts


def test_parts_are_summed_over_the_data_set_and_absent_classes_left_out() -> None:
    table = {
        "sequence": ["a", "a", "a", "b", "b", "b"],
        "class": [0, 1, 2, 0, 1, 2],
        "intersection": [90, 0, 0, 10, 5, 0],
        "union": [100, 0, 0, 100, 10, 0],
        "intersection_no0": [50, 0, 0, 10, 5, 0],
        "union_no0": [100, 0, 0, 100, 10, 0],
    }
    found = summary.summarise("parts", table)
    assert found["mIoU"] == pytest.approx(100 * (100 / 200 + 5 / 10) / 2)
    assert found["mIoU (no frame 0)"] == pytest.approx(100 * (60 / 200 + 5 / 10) / 2)


@pytest.mark.parametrize("kind", sorted(TABLES))
def test_weights_equal_brute_force_resampling(kind: str) -> None:
    table = TABLES[kind]()
    count = len(summary.sequence_names(table))
    picks = RNG.integers(0, count, (7, count))
    weights = np.stack([np.bincount(pick, minlength=count) for pick in picks])
    batched = summary.summarise(kind, table, weights)
    for row, pick in enumerate(picks):
        expected = summary.summarise(kind, resampled(table, list(pick)))
        alone = summary.summarise(kind, table, weights[row])
        assert set(expected) == set(batched) == set(alone)
        for name, value in expected.items():
            np.testing.assert_allclose(np.asarray(batched[name])[row], value, rtol=1e-12, err_msg=name)
            np.testing.assert_allclose(alone[name], value, rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("kind", sorted(TABLES))
def test_per_sequence_equals_each_sequence_alone(kind: str) -> None:
    table = TABLES[kind]()
    names, values = summary.per_sequence(kind, table)
    for index, _ in enumerate(names):
        for metric, value in summary.summarise(kind, resampled(table, [index])).items():
            np.testing.assert_allclose(values[metric][index], value, rtol=1e-12)


def test_a_sequence_without_a_number_makes_the_mean_nan_only_where_it_has_weight() -> None:
    table = vos_table()
    table["J-Decay"][2] = np.nan  # sequence "a", the second one
    found = summary.summarise("vos", table, [[1, 1, 1], [1, 0, 1]])
    assert np.isnan(np.asarray(found["J-Decay"])).tolist() == [True, False]
    assert np.asarray(found["J-Decay"])[1] == pytest.approx(100 * table["J-Decay"][[0, 1, 3, 4, 5]].mean())
    assert np.isnan(summary.summarise("vos", table, [0, 0, 0])["J-Mean"])


@pytest.mark.parametrize(
    ("kind", "change", "weights", "message"),
    [
        ("video", {}, None, "kind 'video' is not known; expected one of vos, pose, parts"),
        ("vos", {"F-Mean": None}, None, "no column 'F-Mean'; it has sequence, object, J-Mean"),
        ("vos", {"J-Mean": np.array(["x"] * 6)}, None, "column 'J-Mean' of the scores table holds something"),
        ("vos", {}, [1, 2], r"weights have shape \(2,\), expected \(3,\) or \(B, 3\)"),
        ("pose", {"sequence": np.array(["a"] * 6)}, None, "no column hits@0.1"),
        ("vos", {"sequence": np.array([])}, None, "has no rows"),
    ],
)
def test_what_is_refused(
    kind: str, change: dict[str, np.ndarray | None], weights: object, message: str
) -> None:
    table = {name: column for name, column in (vos_table() | change).items() if column is not None}
    with pytest.raises(ValueError, match=message):
        summary.summarise(kind, table, weights)


def test_rows_become_columns() -> None:
    table = summary.as_table([{"sequence": "a", "J-Mean": 0.5}, {"sequence": "b", "J-Mean": 1.0}])
    assert table["J-Mean"].tolist() == [0.5, 1.0]
    with pytest.raises(ValueError, match="row 1 of the scores table has columns"):
        summary.as_table([{"a": 1}, {"b": 1}])
    with pytest.raises(ValueError, match="no rows"):
        summary.as_table([])


def test_importing_the_summary_imports_no_torch_and_no_pandas() -> None:
    code = "import sys, corrbench.summary; print([m for m in ('torch', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
