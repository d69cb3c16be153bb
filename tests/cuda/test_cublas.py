"""Products through cuBLASLt: its interface is checked on the emulator's model of it (emulator/cublaslt.cpp)."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
from against_cpu import EPS, array_of, make, on_device

HERE = Path(__file__).resolve().parent
IN_USE = os.environ.get("SKIPWAY_CUBLAS", "0") != "0"
NARROW = ("float32", "bfloat16", "float16")
LAYOUTS = ("dense", "transposed", "shifted")


@pytest.mark.skipif(IN_USE, reason="this is the run that the test starts")
def test_products_through_the_model() -> None:
    """All rows of the op table that are products, and the rest of this file, in a process that uses the model."""
    library = os.environ.get("SKIPWAY_CUDA_LIBRARY")
    if library is None:
        pytest.skip("a real device uses the real library")
    command = [sys.executable, "-m", "pytest", "-x", "--device", "cuda", "-p", "no:cacheprovider"]
    tests = ["test_ops.py", "cuda/test_cublas.py", "-k", "linear or matmul or bmm or addmm or cublas"]
    environment = {**os.environ, "SKIPWAY_CUBLAS": library}
    done = subprocess.run([*command, *tests], cwd=HERE.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout[-5000:] + done.stderr[-2000:]


@pytest.fixture
def model() -> ctypes.CDLL:
    if not IN_USE:
        pytest.skip("runs in the process of test_products_through_the_model")
    return ctypes.CDLL(os.environ["SKIPWAY_CUBLAS"])


@pytest.mark.parametrize("activation", [None, "relu", "relu6", "leaky_relu"])
@pytest.mark.parametrize("dtype", NARROW)
def test_linear(dtype: str, activation: str | None) -> None:
    """Against float64, with and without a bias; here on whatever serves products on this device."""
    x, w, b = (np.sin(np.arange(n) * 1.7 + n) * 3 for n in (5 * 7, 9 * 7, 9))
    for layout in LAYOUTS:
        arrays = [x.reshape(5, 7), w.reshape(9, 7)]
        here = [make(a, dtype, layout) for a in arrays]
        for bias in (None, make(b, dtype)):
            there = [on_device(t) for t in here]
            z = array_of(here[0]) @ array_of(here[1]).T + (0 if bias is None else array_of(bias))
            if activation is not None:
                low = 0.01 * z if activation == "leaky_relu" else 0 * z
                z = np.where(z < 0, low, np.minimum(z, 6) if activation == "relu6" else z)
            y = F.linear(*there, None if bias is None else on_device(bias), activation)
            np.testing.assert_allclose(array_of(y), z, rtol=EPS[dtype], atol=200 * EPS["float32"])


@pytest.mark.parametrize("keeps", [True, False])
def test_relu_keeps_nan_whatever_the_library_does(model: ctypes.CDLL, keeps: bool) -> None:
    """The library is asked once per process, with a product of NaNs: so this is a process of its own."""
    code = f"""
import ctypes, os, skipway as sw, skipway.nn.functional as F
model = ctypes.CDLL(os.environ["SKIPWAY_CUBLAS"])
model.emulator_cublaslt_relu_keeps_nan({int(keeps)})
x, w = sw.tensor([[1.0, 2.0], [float("nan"), 1.0]]), sw.tensor([[1.0, -1.0], [3.0, 1.0], [0.0, -2.0]])
for dtype in (sw.float32, sw.bfloat16, sw.float16):
    before = model.emulator_cublaslt_calls_with_relu()
    for _ in range(3):
        y = F.linear(x.cuda().to(dtype), w.cuda().to(dtype), None, "relu").cpu().float()
    assert y[0].tolist() == [0.0, 5.0, 0.0] and all(v != v for v in y[1].tolist()), y
    fused = model.emulator_cublaslt_calls_with_relu() - before
    assert fused == {4 if keeps else 1}, fused  # one of them is the question
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ":".join(sys.path)})  # fmt: skip  # noqa: E501
    assert done.returncode == 0, done.stderr


def test_batches_and_what_the_library_does_not_take(model: ctypes.CDLL) -> None:
    a, b = (np.arange(n, dtype=np.float64).reshape(s) % 7 - 3 for n, s in ((60, (3, 4, 5)), (90, (3, 5, 6))))

    def calls(x: sw.Tensor, y: sw.Tensor) -> int:
        before = model.emulator_cublaslt_calls()
        np.testing.assert_array_equal(array_of(on_device(x) @ on_device(y)), array_of(x) @ array_of(y))
        return model.emulator_cublaslt_calls() - before

    x, y = make(a), make(b)
    assert calls(x, y) == 1 and calls(x, y[0]) == 1 and calls(x[0], y) == 1
    assert calls(x.transpose(1, 2).contiguous().transpose(1, 2), y) == 1
    assert calls(make(a, "float64"), make(b, "float64")) == 0  # float64 has tiles of its own
    wide = sw.cat([x, x], -1)[..., ::2]  # neither stride is 1
    assert calls(wide, y) == 0


def test_tf32_where_it_is_asked_for(model: ctypes.CDLL) -> None:
    """1 + 2^-12 is 1 in tf32. Each switch governs its own products; other dtypes never change."""
    x, w = sw.full((3, 8), 1 + 2.0**-12), sw.eye(8)
    image, kernel = sw.full((2, 8, 3, 3), 1 + 2.0**-12), sw.eye(8).reshape(8, 8, 1, 1)

    def product(dtype: sw.dtype = sw.float32) -> float:
        return float((on_device(x.to(dtype)) @ on_device(w.to(dtype))).double().max())

    def gradients() -> list[float]:
        a, b = on_device(x).requires_grad_(), on_device(w * exact).requires_grad_()
        F.linear(a, b).backward(on_device(sw.ones(3, 8)))
        return [float(t.grad.double().max()) for t in (a, b)]

    def convolution() -> float:
        return float(F.conv2d(on_device(image), on_device(kernel)).double().max())

    def in_tf32() -> int:
        return int(model.emulator_cublaslt_calls_in_tf32())

    exact = 1 + 2.0**-12
    matmul, cudnn = sw.backends.cuda.matmul, sw.backends.cudnn
    assert matmul.allow_tf32 is False and sw.get_float32_matmul_precision() == "highest"
    before = in_tf32()
    assert product() == exact and convolution() == exact and gradients() == [exact, 3 * exact]
    assert in_tf32() == before
    try:
        matmul.allow_tf32 = True
        assert sw.get_float32_matmul_precision() == "high"
        assert product() == 1 and gradients() == [1, 3] and in_tf32() == before + 4
        assert convolution() == exact and product(sw.float64) == exact and product(sw.bfloat16) == 1
        assert in_tf32() == before + 4
        wide = on_device(sw.cat([x, x], -1))[:, ::2]  # neither stride is 1: a kernel of our own
        assert float((wide @ on_device(w)).double().max()) == exact
        sw.set_float32_matmul_precision("highest")
        assert matmul.allow_tf32 is False and product() == exact
        cudnn.allow_tf32 = True
        assert convolution() == 1 and product() == exact and in_tf32() == before + 5
    finally:
        matmul.allow_tf32 = cudnn.allow_tf32 = False
    with pytest.raises(ValueError, match="'highest', 'high' or 'medium', got 'low'"):
        sw.set_float32_matmul_precision("low")


def test_a_missing_library_says_what_to_install() -> None:
    code = "import skipway as sw; (sw.ones(2, 2).cuda() @ sw.ones(2, 2).cuda()).cpu()"
    environment = {**os.environ, "SKIPWAY_CUBLAS": "/nowhere/libcublasLt.so", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert "SKIPWAY_CUBLAS names a library that cannot be opened: /nowhere/libcublasLt.so" in done.stderr
