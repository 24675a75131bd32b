"""The one reader and writer of predictions: a folder a sequence, of indexed PNG masks or one table of joints.

A sequence's folder appears whole or not at all: it is written beside its place, under a hidden name, and renamed. So
a folder that is there is complete, after Ctrl-C or kill -9 as well. Folders that other tools wrote are read by the same
functions, just as strictly.
"""

from __future__ import annotations

import csv
import errno
import io
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from corrbench import pipeline
from corrbench.indexed_png import decode, encode

Masks = npt.NDArray[np.uint8]
Joints = npt.NDArray[np.float32]

JOINTS_CSV = "joints.csv"
JOINTS_MAT = "joint_positions.mat"  # the name JHMDB's own annotation has
_COLUMNS = ["sequence", "frame", "joint", "x", "y"]
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def write_masks(folder: Path, masks_THW: npt.ArrayLike, names: Sequence[str], *, fsync: bool = False) -> None:
    """Write `names[t].png`, indexed with the DAVIS palette, for each mask: uint8 (T, H, W) of ids.

    fsync: wait until the disk has every file, for machines that may lose power. Raises OSError with ENOSPC or EDQUOT
    when the disk or quota is full; nothing half-written stays.
    """
    masks = np.asarray(masks_THW)
    if masks.ndim != 3 or len(masks) != len(names):
        raise ValueError(
            f"{folder}: {len(names)} frame names for masks of shape {masks.shape}, expected (T, H, W)"
        )
    with _appearing_whole(Path(folder)) as partial:
        threads = pipeline.cores()
        with closing(pipeline.ahead(encode, masks, threads=threads, depth=2 * threads)) as encoded:
            for name, data in zip(names, encoded, strict=True):
                _write(partial / f"{name}.png", data, fsync)


def read_masks(
    folder: Path, names: Sequence[str], size: tuple[int, int], max_id: int, *, may_lack: Collection[str] = ()
) -> Masks:
    """Read the masks of one sequence, uint8 (T, H, W), or raise ValueError naming what is wrong and the remedy.

    names: frame names without ending, in order. size: (h, w). max_id: the highest id allowed. may_lack: frames that no
    score uses, filled with 0 where absent. Refused: missing or extra frames, and files that are not masks of this size
    and these ids (see `indexed_png.decode`).
    """
    folder = Path(folder)
    check_frames(folder, names, may_lack)
    masks = np.zeros((len(names), *size), dtype=np.uint8)
    paths = [folder / f"{name}.png" for name in names]
    there = [t for t, path in enumerate(paths) if names[t] not in may_lack or path.exists()]
    threads = pipeline.cores()
    read = pipeline.ahead(lambda t: decode(paths[t], size, max_id), there, threads=threads, depth=2 * threads)
    for t, mask in zip(there, read, strict=True):
        masks[t] = mask
    return masks


def check_predictions(
    folder: Path,
    sequences: Mapping[str, Sequence[str]],
    *,
    may_lack: Mapping[str, Collection[str]] | None = None,
) -> tuple[str, ...]:
    """Check that a whole folder of masks has every sequence and frame, before any is scored.

    sequences: name -> frame names. Returns the folders that are no sequence of this data set, for the caller to mention:
    they are not scored. Raises ValueError naming the missing sequences or frames.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(
            f"{folder}: no such folder; give the folder that holds one folder of PNGs a sequence"
        )
    there = sorted(
        entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )
    missing = [name for name in sequences if name not in there]
    if missing:
        if any(folder.glob("*.png")):
            hint = "it holds PNGs itself: give its parent folder"
        elif len(there) == 1 and sequences.keys() & {entry.name for entry in (folder / there[0]).iterdir()}:
            hint = f"give {folder / there[0]} instead"
        else:
            hint = "predict them too, or narrow the task to the sequences that are there"
        raise ValueError(
            f"{folder}: {len(missing)} of {len(sequences)} sequences missing ({_few(missing)}); {hint}"
        )
    for name, frames in sequences.items():
        check_frames(folder / name, frames, (may_lack or {}).get(name, ()))
    return tuple(name for name in there if name not in sequences)


def check_frames(folder: Path, names: Sequence[str], may_lack: Collection[str] = ()) -> None:
    """Raise ValueError unless `folder` holds exactly one PNG for each of `names` (those in `may_lack` optional)."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no folder for this sequence; expected {len(names)} PNGs in it")
    there = {path.stem for path in folder.glob("*.png")}
    missing = [name for name in names if name not in there and name not in may_lack]
    extra = sorted(there - set(names))
    if missing and len(missing) == len(extra):
        raise ValueError(
            f"{folder}: frames are named {_few(extra)}, expected {_few(missing)}; name them as the annotation's are"
        )
    if missing:
        raise ValueError(
            f"{folder}: {len(missing)} of {len(names)} frames missing ({_few(missing)}); predict every frame"
        )
    if extra:
        raise ValueError(
            f"{folder}: {len(extra)} frames that the sequence does not have ({_few(extra)}); remove them, or "
            "check that the predictions were made on the same release of the data"
        )


def write_joints(folder: Path, xy_TJ2: npt.ArrayLike, joints: Sequence[str], *, fsync: bool = False) -> None:
    """Write `joints.csv` (sequence, frame, joint, x, y; frames from 0, pixels from 0, a lost joint -1, -1).

    xy: float32 (T, J, 2). The folder's name is the sequence's. Raises as `write_masks` does, and for values not finite.
    """
    folder, xy = Path(folder), np.asarray(xy_TJ2, dtype=np.float32)
    if xy.ndim != 3 or xy.shape[1:] != (len(joints), 2) or not np.isfinite(xy).all():
        raise ValueError(
            f"{folder}: joints must be finite (T, {len(joints)}, 2), got {xy.shape}; lost ones are -1, -1"
        )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for t, joint in np.ndindex(xy.shape[:2]):
        x, y = (
            np.format_float_positional(v, trim="0") for v in xy[t, joint]
        )  # shortest form that reads back equal
        writer.writerow([folder.name, t, joints[joint], x, y])
    with _appearing_whole(folder) as partial:
        _write(partial / JOINTS_CSV, text.getvalue().encode(), fsync)


def read_joints(folder: Path, length: int, joints: Sequence[str]) -> Joints:
    """Read one sequence's joints, float32 (T, J, 2) xy pixels from 0, lost ones (-1, -1).

    Looked for: `joints.csv` as `write_joints` makes it, else `joint_positions.mat` with `pos_img` (2, J, T) in pixels
    from 1 and lost joints at (0, 0), as JHMDB has it. Raises ValueError for a missing or double row, an unknown
    joint, another number of frames, or values that are not finite.
    """
    folder = Path(folder)
    if (folder / JOINTS_CSV).is_file():
        return _read_csv(folder / JOINTS_CSV, folder.name, length, joints)
    if (folder / JOINTS_MAT).is_file():
        return _read_mat(folder / JOINTS_MAT, length, len(joints))
    raise ValueError(
        f"{folder}: neither {JOINTS_CSV} nor {JOINTS_MAT}; one of them must hold this sequence's joints"
    )


def _read_csv(path: Path, sequence: str, length: int, joints: Sequence[str]) -> Joints:
    try:
        rows = list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8")), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: cannot be read as CSV ({error}); write it again") from None
    if not rows or rows[0] != _COLUMNS:
        raise ValueError(
            f"{path}: first line is {','.join(rows[0]) if rows else 'absent'}, expected {','.join(_COLUMNS)}"
        )
    xy = np.full((length, len(joints), 2), np.nan, dtype=np.float32)
    column = {name: index for index, name in enumerate(joints)}
    for number, row in enumerate(rows[1:], start=2):
        where = f"{path} line {number}"
        if len(row) != len(_COLUMNS):
            raise ValueError(f"{where}: {len(row)} fields, expected {len(_COLUMNS)} ({','.join(_COLUMNS)})")
        if row[0] != sequence:
            raise ValueError(f"{where}: sequence {row[0]!r}, expected {sequence!r}; one folder a sequence")
        if row[2] not in column:
            raise ValueError(f"{where}: unknown joint {row[2]!r}; expected one of {', '.join(joints)}")
        if not row[1].isascii() or not row[1].isdigit() or int(row[1]) >= length:
            raise ValueError(f"{where}: frame {row[1]!r}, expected 0 to {length - 1}; frames count from 0")
        try:
            value = np.array(row[3:], dtype=np.float32)
        except ValueError:
            value = np.array([np.nan, np.nan], dtype=np.float32)
        if not np.isfinite(value).all():
            raise ValueError(f"{where}: place ({row[3]}, {row[4]}) is not two numbers; a lost joint is -1,-1")
        cell = xy[int(row[1]), column[row[2]]]
        if not np.isnan(cell).any():
            raise ValueError(f"{where}: frame {row[1]} has joint {row[2]!r} twice; keep one row each")
        cell[:] = value
    lacking = np.argwhere(np.isnan(xy[..., 0]))
    if len(lacking):
        t, joint = lacking[0]
        raise ValueError(
            f"{path}: {len(lacking)} of {length * len(joints)} rows missing, the first is frame {t} joint "
            f"{joints[joint]!r}; a lost joint is -1,-1, not absent"
        )
    return xy


def _read_mat(path: Path, length: int, joints: int) -> Joints:
    from scipy.io import loadmat  # slow to import, and rarely wanted

    try:
        found = loadmat(path, variable_names=["pos_img"]).get("pos_img")
    except NotImplementedError:
        raise ValueError(f"{path}: a MATLAB 7.3 file; save it with -v7, or write {JOINTS_CSV}") from None
    except Exception as error:  # scipy raises half a dozen kinds for a damaged file
        raise ValueError(f"{path}: cannot be read as a MATLAB file ({error}); write it again") from None
    if found is None:
        raise ValueError(f"{path}: no variable pos_img; expected one of shape (2, {joints}, {length})")
    if found.shape != (2, joints, length) or found.dtype.kind not in "fiu":
        raise ValueError(
            f"{path}: pos_img is {found.dtype} {found.shape}, expected numbers (2, {joints}, {length}): xy, joints, frames"
        )
    if not np.isfinite(found).all():
        raise ValueError(f"{path}: pos_img holds values that are not finite; a lost joint is (0, 0)")
    return np.ascontiguousarray(found.transpose(2, 1, 0).astype(np.float64) - 1.0, dtype=np.float32)


@contextmanager
def _appearing_whole(folder: Path) -> Iterator[Path]:
    """Give a hidden folder to write into, renamed to `folder` at the end, removed when anything goes wrong."""
    partial, old = (folder.with_name(f".{folder.name}.{state}") for state in ("partial", "old"))
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        if folder.exists():
            os.replace(folder, old)
        os.replace(partial, folder)
    except OSError as error:
        if error.errno in _NO_SPACE:
            message = "the disk or quota is full; free some space and run the same command again"
            raise OSError(error.errno, message, str(folder)) from None
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _write(path: Path, data: bytes, fsync: bool) -> None:
    with open(path, "wb") as file:
        file.write(data)
        if fsync:
            file.flush()
            os.fsync(file.fileno())


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
