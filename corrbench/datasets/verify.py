"""`corrbench data verify`: every file of a data set against its manifest, and what is missing or damaged.

Half-complete copies score, and score wrongly. Where a checksum of a file is known it is compared; where none was ever
published, the file is checked for structure (there, numbered without a gap, of one size, not cut off), and the report
says which it was. Frames are compared by their bytes, masks by their pixels (PNG encoders differ).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

from corrbench.datasets.badja import BADJA
from corrbench.datasets.davis import FRAME_ENDINGS, numbered_files, official_lists
from corrbench.datasets.digests import file_digest
from corrbench.datasets.images import image_size
from corrbench.datasets.jhmdb import JHMDB, split_1_list
from corrbench.datasets.origins import ORIGINS
from corrbench.datasets.rendered import read_mark
from corrbench.datasets.roots import find_root
from corrbench.datasets.verify_files import DIGITS, Report, check_sequence, each, frame_problem, mask_digest
from corrbench.datasets.vip import VIP
from corrbench.words import did_you_mean


def verify(
    name: str, root: str | Path | None = None, *, decode: bool = False, manifest: str | Path | None = None
) -> Report:
    """Check a data set (davis, jhmdb, vip, badja, synthetic); `decode` decodes every frame too.

    `root` as for a run (`--data`, else `$CORRBENCH_DATA`). `manifest` is a file that `write_manifest` wrote from
    a full copy (davis); without it the one that comes with corrbench is used. `ValueError` for an unknown name and for a
    manifest that would not be read, `DataMissing` where the data set is on none of the places looked at.
    """
    checks: dict[str, Callable[..., Report]] = {
        "davis": _davis,
        "jhmdb": _jhmdb,
        "vip": _vip,
        "badja": _badja,
        "synthetic": _synthetic,
    }
    if name.lower() not in checks:
        raise ValueError(
            f"{name!r} is not a data set that can be verified.{did_you_mean(name, list(checks))}"
        )
    if manifest is not None and name.lower() != "davis":
        raise ValueError(
            f"{manifest}: a manifest of one's own is for davis, not for {name!r}; verify it without --manifest"
        )
    return checks[name.lower()](root, decode, _manifest(name.lower(), manifest))


def command(
    name: str, root: str | Path | None = None, *, decode: bool = False, manifest: str | Path | None = None
) -> tuple[str, bool]:
    """The report as text, and whether all is well."""
    report = verify(name, root, decode=decode, manifest=manifest)
    return report.text(), report.sound


def write_manifest(name: str, root: str | Path | None, path: str | Path) -> int:
    """Write the checksums of one's own full copy (davis) as a manifest for `verify`; returns the number of sequences.

    For those who own a copy that they trust and want to check others against it. `ValueError` for damaged files.
    """
    if name != "davis":
        raise ValueError(f"a manifest can be written for davis, not for {name!r}")
    known = _manifest("davis", None)
    place = find_root("DAVIS", root)
    entries = {}
    for sequence in sorted(p.name for p in (place / "JPEGImages" / "480p").iterdir() if p.is_dir()):
        frames = numbered_files(place / "JPEGImages" / "480p" / sequence, FRAME_ENDINGS, "frame")
        masks = numbered_files(place / "Annotations" / "480p" / sequence, (".png",), "mask")
        size = image_size(frames[0])
        entries[sequence] = {
            "frames": len(frames),
            "size": list(size),
            "frame_sha256": [file_digest(p)[:DIGITS] for p in frames],
            "mask_sha256": [mask_digest(p, size) for p in masks],
        }
    Path(path).write_text(json.dumps({**known, "sequences": entries}, indent=1) + "\n", encoding="utf-8")
    return len(entries)


def _manifest(name: str, path: str | Path | None) -> dict[str, Any]:
    if path is None:
        file = resources.files("corrbench.datasets").joinpath(f"manifests/{name}.json")
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a manifest ({error}); write one with write_manifest") from None
    if not isinstance(data, dict) or not isinstance(data.get("sequences"), dict):
        raise ValueError(f"{path}: not a manifest (no 'sequences' in it); write one with write_manifest")
    for sequence, entry in data["sequences"].items():
        if not _is_entry(entry):
            raise ValueError(
                f"{path}: {sequence!r} is no entry of a manifest (frames, size, and a checksum for each frame and "
                "mask); write one with write_manifest"
            )
    return data


def _is_entry(entry: Any) -> bool:
    """Whether this is what `check_sequence` takes: a number of frames and, where there are any, a checksum for each."""
    if not isinstance(entry, dict) or not isinstance(entry.get("frames"), int):
        return False
    lists = [entry[key] for key in ("frame_sha256", "mask_sha256") if entry.get(key)]
    size = entry.get("size") or [1, 1]
    return isinstance(size, list) and len(size) == 2 and all(len(x) == entry["frames"] for x in lists)


def _davis(root: str | Path | None, decode: bool, manifest: dict[str, Any]) -> Report:
    place = find_root("DAVIS", root)
    if read_mark(place) is not None:
        return _rendered(place, decode)
    known, lists = manifest["sequences"], official_lists()
    report = Report("DAVIS-2017 val (480p)", place, ORIGINS["DAVIS"].line(), official=len(lists[2017, "val"]))
    frames_of, masks_of = place / "JPEGImages" / "480p", place / "Annotations" / "480p"
    listed = lists[2017, "val"]
    trained = tuple(name for name in lists[2017, "train"] if (frames_of / name).is_dir())
    for name in listed + trained:
        if not (frames_of / name).is_dir() and not (masks_of / name).is_dir():
            report.missing.append(
                f"{name}: the whole sequence ({known.get(name, {}).get('frames', '?')} frames)"
            )
            continue
        if name in listed:
            report.there.append(name)
        check_sequence(report, name, frames_of / name, masks_of / name, known.get(name, {}), decode)
    if trained:
        report.notes.append(
            f"{len(trained)} of {len(lists[2017, 'train'])} training sequences are there as well"
        )
    image_set = place / "ImageSets" / "2017" / "val.txt"
    if not image_set.is_file():
        report.missing.append(f"{image_set}: the list of sequences")
    return report


def _jhmdb(root: str | Path | None, decode: bool, manifest: dict[str, Any]) -> Report:
    place = find_root("JHMDB", root)
    if read_mark(place) is not None:
        return _rendered(place, decode)
    report = Report("JHMDB split-1 test", place, ORIGINS["JHMDB"].line(), official=len(split_1_list()))
    _through_loader(report, lambda: JHMDB(place), decode, [clip.partition("/")[2] for clip in split_1_list()])
    return report


def _vip(root: str | Path | None, decode: bool, manifest: dict[str, Any]) -> Report:
    place = find_root("VIP", root)
    if read_mark(place) is not None:
        return _rendered(place, decode)
    report = Report("VIP_Fine val", place, ORIGINS["VIP"].line())
    _through_loader(report, lambda: VIP(place), decode, None)
    return report


def _badja(root: str | Path | None, decode: bool, manifest: dict[str, Any]) -> Report:
    place = find_root("BADJA", root)
    report = Report("BADJA (DAVIS sequences)", place, ORIGINS["BADJA"].line())
    known = manifest.get("joint_annotations", {})
    for name, digest in known.items():
        path = place / "joint_annotations" / f"{name}.json"
        if path.is_file():
            report.compared += 1
            if file_digest(path)[:DIGITS] != digest:
                report.damaged.append(f"{path}: not the authors' file; fetch it again")
    _through_loader(report, lambda: BADJA(place), decode, list(manifest.get("official", [])))
    return report


def _through_loader(
    report: Report, make: Callable[[], JHMDB | VIP | BADJA], decode: bool, official: list[str] | None
) -> None:
    """Check a data set by reading it as a run would: every label, every frame's size; every frame with `decode`."""
    try:
        dataset = make()
    except ValueError as error:
        report.damaged.append(str(error))
        return
    report.there = [name for name in dataset.names() if official is None or name in official]
    report.official = dataset.official if official is None else len(official)
    others = len(dataset.names()) - len(report.there)
    if others:
        report.notes.append(f"{others} sequences are there that the official list does not have")
    if official is None and report.official > len(report.there):
        report.missing.append(f"{report.official - len(report.there)} of the listed sequences")
    report.missing += [f"{name}: the whole sequence" for name in official or [] if name not in report.there]
    for name in dataset.names():
        try:
            sequence = dataset.load(name)
            for t in range(len(sequence)):
                sequence.label(t)
            files = [frame for frame in sequence.frames if isinstance(frame, Path)]
        except ValueError as error:
            report.damaged.append(str(error))
            continue
        check = partial(frame_problem, size=sequence.size, digest=None, decode=decode)
        report.damaged += [problem for problem in each(check, files) if problem]
        report.structural += len(dataset.files(name))


def _synthetic(root: str | Path | None, decode: bool, manifest: dict[str, Any]) -> Report:
    from corrbench.datasets import synthetic

    place = Path(root) if root is not None else synthetic.cache_folder()
    total = Report("synthetic benchmark", place, f"{synthetic.URL} ({synthetic.LICENCE})")
    for folder in synthetic.FOLDERS.values():
        if not (place / folder).is_dir():
            total.notes.append(f"{folder}: not rendered yet; the first run that needs it does")
            continue
        part = _rendered(place / folder, decode)
        total.official += part.official
        total.compared += part.compared
        total.there += part.there
        total.missing += part.missing
        total.damaged += part.damaged
    return total


def _rendered(place: Path, decode: bool) -> Report:
    """A rendered benchmark against the checksums in its mark."""
    mark = read_mark(place)
    assert mark is not None
    report = Report(mark.name, place, f"{mark.url} ({mark.licence})", official=len(mark.content))
    report.there = sorted(mark.content)
    for name, digest in mark.files.items():
        path = place / name
        if not path.is_file():
            report.missing.append(str(path))
            continue
        report.compared += 1
        if file_digest(path) != digest:
            report.damaged.append(
                f"{path}: changed since it was rendered; delete {place}, it is rendered anew"
            )
    return report
