"""Pooling against plain NumPy loops: values, indices, gradients, layouts, dtypes, and what is refused."""

import itertools

import numpy as np
import pytest
from skipway import _core

TOLERANCE = {"float64": 1e-13, "float32": 1e-6, "bfloat16": 0.01}


def axis_windows(size, kernel, stride, padding, dilation=1, ceil_mode=False):
    """For each output of one dimension: the inputs of its window, and how many elements with padding it spans."""
    free = size + 2 * padding - dilation * (kernel - 1) - 1
    outputs = (-(-free // stride) if ceil_mode else free // stride) + 1
    if ceil_mode and (outputs - 1) * stride >= size + padding:
        outputs -= 1
    windows = []
    for o in range(outputs):
        begin = o * stride - padding
        inside = [i for i in range(begin, begin + kernel * dilation, dilation) if 0 <= i < size]
        windows.append((inside, min(begin + kernel, size + padding) - begin))
    return windows


def adaptive_windows(size, outputs):
    windows = []
    for o in range(outputs):
        inside = list(range(o * size // outputs, -(-(o + 1) * size // outputs)))
        windows.append((inside, len(inside)))
    return windows


def reference(x, dy, windows, mode, include_pad=True, divisor=None):
    """x: (N, C, spatial...), windows: one list for each spatial dimension. Returns y, indices, dx."""
    spatial = x.shape[2:]
    y = np.zeros(x.shape[:2] + tuple(len(w) for w in windows))
    indices, dx = np.zeros(y.shape, np.int64), np.zeros(x.shape)
    for o in itertools.product(*(range(len(w)) for w in windows)):
        lists = [w[i][0] for w, i in zip(windows, o, strict=True)]
        box = np.ix_(*lists)
        part = x[(slice(None), slice(None), *box)].reshape(*x.shape[:2], int(np.prod([len(i) for i in lists])))
        at = (slice(None), slice(None), *o)
        if mode == "max":
            flat = np.arange(np.prod(spatial)).reshape(spatial)[box].ravel()
            best = np.argmax(np.where(np.isnan(part), np.inf, part), axis=-1)
            y[at] = part.max(axis=-1)
            indices[at] = flat[best]
            for n, c in itertools.product(range(x.shape[0]), range(x.shape[1])):
                dx[n, c].reshape(-1)[flat[best[n, c]]] += dy[(n, c, *o)]
        else:
            count = np.prod([w[i][1] if include_pad else len(w[i][0]) for w, i in zip(windows, o, strict=True)])
            count = divisor or count
            y[at] = part.sum(axis=-1) / count
            dx[(slice(None), slice(None), *box)] += (dy[at] / count).reshape(*x.shape[:2], *[1] * len(spatial))
    return y, indices, dx


def tensor(a, dtype="float64", channels_last=False):
    t = _core.empty(a.shape, dtype=getattr(_core, dtype))
    if channels_last:
        t = t.contiguous(memory_format="channels_last")
    return t.copy_(_core.from_numpy(np.array(a)))


def run(name, x, dy_of, dtype="float64", channels_last=False, **options):
    """(y, indices or None, dx, dy) as float64."""
    x = tensor(x, dtype, channels_last).requires_grad_()
    out = getattr(_core, name)(x, **options)
    y, indices = out if isinstance(out, tuple) else (out, None)
    dy = tensor(dy_of(tuple(y.shape)), dtype, channels_last and y.dim() > 2)
    (dx,) = _core._grad([y], [x], [dy], False, False)
    assert str(y.dtype) == str(dx.dtype) == f"skipway.{dtype}"
    if x.dim() == y.dim() and int(name[-2]) == x.dim() - 2 and y.numel():
        assert y._is_channels_last() and dx._is_channels_last()
    exact = [t.detach().numpy().astype(np.float64) for t in (y, dx, dy)]
    return exact[0], None if indices is None else indices.numpy(), exact[1], exact[2]


def rounded(a, dtype):
    return tensor(a, dtype).numpy().astype(np.float64)


WINDOWS = [
    ((2, 3, 9), (3,), (2,), (1,), (1,), False),
    ((1, 1, 5), (2,), (3,), (0,), (1,), True),
    ((2, 5, 8, 7), (2, 2), None, (0, 0), (1, 1), False),
    ((3, 17, 9, 8), (3, 3), (2, 2), (1, 1), (1, 1), False),
    ((1, 70, 7, 6), (3, 2), (1, 3), (1, 0), (2, 2), True),
    ((1, 290, 5, 5), (5, 5), (1, 1), (2, 2), (1, 1), True),
    ((2, 33, 4, 5, 6), (2, 3, 2), (2, 1, 3), (1, 1, 0), (1, 1, 2), True),
    ((0, 4, 6, 6), (2, 2), None, (0, 0), (1, 1), False),
]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape, kernel, stride, padding, dilation, ceil_mode", WINDOWS)
def test_max_pool(isa, shape, kernel, stride, padding, dilation, ceil_mode, dtype):
    rng = np.random.default_rng(0)
    dims = len(kernel)
    windows = [
        axis_windows(*a, ceil_mode) for a in zip(shape[2:], kernel, stride or kernel, padding, dilation, strict=True)
    ]
    x = rng.permutation(int(np.prod(shape))).reshape(shape) / 7.0 - 3  # no ties in float64
    for channels_last in (False, True):
        got = run(
            f"max_pool{dims}d",
            x,
            rng.standard_normal,
            dtype,
            channels_last,
            kernel_size=kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            ceil_mode=ceil_mode,
            return_indices=True,
        )
        y, indices, dx = reference(rounded(x, dtype), got[3], windows, "max")
        np.testing.assert_array_equal(got[0], y)
        np.testing.assert_array_equal(got[1], indices)
        np.testing.assert_allclose(got[2], dx, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape, kernel, stride, padding, dilation, ceil_mode", WINDOWS)
def test_avg_pool(isa, shape, kernel, stride, padding, dilation, ceil_mode, dtype):
    rng = np.random.default_rng(0)
    dims = len(kernel)
    windows = [axis_windows(*a, 1, ceil_mode) for a in zip(shape[2:], kernel, stride or kernel, padding, strict=True)]
    x = rng.standard_normal(shape)
    choices = [(True, None), (False, None)] + ([(True, 5), (False, -3)] if dims > 1 else [])
    for i, (include_pad, divisor) in enumerate(choices):
        options = {"divisor_override": divisor} if dims > 1 else {}
        got = run(
            f"avg_pool{dims}d",
            x,
            rng.standard_normal,
            dtype,
            i % 2 == 1,
            kernel_size=kernel,
            stride=stride,
            padding=padding,
            ceil_mode=ceil_mode,
            count_include_pad=include_pad,
            **options,
        )
        y, _, dx = reference(rounded(x, dtype), got[3], windows, "avg", include_pad, divisor)
        np.testing.assert_allclose(got[0], y, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
        np.testing.assert_allclose(got[2], dx, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(
    "shape, output_size",
    [
        ((2, 3, 10), (4,)),
        ((2, 19, 7, 7), (1, 1)),
        ((1, 300, 5, 8), (3, 4)),
        ((2, 4, 3, 2), (5, 7)),
        ((1, 6, 4, 5, 3), (2, 1, 3)),
        ((0, 3, 8, 8), (2, 2)),
    ],
)
def test_adaptive(isa, shape, output_size, dtype):
    rng = np.random.default_rng(0)
    windows = [adaptive_windows(*a) for a in zip(shape[2:], output_size, strict=True)]
    x = rng.permutation(int(np.prod(shape))).reshape(shape) / 7.0 - 3
    dims, tol = len(output_size), TOLERANCE[dtype]
    got = run(f"adaptive_avg_pool{dims}d", x, rng.standard_normal, dtype, output_size=output_size)
    y, _, dx = reference(rounded(x, dtype), got[3], windows, "avg")
    np.testing.assert_allclose(got[0], y, rtol=tol, atol=tol * np.abs(x).max(initial=1))
    np.testing.assert_allclose(got[2], dx, rtol=tol, atol=tol)
    got = run(
        f"adaptive_max_pool{dims}d", x, rng.standard_normal, dtype, True, output_size=output_size, return_indices=True
    )
    y, indices, dx = reference(rounded(x, dtype), got[3], windows, "max")
    np.testing.assert_array_equal(got[0], y)
    np.testing.assert_array_equal(got[1], indices)
    np.testing.assert_allclose(got[2], dx, rtol=tol, atol=tol)


def test_unbatched_input_is_one_image(isa):
    rng = np.random.default_rng(1)
    for dims in (1, 2, 3):
        x = rng.standard_normal((5, *[6] * dims))
        for name, options in [
            (f"max_pool{dims}d", {"kernel_size": 2}),
            (f"avg_pool{dims}d", {"kernel_size": 3, "stride": 1, "padding": 1}),
            (f"adaptive_avg_pool{dims}d", {"output_size": 2}),
            (f"adaptive_max_pool{dims}d", {"output_size": 4}),
        ]:
            one = run(name, x, np.ones, **options)
            many = run(name, x[None], np.ones, **options)
            np.testing.assert_array_equal(one[0], many[0][0])
            np.testing.assert_array_equal(one[2], many[2][0])


def test_nan_propagates(isa):
    x = np.zeros((1, 40, 4, 4))
    x[0, ::3, 1, 2] = np.nan
    x[0, 1::3] = -np.inf
    y, indices, dx, _ = run("max_pool2d", x, np.ones, "float32", kernel_size=2, return_indices=True)
    assert np.all(np.isnan(y[0, ::3, 0, 1])) and np.all(indices[0, ::3, 0, 1] == 6)
    assert np.isnan(y).sum() == len(range(0, 40, 3)) and np.all(y[0, 1::3] == -np.inf)
    assert np.all(dx[0, ::3, 1, 2] == 1) and np.all(indices[0, 1::3, 0, 0] == 0) and dx.sum() == 160


def test_output_size_none_keeps_a_dimension():
    x = _core.rand(2, 3, 5, 7)
    assert _core.adaptive_avg_pool2d(x, (None, 1)).shape == (2, 3, 5, 1)
    np.testing.assert_array_equal(_core.adaptive_max_pool2d(x, (None, None)).numpy(), x.numpy())
    assert _core.adaptive_avg_pool2d(x, 0).shape == (2, 3, 0, 0)


def test_a_mean_of_many_values_keeps_its_digits():
    x = np.random.default_rng(0).uniform(0.9, 1.1, (1, 3, 300, 300)).astype(np.float32)
    y = _core.adaptive_avg_pool2d(_core.from_numpy(x), 1).numpy()[0, :, 0, 0]
    np.testing.assert_allclose(y, x.astype(np.float64).mean(axis=(2, 3))[0], rtol=1e-6)
    ones = _core.avg_pool2d(_core.from_numpy(np.ones((1, 2, 9, 9), np.float32)), 3)
    assert np.all(ones.numpy() == 1)


def test_same_bits_for_any_number_of_threads():
    before = _core.get_num_threads()
    x = np.random.default_rng(3).standard_normal((4, 66, 33, 31))
    results = []
    try:
        for threads in (1, 2, 5):
            _core.set_num_threads(threads)
            parts = []
            for name in ("max_pool2d", "avg_pool2d"):
                parts += run(
                    name, x, lambda s: np.random.default_rng(1).standard_normal(s), "float32", kernel_size=3, stride=2
                )
            results.append([p.tobytes() for p in parts if p is not None])
    finally:
        _core.set_num_threads(before)
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_unpool_undoes_max_pool(dims):
    rng = np.random.default_rng(2)
    x = rng.permutation(2 * 3 * 8**dims).reshape(2, 3, *[8] * dims).astype(np.float64)
    y, indices = getattr(_core, f"max_pool{dims}d")(tensor(x), 2, return_indices=True)
    leaf = tensor(y.numpy()).requires_grad_()
    back = getattr(_core, f"max_unpool{dims}d")(leaf, indices, 2)
    want = np.where(np.isin(x, y.numpy()), x, 0)
    np.testing.assert_array_equal(back.detach().numpy(), want)
    dy = rng.standard_normal(x.shape)
    (dx,) = _core._grad([back], [leaf], [tensor(dy)], False, False)
    flat = np.take_along_axis(dy.reshape(2, 3, -1), indices.numpy().reshape(2, 3, -1), axis=2)
    np.testing.assert_array_equal(dx.numpy(), flat.reshape(y.shape))
    bigger = getattr(_core, f"max_unpool{dims}d")(leaf, indices, 2, output_size=[9] * dims)
    assert bigger.shape == (2, 3, *[9] * dims)
    with pytest.raises(IndexError, match="is outside an output"):
        getattr(_core, f"max_unpool{dims}d")(leaf, indices, 2, output_size=[7] * dims)


X = (2, 3, 4, 4)
BAD = [
    ("max_pool2d", X, {"kernel_size": 0}, ValueError, r"max_pool2d: expected kernel_size of at least 1, got \(0,\)"),
    ("max_pool2d", X, {"kernel_size": 2, "stride": 0}, ValueError, "expected stride of at least 1"),
    ("avg_pool2d", X, {"kernel_size": 2, "padding": 2}, ValueError, "padding of at most half the kernel"),
    ("avg_pool2d", X, {"kernel_size": 2, "padding": -1}, ValueError, "expected padding of at least 0"),
    ("max_pool2d", X, {"kernel_size": 2, "dilation": 0}, ValueError, "expected dilation of at least 1"),
    ("max_pool2d", X, {"kernel_size": 5}, _core.ShapeError, r"the input \(2, 3, 4, 4\) is too small"),
    ("max_pool1d", X, {"kernel_size": 2}, _core.ShapeError, "max_pool1d: expected an input of 2 or 3 dimensions"),
    ("avg_pool2d", X, {"kernel_size": (2, 2, 2)}, _core.ShapeError, "kernel_size to be a number or 2 numbers"),
    ("max_pool2d", (2, 3, 0, 4), {"kernel_size": 1}, _core.ShapeError, "spatial dimensions of at least 1"),
    ("avg_pool2d", X, {"kernel_size": 2, "divisor_override": 0}, ValueError, "divisor_override other than 0"),
    ("avg_pool2d", X, {"kernel_size": 2**62}, ValueError, "kernel_size"),
    ("max_pool2d", X, {"kernel_size": 2**31 - 1}, _core.ShapeError, "too small"),
    ("adaptive_avg_pool2d", X, {"output_size": -1}, ValueError, "output_size of at least 0"),
    ("adaptive_avg_pool2d", X, {"output_size": (1, 2, 3)}, _core.ShapeError, "output_size to be a number or 2"),
]


@pytest.mark.parametrize("name, shape, options, error, message", BAD)
def test_bad_arguments(name, shape, options, error, message):
    with pytest.raises(error, match=message):
        getattr(_core, name)(_core.empty(shape), **options)


def test_integers_are_refused():
    with pytest.raises(TypeError, match="max_pool2d"):
        _core.max_pool2d(_core.empty((1, 1, 4, 4), dtype=_core.int64), 2)
