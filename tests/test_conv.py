"""Convolutions against plain NumPy in float64. Small integers make results exact: most comparisons are for equality."""

import itertools

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numeric import DTYPES, assert_exact, integers, leaf

pytestmark = pytest.mark.usefixtures("restore")

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def per_dim(value, nd):
    return (value,) * nd if isinstance(value, int) else tuple(value)


def taps(kernel, out, stride, dilation):
    """Each kernel position with the slice of the padded input that it reads."""
    for tap in itertools.product(*map(range, kernel)):
        yield (
            tap,
            tuple(
                slice(t * d, t * d + (o - 1) * s + 1, s) for t, o, s, d in zip(tap, out, stride, dilation, strict=True)
            ),
        )


class Reference:
    """y, and the gradients of x, w and bias for a gradient dy, in float64. after: padding at the end, if different."""

    def __init__(self, x, w, bias, stride=1, padding=0, dilation=1, groups=1, after=None):
        nd = w.ndim - 2
        self.stride, self.dilation = per_dim(stride, nd), per_dim(dilation, nd)
        self.before = per_dim(padding, nd)
        self.after = self.before if after is None else after
        self.groups, self.shape, self.kernel = groups, x.shape, w.shape[2:]
        pads = list(zip(self.before, self.after, strict=True))
        padded = np.pad(x, [(0, 0), (0, 0), *pads])
        self.x = padded.reshape(x.shape[0], groups, -1, *padded.shape[2:])
        self.w = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
        reach = [d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True)]
        steps = zip(padded.shape[2:], reach, self.stride, strict=True)
        self.out = tuple((size - r) // s + 1 for size, r, s in steps)
        y = np.zeros((x.shape[0], groups, w.shape[0] // groups, *self.out))
        for tap, window in taps(self.kernel, self.out, self.stride, self.dilation):
            part = self.x[(slice(None),) * 3 + window]
            y += np.einsum("ngc...,gkc->ngk...", part, self.w[(slice(None),) * 3 + tap])
        self.y = y.reshape(x.shape[0], -1, *self.out)
        if bias is not None:
            self.y = self.y + bias.reshape(-1, *(1,) * nd)

    def backward(self, dy):
        g = dy.reshape(dy.shape[0], self.groups, -1, *self.out)
        dx, dw = np.zeros_like(self.x), np.zeros_like(self.w)
        for tap, window in taps(self.kernel, self.out, self.stride, self.dilation):
            dx[(slice(None),) * 3 + window] += np.einsum("ngk...,gkc->ngc...", g, self.w[(slice(None),) * 3 + tap])
            part = self.x[(slice(None),) * 3 + window]
            n, groups, k, c = g.shape[0], self.groups, g.shape[2], part.shape[2]
            left = g.reshape(n, groups, k, -1).transpose(1, 2, 0, 3).reshape(groups, k, -1)
            right = part.reshape(n, groups, c, -1).transpose(1, 0, 3, 2).reshape(groups, -1, c)
            dw[(slice(None),) * 3 + tap] = left @ right
        spatial = self.shape[2:]
        inside = tuple(slice(b, b + size) for b, size in zip(self.before, spatial, strict=True))
        dx = dx.reshape(dx.shape[0], -1, *dx.shape[3:])[(slice(None),) * 2 + inside]
        axes = (0, *range(2, dy.ndim))
        return dx, dw.reshape(-1, *dw.shape[2:]), dy.sum(axis=axes)


def check(n, c, k, size, kernel, groups=1, bias=True, dtype="float32", seed=0, **kw):
    nd, rng = len(size), np.random.default_rng(seed)
    x, w = integers(rng, (n, c, *size), dtype), integers(rng, (k, c // groups, *per_dim(kernel, nd)), dtype)
    b = integers(rng, (k,), dtype) if bias else None
    wide = [None if a is None else a.astype(np.float64) for a in (x, w, b)]
    reference = Reference(*wide, groups=groups, **kw)
    dy = integers(rng, reference.y.shape, dtype)
    expected = reference.backward(dy.astype(np.float64))
    leaves = [None if a is None else leaf(a) for a in (x, w, b)]
    y = CONV[nd](*leaves, groups=groups, **kw)
    assert_exact(y, reference.y, dtype, "output")
    y.backward(sw.from_numpy(dy))
    for tensor, gradient, what in zip(
        leaves, expected, ["input gradient", "weight gradient", "bias gradient"], strict=True
    ):
        if tensor is not None:
            assert_exact(tensor.grad, gradient, dtype, what)


CASES = [
    dict(n=2, c=3, k=16, size=(8, 8), kernel=3, padding=1),
    dict(n=2, c=16, k=16, size=(16, 16), kernel=3, padding=1),
    dict(n=2, c=16, k=32, size=(12, 12), kernel=3, stride=2, padding=1),
    dict(n=2, c=64, k=64, size=(8, 8), kernel=3, padding=1, bias=False),
    dict(n=2, c=3, k=20, size=(33, 31), kernel=7, stride=2, padding=3),
    dict(n=2, c=16, k=33, size=(9, 9), kernel=1),
    dict(n=2, c=15, k=17, size=(9, 9), kernel=1, stride=2),
    dict(n=1, c=31, k=1, size=(5, 5), kernel=3),
    dict(n=1, c=5, k=7, size=(6, 5), kernel=(3, 2), stride=(2, 3), padding=(1, 2), dilation=(2, 1)),
    dict(n=17, c=32, k=64, size=(2, 2), kernel=3, padding=1),  # strips over images
    dict(n=20, c=32, k=48, size=(4, 4), kernel=3, stride=2, padding=1),
    dict(n=16, c=40, k=24, size=(1, 1), kernel=3, padding=1),
    dict(n=1, c=160, k=96, size=(7, 7), kernel=3, padding=1),
    dict(n=2, c=16, k=16, size=(10, 10), kernel=3, stride=2, padding=2, dilation=2),  # taps of every second phase
    dict(n=2, c=8, k=8, size=(10, 10), kernel=3, stride=2, padding=2, dilation=3),
    dict(n=2, c=16, k=16, size=(5, 5), kernel=2, stride=4),  # positions that nothing reads
    dict(n=1, c=4, k=6, size=(15, 5), kernel=(3, 1), stride=(9, 1), dilation=(6, 1)),
    dict(n=2, c=32, k=32, size=(9, 9), kernel=3, padding=1, groups=4),
    dict(n=2, c=32, k=32, size=(9, 9), kernel=3, stride=2, padding=1, groups=8),
    dict(n=2, c=64, k=64, size=(5, 9), kernel=3, padding=1, groups=16),
    dict(n=2, c=36, k=36, size=(5, 9), kernel=3, padding=1, groups=9),
    dict(n=2, c=30, k=60, size=(7, 7), kernel=3, padding=1, groups=3),
    dict(n=2, c=24, k=8, size=(5, 5), kernel=3, padding=1, groups=8),
    dict(n=2, c=24, k=24, size=(9, 9), kernel=3, padding=1, groups=24),  # depthwise
    dict(n=2, c=35, k=35, size=(14, 14), kernel=5, stride=2, padding=2, groups=35),
    dict(n=2, c=33, k=66, size=(9, 9), kernel=3, stride=2, padding=1, groups=33),
    dict(n=3, c=48, k=80, size=(17,), kernel=3, padding=1),
    dict(n=2, c=3, k=17, size=(100,), kernel=9, stride=4, padding=3, dilation=2),
    dict(n=2, c=8, k=8, size=(40,), kernel=5, padding=2, groups=8),
    dict(n=2, c=8, k=16, size=(5, 6, 7), kernel=3, stride=2, padding=1),
    dict(n=1, c=4, k=20, size=(4, 5, 6), kernel=(1, 3, 2), stride=(1, 2, 1), padding=(0, 1, 0), groups=4),
    dict(n=1, c=6, k=6, size=(4, 5, 6), kernel=3, padding=1, groups=6),
    dict(n=2, c=4, k=8, size=(5, 5), kernel=5, padding=4),
    dict(n=1, c=1, k=1, size=(1,), kernel=1),
]


@pytest.fixture
def direct(restore):
    """Sums of products, which are exact on small integers."""
    sw.backends.cpu.set_conv_algorithm("direct")


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_and_gradients_are_exact(isa, direct, dtype):
    for seed, case in enumerate(CASES):
        check(**case, dtype=dtype, seed=seed)


@pytest.mark.usefixtures("direct")
@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.data())
def test_any_geometry(data):
    nd, groups = data.draw(st.integers(1, 3)), data.draw(st.sampled_from([1, 1, 2, 4, 5, 16]))
    draw = lambda low, high: tuple(data.draw(st.integers(low, high)) for _ in range(nd))  # noqa: E731
    kernel, stride, padding, dilation = draw(1, 4), draw(1, 4), draw(0, 3), draw(1, 3)
    slack = draw(0, 6)
    size = tuple(
        max(1, d * (k - 1) + 1 - 2 * p) + s for k, d, p, s in zip(kernel, dilation, padding, slack, strict=True)
    )
    check(
        n=data.draw(st.integers(1, 9)),
        c=groups * data.draw(st.integers(1, 6)),
        k=groups * data.draw(st.integers(1, 20)),
        size=size,
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        dtype=data.draw(st.sampled_from(list(DTYPES))),
    )


def test_transposed_is_the_gradient_of_a_convolution(isa):
    cases = [
        ((2, 16, 5, 6), (16, 8, 3, 3), dict(stride=2, padding=1, output_padding=1)),
        ((2, 16, 5, 6), (16, 8, 3, 3), dict(stride=2, padding=1, output_padding=(1, 0), groups=2, dilation=2)),
        ((2, 8, 5, 6), (8, 3, 1, 1), dict(stride=3)),  # positions that hold the bias alone
        ((2, 8, 4, 4), (8, 1, 4, 4), dict(stride=2, padding=1, groups=8)),
        ((2, 16, 5), (16, 8, 3), dict()),
        ((2, 4, 3, 4, 3), (4, 8, 3, 2, 1), dict(stride=(2, 1, 3), padding=(1, 0, 0))),
    ]
    rng = np.random.default_rng(1)
    for x_shape, w_shape, kw in cases:
        nd, groups = len(x_shape) - 2, kw.get("groups", 1)
        x, w, b = integers(rng, x_shape), integers(rng, w_shape), integers(rng, (w_shape[1] * groups,))
        leaves = [leaf(a.astype(np.float32)) for a in (x, w, b)]
        y = TRANSPOSED[nd](*leaves, **kw)
        # The convolution from y's shape to x's; its gradient at x is the transposed convolution.
        extra = per_dim(kw.get("output_padding", 0), nd)
        pad, step = per_dim(kw.get("padding", 0), nd), per_dim(kw.get("stride", 1), nd)
        dil = per_dim(kw.get("dilation", 1), nd)
        sizes = [
            (i - 1) * s - 2 * p + d * (k - 1) + e + 1
            for i, s, p, d, k, e in zip(x_shape[2:], step, pad, dil, w_shape[2:], extra, strict=True)
        ]
        zeros = np.zeros((x_shape[0], w_shape[1] * groups, *sizes))
        expected = Reference(zeros, w, None, step, pad, dil, groups).backward(x)[0] + b.reshape(-1, *(1,) * nd)
        assert_exact(y, expected, "float32", "output")
        dy = integers(rng, expected.shape)
        y.backward(sw.from_numpy(dy.astype(np.float32)))
        reference = Reference(dy, w, None, step, pad, dil, groups)
        assert_exact(leaves[0].grad, reference.y, "float32", "input gradient")
        assert_exact(leaves[1].grad, reference.backward(x)[1], "float32", "weight gradient")
        assert_exact(leaves[2].grad, dy.sum(axis=(0, *range(2, dy.ndim))), "float32", "bias gradient")


def test_same_and_valid():
    rng = np.random.default_rng(2)
    x, w = integers(rng, (2, 4, 9, 10), "float32"), integers(rng, (5, 4, 4, 3), "float32")
    same = F.conv2d(sw.from_numpy(x), sw.from_numpy(w), padding="same", dilation=(1, 2))
    wide = x.astype(np.float64), w.astype(np.float64), None
    assert_exact(same, Reference(*wide, padding=(1, 2), after=(2, 2), dilation=(1, 2)).y, "float32", "same")
    valid = F.conv2d(sw.from_numpy(x), sw.from_numpy(w), padding="valid", stride=2)
    assert_exact(valid, Reference(*wide, stride=2).y, "float32", "valid")


def test_an_image_without_a_batch_dimension():
    rng = np.random.default_rng(3)
    x, w = leaf(integers(rng, (4, 9, 10), "float32")), leaf(integers(rng, (5, 4, 3, 3), "float32"))
    y = F.conv2d(x, w, padding=1)
    assert y.shape == (5, 9, 10)
    y.backward(sw.ones((5, 9, 10)))
    reference = Reference(
        x.detach().numpy()[None].astype(np.float64), w.detach().numpy().astype(np.float64), None, padding=1
    )
    assert_exact(y, reference.y[0], "float32", "output")
    dx, dw, _ = reference.backward(np.ones(reference.y.shape))
    assert_exact(x.grad, dx[0], "float32", "input gradient")
    assert_exact(w.grad, dw, "float32", "weight gradient")


def test_any_memory_layout_gives_the_same():
    rng = np.random.default_rng(4)
    x, w = integers(rng, (2, 6, 9, 8), "float32"), integers(rng, (4, 6, 3, 3), "float32")
    expected = Reference(x.astype(np.float64), w.astype(np.float64), None, padding=1).y
    channels_last = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    turned = np.ascontiguousarray(w.transpose(2, 3, 1, 0))
    for a in (sw.from_numpy(x), sw.from_numpy(channels_last).permute(0, 3, 1, 2)):
        for b in (sw.from_numpy(w), sw.from_numpy(turned).permute(3, 2, 0, 1)):
            y = F.conv2d(a, b, padding=1)
            assert_exact(y, expected, "float32", "output")
            assert y.stride() == (9 * 8 * 4, 1, 8 * 4, 4)
    big = sw.from_numpy(np.concatenate([x, x], axis=1))
    assert_exact(F.conv2d(big[:, 6:], sw.from_numpy(w), padding=1), expected, "float32", "a slice of channels")


def test_an_empty_batch():
    x, w, b = (
        leaf(np.zeros((0, 4, 5, 5), np.float32)),
        leaf(np.ones((6, 4, 3, 3), np.float32)),
        leaf(np.ones(6, np.float32)),
    )
    for y in (F.conv2d(x, w, b, stride=2, padding=1), F.conv_transpose2d(F.conv2d(x, w, b), w)):
        x.grad = w.grad = b.grad = None
        assert y.shape[0] == 0
        y.sum().backward()
        assert x.grad.shape == x.shape
        assert not w.grad.numpy().any()
        assert not b.grad.numpy().any()


def test_gradients_of_reused_tensors_add_up():
    rng = np.random.default_rng(5)
    x, w = integers(rng, (2, 4, 6, 6)), integers(rng, (4, 4, 3, 3))
    xs, ws = leaf(x), leaf(w)
    (F.conv2d(xs, ws, padding=1) + F.conv2d(xs, ws, padding=1) + xs).sum().backward()
    reference = Reference(x, w, None, padding=1)
    dx, dw, _ = reference.backward(np.ones(reference.y.shape))
    assert_exact(xs.grad, 2 * dx + 1, "float64", "input gradient")
    assert_exact(ws.grad, 2 * dw, "float64", "weight gradient")


@pytest.mark.parametrize(
    "x_shape, w_shape, kw",
    [
        ((9, 16, 24, 24), (32, 16, 3, 3), dict(padding=1)),
        ((3, 64, 28, 28), (128, 64, 3, 3), dict(padding=1, stride=2)),
        ((1, 96, 30, 30), (96, 96, 3, 3), dict(padding=1)),
        ((24, 64, 2, 2), (256, 64, 3, 3), dict(padding=1)),
        ((4, 64, 30, 30), (128, 64, 1, 1), dict()),
        ((8, 64, 28, 28), (64, 4, 3, 3), dict(padding=1, groups=16)),
        ((8, 96, 28, 28), (96, 1, 3, 3), dict(padding=1, stride=2, groups=96)),
    ],
)
def test_same_bits_at_any_number_of_threads_and_close_to_float64(x_shape, w_shape, kw):
    rng = np.random.default_rng(6)
    x, w, b = (rng.standard_normal(s).astype(np.float32) for s in (x_shape, w_shape, w_shape[:1]))
    runs = []
    for threads in (1, 2, 5):
        sw.set_num_threads(threads)
        leaves = [leaf(a) for a in (x, w, b)]
        y = F.conv2d(*leaves, **kw)
        dy = np.random.default_rng(7).standard_normal(y.shape).astype(np.float32)
        y.backward(sw.from_numpy(dy))
        runs.append([y.detach().numpy()] + [t.grad.numpy() for t in leaves])
    for other in runs[1:]:
        for a, c in zip(runs[0], other, strict=True):
            np.testing.assert_array_equal(a, c)
    reference = Reference(x.astype(np.float64), w.astype(np.float64), b.astype(np.float64), **kw)
    pixels = dy[:, 0].size
    lengths = w[0].size, w[0].size * w_shape[0] // x_shape[1], pixels, pixels
    results = [reference.y, *reference.backward(dy.astype(np.float64))]
    for got, expected, terms in zip(runs[0], results, lengths, strict=True):
        assert np.abs(got - expected).max() < np.finfo(np.float32).eps * np.sqrt(terms) * np.abs(expected).max()


def test_nan_reaches_what_reads_it_and_nothing_else():
    for groups in (1, 2, 8, 16):
        x = np.ones((2, 16, 9, 9), np.float32)
        x[1, 3, 4, 4] = np.nan
        y = F.conv2d(sw.from_numpy(x), sw.ones((16, 16 // groups, 3, 3)), groups=groups, padding=1).numpy()
        expected = np.zeros(y.shape, bool)
        per_group = 16 // groups
        first = 3 // per_group * per_group
        expected[1, first : first + per_group, 3:6, 3:6] = True
        np.testing.assert_array_equal(np.isnan(y), expected)


X, W = (8, 32, 28, 28), (16, 32, 3, 3)
ERRORS = [
    (X, (16, 64, 3, 3), dict(), sw.ShapeError, "conv2d: expected 64 input channels (dim 1), got (8, 32, 28, 28)"),
    (X, W, dict(groups=2), sw.ShapeError, "conv2d: expected 64 input channels (dim 1), got (8, 32, 28, 28)"),
    (X, (15, 16, 3, 3), dict(groups=2), sw.ShapeError, "conv2d: expected weight's dim 0 to be a multiple of groups 2"),
    (X, W, dict(stride=0), ValueError, "conv2d: expected stride >= 1, got 0"),
    (X, W, dict(stride=(1, 2, 3)), ValueError, "conv2d: expected stride to be a number or 2 numbers, got (1, 2, 3)"),
    (X, W, dict(padding=-1), ValueError, "conv2d: expected padding >= 0, got -1"),
    (X, W, dict(dilation=0), ValueError, "conv2d: expected dilation >= 1, got 0"),
    (X, W, dict(groups=0), ValueError, "conv2d: expected groups >= 1, got 0"),
    (
        X,
        W,
        dict(dilation=20),
        sw.ShapeError,
        "conv2d: expected a kernel no larger than the padded input, got",
    ),
    (X, W, dict(padding="full"), ValueError, 'expected padding to be numbers, "same" or "valid", got "full"'),
    (X, W, dict(padding="same", stride=2), ValueError, 'conv2d: expected stride 1 with padding "same", got 2'),
    (X, W, dict(padding=2**62), ValueError, "conv2d: sizes overflow"),
    (X, W, dict(padding=2**40, stride=2**40), ValueError, "conv2d: sizes overflow"),
    (X, W, dict(dilation=2**62), ValueError, "conv2d: sizes overflow"),
    (X, (32, 3, 3), dict(), sw.ShapeError, "conv2d: expected weight with 4 dimensions, got (32, 3, 3)"),
    ((28, 28), W, dict(), sw.ShapeError, "conv2d: expected input with 4 dimensions (N, C, ...), or 3"),
    (X, W, dict(bias=np.zeros(5, np.float32)), sw.ShapeError, "conv2d: expected bias of shape (16,), got (5,)"),
    (
        X,
        W,
        dict(bias=np.zeros(16)),
        TypeError,
        "input and bias to have the same dtype, got float32 and float64",
    ),
]


@pytest.mark.parametrize("x_shape, w_shape, kw, error, message", ERRORS)
def test_errors_say_what_was_expected(x_shape, w_shape, kw, error, message):
    kw = {k: sw.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in kw.items()}
    with pytest.raises(error) as caught:
        F.conv2d(sw.zeros(x_shape), sw.zeros(w_shape), **kw)
    assert message in str(caught.value)


def test_more_errors():
    x, w = sw.zeros((2, 16, 5, 5)), sw.zeros((16, 4, 3, 3))
    with pytest.raises(TypeError, match="conv2d: expected input and weight to have the same dtype, got float32 and"):
        F.conv2d(x, sw.zeros((4, 16, 3, 3), dtype=sw.float64))
    with pytest.raises(ValueError, match="conv_transpose2d: expected output_padding smaller than stride or dilation"):
        F.conv_transpose2d(x, w, output_padding=1)
    with pytest.raises(sw.ShapeError, match=r"conv_transpose2d: expected 16 input channels \(dim 1\), got"):
        F.conv_transpose2d(sw.zeros((2, 4, 5, 5)), w)
    with pytest.raises(sw.ShapeError, match="conv_transpose2d: expected an output of at least one element, got -3"):
        F.conv_transpose2d(sw.zeros((2, 16, 1, 1)), w, padding=3)
    with pytest.raises(sw.ShapeError, match="conv1d: expected 3 input channels"):
        F.conv1d(sw.zeros((2, 4, 9)), sw.zeros((5, 3, 3)))
