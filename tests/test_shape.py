"""Views and the copies made from them, joining and padding, against NumPy."""

import numpy as np
import pytest
import skipway as sw
from numeric import check_gradient, layouts, same

RNG = np.random.default_rng(0)
A = RNG.standard_normal((2, 3, 4, 5))
B = RNG.standard_normal((2, 3, 4, 5))


VIEWS = {
    "reshape": (lambda x: x.reshape(6, -1), lambda a: a.reshape(6, -1)),
    "reshape sequence": (lambda x: sw.reshape(x, (4, 30)), lambda a: a.reshape(4, 30)),
    "view": (lambda x: x.view(x.size(0), -1), lambda a: a.reshape(2, -1)),
    "flatten": (lambda x: x.flatten(1), lambda a: a.reshape(2, 60)),
    "flatten middle": (lambda x: sw.flatten(x, 1, 2), lambda a: a.reshape(2, 12, 5)),
    "unflatten": (lambda x: x.unflatten(2, (2, -1)), lambda a: a.reshape(2, 3, 2, 2, 5)),
    "ravel": (lambda x: x.ravel(), lambda a: a.ravel()),
    "unsqueeze": (lambda x: x.unsqueeze(-2), lambda a: a[:, :, :, None]),
    "squeeze": (lambda x: x[:1].squeeze(), lambda a: a[0]),
    "squeeze dims": (lambda x: x[:1, :1].squeeze((0, 1)), lambda a: a[0, 0]),
    "squeeze other": (lambda x: x.squeeze(1), lambda a: a),
    "transpose": (lambda x: x.transpose(1, -1), lambda a: a.swapaxes(1, 3)),
    "swapaxes": (lambda x: x.swapaxes(0, 2), lambda a: a.swapaxes(0, 2)),
    "t": (lambda x: x[0, 0].t(), lambda a: a[0, 0].T),
    "T": (lambda x: x[0].T, lambda a: a[0].T),
    "mT": (lambda x: x.mT, lambda a: a.swapaxes(-1, -2)),
    "permute": (lambda x: x.permute(3, 0, 2, 1), lambda a: a.transpose(3, 0, 2, 1)),
    "permute then reshape": (
        lambda x: x.permute(0, 2, 3, 1).reshape(2, -1),
        lambda a: a.transpose(0, 2, 3, 1).reshape(2, -1),
    ),
    "movedim": (lambda x: x.movedim(1, -1), lambda a: np.moveaxis(a, 1, -1)),
    "movedim several": (lambda x: x.movedim((0, 1), (2, 0)), lambda a: np.moveaxis(a, (0, 1), (2, 0))),
    "expand": (lambda x: x[:, :1].expand(-1, 7, -1, -1), lambda a: np.broadcast_to(a[:, :1], (2, 7, 4, 5))),
    "expand more": (lambda x: x.expand(3, 2, 3, 4, 5), lambda a: np.broadcast_to(a, (3, 2, 3, 4, 5))),
    "broadcast_to": (lambda x: sw.broadcast_to(x[0], (2, 3, 4, 5)), lambda a: np.broadcast_to(a[0], (2, 3, 4, 5))),
    "narrow": (lambda x: x.narrow(2, 1, 2), lambda a: a[:, :, 1:3]),
    "narrow negative": (lambda x: x.narrow(-1, -3, 2), lambda a: a[..., 2:4]),
    "select": (lambda x: x.select(1, -1), lambda a: a[:, -1]),
    "diagonal": (lambda x: x.diagonal(1, 2, 3), lambda a: a.diagonal(1, 2, 3)),
    "diagonal below": (lambda x: x.diagonal(-2, 3, 0), lambda a: a.diagonal(-2, 3, 0)),
    "diagonal outside": (lambda x: x.diagonal(9, 2, 3), lambda a: a.diagonal(9, 2, 3)),
    "unfold": (
        lambda x: x.unfold(3, 3, 1),
        lambda a: np.lib.stride_tricks.sliding_window_view(a, 3, axis=3),
    ),
    "unfold step": (
        lambda x: x.unfold(2, 2, 2),
        lambda a: np.lib.stride_tricks.sliding_window_view(a, 2, axis=2)[:, :, ::2],
    ),
    "flip": (lambda x: x.flip(1, 3), lambda a: np.flip(a, (1, 3))),
    "flip function": (lambda x: sw.flip(x, [0]), lambda a: np.flip(a, 0)),
    "roll": (lambda x: x.roll((1, -2), (1, 3)), lambda a: np.roll(a, (1, -2), (1, 3))),
    "roll flat": (lambda x: x.roll(7), lambda a: np.roll(a, 7)),
    "repeat": (lambda x: x.repeat(2, 1, 1, 3), lambda a: np.tile(a, (2, 1, 1, 3))),
    "repeat more": (lambda x: x.repeat(2, 1, 2, 1, 3), lambda a: np.tile(a, (2, 1, 2, 1, 3))),
    "tile": (lambda x: x.tile(2, 3), lambda a: np.tile(a, (2, 3))),
    "repeat_interleave": (lambda x: x.repeat_interleave(3, 1), lambda a: a.repeat(3, 1)),
    "repeat_interleave flat": (lambda x: x.repeat_interleave(2), lambda a: a.repeat(2)),
    "repeat_interleave counts": (
        lambda x: x.repeat_interleave(sw.tensor([0, 3, 1]), dim=1),
        lambda a: a.repeat([0, 3, 1], 1),
    ),
}


@pytest.mark.parametrize("layout", ["contiguous", "reversed", "sliced", "channels_last"])
@pytest.mark.parametrize("name", VIEWS)
def test_values(name, layout):
    f, g = VIEWS[name]
    for dtype in (np.float64, np.float32, np.int64, np.uint8):
        array = (A * 10).astype(dtype)
        same(f(layouts(array)[layout]), g(array))


@pytest.mark.parametrize("name", VIEWS)
def test_gradients(name):
    check_gradient(VIEWS[name][0], A)


@pytest.mark.parametrize("name", ["reshape", "permute", "narrow", "diagonal", "unfold", "view"])
def test_gradients_of_permuted_inputs(name):
    check_gradient(lambda x: VIEWS[name][0](x.permute(0, 3, 1, 2)), A.transpose(0, 2, 3, 1))


def test_views_share_memory():
    x = sw.zeros(2, 3, 4)
    x.view(6, 4)[0, 0] = 1
    x.transpose(0, 2)[3, 2, 1] = 2
    x.narrow(1, 1, 1)[0] = 3
    x.diagonal(0, 1, 2)[1, 2] = 4
    expected = np.zeros((2, 3, 4))
    expected[0, 0, 0], expected[1, 2, 3], expected[1, 2, 2] = 1, 2, 4
    expected[0, 1] = 3
    same(x, expected)


def test_view_copies_where_strides_do_not_permit_one():
    x = sw.tensor(A).permute(0, 2, 3, 1)
    flat = x.view(2, -1)
    flat[0, 0] = 100.0
    assert x[0, 0, 0, 0].item() == A[0, 0, 0, 0]
    assert sw.tensor(A).view(2, -1)._shares_storage(sw.tensor(A)) is False
    y = sw.tensor(A)
    assert y.view(2, -1)._shares_storage(y) and y.reshape(24, 5)._shares_storage(y)


def test_shapes_without_elements():
    x = sw.zeros(0, 3)
    assert tuple(x.reshape(3, 0, 5).shape) == (3, 0, 5)
    assert tuple(x.flatten().shape) == (0,)
    assert tuple(x.expand(4, 0, 3).shape) == (4, 0, 3)
    assert tuple(x.repeat(2, 2).shape) == (0, 6)
    assert tuple(x.flip(0).shape) == (0, 3)
    assert tuple(x.roll(1, 0).shape) == (0, 3)
    assert [tuple(p.shape) for p in x.chunk(2, 0)] == [(0, 3), (0, 3)]
    assert tuple(sw.tensor(2.0).reshape(1, 1).shape) == (1, 1)
    assert tuple(sw.tensor(2.0).flatten().shape) == (1,)


PARTS = {
    "split": (lambda x: x.split(2, 2), lambda a: np.split(a, [2], 2)),
    "split rest": (lambda x: sw.split(x, 3, dim=3), lambda a: np.split(a, [3], 3)),
    "split sizes": (lambda x: x.split([1, 3], 2), lambda a: np.split(a, [1], 2)),
    "chunk": (lambda x: x.chunk(3, 3), lambda a: np.split(a, [2, 4], 3)),
    "chunk more than there are": (lambda x: x.chunk(7, 1), lambda a: np.split(a, 3, 1)),
    "unbind": (lambda x: x.unbind(1), lambda a: [a[:, i] for i in range(3)]),
    "tensor_split": (lambda x: x.tensor_split(3, 3), lambda a: np.array_split(a, 3, 3)),
    "tensor_split at": (lambda x: x.tensor_split((1, 3), 3), lambda a: np.split(a, [1, 3], 3)),
}


@pytest.mark.parametrize("name", PARTS)
def test_parts(name):
    f, g = PARTS[name]
    for x in layouts(A).values():
        parts, expected = f(x), g(A)
        assert isinstance(parts, tuple) and len(parts) == len(expected)
        for p, e in zip(parts, expected, strict=True):
            same(p, e)
            assert p._shares_storage(x)
    check_gradient(f, A)


def test_one_part_of_many_gets_a_gradient():
    x = sw.tensor(A, requires_grad=True)
    first, second, third = x.unbind(1)
    (second * 3).sum().backward()
    expected = np.zeros_like(A)
    expected[:, 1] = 3
    same(x.grad, expected)


def test_broadcasting_together():
    a, b = sw.broadcast_tensors(sw.tensor(A[0, 0, 0]), sw.tensor(A[0, 0, :, :1]))
    same(a, np.broadcast_to(A[0, 0, 0], (4, 5)))
    same(b, np.broadcast_to(A[0, 0, :, :1], (4, 5)))
    for indexing in ("ij", "xy"):
        grids = sw.meshgrid(sw.arange(3), sw.arange(4), indexing=indexing)
        for g, e in zip(grids, np.meshgrid(np.arange(3), np.arange(4), indexing=indexing), strict=True):
            same(g, e)


def test_as_strided():
    same(sw.tensor(A).as_strided((3, 4), (2, 1), 5), np.lib.stride_tricks.as_strided(A.ravel()[5:], (3, 4), (16, 8)))
    check_gradient(lambda x: x.as_strided((3, 4), (2, 1), 5), A)
    with pytest.raises(ValueError, match="as_strided: size .* reaches beyond the memory of input"):
        sw.zeros(4).as_strided((3,), (2,), 0)
    with pytest.raises(ValueError, match="must not be negative"):
        sw.zeros(4).as_strided((3,), (-1,), 3)


JOINS = {
    "cat": (lambda c, x, y: c.cat([x, y[:, :1], x], 1), lambda a, b: np.concatenate([a, b[:, :1], a], 1)),
    "cat last": (lambda c, x, y: c.concat((x, y), -1), lambda a, b: np.concatenate([a, b], -1)),
    "stack": (lambda c, x, y: c.stack([x, y], 2), lambda a, b: np.stack([a, b], 2)),
    "hstack": (lambda c, x, y: c.hstack([x, y]), lambda a, b: np.hstack([a, b])),
    "vstack": (lambda c, x, y: c.vstack([x[0, 0, 0], y[0, 0, 0]]), lambda a, b: np.vstack([a[0, 0, 0], b[0, 0, 0]])),
    "dstack": (lambda c, x, y: c.dstack([x[0, 0], y[0, 0]]), lambda a, b: np.dstack([a[0, 0], b[0, 0]])),
}


@pytest.mark.parametrize("name", JOINS)
def test_joining(name):
    f, g = JOINS[name]
    for x, y in zip(layouts(A).values(), layouts(B).values(), strict=True):
        same(f(sw, x, y), g(A, B))
    same(f(sw, layouts(A)["channels_last"], sw.tensor(B)), g(A, B))
    check_gradient(lambda x, y: f(sw, x, y), A, B)


def test_joining_keeps_channels_last_and_promotes():
    x = layouts(A)["channels_last"]
    assert sw.cat([x, x], 1)._is_channels_last() and not sw.cat([x, sw.tensor(B)], 1)._is_channels_last()
    assert sw.cat([sw.zeros(2, dtype=sw.int64), sw.zeros(2)]).dtype == sw.float32
    assert tuple(sw.cat([sw.zeros(0), sw.zeros(2, 3)]).shape) == (2, 3)
    assert tuple(sw.cat([sw.zeros(0, 3), sw.zeros(2, 3)]).shape) == (2, 3)


PADS = [
    ((1, 2), "constant", lambda a: np.pad(a, ((0, 0), (0, 0), (0, 0), (1, 2)), constant_values=1.5)),
    ((1, 2, 3, 0), "constant", lambda a: np.pad(a, ((0, 0), (0, 0), (3, 0), (1, 2)), constant_values=1.5)),
    (
        (0, -2, -1, 2),
        "constant",
        lambda a: np.pad(a[:, :, 1:, :3], ((0, 0), (0, 0), (0, 2), (0, 0)), constant_values=1.5),
    ),
    ((1, 4, 3, 2), "reflect", lambda a: np.pad(a, ((0, 0), (0, 0), (3, 2), (1, 4)), mode="reflect")),
    ((1, 7, 3, 2), "replicate", lambda a: np.pad(a, ((0, 0), (0, 0), (3, 2), (1, 7)), mode="edge")),
    ((1, 5, 3, 2), "circular", lambda a: np.pad(a, ((0, 0), (0, 0), (3, 2), (1, 5)), mode="wrap")),
]


@pytest.mark.parametrize(("amounts", "mode", "reference"), PADS)
def test_padding(amounts, mode, reference):
    value = 1.5 if mode == "constant" else None
    for name, x in layouts(A).items():
        y = sw._core.pad(x, amounts, mode, value)
        same(y, reference(A))
        assert y._is_channels_last() == (name == "channels_last")
    check_gradient(lambda x: sw._core.pad(x, amounts, mode, value), A)


ERRORS = [
    (lambda: sw.zeros(2, 3).reshape(4, 2), "reshape: shape \\(4, 2\\) is invalid for input of shape \\(2, 3\\)"),
    (lambda: sw.zeros(2, 3).reshape(-1, -1), "reshape: only one size can be -1"),
    (lambda: sw.zeros(0, 3).reshape(-1, 0), "reshape: cannot infer the size -1"),
    (lambda: sw.zeros(2, 3).reshape(2**40, 2**40), "reshape: shape .* is too large"),
    (lambda: sw.zeros(2, 3).permute(0, 0), "permute: dimension 0 appears twice"),
    (lambda: sw.zeros(2, 3).permute(0), "permute: expected 2 dims"),
    (lambda: sw.zeros(2, 3).expand(4, 3), "expand: input of shape \\(2, 3\\) cannot be expanded to \\(4, 3\\)"),
    (lambda: sw.zeros(2, 3).expand(3), "expand: shape \\(3,\\) has fewer dimensions"),
    (lambda: sw.zeros(1).expand(2**40, 2**40), "expand: shape .* is too large"),
    (lambda: sw.zeros(2, 3).narrow(1, 2, 2), "narrow: start 2 and length 2 do not fit in dimension 1 of size 3"),
    (lambda: sw.zeros(2, 3).split([1, 1], 1), "split: sizes add up to 2, not to 3"),
    (lambda: sw.zeros(2, 3).split(0, 1), "split: split_size must be positive, got 0"),
    (lambda: sw.zeros(2, 3).chunk(0), "chunk: chunks must be positive, got 0"),
    (lambda: sw.zeros(2, 3).unfold(1, 4, 1), "unfold: size 4 does not fit in dimension 1 of size 3"),
    (lambda: sw.zeros(2, 3).unfold(1, 2, 0), "unfold: step must be at least 1, got 0"),
    (lambda: sw.zeros(2, 3).repeat(2), "repeat: expected at least 2 repeats"),
    (lambda: sw.zeros(2, 3).repeat(-1, 2), "repeat: repeats must not be negative"),
    (lambda: sw.cat([sw.zeros(2, 3), sw.zeros(3, 2)]), "cat: expected tensors of the same shape except in dimension 0"),
    (lambda: sw.cat([]), "cat: expected at least one tensor"),
    (lambda: sw.stack([sw.zeros(2), sw.zeros(3)]), "stack: expected tensors of the same shape"),
    (lambda: sw._core.pad(sw.zeros(2, 3), (1,)), "pad: expected pad to be an even number of at most 4 amounts"),
    (lambda: sw._core.pad(sw.zeros(2, 3), (3, 0), "reflect"), "pad: mode 'reflect' cannot pad dimension 1 of size 3"),
    (lambda: sw._core.pad(sw.zeros(2, 3), (-4, 0)), "pad: pad amounts -4 and 0 leave no valid size"),
    (lambda: sw._core.pad(sw.zeros(2, 3), (1, 0), "mirror"), "pad: expected mode"),
]


@pytest.mark.parametrize(("call", "message"), ERRORS)
def test_errors_name_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_wrong_dimensions_are_index_errors():
    for call in (
        lambda: sw.zeros(2, 3).unsqueeze(4),
        lambda: sw.zeros(2, 3).transpose(0, 2),
        lambda: sw.zeros(2, 3).select(0, 2),
        lambda: sw.zeros(2, 3).chunk(2, 5),
    ):
        with pytest.raises(IndexError, match="dim|out of range"):
            call()


def test_channel_shuffle_stays_channels_last():
    x = layouts(RNG.standard_normal((2, 6, 3, 4)))["channels_last"]

    def shuffle(t):
        return t.view(2, 2, 3, 3, 4).permute(0, 2, 1, 3, 4).reshape(2, 6, 3, 4)

    y = shuffle(x)
    assert y._is_channels_last()
    same(y, x.numpy().reshape(2, 2, 3, 3, 4).transpose(0, 2, 1, 3, 4).reshape(2, 6, 3, 4))
    check_gradient(lambda t: shuffle(t.permute(0, 3, 1, 2)), RNG.standard_normal((2, 3, 4, 6)))


def test_joined_images_have_channels_last_gradients():
    x, y = (layouts(RNG.standard_normal((2, c, 3, 4)))["channels_last"].requires_grad_(True) for c in (2, 5))
    (sw.cat([x, y], 1) * 2).sum().backward()
    assert x.grad.tolist() == sw.full((2, 2, 3, 4), 2.0).tolist() and y.grad._is_channels_last()


def test_sum_to_size():
    check_gradient(lambda x: x.sum_to_size(3, 1, 5), A)
    np.testing.assert_allclose(sw.tensor(A).sum_to_size(3, 1, 5).numpy(), A.sum((0, 2)).reshape(3, 1, 5))
