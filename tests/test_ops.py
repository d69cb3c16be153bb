"""Every op of the table against its float64 reference, and against itself on other layouts and numbers of threads."""

from __future__ import annotations

import builtins
import ctypes
import itertools
import re
import warnings
from typing import Any

import numpy as np
import pytest
import skipway as sw
from conftest import NARROW
from op_cases import CASES, OpCase, Sample, round_to
from op_runner import (
    Expected,
    Run,
    array_of,
    as_list,
    channels_last,
    check,
    compare,
    expanded,
    expected_of,
    leaves,
    replace,
    sliced,
    tensor_of,
    transposed,
)
from skipway.testing import gradcheck

WITH_GRADIENT = [case for case in CASES if case.gradient]


def by_name(cases: list[OpCase]) -> Any:
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


def representable(sample: Sample, dtype: str) -> bool:
    """Does no input overflow?"""
    inputs = leaves(sample.arrays("float64", 0), np.ndarray)
    return dtype != "float16" or all(np.abs(a).max(initial=0) < 60000 for a in inputs if a.dtype == np.float64)


def chosen(case: OpCase, device: str, most: int = 400) -> list[tuple[int, Sample]]:
    """The numbered samples: all on the CPU; on a device, as the emulator is slow, those with up to `most` elements."""
    numbered = list(enumerate(case.samples))
    if device == "cpu":
        return numbered
    sizes = [sum(a.size for a in leaves(s.arrays("float64", 0), np.ndarray)) for s in case.samples]
    return [(i, s) for i, s in numbered if sizes[i] <= max(most, min(sizes))]


def check_all(case: OpCase, dtype: str, device: str) -> None:
    index = CASES.index(case)
    for number, sample in chosen(case, device, 10000 if dtype == "float32" else 2000):
        if not representable(sample, dtype):
            continue
        check(case, sample, expected_of(index, number, dtype), dtype, device, what=f"sample {number} {dtype}")


@by_name(CASES)
def test_float64(case: OpCase, device: str) -> None:
    check_all(case, "float64", device)


@by_name(CASES)
def test_narrow(case: OpCase, narrow: str, isa: str, device: str, memory_guard: Any) -> None:
    """With fresh memory full of NaN, and guard bands behind every result."""
    check_all(case, narrow, device)
    memory_guard.check()


@by_name([case for case in CASES if case.exact])
def test_exact(case: OpCase, isa: str, device: str) -> None:
    """Small integers: every sum is exact, so the result is the reference's, rounded once."""
    for dtype in NARROW[device]:
        for number, sample in chosen(case, device):
            e = Expected(case, sample, dtype, exact=True)
            run = Run(case, sample, e.arrays, dtype, device)
            for y, r in zip(run.values(), e.values, strict=True):
                np.testing.assert_array_equal(
                    y, round_to(r, dtype) if r.dtype.kind == "f" else r, f"sample {number} {dtype}"
                )
            if case.gradient:
                for g, r in zip(run.gradients(e.dys), e.gradients, strict=True):
                    np.testing.assert_array_equal(g, round_to(r, dtype), f"gradient, sample {number} {dtype}")


# Equal values, which `expanded` makes: which of them is chosen, or a variance of 0, is the subject of other tests.
_NO_EXPANDED = (
    "scatter",
    "sort",
    "argsort",
    "topk",
    "batch_norm",
    "std",
    "max",
    "min",
    "amax",
    "amin",
    "arg",
    "median",
    "kthvalue",
)


LAYOUTS = (channels_last, transposed, sliced, expanded)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Layouts and dtypes: all pairs on the CPU; one dtype for each layout on a device, as the emulator is slow."""
    if "layout" in metafunc.fixturenames:
        pairs = list(itertools.product(LAYOUTS, NARROW["cpu"]))
        if metafunc.config.getoption("--device") == "cuda":
            pairs = [(channels_last, "bfloat16"), (transposed, "float16"), (sliced, "float32"), (expanded, "float32")]
        metafunc.parametrize("layout, dtype", pairs)


@by_name(CASES)
def test_layout(case: OpCase, layout: Any, dtype: str, device: str) -> None:
    for number, sample in chosen(case, device, 1000):
        if layout is expanded and case.name.startswith(_NO_EXPANDED):
            continue
        if not representable(sample, dtype):
            continue
        if layout is expanded:
            e = Expected(case, sample, dtype, broadcast=True)
        else:
            e = expected_of(CASES.index(case), number, dtype)
        check(case, sample, e, dtype, device, layout, f"{layout.__name__}, sample {number}")


@by_name([case for case in WITH_GRADIENT if not case.not_derivative])
def test_central_differences(case: OpCase, device: str) -> None:
    """backward is the derivative of forward, whatever the reference says: the smallest samples, one at least."""
    sizes = [sum(a.size for a in leaves(sample.arrays("float64", 0), np.ndarray)) for sample in case.samples]
    most = 400 if device == "cpu" else 30
    if device != "cpu" and min(n for n in sizes if n) > 100:
        return check_directional(case, sizes.index(min(n for n in sizes if n)), device)
    checked = 0
    for number in sorted(range(len(sizes)), key=lambda i: sizes[i]):
        if sizes[number] and (not checked or checked + sizes[number] <= most):
            assert gradcheck_sample(case, number, device)
            checked += sizes[number]
    assert checked


def check_directional(case: OpCase, number: int, device: str) -> None:
    """The slope along one random direction: for samples of which every element would take long."""
    sample, e, h = case.samples[number], expected_of(CASES.index(case), number, "float64"), 1e-6
    rng = np.random.default_rng(2)
    run = Run(case, sample, e.arrays, "float64", device)
    grads = run.gradients(e.dys)
    steps = [rng.normal(0, 1, g.shape) for g in grads]

    def value(sign: float) -> float:
        specs, left = iter(sample.inputs()), iter(steps)

        def moved(a: np.ndarray) -> np.ndarray:
            return a + sign * h * next(left) if next(specs).grad and a.dtype == np.float64 else a

        with sw.no_grad():
            there = Run(case, sample, replace(e.arrays, np.ndarray, moved), "float64", device)
        values = [y for y in there.values() if y.dtype == np.float64]
        return float(sum(np.sum(y * dy) for y, dy in zip(values, e.dys, strict=True)))

    slope = sum(float(np.sum(g * v)) for g, v in zip(grads, steps, strict=True))
    np.testing.assert_allclose((value(1) - value(-1)) / (2 * h), slope, rtol=1e-5, atol=1e-5)


def gradcheck_sample(case: OpCase, number: int, device: str) -> bool:
    sample = case.samples[number]
    wanted = iter(sample.inputs())

    def make(array: np.ndarray) -> Any:
        tensor = tensor_of(array, "float64", device)
        return tensor.requires_grad_() if next(wanted).grad and array.dtype == np.float64 else tensor

    args, kwargs = replace(expected_of(CASES.index(case), number, "float64").arrays, np.ndarray, make)
    names = list(kwargs)

    def function(*values: Any) -> Any:
        return case(*values[: len(args)], **dict(zip(names, values[len(args) :], strict=True)))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # kinks
        return gradcheck(function, (*args, *kwargs.values()))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@by_name([case for case in CASES if case.large])
def test_threads(case: OpCase, dtype: str, isa: str, threads: Any) -> None:
    """The same bits with 1, 2 and 5 threads, on a size that several threads share; and the right ones."""
    e = expected_of(CASES.index(case), -1, dtype)
    assert case.large is not None
    check(case, case.large, e, dtype, "cpu", what="large")
    bits = []
    for n in (1, 2, 5):
        threads(n)
        run = Run(case, case.large, e.arrays, dtype)
        bits.append([y.tobytes() for y in run.values() + (run.gradients(e.dys) if case.gradient else [])])
    assert bits[0] == bits[1] == bits[2]


@by_name(WITH_GRADIENT)
def test_one_gradient_at_a_time(case: OpCase, device: str) -> None:
    """Gradients do not depend on which other inputs want one, nor results on whether the tape records."""
    for number, sample in chosen(case, device):
        e = expected_of(CASES.index(case), number, "float64")
        run = Run(case, sample, e.arrays, "float64", device)
        values = run.values()
        together = run.gradients(e.dys)
        with sw.no_grad():
            unrecorded = Run(case, sample, e.arrays, "float64", device)
        for y, z in zip(values, unrecorded.values(), strict=True):
            np.testing.assert_array_equal(y, z, f"sample {number} without the tape")
        for only in range(len(together) if len(together) > 1 else 0):
            (alone,) = Run(case, sample, e.arrays, "float64", device, only=only).gradients(e.dys)
            np.testing.assert_allclose(
                alone, together[only], rtol=1e-13, atol=1e-13, err_msg=f"sample {number}: {only}"
            )


@by_name([case for case in CASES if not case.nan])
def test_nan_does_not_vanish(case: OpCase, isa: str, device: str) -> None:
    """Results are NaN where the reference's are, and right elsewhere."""
    for number, sample in chosen(case, device):
        e = Expected(case, sample, "float32", nan=True)
        run = Run(case, sample, e.arrays, "float32", device)
        for y, r in zip(run.values(), e.values, strict=True):
            compare(f"sample {number}", case, sample, "float32", y, r, e, e.length)


@by_name(WITH_GRADIENT)
def test_accumulation(case: OpCase, device: str) -> None:
    """An input used twice, and a gradient that is already there: both are added to."""
    for number, sample in chosen(case, device)[:8]:
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
        exception = getattr(builtins, bad.exception, None) or getattr(sw, bad.exception)
        with pytest.raises(exception) as caught:
            case(*args, **kwargs)
            if device == "cuda":
                sw.cuda.synchronize()  # what a kernel finds
        message = bad.message
        if "found by a kernel on" in str(caught.value):  # which knows the value, but not the op
            found = re.search(r"-?\d+ is out of range", message)
            target = re.search(r"expected target classes .* got (-?\d+)", message)
            message = found[0] if found else f"target {target[1]} is out of range" if target else message
        assert message in str(caught.value), f"{message!r} is not in {str(caught.value)!r}"


@by_name(CASES)
def test_bad_input_is_tested(case: OpCase) -> None:
    """A row with bad input stands for the other rows of its function."""
    assert any(other.errors for other in CASES if other.path == case.path)


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
