"""Tensors of a torch checkpoint that also holds other objects, without unpickling: nothing in the file is called.

A pickle is a program for a small stack machine. `_run` walks its opcodes (`pickletools.genops`, which only
parses) and carries out those that make plain values. A name of a class or function stays a name; "calling" it
gives a tensor for torch's own tensor constructors, a dict for OrderedDict, and an inert `Opaque` for
everything else. Both layouts of torch.save are read: the zip archive, and the file of pickles followed by raw
storages (before torch 1.6).
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


class DamagedWeights(Exception):
    """The file is cut short, or is not what its name says."""


@dataclass(frozen=True)
class Name:
    """A class or function that the file names. It is not imported."""

    path: str


@dataclass(frozen=True)
class Opaque:
    """In place of an object that is no tensor and no plain value."""

    of: str


# A storage's bytes by (key, number of elements, dtype).
Storages = Callable[[str, int, torch.dtype], torch.Tensor]
_MARK = Opaque("mark")


def read_inert(path: Path) -> Any:
    """The content of a torch checkpoint: dicts, lists, tuples, plain values, tensors, and `Opaque` for the rest."""
    if zipfile.is_zipfile(path):
        return _read_zip(path)
    with open(path, "rb") as file:
        return _read_legacy(file)


def _read_zip(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [n for n in archive.namelist() if n.endswith("/data.pkl") or n == "data.pkl"]
            if len(pickles) != 1:
                raise DamagedWeights(f"{len(pickles)} members called data.pkl instead of one")
            root = pickles[0].removesuffix("data.pkl")

            def storage(key: str, count: int, dtype: torch.dtype) -> torch.Tensor:
                return _elements(archive.read(f"{root}data/{key}"), count, dtype)

            return _run(io.BytesIO(archive.read(pickles[0])), storage)
    except (zipfile.BadZipFile, EOFError) as error:
        raise DamagedWeights(str(error)) from error


def _read_legacy(file: BinaryIO) -> Any:
    """Five pickles (magic, protocol, system, content, storage keys), then every storage: int64 count and its elements."""
    if _run(file, _no_storage) != _LEGACY_MAGIC:
        raise DamagedWeights("it does not begin as a torch checkpoint")
    _run(file, _no_storage)
    _run(file, _no_storage)
    start = file.tell()
    kinds: dict[str, torch.dtype] = {}

    def note(key: str, count: int, dtype: torch.dtype) -> torch.Tensor:
        kinds[key] = dtype
        return torch.empty(0, dtype=dtype)

    _run(file, note, tensors=False)
    contents: dict[str, torch.Tensor] = {}
    for key in _run(file, _no_storage):
        if key not in kinds:
            raise DamagedWeights(f"storage {key!r} belongs to no tensor")
        count = int.from_bytes(file.read(8), "little", signed=True)
        contents[key] = _elements(file.read(max(count, 0) * kinds[key].itemsize), count, kinds[key])
    file.seek(start)
    return _run(file, lambda key, count, dtype: contents[key])


def _no_storage(key: str, count: int, dtype: torch.dtype) -> torch.Tensor:
    raise DamagedWeights("a tensor where none is expected")


def _elements(content: bytes, count: int, dtype: torch.dtype) -> torch.Tensor:
    if count < 0 or len(content) != count * dtype.itemsize:
        raise DamagedWeights(f"a storage of {count} elements has {len(content)} bytes")
    return torch.frombuffer(bytearray(content), dtype=dtype) if count else torch.empty(0, dtype=dtype)


def _run(file: BinaryIO, storages: Storages, tensors: bool = True) -> Any:
    """The value that a pickle builds, read from the file's position to the end of that pickle."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    try:
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name == "STOP":
                return stack.pop()
            _step(opcode.name, argument, stack, memo, storages, tensors)
    except (ValueError, IndexError, KeyError, TypeError, RuntimeError) as error:
        raise DamagedWeights(str(error) or type(error).__name__) from error
    raise DamagedWeights("its pickle has no end")


_EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": set,
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "MARK": lambda: _MARK,
}  # fmt: skip
_PLAIN = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip


def _step(
    name: str, argument: Any, stack: list[Any], memo: dict[int, Any], storages: Storages, tensors: bool
) -> None:
    match name:
        case "PROTO" | "FRAME":
            pass
        case _ if name in _EMPTY:
            stack.append(_EMPTY[name]())
        case _ if name in _PLAIN:
            stack.append(argument)
        case "BINPUT" | "LONG_BINPUT" | "PUT":
            memo[int(argument)] = stack[-1]
        case "MEMOIZE":
            memo[len(memo)] = stack[-1]
        case "BINGET" | "LONG_BINGET" | "GET":
            stack.append(memo[int(argument)])
        case "POP":
            stack.pop()
        case "POP_MARK":
            _to_mark(stack)
        case "DUP":
            stack.append(stack[-1])
        case "TUPLE1" | "TUPLE2" | "TUPLE3":
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])]
        case "TUPLE" | "LIST" | "FROZENSET":
            items = _to_mark(stack)
            stack.append({"TUPLE": tuple, "LIST": list, "FROZENSET": frozenset}[name](items))
        case "DICT":
            items = _to_mark(stack)
            stack.append(dict(zip(items[::2], items[1::2], strict=True)))
        case "APPEND" | "APPENDS" | "ADDITEMS":
            items = [stack.pop()] if name == "APPEND" else _to_mark(stack)
            if isinstance(stack[-1], list):
                stack[-1].extend(items)
            elif isinstance(stack[-1], set):
                stack[-1].update(items)
        case "SETITEM" | "SETITEMS":
            items = [stack.pop(), stack.pop()][::-1] if name == "SETITEM" else _to_mark(stack)
            if isinstance(stack[-1], dict):
                stack[-1].update(zip(items[::2], items[1::2], strict=True))
        case "GLOBAL":
            stack.append(Name(argument.replace(" ", ".", 1)))
        case "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(Name(f"{module}.{attribute}"))
        case "INST":
            _to_mark(stack)
            stack.append(Opaque(argument.replace(" ", ".", 1)))
        case "OBJ":
            kind, *_ = _to_mark(stack)
            stack.append(Opaque(getattr(kind, "path", "object")))
        case "BINPERSID":
            stack.append(_storage(stack.pop(), storages))
        case "REDUCE" | "NEWOBJ":
            arguments, target = stack.pop(), stack.pop()
            stack.append(_made(target, arguments, tensors))
        case "NEWOBJ_EX":
            stack.pop()
            arguments, target = stack.pop(), stack.pop()
            stack.append(_made(target, arguments, tensors))
        case "BUILD":
            stack.pop()  # an object's attributes: of a dict its metadata, of everything else nothing we keep
        case _:
            raise DamagedWeights(f"opcode {name} has no place in a checkpoint")


def _to_mark(stack: list[Any]) -> list[Any]:
    at = next(i for i in range(len(stack) - 1, -1, -1) if stack[i] is _MARK)
    items = stack[at + 1 :]
    del stack[at:]
    return items


def _storage(persistent: Any, storages: Storages) -> torch.Tensor:
    """`("storage", class, key, device, count)`, in the old layout with a sixth entry, a view, that must be None."""
    if not isinstance(persistent, tuple) or len(persistent) < 5 or persistent[0] != "storage":
        raise DamagedWeights("a persistent id that is no storage")
    if len(persistent) > 5 and persistent[5] is not None:
        raise DamagedWeights("a storage that is a view of another")
    kind = str(getattr(persistent[1], "path", "")).rpartition(".")[2]
    if kind not in _DTYPES:
        raise DamagedWeights(f"storage class {kind!r} is not known")
    return storages(str(persistent[2]), int(persistent[4]), _DTYPES[kind])


def _made(target: Any, arguments: Any, tensors: bool) -> Any:
    path = target.path if isinstance(target, Name) else "object"
    match path:
        case "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor":
            storage, offset, size, stride = arguments[:4]
            # In the first pass over an old layout the storages are not there yet.
            return storage.as_strided(size, stride, offset).clone() if tensors else storage
        case "torch._utils._rebuild_parameter" | "torch.nn.parameter.Parameter":
            return arguments[0]
        case "collections.OrderedDict":
            return dict(arguments[0]) if arguments else {}
        case "torch.Size":
            return tuple(arguments[0])
        case _:
            return Opaque(path)
