"""Calls of the ops of the table: tensors of every layout, results and gradients, and what the reference expects."""

from __future__ import annotations

import itertools
import warnings
from functools import cache
from typing import Any

import numpy as np
import skipway as sw
from op_cases import CASES, OpCase, Sample, round_to
from tolerances import allowed


def leaves(tree: Any, kind: type) -> list[Any]:
    """Arrays (or tensors) of nested arguments, in order."""
    if isinstance(tree, kind):
        return [tree]
    if isinstance(tree, dict):
        tree = list(tree.values())
    return [leaf for item in tree for leaf in leaves(item, kind)] if isinstance(tree, (list, tuple)) else []


def replace(tree: Any, kind: type, new: Any) -> Any:
    """The same nesting with new(leaf) for each leaf."""
    if isinstance(tree, kind):
        return new(tree)
    if isinstance(tree, dict):
        return {k: replace(v, kind, new) for k, v in tree.items()}
    return type(tree)(replace(v, kind, new) for v in tree) if isinstance(tree, (list, tuple)) else tree


def tensor_of(array: np.ndarray, dtype: str, device: str = "cpu") -> Any:
    if array.dtype != np.float64:
        return sw.tensor(array, device=device)
    return sw.tensor(array, dtype=sw.float64).to(getattr(sw, dtype)).to(device)


def array_of(tensor: Any) -> np.ndarray:
    tensor = tensor.detach().to("cpu")
    return np.array((tensor.to(sw.float64) if tensor.is_floating_point() else tensor).numpy())


def contiguous(array: np.ndarray, dtype: str, device: str) -> Any:
    return tensor_of(array, dtype, device)


def channels_last(array: np.ndarray, dtype: str, device: str) -> Any:
    """Axis 1 last in memory."""
    if array.ndim < 3:
        return tensor_of(array, dtype, device)
    order = [0, *range(2, array.ndim), 1]
    return tensor_of(array.transpose(order).copy(), dtype, device).permute(*np.argsort(order).tolist())


def sliced(array: np.ndarray, dtype: str, device: str) -> Any:
    """Every second element of the last axis and an offset in the first, of a larger tensor full of NaN."""
    if array.ndim == 0:
        return tensor_of(array, dtype, device)
    larger = (
        np.full((array.shape[0] + 2, *array.shape[1:-1], 2 * array.shape[-1] + 1), np.nan)
        if array.ndim > 1
        else np.full(2 * array.size + 1, np.nan)
    )
    key = (slice(1, -1), ..., slice(1, None, 2)) if array.ndim > 1 else (slice(1, None, 2),)
    if array.dtype != np.float64:
        larger = np.zeros(larger.shape, array.dtype)
    larger[key] = array
    return tensor_of(larger, dtype, device)[key]


def transposed(array: np.ndarray, dtype: str, device: str) -> Any:
    """Column-major."""
    return (
        tensor_of(array.T.copy(), dtype, device).permute(*range(array.ndim - 1, -1, -1))
        if array.ndim > 1
        else tensor_of(array, dtype, device)
    )


def expanded(array: np.ndarray, dtype: str, device: str) -> Any:
    """Floating: stride 0 along the first axis, along which `array` must be constant."""
    if array.dtype != np.float64 or array.ndim == 0 or array.shape[0] == 0:
        return tensor_of(array, dtype, device)
    return tensor_of(array[:1].copy(), dtype, device).expand(*array.shape)


def floats(outputs: Any) -> list[Any]:
    return [y for y in outputs if np.asarray(y).dtype.kind == "f"]


def as_list(result: Any) -> list[Any]:
    return list(result) if isinstance(result, (list, tuple)) else [result]


class Run:
    """One call of an op: its results, and the gradients of its inputs for given gradients of its results."""

    def __init__(
        self,
        case: OpCase,
        sample: Sample,
        arrays: Any,
        dtype: str,
        device: str = "cpu",
        layout: Any = contiguous,
        only: int | None = None,
    ) -> None:
        """`only`: the one input that requires grad (default: all that may)."""
        wanted = iter(sample.inputs())
        self.inputs: list[Any] = []

        def make(array: np.ndarray) -> Any:
            spec = next(wanted)
            varied = spec.grad or array.dtype != np.float64  # constants, as running statistics, are contiguous
            tensor = (layout if varied else contiguous)(array, dtype, device)
            if case.gradient and spec.grad and array.dtype == np.float64:
                self.inputs.append(tensor)
                if only is None or only == len(self.inputs) - 1:
                    tensor.requires_grad_()
            return tensor

        args, kwargs = replace(arrays, np.ndarray, make)
        self.results = as_list(case(*args, **kwargs))
        self.inputs = [x for x in self.inputs if x.requires_grad]

    def values(self) -> list[np.ndarray]:
        return [array_of(y) for y in self.results]

    def differentiable(self) -> list[Any]:
        return [y for y in self.results if y.is_floating_point()]

    def gradients(self, dys: list[np.ndarray]) -> list[np.ndarray]:
        outputs = self.differentiable()
        sources = [tensor_of(dy, _dtype_name(y), y.device) for y, dy in zip(outputs, dys, strict=True)]
        sw.autograd.backward(outputs, sources)
        for x in self.inputs:
            assert x.grad is not None and x.grad.shape == x.shape and x.grad.dtype == x.dtype
        return [array_of(x.grad) for x in self.inputs]


def _dtype_name(tensor: Any) -> str:
    return str(tensor.dtype).split(".")[-1]


def _with_nan(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.float64 or not array.size:
        return array
    array = array.copy()
    array.reshape(-1)[array.size // 3] = np.nan
    return array


class Expected:
    """What the reference says, for inputs representable in dtype."""

    def __init__(
        self,
        case: OpCase,
        sample: Sample,
        dtype: str,
        exact: bool = False,
        broadcast: bool = False,
        nan: bool = False,
    ) -> None:
        """exact: of small integers; broadcast: of inputs constant along their first axis; nan: with a NaN in each."""
        self.arrays = sample.arrays(dtype, seed=len(case.name) + 17, exact=exact)
        if broadcast:  # constant along the first axis
            repeat = lambda a: np.broadcast_to(a[:1], a.shape).copy() if a.ndim and a.dtype == np.float64 else a  # noqa: E731
            self.arrays = replace(self.arrays, np.ndarray, repeat)
        if nan:
            specs = iter(sample.inputs())
            # Convolutions: in the input alone. What a NaN weight times padding is, is left open.
            first = case.name.startswith("conv")
            count = itertools.count()
            spoil = lambda a: _with_nan(a) if next(specs).grad and (next(count) == 0 or not first) else a  # noqa: E731
            self.arrays = replace(self.arrays, np.ndarray, spoil)
        args, kwargs = self.arrays
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            result = case.forward(*args, **kwargs)
            self.values = [np.asarray(y) for y in as_list(result)]
            rng = np.random.default_rng(1)
            self.dys = [
                rng.integers(-3, 4, y.shape).astype(float) if exact else round_to(rng.normal(0, 1, y.shape), dtype)
                for y in floats(self.values)
            ]
            self.incoming = max((float(np.abs(dy).max(initial=0.0)) for dy in self.dys), default=0.0)
            self.gradients: list[np.ndarray] = []
            if case.gradient and not nan:
                several = isinstance(result, tuple) and len(self.dys) == len(result)  # not (values, indices)
                grads = case.backward(tuple(self.dys) if several else self.dys[0], *args, **kwargs)
                specs = [
                    i
                    for i, a in zip(sample.inputs(), leaves(self.arrays, np.ndarray), strict=True)
                    if a.dtype == np.float64
                ]
                self.gradients = [g for g in grads if g is not None]
                if len(self.gradients) == len(specs):
                    self.gradients = [g for g, spec in zip(self.gradients, specs, strict=True) if spec.grad]
        arrays = leaves(self.arrays, np.ndarray)
        self.length = max([a.size for a in [*arrays, *self.values]]) if case.sums else 1
        floating = np.concatenate([a.ravel() for a in arrays if a.dtype == np.float64] or [np.zeros(0)])
        known = floating[~np.isnan(floating)]
        self.terms = float(np.sqrt(np.mean(known**2))) if case.sums and known.size else 0.0


@cache
def expected_of(case_index: int, sample_index: int, dtype: str) -> Expected:
    case = CASES[case_index]
    sample = case.large if sample_index < 0 else case.samples[sample_index]
    assert sample is not None
    return Expected(case, sample, dtype)


def compare(
    what: str,
    case: OpCase,
    sample: Sample,
    dtype: str,
    got: np.ndarray,
    expected: np.ndarray,
    e: Expected,
    length: int,
    incoming: float = 0.0,
) -> None:
    assert got.shape == expected.shape, f"{what}: shape {got.shape}, expected {expected.shape}"
    if dtype == "float16" and expected.dtype.kind == "f":  # which overflows
        rounded = round_to(expected, dtype)
        expected = np.where(np.isinf(rounded), rounded, expected)
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(got, expected, err_msg=what)
        return
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected), err_msg=f"{what}: NaN")
    limit = allowed(case.name, dtype, expected, length, e.terms, sample.condition, incoming)
    with np.errstate(invalid="ignore"):
        wrong = ~((np.abs(got - expected) <= limit) | (got == expected) | np.isnan(expected))
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        limit = np.broadcast_to(limit, wrong.shape)
        worst = float(np.nanmax(np.where(wrong, np.abs(got - expected) / limit, 0.0)))
        raise AssertionError(
            f"{what}: {int(wrong.sum())} of {wrong.size} wrong, the first at {place}: {got[place]!r}, "
            f"expected {expected[place]!r} (allowed {float(limit[place]):.3g}; worst {worst:.3g} times that)"
        )


def check(
    case: OpCase, sample: Sample, e: Expected, dtype: str, device: str, layout: Any = contiguous, what: str = ""
) -> None:
    run = Run(case, sample, e.arrays, dtype, device, layout)
    got = run.values()
    assert len(got) == len(e.values), f"{what}: {len(got)} results, expected {len(e.values)}"
    for i, (y, r) in enumerate(zip(got, e.values, strict=True)):
        compare(f"{what} result {i}", case, sample, dtype, y, r, e, e.length)
    if not case.gradient:
        return
    assert len(run.inputs) == len(e.gradients), f"{what}: {len(run.inputs)} inputs, {len(e.gradients)} gradients"
    for i, (g, r) in enumerate(zip(run.gradients(e.dys), e.gradients, strict=True)):
        compare(
            f"{what} gradient {i}",
            case,
            sample,
            dtype,
            g,
            r,
            e,
            max(e.length, e.values[0].size if case.sums else 1),
            e.incoming,
        )
