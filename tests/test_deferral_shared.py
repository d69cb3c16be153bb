"""Deferral where others have a hand in it: other norms, NumPy, raw addresses, threads and forked processes."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
from skipway import _core
from test_deferral import bits, deferral, same


def rows_last(*shape: int) -> sw.Tensor:
    """(N, C, ...), channels-last in memory, as activations are."""
    n, c, *rest = shape
    return sw.randn(n, *rest, c).movedim(-1, 1)


def both_ways(f: Callable[[], np.ndarray]) -> None:
    found = []
    for on in (False, True):
        with deferral(on):
            sw.manual_seed(0)
            found.append(f())
    np.testing.assert_array_equal(found[1], found[0])


@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("retained", [False, True])
def test_a_kept_gradient_of_a_norm_s_result_stays_what_it_was(retained: bool, summed: bool) -> None:
    def gradient() -> np.ndarray:
        x, r = rows_last(4, 8, 5, 5).requires_grad_(), rows_last(4, 8, 5, 5)
        y = F.batch_norm(x * 1, None, None, training=True)
        kept: list[sw.Tensor] = []
        if retained:
            y.retain_grad()
        else:
            y.register_hook(kept.append)
        z = F.relu(y + r * 1 if summed else y)
        (F.conv2d(z, sw.randn(8, 8, 3, 3), padding=1) ** 2).sum().backward()
        if retained and y.grad is not None:
            kept.append(y.grad)
        return np.stack([bits(kept[0]), bits(x.grad)])

    both_ways(gradient)


def test_a_mask_is_not_taken_for_another_norm_s() -> None:
    def gradient() -> np.ndarray:
        other = rows_last(4, 8, 3, 3)

        class Swap(sw.autograd.Function):
            @staticmethod
            def forward(ctx: object, y: sw.Tensor) -> sw.Tensor:
                return F.batch_norm(other, None, None, training=True)

            @staticmethod
            def backward(ctx: object, g: sw.Tensor) -> sw.Tensor:
                return g

        x = rows_last(4, 8, 3, 3).requires_grad_()
        z = F.relu(Swap.apply(F.batch_norm(x * 1, None, None, training=True)))
        (z * z).sum().backward()
        return bits(x.grad).copy()

    both_ways(gradient)


def test_a_result_shared_with_numpy_before_its_gradient_is_read() -> None:
    def gradient() -> np.ndarray:
        x, r = rows_last(4, 8, 3, 3).requires_grad_(), rows_last(4, 8, 3, 3).requires_grad_()
        s = F.batch_norm(x * 1, None, None, training=True) + r * 1
        z = F.relu(s)
        shared = z.detach().numpy()
        (g,) = sw.autograd.grad((z * sw.arange(9.0).view(3, 3)).sum(), [s])
        shared[:] = 0
        return bits(g).copy()

    both_ways(gradient)


def test_running_statistics_may_be_what_a_norm_reads() -> None:
    def result() -> np.ndarray:
        mean, var = sw.randn(16), sw.ones(16)
        with sw.no_grad():
            y = F.batch_norm(mean.view(4, 4), None, None, training=True)
            F.batch_norm(sw.randn(3, 16) + 9, mean, var, training=True)
        return bits(y).copy()

    both_ways(result)


def test_an_address_that_was_given_away_is_not_waited_for() -> None:
    def result() -> np.ndarray:
        x = sw.randn(4, 8)
        address = x.data_ptr()
        y = F.batch_norm(x, None, None, training=True)
        ctypes.memset(address, 0, 16)
        return bits(y).copy()

    both_ways(result)


@pytest.mark.parametrize("shape", [(2, 8, 1, 1), (2, 1, 3, 3), (2, 1, 3), (3, 1)])
def test_strides_do_not_tell(shape: tuple[int, ...]) -> None:
    def strides() -> np.ndarray:
        y = F.batch_norm(sw.randn(*shape), None, None, training=True)
        return np.array([y.stride(), F.relu(y).stride(), (y + y.clone()).stride()])

    both_ways(strides)


@pytest.mark.parametrize("watched", [False, True])
def test_bfloat16_gradients_are_rounded_alike_whoever_holds_them(watched: bool) -> None:
    """What is added into a gradient in place is rounded as a tensor of its own would be."""

    def gradients(hold: bool) -> list[np.ndarray]:
        sw.manual_seed(0)
        x = rows_last(8, 16, 5, 5).to(sw.bfloat16).requires_grad_()
        start = x * 1
        y = F.batch_norm(start, None, None, training=True)
        held: list[sw.Tensor] = []
        if hold:
            y.register_hook(held.append)
        z = F.relu(y) + start
        (z * z).sum().backward()
        return [bits(x.grad).copy()]

    with deferral(False):
        expected = gradients(False)
    with deferral(True):
        np.testing.assert_array_equal(gradients(watched), expected)


def test_a_convolution_with_a_prologue_of_its_own_reads_what_was_normalised() -> None:
    w = sw.randn(16, 16, 3, 3)
    with deferral(True), sw.no_grad():
        x = F.conv2d(rows_last(4, 16, 12, 12), w, padding=1)
        expected = _core._conv2d_fused(F.relu(F.batch_norm(x, None, None, training=True)).clone(), w, padding=1)[0]
        found = _core._conv2d_fused(F.relu(F.batch_norm(x, None, None, training=True)), w, padding=1)[0]
    same(found, expected)


def test_another_thread_may_change_what_a_convolution_is_normalising() -> None:
    def change(x: sw.Tensor, start: threading.Barrier, pause: float) -> None:
        start.wait()
        time.sleep(pause)
        with sw.no_grad():
            x.zero_()

    w = sw.randn(32, 32, 3, 3)
    with deferral(True), sw.no_grad():
        x0 = rows_last(16, 32, 32, 32)
        expected = bits(F.conv2d(F.relu(F.batch_norm(x0, None, None, training=True)).clone(), w, padding=1))
        for i in range(40):
            x, start = x0.clone(), threading.Barrier(2)
            z = F.relu(F.batch_norm(x, None, None, training=True))
            changing = threading.Thread(target=change, args=(x, start, 0.0005 * (i % 8)))
            changing.start()
            start.wait()
            y = F.conv2d(z, w, padding=1)
            changing.join()
            np.testing.assert_array_equal(bits(y), expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_forked_while_threads_defer_reads_and_defers() -> None:
    program = """
import os, threading, time
import skipway as sw, skipway.nn.functional as F
sw.set_grad_enabled(False)
def z(x): return F.relu(F.batch_norm(x, None, None, training=True))
x = sw.randn(4, 8)
waiting, expected, stop = z(x), z(x).sum().item(), []
def defer():
    while not stop: z(x)
threads = [threading.Thread(target=defer) for _ in range(3)]
for t in threads: t.start()
for _ in range(150):
    child = os.fork()
    if child == 0:
        os._exit(0 if waiting.sum().item() == z(x).sum().item() == expected else 1)
    until = time.monotonic() + 20
    while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < until: time.sleep(0.001)
    if ended != (child, 0):
        if not ended[0]: os.kill(child, 9)
        print("child", ended, flush=True)
        os._exit(1)
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_exporting_what_a_kernel_reads_waits_without_the_interpreter() -> None:
    """A long kernel takes the GIL now and then, to look for signals: who waits for the kernel must not hold it."""
    program = """
import threading, time
import skipway as sw, skipway.nn.functional as F
base, w = F.conv2d(sw.randn(64, 8, 56, 56), sw.randn(64, 8, 1, 1)), sw.randn(64, 64, 3, 3)
shared = [base]
def convolve():
    with sw.no_grad():
        for _ in range(8):
            shared[0] = x = base.clone()
            F.conv2d(F.relu(F.batch_norm(x, None, None, training=True)), w, padding=1)
thread = threading.Thread(target=convolve)
thread.start()
while thread.is_alive():
    shared[0].data_ptr()
    shared[0].numpy()
    time.sleep(0.005)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
