"""What is inside a GGUF file, and how is one written?

A reader that keeps the metadata as raw entries, so that a new file can carry the base's metadata byte for byte
(template, tokenizer, everything) with only the named keys replaced, and a writer that streams tensors one at a time.
The `gguf` package supplies the constants and the dequantisers; its own reader needs seconds for a vocabulary, this one
0.1 s.

Shapes here are (rows, columns) as numpy and torch say them; GGUF stores them reversed.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from numpy.typing import NDArray

from reactord.errors import BadRequest

Array = NDArray[Any]

MAGIC = b"GGUF"
VERSION = 3
DEFAULT_ALIGNMENT = 32
FILE_TYPE_F16 = 1
_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor lies in its file, and how it is coded."""

    name: str
    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    offset: int
    size_bytes: int


class GgufFile:
    """A memory-mapped GGUF file: `values` (metadata), `entries` (the same, raw), `tensors`."""

    def __init__(self, path: Path) -> None:
        """Read the header. Raises BadRequest when this is no GGUF file of version 2 or 3."""
        self.path = path
        with path.open("rb") as file:
            if path.stat().st_size < 24 or file.read(4) != MAGIC:
                raise BadRequest(f"{path} is not a GGUF file; name a GGUF file or a Hugging Face folder as base_model")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._at = 4
        version = self._scalar("<I")
        if version not in (2, 3):
            raise BadRequest(f"{path} is GGUF version {version}; convert it to version 3 with a current llama.cpp")
        tensor_count, entry_count = self._scalar("<Q"), self._scalar("<Q")
        self.values: dict[str, Any] = {}
        self.entries: dict[str, bytes] = {}
        for _ in range(entry_count):
            start = self._at
            key = self._string()
            self.values[key] = self._value(self._scalar("<I"))
            self.entries[key] = self._map[start : self._at]
        infos = [self._tensor_info() for _ in range(tensor_count)]
        alignment = int(self.values.get("general.alignment", DEFAULT_ALIGNMENT))
        data = -(-self._at // alignment) * alignment
        self.tensors = {name: Tensor(name, shape, kind, data + at, size) for name, shape, kind, at, size in infos}

    def _scalar(self, form: str) -> Any:  # noqa: ANN401 - int, float or bool as the format says
        value = struct.unpack_from(form, self._map, self._at)[0]
        self._at += struct.calcsize(form)
        return value

    def _string(self) -> str:
        size = self._scalar("<Q")
        text = self._map[self._at : self._at + size].decode("utf-8", "replace")
        self._at += size
        return text

    def _value(self, kind: int) -> Any:  # noqa: ANN401 - any metadata value
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            return self._scalar(_SCALARS[kind])
        item, count = self._scalar("<I"), self._scalar("<Q")
        if item in (_STRING, _ARRAY):
            return [self._value(item) for _ in range(count)]
        array = np.frombuffer(self._map, dtype=np.dtype(_SCALARS[item]), count=count, offset=self._at)
        self._at += array.nbytes
        return array.tolist()

    def _tensor_info(self) -> tuple[str, tuple[int, ...], GGMLQuantizationType, int, int]:
        name = self._string()
        shape = tuple(reversed([self._scalar("<Q") for _ in range(self._scalar("<I"))]))
        kind = GGMLQuantizationType(self._scalar("<I"))
        offset = self._scalar("<Q")
        block, block_bytes = GGML_QUANT_SIZES[kind]
        return name, shape, kind, offset, int(np.prod(shape)) // block * block_bytes

    def raw(self, name: str) -> Array:
        """The coded bytes, uint8, shape (rows, bytes per row)."""
        tensor = self.tensors[name]
        flat = np.frombuffer(self._map, dtype=np.uint8, count=tensor.size_bytes, offset=tensor.offset)
        return flat.reshape(tensor.shape[0] if len(tensor.shape) > 1 else 1, -1)

    def array(self, name: str) -> Array:
        """The numbers, float32, in the tensor's shape."""
        tensor = self.tensors[name]
        plain = {GGMLQuantizationType.F32: np.float32, GGMLQuantizationType.F16: np.float16}.get(tensor.kind)
        raw = self.raw(name)
        numbers = raw.view(plain).astype(np.float32) if plain else dequantize(raw, tensor.kind)
        return np.asarray(numbers, dtype=np.float32).reshape(tensor.shape)


def entry(key: str, value: str | float | list[str] | list[int]) -> bytes:
    """One metadata entry as it stands in a file: bool, u32, f32, string, or a list of strings or of i32."""
    name = key.encode()
    return struct.pack("<Q", len(name)) + name + _typed(value)


def _typed(value: str | float | list[str] | list[int]) -> bytes:
    if isinstance(value, list):
        texts = bool(value) and isinstance(value[0], str)
        head = struct.pack("<IIQ", _ARRAY, _STRING if texts else _INT32, len(value))
        return head + (b"".join(map(_text, value)) if texts else np.asarray(value, dtype="<i4").tobytes())
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _text(value)
    if isinstance(value, bool):
        return struct.pack("<I?", _BOOL, value)
    return struct.pack("<II", _UINT32, value) if isinstance(value, int) else struct.pack("<If", _FLOAT32, value)


def _text(value: str | int) -> bytes:
    data = str(value).encode()
    return struct.pack("<Q", len(data)) + data


def write(
    path: Path,
    entries: Mapping[str, bytes],
    plan: Iterable[tuple[str, tuple[int, ...], type[np.float16 | np.float32]]],
    produce: Callable[[str], Array],
) -> None:
    """Write a GGUF file of f16 and f32 tensors.

    `plan` lists (name, shape, dtype) of every tensor; `produce(name)` gives its numbers, called once each in that
    order, so that only one tensor is in memory at a time. The caller makes the file durable.
    """
    codes = {np.float16: GGMLQuantizationType.F16, np.float32: GGMLQuantizationType.F32}
    tensors = list(plan)
    infos, offset = [], 0
    for name, shape, dtype in tensors:
        text = name.encode()
        infos.append(struct.pack("<Q", len(text)) + text + struct.pack("<I", len(shape)))
        infos.append(struct.pack(f"<{len(shape)}QIQ", *reversed(shape), codes[dtype], offset))
        offset += _padded(int(np.prod(shape)) * dtype().nbytes)
    plain = {key: value for key, value in entries.items() if key != "general.alignment"}
    head = MAGIC + struct.pack("<IQQ", VERSION, len(tensors), len(plain)) + b"".join(plain.values()) + b"".join(infos)
    with path.open("wb") as file:
        file.write(head.ljust(_padded(len(head)), b"\0"))
        for name, shape, dtype in tensors:
            data = np.ascontiguousarray(produce(name), dtype=dtype)
            assert data.shape == shape, (name, data.shape, shape)
            file.write(data.tobytes())
            file.write(b"\0" * (_padded(data.nbytes) - data.nbytes))


def _padded(size: int) -> int:
    return -(-size // DEFAULT_ALIGNMENT) * DEFAULT_ALIGNMENT
