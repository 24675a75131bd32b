"""The weights of an ONNX file by the protobuf wire format alone: no graph is built, no package is needed.

Field numbers are those of onnx.proto (ONNX IR): ModelProto.graph 7; GraphProto.node 1, initializer 5;
NodeProto input 1, name 3, op_type 4; TensorProto dims 1, data_type 2, float_data 4, int64_data 7, name 8,
raw_data 9, data_location 14.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from corrbench.weights.inert import DamagedWeights

_DTYPES = {
    1: torch.float32,
    6: torch.int32,
    7: torch.int64,
    10: torch.float16,
    11: torch.float64,
    16: torch.bfloat16,
}


def read_onnx(path: Path) -> dict[str, torch.Tensor]:
    """Initialisers by name, float and integer ones only.

    PyTorch's exporter turns the weight of a linear layer into a nameless, transposed operand of a MatMul
    node. Such a tensor gets its name back from the node's: `/a/b/MatMul` gives `a.b.weight`, transposed to
    (out, in).
    """
    return _named(memoryview(path.read_bytes()))


def _named(view: memoryview) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    owners: dict[str, str] = {}
    for field, graph in _fields(view):
        if field != 7 or isinstance(graph, int):
            continue
        for kind, message in _fields(graph):
            if isinstance(message, int):
                continue
            if kind == 5:
                name, tensor = _tensor(message)
                if tensor is not None:
                    tensors[name] = tensor
            elif kind == 1:
                inputs, node, operator = _node(message)
                if operator == "MatMul" and len(inputs) == 2:
                    owners[inputs[1]] = node
    if not tensors:
        raise DamagedWeights("it has no initialisers")
    return {
        _restored(name, owners): (t.T if name in owners and "::" in name else t)
        for name, t in tensors.items()
    }


def _restored(name: str, owners: dict[str, str]) -> str:
    if "::" not in name or name not in owners:
        return name
    return owners[name].strip("/").rpartition("/")[0].replace("/", ".") + ".weight"


def _node(message: memoryview) -> tuple[list[str], str, str]:
    inputs, name, operator = [], "", ""
    for field, value in _fields(message):
        if isinstance(value, int):
            continue
        if field == 1:
            inputs.append(bytes(value).decode())
        elif field == 3:
            name = bytes(value).decode()
        elif field == 4:
            operator = bytes(value).decode()
    return inputs, name, operator


def _tensor(message: memoryview) -> tuple[str, torch.Tensor | None]:
    dims: list[int] = []
    name, kind, raw = "", 0, b""
    for field, value in _fields(message):
        if field == 1:
            dims.extend([value] if isinstance(value, int) else _varints(value))
        elif field == 2 and isinstance(value, int):
            kind = value
        elif field == 8 and not isinstance(value, int):
            name = bytes(value).decode()
        elif field in (4, 7, 9) and not isinstance(value, int):
            raw = bytes(value) if field != 7 else torch.tensor(_varints(value)).numpy().tobytes()
        elif field == 14 and value == 1:
            raise DamagedWeights(f"{name!r} lies in a file of its own")
    if kind not in _DTYPES:
        return name, None
    count = torch.Size(dims).numel()
    if len(raw) != count * _DTYPES[kind].itemsize:
        raise DamagedWeights(f"{name!r} of shape {tuple(dims)} has {len(raw)} bytes")
    flat = (
        torch.frombuffer(bytearray(raw), dtype=_DTYPES[kind])
        if count
        else torch.empty(0, dtype=_DTYPES[kind])
    )
    return name, flat.reshape(dims)


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, value): an int for varints and fixed widths, the bytes of a length-delimited field."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        field, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield field, value
            continue
        size, at = _varint(message, at) if wire == 2 else ({1: 8, 5: 4}.get(wire, 0), at)
        if (wire not in (1, 2, 5)) or at + size > len(message):
            raise DamagedWeights("it is cut short or no ONNX file")
        part = message[at : at + size]
        at += size
        yield field, part if wire == 2 else int.from_bytes(part, "little")


def _varints(message: memoryview) -> list[int]:
    at, values = 0, []
    while at < len(message):
        value, at = _varint(message, at)
        values.append(value - (1 << 64) if value >= 1 << 63 else value)
    return values


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise DamagedWeights("it is cut short or no ONNX file")
