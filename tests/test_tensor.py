"""Tensors as Python objects: construction, single values, NumPy, DLPack, repr, pickling."""

import copy
import pickle

import ml_dtypes
import numpy as np
import pytest
import skipway as sw

DTYPES = ["float64", "float32", "int64", "int32", "uint8", "bool"]


def test_default_dtypes():
    assert sw.tensor([1.0, 2.0]).dtype is sw.float32
    assert sw.tensor([1, 2]).dtype is sw.int64
    assert sw.tensor([True]).dtype is sw.bool
    assert sw.tensor(np.ones(2)).dtype is sw.float64


@pytest.mark.parametrize("name", DTYPES)
def test_numpy_round_trip_shares_memory(name):
    a = np.arange(6).reshape(2, 3).astype(name)
    t = sw.from_numpy(a)
    assert t.dtype is getattr(sw, name) and t.shape == (2, 3)
    b = t.numpy()
    assert b.dtype == a.dtype and np.shares_memory(a, b)
    a[0, 0] = 1
    assert t[0, 0].item() == 1


def test_numpy_views_keep_their_strides():
    a = np.arange(24, dtype=np.float32).reshape(4, 6)
    t = sw.from_numpy(a[::2, 1::2])
    assert t.stride() == (12, 2) and np.array_equal(t.numpy(), a[::2, 1::2])
    assert np.shares_memory(a, t.numpy())
    assert np.array_equal(sw.from_numpy(a.T).numpy(), a.T)


@pytest.mark.parametrize("make", [lambda a: a[::-1], lambda a: a.astype(">f4"), lambda a: np.broadcast_to(a, (2, 4))])
def test_arrays_that_need_a_copy(make):
    a = make(np.arange(4, dtype=np.float32))
    t = sw.from_numpy(a)
    assert np.array_equal(t.numpy(), a)
    t.add_(1)
    assert not np.array_equal(t.numpy(), a)


def test_read_only_arrays_are_copied():
    a = np.zeros(3, np.float32)
    a.setflags(write=False)
    sw.from_numpy(a).add_(1)
    assert not a.any()


def test_unsupported_numpy_dtype():
    with pytest.raises(TypeError, match="complex64"):
        sw.from_numpy(np.zeros(2, np.complex64))


def test_the_array_outlives_the_tensor_and_the_other_way_round():
    t = sw.from_numpy(np.arange(1000.0))
    assert t.sum().item() == 499500.0
    b = sw.arange(1000, dtype=sw.float64).numpy()
    assert b.sum() == 499500.0


def test_array_protocol():
    t = sw.tensor([[1.0, 2.0]])
    assert np.asarray(t).dtype == np.float32 and np.shares_memory(np.asarray(t), t.numpy())
    assert np.asarray(t, dtype=np.float64).dtype == np.float64
    with pytest.raises(RuntimeError, match=r"detach\(\)"):
        np.asarray(sw.ones(2, requires_grad=True))
    with pytest.raises(RuntimeError, match=r"detach\(\)"):
        sw.ones(2, requires_grad=True).numpy()


def test_bfloat16_through_ml_dtypes():
    a = np.array([1.0, 2.5, -3.0], dtype=ml_dtypes.bfloat16)
    t = sw.from_numpy(a)
    assert t.dtype is sw.bfloat16 and t.numpy().dtype == ml_dtypes.bfloat16 and np.shares_memory(a, t.numpy())
    assert t.float().tolist() == [1.0, 2.5, -3.0]
    x = np.random.default_rng(0).standard_normal(4097).astype(np.float32) * np.logspace(-40, 38, 4097, dtype=np.float32)
    with np.errstate(over="ignore"):
        expected = x.astype(ml_dtypes.bfloat16)
    assert np.array_equal(sw.from_numpy(x).bfloat16().numpy().view(np.uint16), expected.view(np.uint16))


@pytest.mark.parametrize("name", DTYPES)
def test_dlpack_both_ways(name):
    a = np.arange(6).reshape(2, 3).astype(name)
    if name == "bool":
        a = a.astype(bool)
    t = sw.from_dlpack(a)
    assert np.array_equal(t.numpy(), a) and np.shares_memory(t.numpy(), a)
    b = np.from_dlpack(t)
    assert np.array_equal(a, b) and np.shares_memory(a, b)
    assert t.__dlpack_device__() == (1, 0)


def test_dlpack_strides_copy_and_capsules():
    t = sw.arange(12).reshape(3, 4).t()
    assert np.array_equal(np.from_dlpack(t), t.numpy())
    capsule = t.__dlpack__()
    u = sw.from_dlpack(capsule)
    assert u.data_ptr() == t.data_ptr()
    with pytest.raises(ValueError, match="used before"):
        sw.from_dlpack(capsule)
    assert sw.from_dlpack(t.__dlpack__(max_version=(1, 0), copy=True)).data_ptr() != t.data_ptr()
    with pytest.raises(TypeError, match="__dlpack__"):
        sw.from_dlpack([1, 2])
    with pytest.raises(RuntimeError, match="requires grad"):
        sw.ones(2, requires_grad=True).__dlpack__()


def test_unused_dlpack_capsules_are_freed():
    before = sw.memory_stats()["allocated_bytes"]
    for _ in range(10):
        sw.ones(1 << 16).__dlpack__()
    assert sw.memory_stats()["allocated_bytes"] == before


def test_single_values():
    assert sw.tensor(3).item() == 3 and isinstance(sw.tensor(3).item(), int)
    assert isinstance(sw.tensor([[2.5]]).item(), float)
    assert sw.tensor(True).item() is True
    assert float(sw.tensor(2.5)) == 2.5 and int(sw.tensor(7.9)) == 7
    assert [10, 20, 30][sw.tensor(1)] == 20
    with pytest.raises(ValueError, match=r"one element.*\(2,\)"):
        sw.ones(2).item()
    with pytest.raises(TypeError, match="integer"):
        [1, 2][sw.tensor(1.0)]


def test_truth_and_length():
    assert sw.tensor(1) and not sw.tensor([0.0])
    with pytest.raises(ValueError, match=r"any\(\) or all\(\)"):
        bool(sw.ones(2))
    assert len(sw.ones(3, 2)) == 3
    with pytest.raises(TypeError, match="0-dim"):
        len(sw.tensor(1.0))
    assert [row.tolist() for row in sw.tensor([[1, 2], [3, 4]])] == [[1, 2], [3, 4]]


def test_tolist():
    a = np.arange(12).reshape(2, 3, 2)
    assert sw.from_numpy(a).permute(2, 0, 1).tolist() == a.transpose(2, 0, 1).tolist()
    assert sw.zeros(2, 0).tolist() == [[], []]


def test_repr():
    text = repr(sw.tensor([[1.0, 2.0], [3.0, 4.5]], requires_grad=True))
    for part in ("1. ", "4.5", "shape=(2, 2)", "dtype=float32", "device=cpu", "requires_grad=True"):
        assert part in text
    assert "grad_fn=<" in repr(sw.ones(2, requires_grad=True) * 2)
    assert "dtype=bfloat16" in repr(sw.ones(2, dtype=sw.bfloat16))
    assert "..." in repr(sw.zeros(5000))
    assert "shape=(0, 3)" in repr(sw.zeros(0, 3))
    assert repr(sw.tensor(2.5)).startswith("tensor(2.5, shape=()")


def test_same_tensor_same_object():
    x = sw.zeros(3)
    assert x.add_(1) is x
    assert sw.nn.functional.relu(x, inplace=True) is x


def test_copies_and_pickles():
    x = sw.tensor([1.0, 2.0], requires_grad=True)
    for y in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert y.tolist() == x.tolist() and y.requires_grad and y.data_ptr() != x.data_ptr()
    assert pickle.loads(pickle.dumps(sw.float32)) is sw.float32
    assert pickle.loads(pickle.dumps(sw.device("cpu"))) == sw.device("cpu")


def test_devices():
    assert str(sw.device("cuda", 1)) == "cuda:1" and sw.device("cuda:1") == sw.device("cuda", 1)
    assert sw.device("cpu").type == "cpu" and sw.zeros(1).device == sw.device("cpu")
    with pytest.raises(RuntimeError, match='"tpu"'):
        sw.device("tpu")
    with pytest.raises(sw.DeviceError):
        sw.zeros(2, device="cuda")


def test_absurd_sizes_are_errors():
    with pytest.raises(ValueError, match="-1"):
        sw.empty(-1)
    with pytest.raises((sw.OutOfMemoryError, ValueError)):
        sw.empty(1 << 62)
    with pytest.raises((sw.OutOfMemoryError, ValueError)):
        sw.empty(1 << 40, 1 << 40)
    with pytest.raises(ValueError, match="8 dimensions"):
        sw.empty(*[1] * 9)
    with pytest.raises((ValueError, TypeError)):
        sw.empty(1 << 70)


def test_memory_stats_follow_tensors():
    before = sw.memory_stats()["allocated_bytes"]
    x = sw.empty(1 << 20)
    assert sw.memory_stats()["allocated_bytes"] - before >= 4 << 20
    del x
    assert sw.memory_stats()["allocated_bytes"] == before
    hits = sw.memory_stats()["cache_hits"]
    x = sw.empty(1 << 20)
    assert sw.memory_stats()["cache_hits"] == hits + 1
    del x
    sw.empty_cache()
    after = sw.memory_stats()
    assert after["reserved_bytes"] >= after["allocated_bytes"]
    sw.reset_peak_memory_stats()
    assert sw.memory_stats()["max_allocated_bytes"] == sw.memory_stats()["allocated_bytes"]


def test_dtype_objects():
    assert np.dtype(sw.float32) == np.float32 and sw.float32.itemsize == 4
    assert repr(sw.float32) == "skipway.float32" and sw.float is sw.float32 and sw.long is sw.int64
    assert sw.zeros(1, dtype=np.float64).dtype is sw.float64
    assert sw.zeros(1, dtype=int).dtype is sw.int64
    assert sw.zeros(1, dtype=np.float16).dtype is sw.float16


def test_float16_converts_as_numpy_does():
    every = np.arange(65536, dtype=np.uint16).view(np.float16)
    np.testing.assert_array_equal(sw.from_numpy(every.copy()).float().numpy(), every.astype(np.float32))
    rng = np.random.default_rng(0)
    x = rng.standard_normal(20000).astype(np.float32) * np.float32(10) ** rng.integers(-9, 6, 20000).astype(np.float32)
    x[:6] = [np.nan, np.inf, -np.inf, -0.0, 65519.9, 65520.0]
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(sw.tensor(x).half().numpy(), x.astype(np.float16))


def test_subclass_without_init():
    class Broken(sw.Tensor):
        def __init__(self):
            pass

    with pytest.raises(TypeError, match="super"):
        _ = Broken().shape


def test_like_functions_keep_channels_last_memory() -> None:
    plain = sw.zeros(2, 3, 4, 5)
    last = plain.contiguous(memory_format=sw.channels_last)
    for make in (sw.empty_like, sw.zeros_like, sw.ones_like, lambda t, **kw: sw.full_like(t, 2.0, **kw)):
        assert make(last).stride() == last.stride()
        assert make(plain).stride() == plain.stride()
        assert make(last[:, :, 1:]).is_contiguous()  # not dense
        assert make(last, memory_format=sw.contiguous_format).stride() == plain.stride()
        assert make(last, dtype=sw.float64).dtype == sw.float64
