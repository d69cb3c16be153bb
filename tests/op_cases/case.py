"""What a row of the op table is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import ml_dtypes
import numpy as np
import skipway as sw
import skipway.nn.functional as F
from skipway.testing import reference


@dataclass(frozen=True)
class Input:
    """An array to be made: float64 (rounded to the type under test), int64 or bool."""

    make: Callable[[np.random.Generator], np.ndarray]
    grad: bool = True


def normal(*shape: int, mean: float = 0.0, std: float = 1.0, grad: bool = True) -> Input:
    return Input(lambda rng: rng.normal(mean, std, shape), grad)


def uniform(*shape: int, low: float = 0.5, high: float = 2.0, grad: bool = True) -> Input:
    return Input(lambda rng: rng.uniform(low, high, shape), grad)


def distinct(*shape: int, grad: bool = True) -> Input:
    """All different, in bfloat16 too (up to 256 elements): for what depends on an order."""
    n = int(np.prod(shape))
    return Input(lambda rng: ((rng.permutation(n) - n // 2) / 32.0).reshape(shape), grad)


def given(values: Any, grad: bool = True) -> Input:
    return Input(lambda rng: np.asarray(values, np.float64), grad)


def ints(*shape: int, low: int = 0, high: int = 10) -> Input:
    """From low up to high - 1."""
    return Input(lambda rng: rng.integers(low, high, shape), False)


def places(*shape: int, dim: int, size: int) -> Input:
    """Indices below `size`, all different along `dim`."""

    def make(rng: np.random.Generator) -> np.ndarray:
        lines = [n for i, n in enumerate(shape) if i != dim % len(shape)]
        index = np.array([rng.permutation(size)[: shape[dim]] for _ in range(int(np.prod(lines)))], np.int64)
        return np.moveaxis(index.reshape(*lines, shape[dim]), -1, dim)

    return Input(make, False)


def bools(*shape: int) -> Input:
    return Input(lambda rng: rng.random(shape) < 0.5, False)


class Sample:
    """Arguments of one call. `condition`: see tolerances.py."""

    def __init__(self, *args: Any, condition: float = 1.0, **kwargs: Any) -> None:
        self.args, self.kwargs, self.condition = args, kwargs, condition

    def arrays(self, dtype: str, seed: int, exact: bool = False) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with arrays for inputs, their values representable in `dtype`; exact: small integers."""
        rng = np.random.default_rng(seed)

        def fill(value: Any) -> Any:
            if isinstance(value, (list, tuple)):
                return type(value)(fill(v) for v in value)
            if not isinstance(value, Input):
                return value
            array = value.make(rng)
            if array.dtype != np.float64:
                return array
            return rng.integers(-3, 4, array.shape).astype(np.float64) if exact else round_to(array, dtype)

        return fill(self.args), {k: fill(v) for k, v in self.kwargs.items()}

    def inputs(self) -> list[Input]:
        """In the order in which `arrays` fills them."""
        found: list[Input] = []

        def walk(value: Any) -> None:
            if isinstance(value, Input):
                found.append(value)
            elif isinstance(value, (list, tuple)):
                for v in value:
                    walk(v)

        walk(self.args)
        walk(tuple(self.kwargs.values()))
        return found


class Bad:
    """Arguments that must fail with this exception, whose message contains all the parts."""

    def __init__(self, exception: str, message: str, *args: Any, **kwargs: Any) -> None:
        self.exception, self.message, self.sample = exception, message, Sample(*args, **kwargs)


@dataclass
class OpCase:
    """One op: `name` in skipway or skipway.nn.functional ("F.conv2d"), and in the references by its last part."""

    path: str
    samples: list[Sample]
    errors: list[Bad] = field(default_factory=list)
    large: Sample | None = None  # enough work for several threads
    sums: bool = False  # results are sums over many elements
    exact: bool = False  # exact for small integers: error 0
    gradient: bool = True
    mostly_zero: str = ""  # why the results are mostly zeros, where they must be
    nan: str = ""  # why results for NaN may differ from the reference's
    not_derivative: str = ""  # why backward is not the derivative, where it is meant not to be
    name: str = ""
    call: Callable[..., Any] | None = None  # instead of the function named by path
    forward: Callable[..., Any] | None = None  # instead of the reference of that name
    backward: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        last = self.path.split(".")[-1]
        self.name = self.name or last
        if self.forward is None:
            self.forward = getattr(reference, last)
        if self.backward is None and self.gradient:
            self.backward = getattr(reference, last + "_backward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.call is not None:
            return self.call(*args, **kwargs)
        return attrgetter(self.path)(_ROOT)(*args, **kwargs)


class _Root:
    sw, F = sw, F
    Tensor = sw.Tensor


_ROOT = _Root()


def float_arrays(tree: Any) -> list[np.ndarray]:
    """The float64 arrays of nested arguments, in order."""
    if isinstance(tree, np.ndarray):
        return [tree] if tree.dtype == np.float64 else []
    if isinstance(tree, dict):
        tree = list(tree.values())
    return [a for item in tree for a in float_arrays(item)] if isinstance(tree, (list, tuple)) else []


def round_to(array: np.ndarray, dtype: str) -> np.ndarray:
    """The nearest values of `dtype`, as float64."""
    if dtype == "float64":
        return array
    with np.errstate(over="ignore"):
        return array.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype).astype(np.float64)
