"""The store gives back the same bits, never something stale or half, and never holds more than it may."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from corrbench import sharing
from corrbench import store as module
from corrbench.datasets.sequence import Sequence
from corrbench.methods import Clock, LabelPropagation
from corrbench.protocol import preset
from corrbench.provenance import Numerics
from corrbench.store import Store, parse_size
from tests.conftest import moving_squares

KIB = 1024


def filled(value: float, bytes_: int = 4 * KIB) -> tuple[torch.Tensor, ...]:
    return (torch.full((bytes_ // 4,), float(value)),)


def never() -> tuple[torch.Tensor, ...]:
    raise AssertionError("this should have been found")


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [
        ("20GiB", 20 * 2**30), ("500MB", 5 * 10**8), ("1e9", 10**9), ("1.5 KiB", 1536), (7, 7), ("0", 0), ("12B", 12),
        ("2tb", 2 * 10**12),
    ],
)  # fmt: skip
def test_sizes(text: str | int, bytes_: int) -> None:
    assert parse_size(text) == bytes_


@pytest.mark.parametrize("text", ["", "GiB", "5 G", "-1", "1.2.3", "5 iB", "many"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a size is a number of bytes"):
        parse_size(text)


def test_what_was_kept_comes_back_bit_for_bit_and_is_made_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = torch.randn(3, 5, 7)
    first[0, 0, 0] = -torch.inf
    made = (
        first,
        torch.arange(6, dtype=torch.int32).reshape(2, 3),
        torch.randn(2, 2).bfloat16(),
        torch.empty(0, 4),
    )
    store.get({"a": 1}, lambda: made)
    again = Store(tmp_path).get({"a": 1}, never)
    assert [t.dtype for t in again] == [t.dtype for t in made]
    assert all(torch.equal(a, b) for a, b in zip(again, made, strict=True))
    assert store.counts == {"found": 0, "made": 1, "unkept": 0}
    assert store.get({"a": 2}, lambda: filled(2.0))[0][0] == 2  # another key, another entry


def test_layout_of_what_is_given_does_not_show_in_what_is_found(tmp_path: Path) -> None:
    maps = torch.randn(2, 8, 3, 4).contiguous(memory_format=torch.channels_last)
    Store(tmp_path).get({}, lambda: (maps,))
    found = Store(tmp_path).get({}, never)[0]
    assert torch.equal(found, maps)
    assert found.is_contiguous()


def test_what_is_found_may_be_written_to_without_changing_the_file(tmp_path: Path) -> None:
    Store(tmp_path).get({}, lambda: filled(1.0))
    with torch.inference_mode():
        Store(tmp_path).get({}, never)[0].add_(5)
    assert Store(tmp_path).get({}, never)[0][0] == 1


def test_an_entry_is_read_lazily(tmp_path: Path) -> None:
    """64 MiB are mapped, and only the page that is looked at becomes resident."""
    Store(tmp_path).get({}, lambda: filled(1.0, 2**26))
    Store(tmp_path).get({"small": 1}, lambda: filled(1.0))
    code = (
        "import torch\nfrom pathlib import Path\nfrom corrbench.store import Store\n"
        "resident = lambda: int(Path('/proc/self/statm').read_text().split()[1]) / 256\n"  # MiB of 4 KiB pages
        f"assert Store(Path({str(tmp_path)!r})).get({{'small': 1}}, None)[0][0] == 1\n"  # what any first read loads
        "before = resident()\n"
        f"found = Store(Path({str(tmp_path)!r})).get({{}}, None)[0]\n"
        "assert found.shape == (2**24,) and found[12345] == 1\n"
        "lazily = resident() - before\n"
        "assert found.sum() == 2**24\n"
        "print(lazily, resident() - before)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    ).stdout
    lazily, wholly = map(float, said.split())
    assert lazily < 8 < 50 < wholly


def test_the_least_recently_used_go_first_and_the_limit_holds(tmp_path: Path) -> None:
    store = Store(tmp_path, limit=20 * KIB)
    for number in range(4):
        store.get({"n": number}, lambda number=number: filled(number))
        for path in entries(tmp_path):  # file systems' clocks tick slowly: an order that needs no waiting
            os.utime(path, (path.stat().st_mtime - 10,) * 2)
    store.get({"n": 0}, never)  # used: now the last to go
    store.get({"n": 4}, lambda: filled(4.0))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 20 * KIB
    store.get({"n": 0}, never)
    store.get({"n": 4}, never)
    with pytest.raises(AssertionError):
        store.get({"n": 1}, never)


def test_what_is_larger_than_the_limit_is_given_but_not_kept(tmp_path: Path) -> None:
    store = Store(tmp_path, limit=10 * KIB)
    store.get({"n": 0}, lambda: filled(0.0))
    assert store.get({"big": 1}, lambda: filled(1.0, 12 * KIB))[0].sum() == 3 * KIB
    assert store.counts["unkept"] == 1
    store.get({"n": 0}, never)  # and nothing was deleted for it


def test_files_of_others_in_the_folder_stay(tmp_path: Path) -> None:
    (tmp_path / "thesis.safetensors").write_bytes(b"x" * 100 * KIB)
    store = Store(tmp_path, limit=6 * KIB)
    for number in range(3):
        store.get({"n": number}, lambda: filled(1.0))
    assert (tmp_path / "thesis.safetensors").exists()
    assert len(entries(tmp_path)) == 2


def test_a_full_disk_costs_time_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = module._save

    def full(path: Path, *rest: object) -> None:
        save(path, *rest)  # type: ignore[arg-type]
        with open(path, "r+b") as handle:
            handle.truncate(100)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_save", full)
    store = Store(tmp_path)
    assert store.get({}, lambda: filled(3.0))[0][0] == 3
    assert store.counts == {"found": 0, "made": 1, "unkept": 1}
    assert not [path for path in tmp_path.iterdir() if path.name != ".lock"]


def test_a_folder_that_cannot_be_made_costs_time_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    store = Store(tmp_path / "file")
    assert store.get({}, lambda: filled(3.0))[0][0] == 3
    assert store.counts["unkept"] == 1
    with store.claim("anything") as ours:
        assert ours


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "longer", "pickle"])
def test_a_damaged_entry_is_made_again(tmp_path: Path, damage: str) -> None:
    Store(tmp_path).get({}, lambda: filled(1.0))
    (path,) = entries(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(
        {
            "cut": whole[:-1],
            "empty": b"",
            "noise": b"\xff" * 200,
            "longer": whole + b"0",
            "pickle": b"\x80\x04N.",
        }[damage]
    )
    assert Store(tmp_path).get({}, lambda: filled(1.0))[0][0] == 1
    assert path.read_bytes() == whole


def test_killed_in_the_middle_of_writing_leaves_nothing_that_is_taken_for_whole(tmp_path: Path) -> None:
    code = (
        "import os, signal, torch\nfrom pathlib import Path\nfrom corrbench import store\n"
        "store.os.fsync = lambda number: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"store.Store(Path({str(tmp_path)!r})).get({{}}, lambda: (torch.ones(1000),))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == -9
    assert not entries(tmp_path)
    (left,) = tmp_path.glob("*.tmp")
    store = Store(tmp_path)
    assert store.get({}, lambda: filled(2.0))[0][0] == 2
    assert left.exists()  # it may be another process's, at work
    os.utime(left, (time.time() - 2 * module.ABANDONED,) * 2)
    store.get({"n": 1}, lambda: filled(2.0))
    assert not left.exists()


def test_two_processes_fill_one_folder_within_the_limit(tmp_path: Path) -> None:
    """Both write and delete the same twelve entries at once; every answer is right and the limit holds."""
    code = (
        "import torch\nfrom pathlib import Path\nfrom corrbench.store import Store\n"
        f"store = Store(Path({str(tmp_path)!r}), limit=30_000)\n"
        "for n in [*range(12)] * 3:\n"
        "    made = (torch.full((1000,), float(n)), torch.full((10,), n, dtype=torch.int32))\n"
        "    a, b = store.get({'n': n}, lambda: made)\n"
        "    assert (a == n).all() and (b == n).all()\n"
        "assert store.counts['unkept'] == 0, store.counts\n"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = [process.communicate(timeout=240)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 30_000


def test_what_another_process_deletes_can_still_be_read(tmp_path: Path) -> None:
    Store(tmp_path).get({}, lambda: filled(4.0))
    found = Store(tmp_path).get({}, never)[0]
    entries(tmp_path)[0].unlink()
    assert (found == 4).all()


def test_a_claim_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    one, two = Store(tmp_path), Store(tmp_path)
    with one.claim("a") as first, two.claim("a") as second, two.claim("b") as other:
        assert (first, second, other) == (True, False, True)
    with two.claim("a") as later:
        assert later


# --- what features depend on ---------------------------------------------------------------------------------------


def a_sequence(seed: int = 0) -> Sequence:
    frames, masks = moving_squares(3, (48, 64), 1, seed)
    return Sequence("squares", frames, (48, 64), masks, ("1",))


RESNET = {"type": "ResNet", "depth": 18, "stem_pool": None, "strides": (1, 2, 2, 1), "layer": 3, "seed": 0}


def key_of(
    sequence: Sequence | None = None,
    size: tuple[int, int] = (48, 64),
    colour: str = "lab",
    autocast: str | None = None,
    touch: bool = False,
    **settings: object,
) -> dict[str, object]:
    method = LabelPropagation(backbone=RESNET | settings, colour=colour)
    numerics = Numerics(autocast=autocast)
    method.prepare(numerics)
    assert method.backbone is not None
    if touch:  # one weight of eleven million
        with torch.no_grad():
            next(method.backbone.parameters())[0, 0, 0, 0] += 1e-3
    return sharing.features_key(
        sequence or a_sequence(), size, method.backbone, sharing.weights_digest(method.backbone), method.backbone_config,
        colour, numerics,
    )  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"touch": True}, {"seed": 1}, {"layer": 2}, {"size": (96, 128)}, {"colour": "rgb"}, {"autocast": "bfloat16"},
        {"sequence": a_sequence(1)},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_features_are_made_again_when_anything_they_depend_on_changed(
    change: dict[str, object], tmp_path: Path
) -> None:
    store = Store(tmp_path)
    store.get(key_of(), lambda: filled(1.0))
    store.get(key_of(), never)
    store.get(key_of(**change), lambda: filled(2.0))  # type: ignore[arg-type]
    assert store.counts["made"] == 2


def test_other_code_other_versions_or_another_processor_make_features_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = key_of()
    for name in ("_versions", "_machine", "code_digest"):
        with monkeypatch.context() as changed:
            changed.setattr(sharing, name, lambda *_: "another")
            assert key_of() != before
    assert key_of() == before


def test_a_changed_frame_file_makes_features_again_a_changed_label_does_not(tiny_davis: Path) -> None:
    from corrbench.datasets.davis import DAVIS

    def key() -> dict[str, object]:
        return key_of(DAVIS(root=tiny_davis).load("blackswan"))

    before = key()
    mask = tiny_davis / "Annotations" / "480p" / "blackswan" / "00001.png"
    mask.write_bytes((mask.parent / "00002.png").read_bytes())
    assert key() == before
    frame = tiny_davis / "JPEGImages" / "480p" / "blackswan" / "00001.jpg"
    frame.write_bytes((frame.parent / "00002.jpg").read_bytes())
    assert key() != before


def test_sources_are_part_of_the_key(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.py").write_text("1")
    before = sharing.code_digest((tmp_path / "a",))
    sharing.code_digest.cache_clear()
    (tmp_path / "a" / "x.py").write_text("2")
    assert sharing.code_digest((tmp_path / "a",)) != before


def test_a_method_that_shares_predicts_what_it_predicts_alone(tmp_path: Path, tiny_davis: Path) -> None:
    """Fresh, kept and found features and neighbours give the same bits, with more neighbours than the protocol takes."""
    from corrbench.datasets.davis import DAVIS
    from corrbench.tasks.segmentation import VideoObjectSegmentation

    task = VideoObjectSegmentation(DAVIS(root=tiny_davis))
    sequence = task.dataset.load("bike-packing")
    protocol = preset("stt").replace(resize="short 96", radius=3, context=3, topk=5)
    soft: list[torch.Tensor] = []

    def keep(found: torch.Tensor, *rest: object) -> np.ndarray:
        soft.append(found.clone())
        return decode(found, *rest)

    decode = task.decode
    task.decode = keep  # type: ignore[method-assign]
    for store in (None, Store(tmp_path / "s"), Store(tmp_path / "s")):
        method = LabelPropagation(backbone=RESNET, colour="lab")
        method.prepare(Numerics())
        if store is not None:
            method.share(store, [protocol, protocol.replace(topk=20)])
        clock = Clock()
        method.predict(sequence, task, protocol, clock)
        assert clock.shared == (store is not None)
    assert torch.equal(soft[0], soft[1])
    assert torch.equal(soft[0], soft[2])
