"""``save`` and ``load``."""

from __future__ import annotations

import io
import json
import os
import struct
from typing import Any, BinaryIO

import numpy as np

from . import pth
from .atomic import write_file
from .errors import LoadError
from .structure import Decoder, Encoder

# The dtype names of the safetensors format, and NumPy's.
_FORMAT_NAMES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "uint32": "U32", "int32": "I32",
    "uint64": "U64", "int64": "I64", "float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64",
}  # fmt: skip
_NUMPY_NAMES = {v: k for k, v in _FORMAT_NAMES.items()}
_STRUCTURE = "skipway.structure"


def save(
    obj: Any, f: str | os.PathLike | BinaryIO, pickle_module: Any = None, pickle_protocol: Any = None, **ignored: Any
) -> None:
    """Saves ``obj``: tensors, numbers, strings, None and bools, in dicts, lists, tuples and sets of any depth.

    The file is a safetensors file: a tensor at ``obj["model"]["fc.weight"]`` is stored as ``model.fc.weight``, and the
    rest as JSON in the file's metadata. A path is written to a temporary file in the same folder, flushed and renamed,
    so that the old or the new file is there whatever happens meanwhile. Tensors that are the same view of the same
    memory are stored once. ``pickle_module`` and ``pickle_protocol`` are accepted and ignored.

    Raises:
        TypeError: for other objects, such as a whole module; save its ``state_dict()``.
    """
    encoder = Encoder()
    structure = encoder.encode(obj)
    metadata = {"format": "skipway", _STRUCTURE: json.dumps(structure, separators=(",", ":"), allow_nan=False)}
    if hasattr(f, "write"):
        _write(f, encoder.tensors, metadata)
    else:
        write_file(f, lambda file: _write(file, encoder.tensors, metadata))


def _write(f: Any, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    # Wider types first, so that every tensor is aligned to its own size.
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": metadata}
    at = 0
    for name in order:
        a = tensors[name]
        header[name] = {
            "dtype": _FORMAT_NAMES[a.dtype.name],
            "shape": list(a.shape),
            "data_offsets": [at, at + a.nbytes],
        }
        at += a.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    f.write(struct.pack("<Q", len(text)) + text)
    for name in order:
        a = np.ascontiguousarray(tensors[name])
        if a.dtype.byteorder == ">":
            a = a.astype(a.dtype.newbyteorder("<"))
        f.write(a.reshape(-1).view(np.uint8).data)


def load(
    f: str | os.PathLike | BinaryIO,
    map_location: Any = None,
    pickle_module: Any = None,
    *,
    weights_only: bool = True,
    mmap: bool | None = None,
    **ignored: Any,
) -> Any:
    """Loads what :func:`save` wrote, any safetensors file, which gives a dict of tensors, or a ``.pth`` file.

    Of the files of ``torch.save``, tensors, parameters and plain containers are read, and anything else is refused;
    nothing is unpickled, so that no file can run code. Tensors that shared memory share it again. Types that the
    library does not have become wider ones: int8 and int16 are int32.

    Args:
        f: a path or an open binary file.
        map_location: a device, its name, a dict from device names to device names, or a function of (tensor, name).
        pickle_module, weights_only, mmap: accepted and ignored; nothing is ever unpickled.

    Raises:
        LoadError: a ValueError that names the file, when it is damaged, truncated or of another kind, or when it holds
            anything but tensors and plain values.
        FileNotFoundError: when it is not there.
    """
    if hasattr(f, "read"):
        return _load(str(getattr(f, "name", "the open file")), io.BytesIO(f.read()), map_location)
    with open(f, "rb") as file:
        return _load(os.fspath(f), file, map_location)


def _load(name: str, file: BinaryIO, map_location: Any) -> Any:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if pth.is_torch_file(file.read(512), size):
        file.seek(0)
        return pth.read(name, file, lambda a: _place(_to_tensor(name, a), map_location))
    file.seek(0)
    raw = file.read()
    arrays, metadata = _parse(name, raw)
    decoder = Decoder(arrays, lambda a: _place(_to_tensor(name, a), map_location))
    if _STRUCTURE not in metadata:
        return {k: decoder.decode({"tensor": k}) for k in arrays}
    try:
        return decoder.decode(json.loads(metadata[_STRUCTURE]))
    except (KeyError, TypeError, ValueError, StopIteration, RecursionError) as e:
        raise LoadError(f"{name}: damaged: its structure cannot be read: {e}") from e


def _parse(name: str, raw: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    import safetensors

    size = int.from_bytes(raw[:8], "little")  # of the header
    if len(raw) < 8:
        raise LoadError(f"{name}: not a safetensors file: {len(raw)} bytes long")
    try:
        parts = safetensors.deserialize(raw)
        metadata = json.loads(raw[8 : 8 + size]).get("__metadata__") or {}
    except Exception as e:
        raise LoadError(f"{name}: damaged, truncated or not a safetensors file: {e}") from e
    arrays = {}
    for key, part in parts:
        dtype = _numpy_dtype(name, key, part["dtype"])
        arrays[key] = np.frombuffer(part["data"], dtype).reshape(part["shape"])
    return arrays, metadata


def _numpy_dtype(name: str, key: str, code: str) -> np.dtype:
    if code == "BF16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    if code not in _NUMPY_NAMES:
        raise LoadError(f"{name}: tensor {key!r} has dtype {code}, which is not supported")
    return np.dtype(_NUMPY_NAMES[code]).newbyteorder("<")


def _to_tensor(name: str, a: np.ndarray) -> Any:
    import skipway as sw

    if a.dtype.name in ("int8", "int16", "uint16"):
        a = a.astype(np.int32)
    elif a.dtype.name in ("uint32", "uint64"):
        a = a.astype(np.int64)
    if not (a.flags.writeable and a.flags.aligned):
        a = np.array(a)
    return sw.from_numpy(a).clone()  # the library's own memory


def _place(tensor: Any, map_location: Any) -> Any:
    if map_location is None:
        return tensor
    if isinstance(map_location, dict):
        target = map_location.get(str(tensor.device))
        return tensor if target is None else tensor.to(target)
    if callable(map_location):
        placed = map_location(tensor, str(tensor.device))
        return tensor if placed is None else placed
    return tensor.to(map_location)


__all__ = ["LoadError", "load", "save"]
