"""Nested Python values as JSON, with their tensors set aside by name.

JSON's own null, booleans, strings, integers, floats and lists stand for themselves; everything else is an object with
one key that names its kind: {"dict": [[key, value], ...]}, {"tuple": [...]}, {"tensor": "model.fc.weight"}, ...
"""

from __future__ import annotations

import base64
import math
import pathlib
import sys
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np


class Encoder:
    def __init__(self) -> None:
        self.tensors: dict[str, np.ndarray] = {}
        self._names: dict[Any, str] = {}  # of tensors met before
        self._keep: list[Any] = []  # what the keys above identify must not be freed meanwhile

    def encode(self, value: Any, path: tuple[str, ...] = ()) -> Any:
        import skipway as sw

        if value is None or isinstance(value, (bool, str)) and type(value) in (bool, str):
            return value
        if type(value) is int:
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if isinstance(value, sw.Tensor):
            return self._tensor(value, path)
        if isinstance(value, Mapping):
            kind = "odict" if isinstance(value, OrderedDict) else "dict"
            items = [[self.encode(k, (*path, "key")), self.encode(v, (*path, str(k)))] for k, v in value.items()]
            return {kind: items}
        if isinstance(value, (list, tuple)):
            items = [self.encode(v, (*path, str(i))) for i, v in enumerate(value)]
            return items if isinstance(value, list) else {"tuple": items}
        if isinstance(value, (set, frozenset)):
            return {"set": [self.encode(v, (*path, "item")) for v in sorted(value, key=repr)]}
        return self._special(value, path)

    def _special(self, value: Any, path: tuple[str, ...]) -> Any:
        import skipway as sw

        if isinstance(value, np.ndarray) and value.dtype.kind in "buif":
            return {"array": self._put(value, path)}
        if isinstance(value, np.generic) and value.dtype.kind in "buif":
            return {"scalar": self._put(np.asarray(value), path)}
        if isinstance(value, (bytes, bytearray)):
            return {"bytes": base64.b64encode(bytes(value)).decode("ascii")}
        if isinstance(value, sw.dtype):
            return {"dtype": str(value).rpartition(".")[2]}
        if isinstance(value, sw.device):
            return {"device": str(value)}
        if type(value) is getattr(sys.modules.get("argparse"), "Namespace", None):
            return {"namespace": self.encode(vars(value), path)}
        if isinstance(value, pathlib.PurePath):
            return {"path": str(value)}
        for plain in (bool, int, float, str):  # their subclasses, such as enumerations
            if isinstance(value, plain):
                return self.encode(plain(value), path)
        where = "".join(f"[{p!r}]" for p in path)
        if hasattr(value, "state_dict"):
            hint = "save its state_dict() instead"
        else:
            hint = "only tensors, numbers, strings, bytes, None, dicts, lists, tuples and sets can be saved"
        raise TypeError(f"save: cannot save the {type(value).__name__} at obj{where}: {hint}")

    def _tensor(self, value: Any, path: tuple[str, ...]) -> Any:
        import skipway as sw

        data = value.detach()
        same = (
            (data.data_ptr(), tuple(data.shape), tuple(data.stride()), str(data.dtype)) if data.numel() else id(value)
        )
        name = self._names.get(same)
        if name is None:
            name = self._names[same] = self._put(data.cpu().numpy(), path)
            self._keep.append(value)
        coded: dict[str, Any] = {"tensor": name}
        if isinstance(value, sw.nn.Parameter):
            coded["parameter"] = bool(value.requires_grad)
        elif value.requires_grad and value.is_leaf:
            coded["requires_grad"] = True
        return coded

    def _put(self, array: np.ndarray, path: tuple[str, ...]) -> str:
        base = name = ".".join(path) or "tensor"
        i = 1
        while name in self.tensors or name == "__metadata__":
            name, i = f"{base}~{i}", i + 1
        self.tensors[name] = array
        return name


class Decoder:
    """The inverse; ``tensor(name)`` gives the NumPy array of that name, ``wrap`` makes it a tensor."""

    def __init__(self, arrays: dict[str, np.ndarray], wrap: Any) -> None:
        self.arrays = arrays
        self.wrap = wrap
        self._made: dict[str, Any] = {}

    def decode(self, code: Any) -> Any:
        if isinstance(code, list):
            return [self.decode(v) for v in code]
        if not isinstance(code, dict):
            return code
        kind, value = next(iter(code.items()))
        if kind == "tensor":
            return self._tensor(code)
        if kind in ("dict", "odict"):
            items = ((self.decode(k), self.decode(v)) for k, v in value)
            return OrderedDict(items) if kind == "odict" else dict(items)
        if kind == "tuple":
            return tuple(self.decode(v) for v in value)
        if kind == "set":
            return {self.decode(v) for v in value}
        if kind == "float":
            return float(value)
        if kind == "array":
            return self.arrays[value].copy()
        if kind == "scalar":
            return self.arrays[value][()]
        if kind == "bytes":
            return base64.b64decode(value)
        if kind == "namespace":
            import argparse

            return argparse.Namespace(**self.decode(value))
        if kind == "path":
            return pathlib.Path(value)
        return self._library(kind, value)

    def _library(self, kind: str, value: str) -> Any:
        import skipway as sw

        if kind == "dtype" and isinstance(getattr(sw, value, None), sw.dtype):
            return getattr(sw, value)
        if kind == "device":
            return sw.device(value)
        raise ValueError(f"unknown kind of value {kind!r}: written by a newer version?")

    def _tensor(self, code: dict) -> Any:
        import skipway as sw

        name = code["tensor"]
        key = f"{name}/{code.get('parameter')}/{code.get('requires_grad')}"
        if key not in self._made:
            tensor = self.wrap(self.arrays[name])
            if "parameter" in code:
                tensor = sw.nn.Parameter(tensor, requires_grad=code["parameter"])
            elif code.get("requires_grad"):
                tensor.requires_grad_()
            self._made[key] = tensor
        return self._made[key]
