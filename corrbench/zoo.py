"""Checkpoints by name: where they are, whether they are the right file, and how their tensors fit a backbone.

The list is `zoo.toml`. Files lie in a folder of $CORRBENCH_CHECKPOINTS or in ~/.cache/corrbench/checkpoints.
Reading this list imports no torch.
"""

from __future__ import annotations

import functools
import hashlib
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corrbench import hashing, shipped
from corrbench.words import did_you_mean

if TYPE_CHECKING:
    import torch


PATH = Path(__file__).with_name("zoo.toml")
_SUFFIXES = (".safetensors", ".pth", ".pt", ".onnx")
_OWN = "where you keep it"


@dataclass(frozen=True)
class Keys:
    """How the names in a file become a backbone's; see zoo.toml."""

    prefix: str = ""
    rename: tuple[tuple[str, str], ...] = ()
    join: tuple[Mapping[str, Any], ...] = ()
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A checkpoint of the zoo; see zoo.toml for what each field means."""

    name: str
    title: str
    file: str
    licence: str
    citation: str
    keys: str
    page: str = ""
    url: str = ""
    also: tuple[str, ...] = ()
    package: str = ""
    version: str = ""
    member: str = ""
    sha256: str = ""
    sha256_prefix: str = ""
    md5_prefix: str = ""
    container: str = ""
    note: str = ""
    shipped: bool = False
    method: str = ""
    variant: str = ""

    @property
    def source(self) -> str:
        """Where the file comes from, for people: the page, or the package that carries it."""
        if self.shipped:
            return f"corrbench itself (model card: corrbench/checkpoints/{self.name}.md)"
        return (
            f"the Python package {self.package}=={self.version}"
            if self.package
            else self.page or self.url or _OWN
        )

    @property
    def check(self) -> str:
        """What its content is checked against."""
        if self.sha256:
            return "sha256"
        if self.sha256_prefix:
            return f"sha256 begins {self.sha256_prefix}"
        if self.md5_prefix:
            return f"md5 begins {self.md5_prefix}"
        return "nothing public to check against"


@dataclass(frozen=True)
class Located:
    """A checkpoint's file on this machine, its content checked against what is public about it.

    Weights that corrbench ships also say how they were trained (`trained`, as a record keeps it) and what a method that
    uses them is called in place of its plain name (`variant`); both are empty for other people's weights.
    """

    name: str
    path: Path
    sha256: str
    licence: str
    citation: str
    check: str
    variant: str = ""
    trained: Mapping[str, Any] | None = None


class CheckpointMissing(ValueError):
    """The file is not on this machine and could not be fetched."""


@functools.cache
def _zoo() -> tuple[dict[str, Entry], dict[str, Keys]]:
    with PATH.open("rb") as file:
        tables = tomllib.load(file)
    maps = {
        name: Keys(
            prefix=table.get("prefix", ""),
            rename=tuple((pattern, replacement) for pattern, replacement in table.get("rename", ())),
            join=tuple(table.get("join", ())),
            ignored=tuple(table.get("ignored", ())),
        )
        for name, table in tables.pop("keys").items()
    }
    entries = {
        name: Entry(name=name, **table | {"also": tuple(table.get("also", ()))})
        for name, table in tables.items()
    }
    return entries, maps


def names() -> tuple[str, ...]:
    """The names of all checkpoints, in the order of zoo.toml."""
    return tuple(_zoo()[0])


def entry(name: str) -> Entry:
    """The zoo's entry `name`, or one for the file of that name; `ValueError` with the known names otherwise.

    A file of your own (`my-net.safetensors`) is named without its folder, so that a record does not depend on
    where it lies; its tensors have the backbone's own names.
    """
    entries = _zoo()[0]
    if name in entries:
        return entries[name]
    if str(name).endswith(_SUFFIXES):
        file = Path(name).name
        if file != name:
            raise ValueError(
                f"checkpoint {name!r} names a folder; name the file alone, {file!r}, and let $CORRBENCH_CHECKPOINTS name "
                "its folder, so that the record does not depend on where it lies"
            )
        return Entry(name, "weights of your own", file, "not stated", "not stated", "plain")
    raise ValueError(f"{name!r} is not a checkpoint of the zoo.{did_you_mean(str(name), list(entries))}")


def folders() -> list[Path]:
    """Where checkpoints are looked for: $CORRBENCH_CHECKPOINTS, then the user's cache. Fetched ones go to the first."""
    given = [
        Path(part).expanduser()
        for part in os.environ.get("CORRBENCH_CHECKPOINTS", "").split(os.pathsep)
        if part
    ]
    return [*given, Path("~/.cache/corrbench/checkpoints").expanduser()]


def find(name: str, search: Iterable[Path | str] = ()) -> Path | None:
    """The file of checkpoint `name` in `search` (folders, or the file itself) or in `folders()`; None where it is not."""
    known = entry(name)
    if known.shipped:
        place = shipped.FOLDER / known.file
        return place if known.sha256 and place.is_file() else None
    for place in [*map(Path, search), *folders()]:
        if place.is_file():
            return place
        for file in (known.file, *known.also):
            if (place / file).is_file():
                return place / file
    return None


def available() -> dict[str, Path | None]:
    """Every checkpoint's file on this machine, None where it is not here. Nothing is read or checked."""
    return {name: find(name) for name in names()}


def describe() -> list[dict[str, str]]:
    """A row a checkpoint for `corrbench list checkpoints`: name, title, licence, source, check, here."""
    rows = []
    for name, path in available().items():
        known = entry(name)
        rows.append(
            {
                "checkpoint": name,
                "title": known.title,
                "licence": known.licence,
                "from": known.source,
                "check": known.check,
                "here": str(path) if path else "no",
            }
        )
    return rows


def locate(name: str, search: Iterable[Path | str] = (), fetch: bool = True) -> Located:
    """The checked file of checkpoint `name`, fetched from its public address where it is not on this machine.

    `CheckpointMissing` (a `ValueError`) says in one sentence what is missing, where it comes from and where
    it goes; `ValueError` names a file whose content is another than the zoo's.
    """
    known = entry(name)
    path = find(name, search)
    if path is None and known.shipped:
        raise CheckpointMissing(
            f"checkpoint {name!r} ({known.title}) belongs into {shipped.FOLDER}, but this copy of corrbench has no "
            f"{known.file} there: install corrbench again, or name other weights with -o method.checkpoint=NAME"
        )
    if path is None:
        from corrbench.fetching import fetch_checkpoint

        target = folders()[0] / known.file
        if not fetch:
            raise CheckpointMissing(missing(known, target, "it was not to be fetched"))
        path = fetch_checkpoint(known, target)
    sha256 = verify(known, path)
    trained = shipped.training_of(path) if known.shipped else None
    return Located(name, path, sha256, known.licence, known.citation, known.check, known.variant, trained)


def missing(known: Entry, target: Path, why: str) -> str:
    """The one sentence for a checkpoint that is not here."""
    return (
        f"checkpoint {known.name!r} ({known.title}) is not on this machine and {why}: get it from {known.source} and put it "
        f"at {target}, or in a folder that $CORRBENCH_CHECKPOINTS names"
    )


def verify(known: Entry, path: Path) -> str:
    """sha256 of the file, after comparing it (or md5) with what is public; `ValueError` names both where they differ."""
    sha256 = hashing.sha256(path)
    found, expected, kind = sha256, known.sha256 or known.sha256_prefix, "sha256"
    if not expected and known.md5_prefix:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        expected, kind = known.md5_prefix, "md5"
    if not found.startswith(expected):
        begin = "beginning " if len(expected) < len(found) else ""
        raise ValueError(
            f"{path} is not checkpoint {known.name!r}: its {kind} is {found}, expected {begin}{expected}; delete the file "
            f"and get it again from {known.source}"
        )
    return sha256


def load(name: str, module: torch.nn.Module, search: Iterable[Path | str] = ()) -> Located:
    """Locate checkpoint `name` (fetching it if need be), load it into `module`, strictly, and say which file it was."""
    found = locate(name, search)
    load_into(module, name, found.path, found.sha256)
    return found


def load_into(module: torch.nn.Module, name: str | None, path: Path | str, sha256: str | None = None) -> None:
    """Load the file at `path` into `module`, with the key map of the zoo's entry `name`, strictly in both directions.

    A `name` that is not in the zoo (weights of our own training) is read with the map `plain`. `sha256`,
    where given, is compared before anything is read. `ValueError` lists the first missing, unexpected or
    misshapen tensors.
    """
    from corrbench import weights
    from corrbench.weights.fit import fill

    path = Path(path)
    if sha256 is not None:
        found = hashing.sha256(path)
        if found != sha256:
            raise ValueError(f"{path} has changed: its sha256 is {found}, expected {sha256}")
    entries, maps = _zoo()
    known = entries.get(name or "")
    tensors = weights.container(weights.read(path), known.container if known else "", path)
    fill(module, tensors, maps[known.keys if known else "plain"], path)
