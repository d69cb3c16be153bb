"""Indexing against NumPy: reading, writing, gradients and errors."""

import numpy as np
import pytest
import skipway as sw
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numeric import check_gradient, layouts, same

RNG = np.random.default_rng(0)
A = RNG.standard_normal((2, 3, 4, 5))
MASK = RNG.random((2, 3, 4, 5)) > 0.5
DETERMINISTIC = settings(derandomize=True, deadline=None, max_examples=300, database=None)


def to_tensors(key):
    """The same index with tensors in the place of arrays."""
    if isinstance(key, tuple):
        return tuple(to_tensors(k) for k in key)
    return sw.tensor(key) if isinstance(key, np.ndarray) else key


KEYS = [
    0,
    -1,
    np.int64(1),
    (1, 2, 3, 4),
    slice(None),
    slice(1, None, 2),
    (slice(None), slice(-2, None)),
    (Ellipsis, 1),
    (Ellipsis, slice(None, None, 3)),
    (0, Ellipsis, None, 1),
    (None, 0, None, slice(2, 1)),
    (slice(5, 9),),
    (),
    Ellipsis,
    None,
    True,
    False,
    (slice(None), True),
    (0, None, slice(None), True),
    np.array([1, 0, 1]),
    [0, 1, 1],
    np.array([[0, -1], [1, 1]]),
    np.array([], dtype=np.int64),
    [],
    (slice(None), np.array([2, 0, 0])),
    (np.array([0, 1]), np.array([2, 1])),
    (np.array([0, 1]), slice(None), np.array([3, 1])),
    (np.array([[0], [1]]), np.array([2, 0, 1])),
    (0, slice(None), np.array([3, 1])),
    (slice(None), 0, np.array([3, 1])),
    (slice(None), np.array([2, 1]), 0),
    (slice(None), np.array([2, 1]), slice(1, 3), 0),
    (slice(None), np.array([2, 1]), None, np.array([0, 3])),
    (Ellipsis, np.array([4, 0])),
    MASK,
    MASK[:, 0, 0, 0],
    (slice(None), MASK[0]),
    (1, MASK[0]),
    [True, False],
    (slice(None), MASK[0, :, :, 0]),
    (slice(None), MASK[0, :, 0, 0], slice(1, 3)),
    (MASK[:, :, 0, 0], np.array([1])),
    (np.array([0, 1]), MASK[0, :, 0, 0].cumsum() < 3),
    np.zeros_like(MASK),
    np.array(1),
    (np.array(1), np.array([0, 1])),
]
KEYS = [
    k
    for k in KEYS
    if not (
        isinstance(k, tuple)
        and len(k) == 2
        and isinstance(k[1], np.ndarray)
        and k[1].dtype == bool
        and isinstance(k[0], np.ndarray)
        and k[1].sum() not in (1, len(k[0]))
    )
]


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_reading_and_writing(key):
    expected = A[tuple(key) if isinstance(key, tuple) else key]
    for x in layouts(A).values():
        same(x[to_tensors(key)], expected)
    changed = A.copy()
    changed[key] = 7
    for x in layouts(A).values():
        x = x.clone()
        x[to_tensors(key)] = 7
        same(x, changed)
    values = RNG.standard_normal(expected.shape)
    changed[key] = values
    x = sw.tensor(A)
    x[to_tensors(key)] = sw.tensor(values)
    if len(np.unique(np.arange(A.size).reshape(A.shape)[key])) == expected.size:
        same(x, changed)


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_gradients(key):
    key = to_tensors(key)
    small = A[:, :, :, :]
    x = sw.tensor(small, requires_grad=True)
    y = x[key]
    if y.numel() == 0:
        y.sum().backward()
        assert not x.grad.numpy().any()
        return
    weights = RNG.standard_normal(tuple(y.shape))
    (y * sw.tensor(weights)).sum().backward()
    expected = np.zeros_like(A)
    np.add.at(expected.reshape(-1), np.arange(A.size).reshape(A.shape)[from_tensors(key)], weights)
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-12)


def from_tensors(key):
    if isinstance(key, tuple):
        return tuple(from_tensors(k) for k in key)
    return key.numpy() if isinstance(key, sw.Tensor) else key


@given(st.data())
@DETERMINISTIC
def test_basic_indices_as_numpy(data):
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=5))
    a = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    key = data.draw(hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True, max_dims=8))
    parts = key if isinstance(key, tuple) else (key,)
    if any(isinstance(k, slice) and k.step is not None and k.step < 0 for k in parts):
        with pytest.raises(ValueError, match="the step of a slice must be at least 1"):
            sw.tensor(a)[key]
        return
    expected = a[key]
    same(sw.tensor(a)[key], expected)
    x, b = sw.tensor(a), a.copy()
    x[key] = -1
    b[key] = -1
    same(x, b)


@given(st.data())
@DETERMINISTIC
def test_mixed_indices_as_numpy(data):
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4))
    a = np.arange(np.prod(shape), dtype=np.int64).reshape(shape)
    common = data.draw(hnp.array_shapes(min_dims=1, max_dims=2, max_side=3))
    key = []
    for size in shape:
        kind = data.draw(st.sampled_from(["int", "slice", "array", "newaxis"]))
        if kind == "newaxis":
            key.append(None)
            kind = "slice"
        if kind == "int":
            key.append(data.draw(st.integers(-size, size - 1)))
        elif kind == "slice":
            key.append(slice(data.draw(st.integers(-size, size)), None, data.draw(st.integers(1, 3))))
        else:
            key.append(data.draw(hnp.arrays(np.int64, common, elements=st.integers(-size, size - 1))))
    key = tuple(key)
    expected = a[key]
    same(sw.tensor(a)[to_tensors(key)], expected)
    x, b = sw.tensor(a), a.copy()
    x[to_tensors(key)] = -1
    b[key] = -1
    same(x, b)
    x = sw.tensor(a.astype(np.float64), requires_grad=True)
    x[to_tensors(key)].sum().backward()
    counts = np.zeros(a.shape)
    np.add.at(counts, key, 1)
    same(x.grad, counts)


def test_picked_images_stay_channels_last():
    x = layouts(A)["channels_last"]
    y = x[sw.tensor([1, 0, 1])]
    assert y._is_channels_last() and x.index_select(1, sw.tensor([2, 0]))._is_channels_last()
    same(y, A[[1, 0, 1]])
    same(x.index_select(1, sw.tensor([2, 0])), A[:, [2, 0]])


def test_views_are_views_and_picks_are_copies():
    x = sw.zeros(3, 4)
    x[1][2] = 5
    x[:, 0] += 1
    y = x[[0, 1]]
    y[0, 0] = 100
    assert x.tolist() == [[1, 0, 0, 0], [1, 0, 5, 0], [1, 0, 0, 0]]
    x[x > 4] = -1
    x[0] = [1, 2, 3, 4]
    x[2] = np.array([[9.0, 9.0, 9.0, 9.0]])
    assert x.tolist() == [[1, 2, 3, 4], [1, 0, -1, 0], [9, 9, 9, 9]]
    x[1:] = x[:-1]
    assert x.tolist() == [[1, 2, 3, 4], [1, 2, 3, 4], [1, 0, -1, 0]]
    assert 9 not in x and -1 in x and [row.tolist() for row in x][0] == [1, 2, 3, 4]


def assigned(key, shape):
    def f(x, y):
        z = x * 1.0
        z[key] = y
        return z * z

    return f, RNG.standard_normal(shape)


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ((0, slice(None), 1), (3, 5)),
        ((0, slice(None), 1), (5,)),
        ((0, slice(None), 1), (1, 1, 1, 5)),
        ((slice(None), sw.tensor([0, 2])), (2, 2, 4, 5)),
        (sw.tensor(MASK), ()),
        (sw.tensor(MASK), (int(MASK.sum()),)),
        ((sw.tensor([0, 1]), slice(None), sw.tensor([1, 3])), (2, 3, 5)),
        ((Ellipsis, 2), (2, 3, 4)),
    ],
    ids=repr,
)
def test_gradients_of_assignment(key, shape):
    f, y = assigned(key, shape)
    check_gradient(f, A, y)


def test_gradients_through_views_changed_in_place():
    def f(x, y):
        z = x * 1.0
        first = z[0]
        first[1] = y
        z[:, :, 1:3][0, 0] = y[1:3] * 2
        z[:, sw.tensor([2])][0] = 5  # a copy: no effect
        return z * z

    check_gradient(f, A, RNG.standard_normal((4, 5)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: x[2], "index: index 2 is out of range for dimension 0 of size 2"),
        (lambda x: x[0, -4], "index: index -4 is out of range for dimension 1 of size 3"),
        (lambda x: x[0, 0, 0], "index: too many indices for input of shape \\(2, 3\\)"),
        (lambda x: x[..., ...], "index: only one Ellipsis"),
        (lambda x: x[sw.tensor([0, 5])], "index: index 5 is out of range for dimension 0 of size 2"),
        (lambda x: x[:, sw.tensor([-4])], "index: index -4 is out of range for dimension 1 of size 3"),
        (
            lambda x: x[sw.tensor([True, False, True])],
            "index: the mask of shape \\(3,\\) does not match input of shape \\(2, 3\\)",
        ),
        (lambda x: x[sw.tensor([0.5])], "index: an index tensor must be of an integer dtype or bool, got float32"),
        (lambda x: x[1.5], "index: expected integers, slices, None, Ellipsis"),
        (lambda x: x["a"], "index: expected integers, slices, None, Ellipsis"),
        (lambda x: x[2**70], "does not fit into 64 bits"),
        (
            lambda x: x.index_select(0, sw.tensor([3])),
            "index_select: index 3 is out of range for dimension 0 of size 2",
        ),
        (lambda x: x.gather(1, sw.tensor([[3], [0]])), "gather: index 3 is out of range for dimension 1 of size 3"),
        (
            lambda x: x.scatter(1, sw.tensor([[3], [0]]), 1.0),
            "scatter: index 3 is out of range for dimension 1 of size 3",
        ),
        (lambda x: x.take(sw.tensor([6])), "take: index 6 is out of range for dimension 0 of size 6"),
    ],
)
def test_index_errors(call, message):
    with pytest.raises(IndexError, match=message):
        call(sw.zeros(2, 3))


def test_other_errors():
    x = sw.zeros(2, 3)
    with pytest.raises(ValueError, match="cannot be broadcast|broadcast"):
        x[0] = sw.zeros(4)
    with pytest.raises(ValueError, match="index_put_: values of shape \\(2, 2\\)|broadcast|expand"):
        x[sw.tensor([0])] = sw.zeros(2, 2)
    with pytest.raises(ValueError, match="gather: expected index with 2 dimensions"):
        x.gather(0, sw.tensor([0]))
    with pytest.raises(ValueError, match="gather: index of shape \\(3, 1\\) is larger"):
        x.gather(1, sw.zeros(3, 1, dtype=sw.int64))
    with pytest.raises(ValueError, match="index_add_: expected source of shape \\(1, 3\\), got \\(2, 3\\)"):
        x.index_add_(0, sw.tensor([0]), sw.zeros(2, 3))
    with pytest.raises(TypeError, match="gather: expected index to be of an integer dtype, got float32"):
        x.gather(0, x)
    with pytest.raises(RuntimeError, match="expanded"):
        sw.zeros(1, 3).expand(2, 3)[0] = 1
        sw.zeros(1, 3).expand(2, 3)[:, 1] = 1
    leaf = sw.zeros(2, 3, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf"):
        leaf[0] = 1
    with sw.no_grad():
        leaf[0] = 1
    assert leaf.tolist() == [[1, 1, 1], [0, 0, 0]]


def test_strides_of_dimensions_of_size_one_do_not_matter() -> None:
    values = np.arange(4.0).reshape(2, 1, 2)
    odd = sw.tensor(values).as_strided((2, 1, 2), (2, 1, 1))
    index = sw.zeros(2, 1, dtype=sw.int64)
    x = sw.ones(3, 2, dtype=sw.float64, requires_grad=True)
    x[index].backward(odd)
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), [[2.0, 4.0], [0.0, 0.0], [0.0, 0.0]])
    y = sw.zeros(3, 2, dtype=sw.float64)
    y[sw.tensor([[2], [1]])] = odd
    np.testing.assert_array_equal(y.numpy(), [[0.0, 0.0], [2.0, 3.0], [0.0, 1.0]])
