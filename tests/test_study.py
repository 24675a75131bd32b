"""The study of methods and protocols: its plan, its command, its sentences, and the committed report."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from corrbench import effects, methods, protocol, record
from corrbench.reporting import findings, plots_protocol
from corrbench.switches import SWITCHES, Effect, main_effects
from tests.fake_records import make_records

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def study() -> ModuleType:
    """scripts/study_protocols.py as a module."""
    spec = importlib.util.spec_from_file_location("study_protocols", ROOT / "scripts" / "study_protocols.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["study_protocols"] = module
    spec.loader.exec_module(module)
    return module


# --- what is run ---------------------------------------------------------------------------------------------------


def test_every_switch_is_changed_alone_around_stt(study: ModuleType) -> None:
    start = protocol.preset("stt")
    seven = ("context", "mask", "normalise", "top-k", "temperature", "stored", "labels")
    touched = []
    for change in study.SWITCHES:
        own = start.replace(**change).settings()
        differing = {k for k in own if own[k] != start.settings()[k]}
        (switch,) = {name for name, settings in SWITCHES.items() if differing & set(settings)}
        touched.append(switch)
    assert set(touched) == set(seven)


def test_the_study_is_large_enough_and_every_name_is_known(study: ModuleType) -> None:
    assert len(study.METHODS) >= 7
    assert len(study.PROTOCOLS) >= 5
    assert all((ROOT / "methods" / f"{name}.py").is_file() for name in study.METHODS)
    assert set(study.PROTOCOLS) <= set(protocol.names())
    assert set(study.SWEPT) | set(study.UNMASKED) <= set(study.METHODS)
    assert (
        len(study.points("lab", list(study.PROTOCOLS), True))
        == len(study.PROTOCOLS) + len(study.SWITCHES) + 1
    )
    assert study.points("hog", ["stt", "dino"], True) == [
        {"protocol": "stt"},
        {"protocol": "dino", "resize": "short 480"},
    ]


# --- the command ---------------------------------------------------------------------------------------------------


def test_it_stops_goes_on_and_reports(
    study: ModuleType,
    tiny_davis: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls: list[str] = []
    features = methods.LabelPropagation.features

    def counted(self: Any, sequence: Any, size: Any) -> Any:
        calls.append(sequence.name)
        return features(self, sequence, size)

    monkeypatch.setattr(methods.LabelPropagation, "features", counted)
    given = [
        "--out", str(tmp_path / "runs"), "--report", str(tmp_path / "report"), "--data", str(tiny_davis), "--cache",
        str(tmp_path / "cache"), "--methods", "copy_first,lab,hog", "--protocols", "stt,vfs", "--no-switches",
    ]  # fmt: skip
    assert study.main([*given, "--minutes", "0", "--no-report"]) == 3
    assert "stopped after 0 minutes" in capsys.readouterr().out
    assert not list(tmp_path.glob("runs/**/record.json"))
    assert calls == []
    assert study.main([*given, "--dry-run"]) == 0
    assert "lab: 2 of 2 records to make" in capsys.readouterr().out
    assert study.main(given) == 0
    assert len(calls) == 2 * 2  # methods x sequences: once for both protocols
    assert len(record.find(tmp_path / "runs")) == 3 * 2
    first = (tmp_path / "report" / "README.md").read_text()
    assert study.main([*given, "--minutes", "0"]) == 0  # nothing is missing, so there is nothing to stop
    assert study.main([*given, "--report-only", "--out", str(tmp_path / "report" / "records")]) == 0
    assert (tmp_path / "report" / "README.md").read_text() == first
    assert len(calls) == 2 * 2
    assert "## Method or protocol?" in first
    assert "`copy_first`, which no protocol moves" in first
    assert "6 records of 3 methods on DAVIS-2017 val, 2 of 30 sequences (8 frames)" in first


def test_out_of_time_in_the_middle_keeps_what_is_done(
    study: ModuleType,
    tiny_davis: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = ["--out", str(tmp_path / "runs"), "--data", str(tiny_davis), "--cache", str(tmp_path / "cache"), "--methods",
             "lab,hog", "--protocols", "stt,vfs", "--no-switches", "--no-report", "--minutes", "1"]  # fmt: skip
    over = itertools.chain(
        [0.0] * 6, itertools.repeat(61.0)
    )  # so many looks at the clock, then a minute has passed
    with monkeypatch.context() as patch:
        patch.setattr(study.time, "monotonic", lambda: next(over))
        assert study.main(given) == 3
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/**/predictions/*.json")}
    assert 0 < len(done) < 2 * 2 * 2
    assert "the same command goes on" in capsys.readouterr().out
    assert study.main(given) == 0
    assert len(record.find(tmp_path / "runs")) == 2 * 2
    assert {path: path.stat().st_mtime_ns for path in done} == done  # none of them was predicted again


def test_a_method_without_weights_is_left_out_and_said(
    study: ModuleType, tiny_davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--out", str(tmp_path / "runs"), "--data", str(tiny_davis), "--cache", str(tmp_path / "cache"), "--methods",
             "copy_first,vfs", "--protocols", "stt", "--no-report"]  # fmt: skip
    assert study.main(given) == 3
    assert "left out: vfs: " in capsys.readouterr().out
    assert len(record.find(tmp_path / "runs")) == 1


def test_bad_input_is_one_sentence(
    study: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        study.main(["--protocols", "stt,crv"])
    assert "--protocols crv: the study has stt, vfs" in capsys.readouterr().err
    assert study.main(["--report-only", "--out", str(tmp_path)]) == 1
    assert "no finished record of this study" in capsys.readouterr().err


# --- sentences -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Fixed:
    """Scores that are given: the mean over sequences, weighted."""

    values: np.ndarray

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"clip-{i}" for i in range(len(self.values)))

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        return np.asarray(weights @ self.values / weights.sum(axis=1))

    def by_sequence(self) -> np.ndarray:
        return self.values


def made(table: list[list[float]], noise: float = 0.1) -> effects.Grid:
    """A grid of methods (rows) and protocols whose mean over six sequences is `table`."""
    rng = np.random.default_rng(0)
    wobble = rng.normal(size=(*np.shape(table), 6)) * noise
    wobble -= wobble.mean(axis=2, keepdims=True)
    cells: Any = tuple(tuple(Fixed(v + w) for v, w in zip(row, rows, strict=True))
                       for row, rows in zip(table, wobble, strict=True))  # fmt: skip
    names = tuple("abcdefgh"[: len(table)])
    return effects.Grid(
        names, tuple(f"p{i}" for i in range(len(table[0]))), "J&F-Mean", cells, ((),) * len(table)
    )


def told(found: effects.Grid) -> str:
    return " ".join(findings.of_grid(found, effects.stability(found), *effects.explain(found, count=200)))


METHODS_ONLY = [[50.0, 50.5, 50.0], [60.0, 60.5, 60.2], [70.0, 70.5, 70.4], [80.0, 81.0, 80.1]]
CROSSING = [[50.0, 30.0, 52.0], [51.0, 31.0, 49.0], [52.0, 32.0, 48.0], [53.0, 29.0, 53.0]]


def test_where_the_method_decides_the_text_says_so() -> None:
    words = told(made(METHODS_ONLY))
    assert "In short: the method, far more than the protocol" in words
    assert "no pair of methods of 6 changes order" in words
    assert (
        "moves a method by 0.4 (`c`) to 1.0 points (`d`)" in words or "moves a method by 0.5 (`a`)" in words
    )
    assert "so that step is worth more than the choice of protocol" in words
    assert "Kendall's tau between any two protocols is 1.00." in words
    assert "cannot turn any of the 6 pairs" in words
    assert "`p1` for 4 of 4; harshest: `p0` for 4 of 4" in words


def test_where_the_protocol_decides_the_text_says_so() -> None:
    words = told(made(CROSSING))
    assert "In short: the protocol, far more than the method" in words
    values = {name: np.array(row) for name, row in zip("abcd", CROSSING, strict=True)}
    expected = [
        p
        for p in itertools.combinations("abcd", 2)
        if len({bool(x) for x in values[p[0]] > values[p[1]]}) == 2
    ]
    assert f"{len(expected)} of 6 pairs of methods change order between at least two protocols" in words
    assert all(f"`{a}` and `{b}`" in words for a, b in expected)
    assert "so the choice of protocol is worth more than that step" in words
    assert "can turn 6 of 6 pairs" in words


def test_shares_and_counts_in_the_text_are_the_computed_ones() -> None:
    found = made(CROSSING, noise=3.0)
    single, table = effects.explain(found, count=200)
    words = findings.explained(found, single, table)
    for source in single:
        assert f"{source.name.replace(' x ', ' × ')} {100 * source.share:.1f} %" in words
    assert all(f"{100 * source.share:.1f} % [" in words for source in table)


def test_differences_that_the_sequences_resolve_are_counted() -> None:
    shown = re.search(
        r"for (\d+) of (\d+) differences .* for (\d+) of (\d+)", findings.resolved(made(CROSSING))
    )
    assert shown is not None
    # of 4 methods x 3 pairs of protocols all but d's, which has 53 under two; all 3 protocols x 6 pairs of methods
    assert [int(n) for n in shown.groups()] == [11, 12, 18, 18]


def test_effects_in_words_name_what_raises_what_is_silent_and_who_was_measured() -> None:
    both, one = ("lab", "hog"), ("lab",)
    found = (
        Effect("top-k", "topk=1", "topk=10", -5.0, (-6.0, -4.0), 2, both),
        Effect("top-k", "topk=5", "topk=10", 0.4, (0.2, 0.6), 2, both),
        Effect("mask", "no mask", "square radius=12", -9.0, (-12.0, -3.0), 1, one),
        Effect("stored", "stored=hard", "stored=soft", 0.1, (-0.5, 0.6), 2, both),
        Effect("labels", "minmax=False", "minmax=True", 0.02, (0.01, 0.03), 2, both),
    )
    first, second, third = findings.of_switches(found, "J&F-Mean")
    assert first.index("no mask instead of square radius=12 −9.0 [−12.0, −3.0]") < first.index(
        "topk=1 instead of 10 −5.0"
    )
    assert (
        "3 of 5 values have an interval that excludes zero; 1 of them raise the score (topk=5 +0.4)" in second
    )
    assert "No value shows a difference for: stored, labels." in second
    assert third == "Means are over `lab` and `hog`; no mask −9.0 over `lab` alone."
    assert findings.of_switches((), "J&F-Mean") == ()


def test_one_switch_far_beyond_the_others_is_written_at_the_edge() -> None:
    near = [
        Effect("top-k", f"topk={k}", "topk=10", -k / 10, (-k / 10 - 1, -k / 10 + 1), 1, ("lab",))
        for k in (1, 5, 20)
    ]
    far = Effect("normalise", "normalise=False", "normalise=True", -49.94, (-61.0, -38.8), 1, ("lab",))
    assert "−49.9 [−61.0, −38.8]" in plots_protocol.effects([*near, far], "J&F-Mean", "far")
    close = dataclasses.replace(far, difference=-5.0, interval=(-5.9, -4.0))
    assert "−5.0 [" not in plots_protocol.effects([*near, close], "J&F-Mean", "close")


# --- what the study needed of the rest -----------------------------------------------------------------------------


def test_a_floor_that_no_protocol_moves_is_left_out_of_the_decomposition() -> None:
    found = made([[20.0, 20.0], [50.0, 40.0], [60.0, 45.0]], noise=0.0)
    moving = effects.moving(found)
    assert moving.methods == ("b", "c")
    assert moving.left_out == ("a",)
    assert moving.values().shape == (1, 2, 2)
    assert effects.moving(moving) is moving
    floors = made([[20.0, 20.0], [30.0, 30.0], [60.0, 45.0]], noise=0.0)
    assert effects.moving(floors) is floors  # one method alone cannot be decomposed


def test_a_changed_preset_is_named_with_what_it_was(tmp_path: Path) -> None:
    records = make_records(tmp_path / "a", methods=("hog", "lab"), protocols=("stt", "dino"), sequences=4)
    assert effects.changed_presets(effects.grid(records)) == ()
    changed = [
        dataclasses.replace(r, data=r.data | {"protocol": r.data["protocol"] | {
            "settings": r.data["protocol"]["settings"] | ({"resize": "short 480"} if r.protocol["name"] == "dino" else {}),
        }})
        for r in records
    ]  # fmt: skip
    assert effects.changed_presets(effects.grid(changed)) == (
        "`dino` (resize=short 480 instead of short 480 floor 64)",
    )


def test_a_preset_that_is_another_with_one_switch_changed_is_no_start(tmp_path: Path) -> None:
    """VFS's protocol is STT's with another mask; STT's switches are measured against STT."""
    records = make_records(
        tmp_path, methods=("lab",), protocols=("stt", "vfs"), switches={"radius": (6.0,)}, sequences=4
    )
    found = {(e.level, e.reference) for e in main_effects(records, count=50)}
    assert found == {("radius=6", "radius=12")}
    (effect,) = main_effects(records, count=50)
    assert effect.cells == 2
    assert effect.methods == ("lab",)


# --- the committed report ------------------------------------------------------------------------------------------


def test_the_committed_report_is_what_its_records_say(study: ModuleType, tmp_path: Path) -> None:
    home = ROOT / "reports" / "protocols"
    if not (home / "records").is_dir():
        pytest.skip("reports/protocols is not in this checkout")
    from corrbench.reporting import markdown
    from corrbench.reporting.build import build

    given = study.parsed([])
    records = study.chosen(record.find(home / "records"), given)
    links = [(r.folder / "record.json").relative_to(home).as_posix() for r in records]
    built = build(records, links, overlays="none", published=False, title=study.TITLE)
    assert markdown.report(study.study(built, records)) == (home / "README.md").read_text()
    assert not any((r.data.get("git") or {}).get("dirty") for r in records)
