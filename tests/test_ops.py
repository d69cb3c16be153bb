"""Every op of the table against its float64 reference, and against itself on other layouts and numbers of threads."""

from __future__ import annotations

import ctypes
import warnings
from functools import cache
from typing import Any

import numpy as np
import pytest
import skipway as sw
from op_cases import CASES, OpCase, Sample, round_to
from skipway.testing import gradcheck
from tolerances import allowed

WITH_GRADIENT = [case for case in CASES if case.gradient]


def by_name(cases: list[OpCase]) -> Any:
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


# ---------------------------------------------------------------- arrays and tensors


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
    return sw.tensor(array, dtype=sw.float64, device=device).to(getattr(sw, dtype))


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
        self, case: OpCase, sample: Sample, arrays: Any, dtype: str, device: str = "cpu", layout: Any = contiguous
    ) -> None:
        wanted = iter(sample.inputs())
        self.inputs: list[Any] = []

        def make(array: np.ndarray) -> Any:
            spec = next(wanted)
            varied = spec.grad or array.dtype != np.float64  # constants, as running statistics, are contiguous
            tensor = (layout if varied else contiguous)(array, dtype, device)
            if case.gradient and spec.grad and array.dtype == np.float64:
                tensor.requires_grad_()
                self.inputs.append(tensor)
            return tensor

        args, kwargs = replace(arrays, np.ndarray, make)
        self.results = as_list(case(*args, **kwargs))

    def values(self) -> list[np.ndarray]:
        return [array_of(y) for y in self.results]

    def differentiable(self) -> list[Any]:
        return [y for y in self.results if y.is_floating_point()]

    def gradients(self, dys: list[np.ndarray]) -> list[np.ndarray]:
        outputs = self.differentiable()
        sources = [tensor_of(dy, _dtype_name(y), y.device) for y, dy in zip(outputs, dys, strict=True)]
        for y, dy in zip(outputs, sources, strict=True):
            y.backward(dy, retain_graph=len(outputs) > 1)
        for x in self.inputs:
            assert x.grad is not None and x.grad.shape == x.shape and x.grad.dtype == x.dtype
        return [array_of(x.grad) for x in self.inputs]


def _dtype_name(tensor: Any) -> str:
    return str(tensor.dtype).split(".")[-1]


class Expected:
    """What the reference says, for inputs representable in dtype."""

    def __init__(self, case: OpCase, sample: Sample, dtype: str, exact: bool = False, broadcast: bool = False) -> None:
        self.arrays = sample.arrays(dtype, seed=len(case.name) + 17, exact=exact)
        if broadcast:  # constant along the first axis
            repeat = lambda a: np.broadcast_to(a[:1], a.shape).copy() if a.ndim and a.dtype == np.float64 else a  # noqa: E731
            self.arrays = replace(self.arrays, np.ndarray, repeat)
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
            if case.gradient:
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
        self.terms = float(np.sqrt(np.mean(floating**2))) if case.sums and floating.size else 0.0


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


def check_all(case: OpCase, dtype: str, device: str) -> None:
    index = CASES.index(case)
    for number, sample in enumerate(case.samples):
        check(case, sample, expected_of(index, number, dtype), dtype, device, what=f"sample {number} {dtype}")


# ---------------------------------------------------------------- the tests


@by_name(CASES)
def test_float64(case: OpCase, device: str) -> None:
    check_all(case, "float64", device)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@by_name(CASES)
def test_narrow(case: OpCase, dtype: str, isa: str, device: str, memory_guard: Any) -> None:
    """With fresh memory full of NaN, and guard bands behind every result."""
    check_all(case, dtype, device)
    memory_guard.check()


@by_name([case for case in CASES if case.exact])
def test_exact(case: OpCase, isa: str, device: str) -> None:
    """Small integers: every sum is exact, so the result is the reference's, rounded once."""
    for dtype in ("float32", "bfloat16"):
        for number, sample in enumerate(case.samples):
            e = Expected(case, sample, dtype, exact=True)
            run = Run(case, sample, e.arrays, dtype, device)
            for y, r in zip(run.values(), e.values, strict=True):
                np.testing.assert_array_equal(
                    y, round_to(r, dtype) if r.dtype.kind == "f" else r, f"sample {number} {dtype}"
                )
            if case.gradient:
                for g, r in zip(run.gradients(e.dys), e.gradients, strict=True):
                    np.testing.assert_array_equal(g, round_to(r, dtype), f"gradient, sample {number} {dtype}")


@pytest.mark.parametrize("layout", [channels_last, transposed, sliced, expanded])
@by_name(CASES)
def test_layout(case: OpCase, layout: Any, device: str) -> None:
    for number, sample in enumerate(case.samples):
        if not any(a.ndim for a in leaves(sample.arrays("float32", 0), np.ndarray)):
            continue
        if layout is expanded and case.name.startswith(
            ("scatter", "sort", "argsort", "topk", "batch_norm", "std", "max", "min", "amax", "amin", "arg")
        ):
            continue  # equal values: which of them is chosen, or a variance of 0, is the subject of other tests
        e = (
            Expected(case, sample, "float32", broadcast=True)
            if layout is expanded
            else expected_of(CASES.index(case), number, "float32")
        )
        check(case, sample, e, "float32", device, layout, f"{layout.__name__}, sample {number}")


@by_name([case for case in WITH_GRADIENT if not case.not_derivative])
def test_central_differences(case: OpCase) -> None:
    """backward is the derivative of forward, whatever the reference says: the smallest samples, one at least."""
    sizes = [sum(a.size for a in leaves(sample.arrays("float64", 0), np.ndarray)) for sample in case.samples]
    checked = 0
    for number in sorted(range(len(sizes)), key=lambda i: sizes[i]):
        if sizes[number] and (not checked or checked + sizes[number] <= 400):
            assert gradcheck_sample(case, number)
            checked += sizes[number]
    assert checked


def gradcheck_sample(case: OpCase, number: int) -> bool:
    sample = case.samples[number]
    wanted = iter(sample.inputs())

    def make(array: np.ndarray) -> Any:
        tensor = tensor_of(array, "float64")
        return tensor.requires_grad_() if next(wanted).grad and array.dtype == np.float64 else tensor

    args, kwargs = replace(expected_of(CASES.index(case), number, "float64").arrays, np.ndarray, make)
    names = list(kwargs)

    def function(*values: Any) -> Any:
        return case(*values[: len(args)], **dict(zip(names, values[len(args) :], strict=True)))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # kinks
        return gradcheck(function, (*args, *kwargs.values()))


@by_name([case for case in CASES if case.large])
def test_threads(case: OpCase, threads: Any, device: str) -> None:
    """The same bits with 1, 2 and 5 threads, on a size that several threads share; and the right ones."""
    e = expected_of(CASES.index(case), -1, "float32")
    assert case.large is not None
    check(case, case.large, e, "float32", device, what="large")
    bits = []
    for n in (1, 2, 5):
        threads(n)
        run = Run(case, case.large, e.arrays, "float32", device)
        bits.append([y.tobytes() for y in run.values() + (run.gradients(e.dys) if case.gradient else [])])
    assert bits[0] == bits[1] == bits[2]


@by_name(WITH_GRADIENT)
def test_accumulation(case: OpCase, device: str) -> None:
    """An input used twice, and a gradient that is already there: both are added to."""
    for number, sample in enumerate(case.samples[:8]):
        e = expected_of(CASES.index(case), number, "float64")
        run = Run(case, sample, e.arrays, "float64", device)
        once = run.gradients(e.dys)
        wanted = iter(run.inputs)
        twice = replace(e.arrays, np.ndarray, lambda a: a)
        specs = iter(sample.inputs())

        def again(array: np.ndarray) -> Any:
            spec = next(specs)  # noqa: B023
            return next(wanted) if spec.grad and array.dtype == np.float64 else tensor_of(array, "float64", device)  # noqa: B023

        args, kwargs = replace(twice, np.ndarray, again)
        first, second = ([y for y in as_list(case(*args, **kwargs)) if y.is_floating_point()] for _ in range(2))
        total = 0.0
        for y, z, dy in zip(first, second, e.dys, strict=True):
            total = total + ((y * 2.0 + z) * tensor_of(dy, "float64", device)).sum()
        total.backward()
        for x, g in zip(run.inputs, once, strict=True):
            np.testing.assert_allclose(
                array_of(x.grad),
                4.0 * g,
                rtol=1e-12,
                atol=1e-12 * (1 + np.abs(g).max(initial=0)),
                err_msg=f"sample {number}",
            )


@by_name([case for case in CASES if case.errors])
def test_errors(case: OpCase, device: str) -> None:
    for bad in case.errors:
        arrays = bad.sample.arrays("float32", 0)
        args, kwargs = replace(arrays, np.ndarray, lambda a: tensor_of(a, "float32", device))
        exception = getattr(sw, bad.exception, None) or __builtins__[bad.exception]
        with pytest.raises(exception) as caught:
            case(*args, **kwargs)
        assert bad.message in str(caught.value), f"{bad.message!r} is not in {str(caught.value)!r}"


@by_name(CASES)
def test_rows_are_tests(case: OpCase) -> None:
    """A row whose results or gradients are mostly zeros shows nothing."""
    sizes = zeros = gradient_sizes = gradient_zeros = 0
    for number in range(len(case.samples)):
        e = expected_of(CASES.index(case), number, "float64")
        for y in e.values:
            sizes, zeros = sizes + y.size, zeros + y.size - np.count_nonzero(y)
        for g in e.gradients:
            gradient_sizes, gradient_zeros = gradient_sizes + g.size, gradient_zeros + g.size - np.count_nonzero(g)
    assert sizes, "no sample has elements"
    if not case.mostly_zero:
        assert zeros <= 0.6 * sizes
        assert gradient_zeros < gradient_sizes or not case.gradient or case.name in ("floor", "ceil", "round", "sign")


def test_the_guard_notices(memory_guard: Any) -> None:
    x = sw.ones(5) + 1.0
    ctypes.memset(x.data_ptr() + 5 * 4, 0, 1)
    del x
    with pytest.raises(AssertionError, match="wrote behind the end"):
        memory_guard.check()
    memory_guard.before += 1
    x = sw.ones(5) + 1.0
    del x
    memory_guard.check()
