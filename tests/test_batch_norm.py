"""Batch norm, alone and fused with a residual and an activation, against NumPy in float64."""

import numpy as np
import pytest
from norm_tools import ACTS, SHAPES, batch_norm, channel_norm, column, reduced_axes, sample
from numeric import assert_close, cast, check_directional, gradients, leaf, numpy, tensor
from skipway import _core


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_training(isa, rng, shape, dtype):
    x, w, b, r = sample(rng, shape, dtype)
    running = tensor(np.zeros(shape[1], dtype)), tensor(np.ones(shape[1], dtype))
    y = batch_norm(tensor(x), tensor(w), tensor(b), tensor(r), activation="relu", running=running, momentum=0.3)
    x, w, b, r = (a.astype(np.float64) for a in (x, w, b, r))
    assert_close(y, ACTS["relu"](channel_norm(x, reduced_axes(x), w, b) + r), dtype)
    n = x.size // shape[1]
    assert_close(running[0], 0.3 * x.mean(reduced_axes(x)), dtype)
    assert_close(running[1], 0.7 + 0.3 * x.var(reduced_axes(x)) * n / (n - 1), dtype)
    assert len(shape) == 2 or y.stride(1) == 1 or shape[1] == 1  # channels-last in memory


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("activation", ACTS)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", [(6, 3), (3, 16, 5, 5), (2, 17, 9, 4), (130, 64, 3)], ids=str)
def test_batch_norm_gradients(isa, rng, shape, training, activation, residual):
    x, w, b, r = sample(rng, shape, np.float64)
    running = rng.standard_normal(shape[1]), rng.uniform(0.5, 2, shape[1])

    def f(x, w, b, r=None):
        copies = tensor(running[0]), tensor(running[1])
        return batch_norm(x, w, b, r, training, activation, copies)

    z = numpy(f(tensor(x), tensor(w), tensor(b), tensor(r) if residual else None))
    stats = None if training else tuple(column(s, x.ndim) for s in running)
    expected = channel_norm(x, reduced_axes(x), w, b, stats=stats) + (r if residual else 0)
    assert_close(z, ACTS[activation](expected), "float64")
    # A step that no kink of the activation lies in.
    check_directional(f, [x, w, b] + [r] * residual, rng, h=1e-7, tolerance=2e-5)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("shape", [(9, 64, 8, 8), (64, 3, 17, 5), (4, 257, 6)], ids=str)
def test_batch_norm_gradients_float32_and_mixed(isa, rng, shape, residual, training):
    """float32 and bfloat16 gradients against the float64 kernels', on the same values."""
    arrays = [np.asarray(cast(cast(tensor(a), _core.bfloat16), _core.float64)) for a in sample(rng, shape, np.float32)]
    arrays = arrays if residual else arrays[:3]
    dy = np.asarray(cast(cast(tensor(rng.standard_normal(shape)), _core.bfloat16), _core.float64))
    running = np.zeros(shape[1]), np.ones(shape[1])

    def run(x_dtype, w_dtype):
        leaves = [cast(tensor(a), x_dtype if a.ndim > 1 else w_dtype).detach() for a in arrays]
        for t in leaves:
            t.requires_grad = True
        stats = tuple(cast(tensor(s), w_dtype) for s in running)
        x, w, b, *r = leaves
        y = batch_norm(x, w, b, r[0] if r else None, training, None if x_dtype is _core.bfloat16 else "relu", stats)
        grads = _core._grad([y], leaves, [cast(tensor(dy), x_dtype)], False, False)
        assert [g.dtype for g in grads] == [t.dtype for t in leaves]
        return [y] + grads

    want = run(_core.float64, _core.float64)
    n = np.prod(shape) / shape[1]
    for got, expected in zip(run(_core.float32, _core.float32), want, strict=True):
        # relu's mask may differ where z is at rounding distance from 0: allow a handful of such elements.
        off = np.abs(numpy(got) - numpy(expected)) > 1e-5 * (1 + np.abs(numpy(expected))) * np.sqrt(
            n if got.dim() == 1 else 1
        )
        assert off.mean() < 1e-3
    if not residual:
        plain = batch_norm(
            tensor(arrays[0]),
            tensor(arrays[1]),
            tensor(arrays[2]),
            None,
            training,
            None,
            tuple(tensor(s) for s in running),
        )
        for parameters in (_core.float32, _core.bfloat16):
            assert_close(run(_core.bfloat16, parameters)[0], numpy(plain), "bfloat16", 1.5)


def test_other_activations_follow_as_ops(rng):
    x, w, b, r = sample(rng, (5, 6, 3), np.float64)
    silu = lambda z: z / (1 + np.exp(-z))  # noqa: E731
    y = batch_norm(tensor(x), tensor(w), tensor(b), tensor(r), activation="silu")
    assert_close(y, silu(channel_norm(x, (0, 2), w, b) + r), "float64")
    assert_close(_core.residual_add(tensor(x), tensor(r), 0.5, "silu"), silu(x + 0.5 * r), "float64")
    check_directional(lambda x, r: _core.residual_add(batch_norm(x, activation="gelu"), r, 1.0, "mish"), [x, r], rng)


def test_batch_norm_without_affine_and_unused_gradients(isa, rng):
    x, w, b, r = sample(rng, (6, 20, 4, 4), np.float64)
    check_directional(lambda x: batch_norm(x), [x], rng)
    check_directional(lambda w: batch_norm(tensor(x), w), [w], rng)
    check_directional(lambda b: batch_norm(tensor(x), None, b, tensor(r), activation="relu"), [b], rng)
    check_directional(lambda r: batch_norm(tensor(x), None, None, r, activation="relu"), [r], rng, h=1e-7)


@pytest.mark.parametrize("activation", [None, "relu"])
def test_gradients_add_up_when_a_tensor_is_used_twice(isa, rng, activation):
    """The second use adds to the gradient in place (mode Add), or aside: the same sum either way."""
    x, w, b, _ = sample(rng, (6, 18, 4, 3), np.float64)
    f = lambda x, w, b: batch_norm(batch_norm(x, w, b, x, activation=activation), w, b, x, activation=activation)  # noqa: E731
    check_directional(f, [x, w, b], rng, h=1e-7, tolerance=2e-5)
    g = lambda x: _core.residual_add(_core.group_norm(x, 3), _core.layer_norm(x, (3,)), 0.5, activation)  # noqa: E731
    check_directional(g, [x], rng, h=1e-7, tolerance=2e-5)


def test_layouts_give_the_same(isa, rng):
    x, w, b, r = sample(rng, (4, 10, 6, 5), np.float32)
    whole = batch_norm(tensor(x), tensor(w), tensor(b), tensor(r), activation="relu")
    last = lambda a: tensor(a.transpose(0, 2, 3, 1)).permute(0, 3, 1, 2)  # noqa: E731
    wide = tensor(np.concatenate([x, x], 3))[:, :, :, :5]
    for x2, r2 in [(last(x), last(r)), (last(x), tensor(r)), (wide, last(r))]:
        assert np.array_equal(numpy(batch_norm(x2, tensor(w), tensor(b), r2, activation="relu")), numpy(whole))
    one = batch_norm(tensor(x[:, :1]).expand(4, 10, 6, 5))
    assert_close(one, channel_norm(np.repeat(x[:, :1], 10, 1).astype(np.float64), (0, 2, 3)), "float32")


def test_any_number_of_threads_gives_the_same_bits(isa, rng):
    x, w, b, r = sample(rng, (40, 33, 16, 16), np.float32)
    before, seen = _core.get_num_threads(), []
    for n in (1, 2, 5):
        _core.set_num_threads(n)
        leaves = [leaf(a) for a in (x, w, b, r)]
        y = batch_norm(*leaves, activation="relu")
        z = _core.layer_norm(_core.group_norm(y, 11), (16, 16))
        seen.append([numpy(y), numpy(z), *gradients(z, leaves, x)])
    _core.set_num_threads(before)
    for other in seen[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(seen[0], other, strict=True))


@pytest.mark.parametrize("shape", [(9, 64, 77, 77), (17, 3, 257, 257)], ids=str)  # the last row of 3 channels is short
def test_gradients_too_large_for_caches(isa, rng, shape):
    """Both gradients of 13 MB are stored past the caches; with given statistics each sample's is what it is alone."""
    x, w, b, r = sample(rng, shape, np.float32)
    dy = rng.standard_normal(shape).astype(np.float32)
    running = tensor(rng.standard_normal(shape[1]).astype(np.float32)), tensor(np.ones(shape[1], np.float32))

    def run(part):
        a, c = leaf(x[part]), leaf(r[part])
        y = batch_norm(a, tensor(w), tensor(b), c, activation="relu", running=running, training=False)
        return [numpy(y), *gradients(y, [a, c], dy[part])]

    whole = run(slice(None))
    np.testing.assert_array_equal(whole[2], np.where(whole[0] > 0, dy, 0))
    for i in (0, shape[0] - 1):
        for all_of, one in zip(whole, run(slice(i, i + 1)), strict=True):
            np.testing.assert_array_equal(all_of[i : i + 1], one)
    a, c = leaf(x), leaf(r)
    y = batch_norm(a, tensor(w), tensor(b), c, activation="relu")
    dx, dr = (g.astype(np.float64) for g in gradients(y, [a, c], dy))
    np.testing.assert_array_equal(dr, np.where(numpy(y) > 0, dy, 0))
    xhat = channel_norm(x.astype(np.float64), (0, 2, 3))
    rstd = 1 / np.sqrt(x.astype(np.float64).var((0, 2, 3), keepdims=True) + 1e-5)
    inner = dr - dr.mean((0, 2, 3), keepdims=True) - xhat * (dr * xhat).mean((0, 2, 3), keepdims=True)
    assert_close(tensor(dx.astype(np.float32)), column(w, 4).astype(np.float64) * rstd * inner, "float32")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_constants_normalise_to_zero(isa, dtype):
    for value in (1e10, 0.1, -3e7, 1e30):
        x = np.full((8, 20, 5, 5), value, dtype)
        assert not numpy(batch_norm(tensor(x))).any()
        assert not numpy(_core.group_norm(tensor(x), 4)).any()
        assert not numpy(_core.instance_norm(tensor(x))).any()
        assert not numpy(_core.layer_norm(tensor(x), (5,))).any()


def test_large_values_and_offsets(isa, rng):
    x = rng.standard_normal((64, 16, 8, 8))
    big = numpy(batch_norm(tensor((x * 1e30).astype(np.float32))))
    assert np.isfinite(big).all()
    assert_close(big, channel_norm(x, (0, 2, 3), eps=0), "float32", 64)
    for offset in (1e4, -1e6):
        shifted = (x + offset).astype(np.float32)
        assert_close(batch_norm(tensor(shifted)), channel_norm(shifted.astype(np.float64), (0, 2, 3)), "float32", 32)
        shifted[0, :, 0, 0] = 0  # the first value is far from all others
        assert_close(batch_norm(tensor(shifted)), channel_norm(shifted.astype(np.float64), (0, 2, 3)), "float32", 32)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_non_finite_channel_shows_and_leaves_its_running_statistics(isa, rng, bad):
    x = rng.standard_normal((4, 5, 3, 3)).astype(np.float32)
    x[1, 2, 0, 1] = bad
    running = tensor(np.zeros(5, np.float32)), tensor(np.ones(5, np.float32))
    y = numpy(batch_norm(tensor(x), running=running))
    assert np.isnan(y[:, 2]).any() and np.isfinite(y[:, [0, 1, 3, 4]]).all()
    mean, var = numpy(running[0]), numpy(running[1])
    assert mean[2] == 0 and var[2] == 1
    others = [0, 1, 3, 4]
    assert_close(mean[others], 0.1 * x[:, others].astype(np.float64).mean((0, 2, 3)), "float32")
    relu = numpy(batch_norm(tensor(x), activation="relu"))
    assert np.isnan(relu[:, 2]).any()


def test_empty_batches_and_channels(isa):
    x, w, b = leaf(np.zeros((0, 3, 4, 4))), leaf(np.ones(3)), leaf(np.ones(3))
    running = tensor(np.full(3, 0.5)), tensor(np.full(3, 2.0))
    y = batch_norm(x, w, b, activation="relu", running=running)
    assert y.shape == (0, 3, 4, 4)
    dx, dw, db = gradients(y, [x, w, b])
    assert dx.shape == x.shape and not dw.any() and not db.any()
    assert (numpy(running[0]) == 0.5).all() and (numpy(running[1]) == 2).all()
    assert _core.group_norm(tensor(np.zeros((0, 4, 2))), 2).shape == (0, 4, 2)
    assert _core.layer_norm(tensor(np.zeros((0, 4))), (4,)).shape == (0, 4)
    assert batch_norm(tensor(np.zeros((3, 0, 2)))).shape == (3, 0, 2)
    x, w = leaf(np.zeros((0, 4))), leaf(np.ones(4))
    assert not gradients(_core.layer_norm(x, (4,), w), [x, w])[1].any()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda t: batch_norm(t(1, 4)), ValueError, "got input (1, 4); use drop_last"),
        (lambda t: batch_norm(t(3)), ValueError, "batch_norm: expected input (N, C) or (N, C, spatial...)"),
        (lambda t: batch_norm(t(3, 4), t(3)), ValueError, "batch_norm: expected weight of shape (4,)"),
        (
            lambda t: batch_norm(t(3, 4), residual=t(4, 3)),
            ValueError,
            "input's shape (3, 4), got (4, 3)",
        ),
        (lambda t: batch_norm(t(3, 4), training=False), ValueError, "running_mean and running_var are needed"),
        (lambda t: batch_norm(t(3, 4), activation="rely"), ValueError, 'got "rely"'),
        (lambda t: batch_norm(t(3, 4), running=(t(4), None)), ValueError, "only one of them"),
        (lambda t: batch_norm(t(3, 4), eps=-1.0), ValueError, "eps >= 0, got -1"),
        (lambda t: batch_norm(cast(t(3, 4), _core.int64)), TypeError, "batch_norm"),
        (lambda t: batch_norm(t(3, 4), cast(t(4), _core.float64)), TypeError, "weight of dtype float32"),
        (lambda t: _core.group_norm(t(2, 6), 0), ValueError, "num_groups > 0, got 0"),
        (lambda t: _core.group_norm(t(2, 6), 4), ValueError, "by num_groups 4, got input (2, 6) with 6 channels"),
        (lambda t: _core.instance_norm(t(2, 6, 1)), ValueError, "1 spatial value per channel, got input (2, 6, 1)"),
        (lambda t: _core.layer_norm(t(2, 3), (4,)), ValueError, "input whose last dimensions are (4,), got (2, 3)"),
        (lambda t: _core.layer_norm(t(2, 3), ()), ValueError, "normalized_shape of at least one dimension"),
        (lambda t: _core.layer_norm(t(2, 3), (3,), t(2)), ValueError, "weight of normalized_shape (3,), got (2,)"),
        (lambda t: _core.rms_norm(t(2, 3), (2,)), ValueError, "rms_norm: expected input whose last"),
        (lambda t: _core.local_response_norm(t(2, 3, 4), 0), ValueError, "size > 0, got 0"),
        (lambda t: _core.local_response_norm(t(2, 3), 2), ValueError, "3 to 5 dimensions, got (2, 3)"),
        (lambda t: _core.residual_add(t(2, 3), t(2)), ValueError, "x and branch of one shape, got (2, 3) and (2,)"),
        (lambda t: _core.residual_add(t(2), t(2), 1.0, "swish"), ValueError, 'expected activation None, "relu"'),
    ],
)
def test_errors_say_what_was_expected(call, error, message):
    with pytest.raises(error) as e:
        call(lambda *shape: tensor(np.ones(shape, np.float32)))
    assert message in str(e.value)


def test_a_saved_input_changed_in_place_is_noticed(rng):
    x = leaf(rng.standard_normal((4, 3, 2, 2)))
    h = x * 1.0
    y = batch_norm(_core.residual_add(h, h))
    z = batch_norm(y)
    y.add_(1.0)
    with pytest.raises(RuntimeError, match="in place"):
        gradients(z, [x])


def test_gradients_that_somebody_holds_are_not_overwritten(isa, rng):
    """The backward pass reuses memory of gradients, but never of one that a user can see."""
    x, w, b, _ = sample(rng, (6, 16, 4, 3), np.float64)
    a, dy = leaf(x), tensor(rng.standard_normal(x.shape))
    before = numpy(dy)
    middle = batch_norm(a, tensor(w), tensor(b), a, activation="relu")
    middle.retain_grad()
    y = _core.residual_add(batch_norm(middle, activation="relu"), middle, activation="relu")
    first = _core._grad([y], [a, middle], [dy], True, False)
    assert np.array_equal(numpy(dy), before)
    kept = [numpy(g) for g in first]
    again = _core._grad([y], [a, middle], [dy], True, False)
    assert all(np.array_equal(k, numpy(g)) for k, g in zip(kept, again, strict=True))
    assert all(np.array_equal(k, numpy(g)) for k, g in zip(kept, first, strict=True))
