"""Files that torch.save wrote: the zip archives of PyTorch 1.6 and later, and the pickles in a row of those before.
Only tensors and plain containers are read, and nothing in the file is executed."""

from __future__ import annotations

import io
import math
import struct
import sys
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from .errors import LoadError, Refused
from .pickled import Name, Reader, hashable

_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of files before PyTorch 1.6
_STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool",
}  # fmt: skip
_DTYPES = (*_STORAGES.values(), "uint16", "uint32", "uint64")
_OTHER_DTYPES = (
    "complex32", "complex64", "complex128", "quint8", "qint8", "qint32", "float8_e4m3fn", "float8_e5m2",
    "float8_e4m3fnuz", "float8_e5m2fnuz",
)  # fmt: skip
_DAMAGE = (
    ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, EOFError, MemoryError, RecursionError,
    RuntimeError, NotImplementedError, AssertionError, struct.error, zipfile.BadZipFile,
)  # fmt: skip


@dataclass(frozen=True)
class _Dtype:
    """The name of a type that our tensors do not have, or a storage's type of elements."""

    name: str


@dataclass(eq=False)
class _Storage:
    """Elements of a tensor or of several. `dtype` is None for bytes that a tensor gives a type."""

    key: str
    dtype: str | None
    count: int
    start: int = 0


def is_torch_file(start: bytes, size: int) -> bool:
    """Whether a file of that many bytes, which begins so, is a pickle or a zip archive, rather than safetensors."""
    if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return True
    header = int.from_bytes(start[:8], "little")  # of safetensors
    return (start[:1] == b"\x80" and start[1:2] in (b"\2", b"\3", b"\4", b"\5") and header > size) or _is_tar(start)


def _is_tar(start: bytes) -> bool:
    return start[257:262] == b"ustar"


def read(name: str, file: BinaryIO, wrap: Callable[[np.ndarray], Any]) -> Any:
    """The value in the open file `name`; `wrap` makes a flat NumPy array a tensor of the library.

    Raises:
        LoadError: the file is damaged, or holds anything but tensors and plain containers; nothing was executed.
    """
    start = file.read(512)
    file.seek(0)
    try:
        if _is_tar(start):
            raise Refused("a tar archive of PyTorch 0.1")
        if start[:2] == b"PK":
            with zipfile.ZipFile(file) as archive:
                return _Archive(archive, wrap).value()
        return _legacy(bytearray(file.read()), wrap)
    except Refused as e:
        raise LoadError(
            f"{name}: refused: it holds {e}, and load takes tensors and plain containers only. Where you trust the "
            "file, open it with PyTorch and save the state_dict(): torch.save(model.state_dict(), path)"
        ) from e
    except zipfile.BadZipFile as e:
        raise LoadError(f"{name}: damaged or truncated: {e}") from e
    except _DAMAGE as e:
        what = f"{type(e).__name__}: {e}" if isinstance(e, (KeyError, struct.error)) else str(e) or type(e).__name__
        raise LoadError(f"{name}: damaged, truncated or not written by torch.save: {what}") from e


# ------------------------------------------------------------------------------------------------------------- tensors


class _Tensors:
    """What pickles may name, for one file; tensors of one storage share memory."""

    def __init__(
        self,
        load: Callable[[_Storage, str], np.ndarray],
        wrap: Callable[[np.ndarray], Any],
    ) -> None:
        self._load, self._wrap = load, wrap
        self._flat: dict[tuple[str, str, int], Any] = {}

    def names(self) -> dict[str, Any]:
        import skipway as sw

        calls: dict[str, Callable[..., Any]] = {
            "collections OrderedDict": lambda items=(): OrderedDict(_pairs(items)),
            "collections Counter": lambda items=(): Counter(dict(_pairs(items))),
            "_codecs encode": _encode,
            "torch Size": lambda sizes=(): sw.Size([int(s) for s in sizes]),
            "torch device": _device,
            "torch._utils _rebuild_tensor": self.rebuild,
            "torch._utils _rebuild_tensor_v2": self.rebuild,
            "torch._utils _rebuild_tensor_v3": self.rebuild_typed,
            "torch._utils _rebuild_parameter": self.parameter,
            "torch._utils _rebuild_parameter_with_state": self.parameter,
        }
        for module in ("__builtin__", "builtins"):
            calls[f"{module} set"] = lambda items=(): _plain(set, items)
            calls[f"{module} frozenset"] = lambda items=(): _plain(frozenset, items)
            calls[f"{module} complex"] = lambda real, imaginary=0.0: complex(float(real), float(imaginary))
        table: dict[str, Any] = {key: Name(key, call) for key, call in calls.items()}
        for storage, dtype in _STORAGES.items():
            table[f"torch {storage}"] = table[f"torch.cuda {storage}"] = _Dtype(dtype)
        table["torch.storage UntypedStorage"] = table["torch UntypedStorage"] = _Dtype("")
        for dtype in (*_DTYPES, *_OTHER_DTYPES):
            ours = getattr(sw, dtype, None)
            table[f"torch {dtype}"] = ours if isinstance(ours, sw.dtype) else _Dtype(dtype)
        return table

    def rebuild(
        self,
        storage: Any,
        offset: int,
        size: tuple[int, ...],
        stride: tuple[int, ...],
        requires_grad: bool = False,
        hooks: Any = None,
        metadata: Any = None,
    ) -> Any:
        dtype = (storage.dtype if isinstance(storage, _Storage) else None) or "uint8"
        return self._tensor(storage, dtype, offset, size, stride, requires_grad)

    def rebuild_typed(
        self,
        storage: Any,
        offset: int,
        size: tuple[int, ...],
        stride: tuple[int, ...],
        requires_grad: bool,
        hooks: Any,
        dtype: Any,
        metadata: Any = None,
    ) -> Any:
        name = dtype.name if isinstance(dtype, _Dtype) else str(dtype).rpartition(".")[2]
        return self._tensor(storage, name, offset, size, stride, requires_grad)

    def _tensor(self, storage: Any, dtype: str, offset: int, size: Any, stride: Any, requires_grad: bool) -> Any:
        if not isinstance(storage, _Storage):
            raise TypeError(f"a tensor without a storage, but with a {type(storage).__name__}")
        if dtype not in _DTYPES:
            raise Refused(f"a tensor of dtype {dtype}, which is not supported")
        count = storage.count if storage.dtype else storage.count // _numpy(dtype).itemsize
        _check_view(storage.key, count, offset, size, stride)
        key = (storage.key, dtype, storage.start)
        flat = self._flat.get(key)
        if flat is None:
            flat = self._flat[key] = self._wrap(self._load(storage, dtype))
        tensor = flat.as_strided(size, stride, offset) if math.prod(size) else flat[:0].reshape(size)
        return tensor.requires_grad_() if requires_grad else tensor

    def parameter(self, data: Any, requires_grad: bool = True, hooks: Any = None, state: Any = None) -> Any:
        import skipway as sw

        return sw.nn.Parameter(data.detach(), requires_grad=bool(requires_grad))


def _check_view(key: str, count: int, offset: int, size: Any, stride: Any) -> None:
    numbers = (offset, *size, *stride)
    whole = all(type(n) is int and 0 <= n < 2**62 for n in numbers)
    if not whole or len(size) != len(stride) or math.prod(size) >= 2**62:
        raise ValueError(f"storage {key!r}: a tensor of size {size}, stride {stride} and offset {offset}")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if math.prod(size) and last >= count:
        raise ValueError(f"storage {key!r} has {count} elements, and a tensor of size {size} reaches element {last}")


def _plain(kind: type, items: Any) -> Any:
    if not all(isinstance(i, (str, int, float, bool, type(None), bytes)) for i in items):
        raise Refused(f"a {kind.__name__} of other things than numbers and strings")
    return kind(items)


def _pairs(items: Any) -> list[tuple[Any, Any]]:
    return [(hashable(key), value) for key, value in (items.items() if isinstance(items, dict) else items)]


def _encode(text: str, code: str) -> bytes:
    if code != "latin1":
        raise ValueError(f"bytes encoded as {code!r}")
    return text.encode(code)


def _device(kind: str, index: int | None = None) -> Any:
    import skipway as sw

    try:
        return sw.device(kind if index is None else f"{kind}:{index}")
    except (RuntimeError, ValueError):  # one that this machine does not have
        return f"{kind}" if index is None else f"{kind}:{index}"


def _numpy(dtype: str) -> np.dtype:
    if dtype == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(dtype)


def _elements(raw: Any, dtype: str, storage: _Storage, swap: bool) -> np.ndarray:
    """A storage's bytes as a flat array."""
    kind = _numpy(dtype)
    count = storage.count if storage.dtype else storage.count // kind.itemsize
    if len(raw) < (storage.start + count) * kind.itemsize:
        raise ValueError(f"storage {storage.key!r}: expected {count} elements of {dtype}, got {len(raw)} bytes")
    array = np.frombuffer(raw, np.uint8, count * kind.itemsize, storage.start * kind.itemsize)
    if swap:
        array = array.reshape(-1, kind.itemsize)[:, ::-1].copy().reshape(-1)
    return array.view(kind)


def _storage(id: Any) -> _Storage:
    """What ("storage", type, key, where it was, elements) means; older files add a part of another storage."""
    if not isinstance(id, tuple) or len(id) not in (5, 6) or id[0] != "storage" or not isinstance(id[1], _Dtype):
        what = id[0] if isinstance(id, tuple) and id and isinstance(id[0], str) else type(id).__name__
        raise Refused(f"something outside of the pickle, of the kind {what!r}")
    key, count, view = str(id[2]), id[4], id[5] if len(id) == 6 else None
    if type(count) is not int or not 0 <= count < 2**62:
        raise ValueError(f"storage {key!r} of {count!r} elements")
    if view is None:
        return _Storage(key, id[1].name or None, count)
    start, length = view[1], view[2]
    if not all(type(n) is int and n >= 0 for n in (start, length)) or start + length > count:
        raise ValueError(f"storage {key!r} of {count} elements: a part from {start!r} of length {length!r}")
    return _Storage(key, id[1].name or None, length, start)


# --------------------------------------------------------------------------------------------------------- zip archives


class _Archive:
    """The zip archive of torch.save: data.pkl, and the storages under data/."""

    def __init__(self, archive: zipfile.ZipFile, wrap: Callable[[np.ndarray], Any]) -> None:
        self.archive = archive
        self.names = {i.filename: i for i in archive.infolist()}
        pickles = [n for n in self.names if n == "data.pkl" or (n.endswith("/data.pkl") and n.count("/") == 1)]
        if any(n.endswith("constants.pkl") for n in self.names):
            raise Refused("a TorchScript program (torch.jit.load opens it)")
        if len(pickles) != 1:
            raise ValueError("a zip archive without a data.pkl")
        self.folder = pickles[0][: -len("data.pkl")]
        order = self.bytes("byteorder") if self.folder + "byteorder" in self.names else b"little"
        self.swap = bytes(order).strip() != sys.byteorder.encode()
        self.tensors = _Tensors(self.load, wrap)

    def bytes(self, name: str) -> bytearray:
        info = self.names.get(self.folder + name)
        if info is None:
            raise ValueError(f"{self.folder + name} is missing from the archive")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise ValueError(f"{info.filename} is compressed or encrypted, as torch.save never does")
        raw = bytearray()
        with self.archive.open(info) as record:  # which checks the sum at the end
            while part := record.read(1 << 24):
                raw += part
        return raw

    def load(self, storage: _Storage, dtype: str) -> np.ndarray:
        return _elements(self.bytes(f"data/{storage.key}"), dtype, storage, self.swap)

    def value(self) -> Any:
        return Reader(self.tensors.names(), _storage).read(bytes(self.bytes("data.pkl")))


# --------------------------------------------------------------------------------------------------- before PyTorch 1.6


def _legacy(raw: bytearray, wrap: Callable[[np.ndarray], Any]) -> Any:
    """Five pickles (a magic number, a version, the machine, the value, the storages' keys), and the storages, each an
    int64 number of elements and the elements."""
    stream = io.BytesIO(raw)

    def plain() -> Any:
        return Reader({}, _storage).read(stream)

    if plain() != _MAGIC:
        raise Refused("a pickle that torch.save did not write")
    version, machine = plain(), plain()
    if version != 1001 or not isinstance(machine, dict):
        raise ValueError(f"version {version!r} of the format")
    swap = bool(machine.get("little_endian", True)) != (sys.byteorder == "little")

    # The keys and sizes stand behind the value: it is read twice, first without its tensors.
    at = stream.tell()
    dtypes: dict[str, str] = {}

    def note(id: Any) -> _Storage:
        storage = _storage(id)
        dtypes[storage.key] = storage.dtype or "uint8"
        return storage

    blank = _Tensors(lambda storage, dtype: np.empty(0), lambda array: None)
    blank._tensor = lambda *args: _Blank()  # type: ignore[method-assign]
    blank.parameter = lambda *args: _Blank()  # type: ignore[method-assign]
    Reader(blank.names(), note).read(stream)
    places: dict[str, memoryview] = {}
    keys, view = plain(), memoryview(raw)
    end = stream.tell()
    order = "<" if machine.get("little_endian", True) else ">"
    for key in keys:
        (count,) = struct.unpack_from(f"{order}q", raw, end)
        size = count * _numpy(dtypes[str(key)]).itemsize
        if count < 0 or end + 8 + size > len(raw):
            raise ValueError(f"storage {key!r} of {count} elements reaches behind the file's end")
        places[str(key)] = view[end + 8 : end + 8 + size]
        end += 8 + size

    def load(storage: _Storage, dtype: str) -> np.ndarray:
        return _elements(places[storage.key], dtype, storage, swap)

    stream.seek(at)
    return Reader(_Tensors(load, wrap).names(), _storage).read(stream)


class _Blank:
    """In a tensor's place."""
