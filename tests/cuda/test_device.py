"""Devices, tensors on them, and what other libraries see of them."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import numpy as np
import pytest
import skipway as sw


def values(n: int = 6) -> np.ndarray:
    return np.arange(n, dtype=np.float32)


def test_the_device_is_there() -> None:
    assert sw.cuda.is_available() and sw.cuda.device_count() >= 1
    sw.cuda.init()
    assert sw.cuda.is_initialized()
    properties = sw.cuda.get_device_properties(0)
    assert properties.name == sw.cuda.get_device_name("cuda:0") and properties.total_memory > 2**20
    assert sw.cuda.get_device_capability() == (properties.major, properties.minor) >= (7, 5)
    assert sw.cuda.is_bf16_supported() and properties.multi_processor_count > 0
    with pytest.raises(sw.DeviceError, match=r"expected a device index below \d+, the number of devices, got 99"):
        sw.cuda.set_device(99)
    with pytest.raises(sw.DeviceError, match="cuda:99"):
        sw.ones(2).to("cuda:99")
    with pytest.raises(ValueError, match="expected a CUDA device"):
        sw.cuda.synchronize("cpu")


def test_moving() -> None:
    x = sw.tensor(values().reshape(2, 3))
    y = x.cuda()
    assert y.is_cuda and not y.is_cpu and y.get_device() == 0 and y.device == sw.device("cuda:0")
    assert y.cuda() is y and y.to("cuda") is y and y.to(sw.device("cuda", 0)) is y and x.cpu() is x
    assert x.to(0).device == y.device and x.get_device() == -1
    np.testing.assert_array_equal(y.cpu().numpy(), x.numpy())
    strided = x.t().cuda()
    assert strided.stride() == (1, 3)
    np.testing.assert_array_equal(strided.cpu().numpy(), x.t().numpy())
    for view in (y[:, ::2], y.t()[1:], y[1:1]):
        np.testing.assert_array_equal(view.cpu().numpy(), view.tolist() if view.numel() else np.zeros((0, 3)))
    z = x.to("cuda", sw.float64)
    assert z.dtype is sw.float64 and z.is_cuda and x.to(z).dtype is sw.float64 and x.type_as(z).is_cuda
    wide = sw.zeros(4, 6, device="cuda")
    wide[1:3, ::2] = x
    assert wide.sum().item() == 15 and wide[1:3, ::2].tolist() == x.tolist()


def test_gradients_come_back() -> None:
    x = sw.tensor(values(), requires_grad=True)
    y = x.cuda()
    assert y.requires_grad and not y.is_leaf
    y.backward(sw.tensor(values(), device="cuda"))
    assert x.grad is not None and x.grad.is_cpu
    np.testing.assert_array_equal(x.grad.numpy(), values())


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16", "int64", "int32", "uint8", "bool"])
def test_every_dtype_travels(dtype: str) -> None:
    x = sw.tensor([[0, 1, 2], [3, 4, 5]]).to(getattr(sw, dtype))
    y = x.cuda()
    assert y.dtype is x.dtype and y.tolist() == x.tolist() and y.t().contiguous().tolist() == x.t().tolist()
    assert y.to(sw.float64).tolist() == x.to(sw.float64).tolist()
    assert sw.from_dlpack(y).tolist() == x.tolist()
    assert pickle.loads(pickle.dumps(y)).device == y.device


def test_factories() -> None:
    x = sw.ones(2, 2, device="cuda", dtype=sw.float64)
    for y in (x.new_zeros(3), x.new_ones(3), x.new_empty(3), x.new_full((3,), 2.0), x.new_tensor([1.0]), x.new(3)):
        assert y.device == x.device and y.dtype is sw.float64
    for y in (sw.zeros_like(x), sw.ones_like(x), sw.empty_like(x), sw.full_like(x, 3), sw.rand_like(x)):
        assert y.device == x.device and y.shape == x.shape and y.dtype is x.dtype
    assert sw.zeros_like(x, device="cpu").is_cpu and x.new_zeros(2, device="cpu").is_cpu
    for device in ("cuda", "cuda:0", sw.device("cuda"), 0):
        for y in (sw.zeros(2, device=device), sw.arange(3, device=device), sw.full((2,), 1.5, device=device),
                  sw.tensor([1, 2], device=device), sw.linspace(0, 1, 3, device=device), sw.eye(2, device=device),
                  sw.empty(2, device=device), sw.as_tensor([1.0], device=device)):  # fmt: skip
            assert y.device == sw.device("cuda:0")
    assert sw.tensor([[1.0, 2.0]], device="cuda").tolist() == [[1.0, 2.0]]
    assert sw.tensor([x[0], x[1]]).is_cpu
    x.resize_(3)
    assert x.is_cuda and x.shape == (3,)


def test_random_numbers_are_the_cpus() -> None:
    for make in (sw.rand, sw.randn):
        sw.manual_seed(5)
        expected = make(3, 7)
        sw.manual_seed(5)
        assert make(3, 7, device="cuda").tolist() == expected.tolist()


def test_values_for_python() -> None:
    x = sw.tensor([[1.5, 2.0]], device="cuda")
    assert x.tolist() == [[1.5, 2.0]] and float(x[0, 0]) == 1.5 and bool(x[0, 1]) and int(x[0, 1]) == 2
    assert f"{x[0, 0]:.2f}" == "1.50"
    assert repr(x) == "tensor([[1.5, 2. ]], shape=(1, 2), dtype=float32, device=cuda:0)" == str(x)
    with pytest.raises(TypeError, match=r"numpy: expected a tensor on the CPU, got cuda:0; call .cpu\(\) first"):
        x.numpy()
    with pytest.raises(TypeError, match="call .cpu"):
        np.asarray(x)
    np.testing.assert_array_equal(x.numpy(force=True), [[1.5, 2.0]])
    twin = copy.deepcopy(x)
    assert twin.device == x.device and twin.data_ptr() != x.data_ptr() and twin.tolist() == x.tolist()
    p = sw.nn.Parameter(x)
    assert p.is_cuda and copy.deepcopy(p).is_cuda and "Parameter" in repr(p)


def test_saving() -> None:
    file = io.BytesIO()
    model = sw.nn.Linear(2, 3).cuda()
    sw.save({"model": model.state_dict(), "h": sw.ones(2).half()}, file)
    for where in (None, "cpu", "cuda", {"cpu": "cuda:0"}, lambda t, name: t.cuda()):
        file.seek(0)
        loaded = sw.load(file, map_location=where)
        assert loaded["model"]["weight"].is_cuda == (where not in (None, "cpu"))
        assert loaded["h"].dtype is sw.float16
        assert loaded["model"]["weight"].tolist() == model.weight.tolist()
        twin = sw.nn.Linear(2, 3).cuda()
        twin.load_state_dict(loaded["model"])
        assert twin.weight.is_cuda and twin.weight.tolist() == model.weight.tolist()


def test_modules_move_in_place() -> None:
    net = sw.nn.Sequential(sw.nn.Linear(3, 4), sw.nn.BatchNorm1d(4))
    parameters = list(net.parameters())
    optimizer = sw.optim.SGD(net.parameters(), lr=0.1)
    before = [p.tolist() for p in parameters]
    assert net.cuda() is net
    assert all(a is b for a, b in zip(net.parameters(), parameters, strict=True))
    assert all(p.is_cuda and p.is_leaf and p.requires_grad for p in parameters)
    assert all(b.is_cuda for b in net.buffers())
    assert [p.tolist() for p in parameters] == before
    assert all(p is q for p, q in zip(optimizer.param_groups[0]["params"], parameters, strict=True))
    net.to("cuda", sw.float64)
    assert parameters[0].dtype is sw.float64 and parameters[0].is_cuda
    net.cpu().float()
    assert all(p.is_cpu for p in net.parameters()) and all(b.is_cpu for b in net.buffers())
    assert [p.tolist() for p in parameters] == before


def test_dlpack() -> None:
    x = sw.tensor(values().reshape(2, 3), device="cuda")
    assert x.__dlpack_device__() == (2, 0)
    y = sw.from_dlpack(x.t())
    assert y.data_ptr() == x.data_ptr() and y.stride() == (1, 3) and y.device == x.device
    del x
    np.testing.assert_array_equal(y.cpu().numpy(), values().reshape(2, 3).T)
    np.testing.assert_array_equal(np.from_dlpack(Foreign(y, dl_device=(1, 0))), y.cpu().numpy())
    for stream in (None, 1, -1):
        assert sw.from_dlpack(y.__dlpack__(stream=stream)).tolist() == y.tolist()
    side = sw.cuda.Stream()
    with sw.cuda.stream(side):
        assert sw.from_dlpack(y).tolist() == y.tolist()
    assert sw.from_dlpack(y.__dlpack__(stream=side.cuda_stream)).tolist() == y.tolist()
    with pytest.raises(ValueError, match="expected stream to be None, -1, 1, 2 or a handle, got 0"):
        y.__dlpack__(stream=0)
    with pytest.raises(sw.DeviceError, match=r"got \(2, 5\)"):
        y.__dlpack__(dl_device=(2, 5))
    with pytest.raises(ValueError, match="copy is False"):
        y.__dlpack__(dl_device=(1, 0), copy=False)


class Foreign:
    """A tensor as another library shows it."""

    def __init__(self, tensor: Any, **options: Any) -> None:
        self.tensor, self.options = tensor, options

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.options.get("dl_device") or self.tensor.__dlpack_device__()

    def __dlpack__(self, **options: Any) -> Any:
        return self.tensor.__dlpack__(**{**options, **self.options})

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return self.tensor.__cuda_array_interface__


def test_cuda_array_interface() -> None:
    x = sw.tensor(values().reshape(2, 3), device="cuda")
    assert x.__cuda_array_interface__ == {
        "shape": (2, 3), "strides": None, "typestr": "<f4", "data": (x.data_ptr(), False), "version": 3, "stream": 1,
    }  # fmt: skip
    assert x.t().__cuda_array_interface__["strides"] == (4, 12)
    y = sw.as_tensor(Foreign(x.t()))
    assert y.data_ptr() == x.data_ptr() and y.tolist() == x.t().tolist()
    assert sw.as_tensor(Foreign(x[:0])).shape == (0, 3)
    with sw.cuda.stream(sw.cuda.Stream()):
        assert sw.as_tensor(Foreign(x)).tolist() == x.tolist()
    assert not hasattr(sw.ones(2), "__cuda_array_interface__")
    with pytest.raises(TypeError, match="no bfloat16; use DLPack"):
        x.bfloat16().__cuda_array_interface__  # noqa: B018
    with pytest.raises(RuntimeError, match="requires grad"):
        x.requires_grad_().__cuda_array_interface__  # noqa: B018


def test_devices_do_not_mix() -> None:
    x, y = sw.ones(2, 3, device="cuda"), sw.ones(2, 3, dtype=sw.float32)
    for call in (lambda: x + y, lambda: y * x, lambda: sw.matmul(x, y.t()), lambda: sw.cat([x, y])):
        with pytest.raises(sw.DeviceError, match=r"(?s)cuda:0.*cpu|cpu.*cuda:0"):
            call()
    assert (x + sw.tensor(2.0)).tolist() == [[3.0] * 3] * 2, "0-dim CPU tensors are numbers"


def test_several_devices() -> None:
    if sw.cuda.device_count() < 2:
        pytest.skip("one device")
    x = sw.ones(3, device="cuda:0")
    with sw.cuda.device(1):
        assert sw.cuda.current_device() == 1
        y = sw.zeros(3, device="cuda")
        assert y.device == sw.device("cuda:1")
        y.copy_(x)
    assert sw.cuda.current_device() == 0 and y.tolist() == [1.0] * 3 and y.to("cuda:0").device == x.device
    with sw.cuda.device_of(y):
        assert sw.cuda.current_device() == 1
    with pytest.raises(sw.DeviceError, match=r"cuda:0.*cuda:1"):
        x + y
    sw.cuda.synchronize(1)


def test_functions_of_several_steps_stay_on_the_device() -> None:
    x = sw.tensor([[3.0, 1.0, 3.0], [-0.0, 2.0, 1.0]], device="cuda")
    results = [
        sw.isin(x, [1.0, 2.0]), sw.signbit(x), sw.tril_indices(3, 3, device="cuda"), sw.histc(x, 3),
        sw.unique_consecutive(x), sw.quantile(x, 0.5), sw.linalg.svd(x)[1], sw.linalg.norm(x, 1), sw.unique(x),
        sw.nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True), sw.nn.init.orthogonal_(x.clone()),
        sw.nn.init.sparse_(x.clone(), 0.5), sw.nn.functional.one_hot(sw.tensor([0, 2], device="cuda")),
    ]  # fmt: skip
    for y in results:
        assert y.device == x.device
    twins = [
        sw.isin(x.cpu(), [1.0, 2.0]), sw.signbit(x.cpu()), sw.tril_indices(3, 3), sw.histc(x.cpu(), 3),
        sw.unique_consecutive(x.cpu()), sw.quantile(x.cpu(), 0.5), sw.linalg.svd(x.cpu())[1],
    ]  # fmt: skip
    for y, z in zip(results, twins, strict=False):
        np.testing.assert_allclose(y.cpu().numpy(), z.numpy(), rtol=1e-6)
