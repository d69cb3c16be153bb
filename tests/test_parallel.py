"""Threads: the same bits at any number, fork, Ctrl-C, exceptions, environment variables."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import skipway as sw


def run_python(code, **env):
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **env}, capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def threads():
    before = sw.get_num_threads()
    yield sw.set_num_threads
    sw.set_num_threads(before)


def test_set_num_threads(threads):
    threads(3)
    assert sw.get_num_threads() == 3
    for bad in (0, -1, 1000):
        with pytest.raises(ValueError, match=f"expected 1 to 256, got {bad}"):
            threads(bad)


def test_environment_variables():
    code = "import skipway as sw; print(sw.get_num_threads(), sw._core.get_isa())"
    assert run_python(code, SKIPWAY_NUM_THREADS="3", SKIPWAY_ISA="baseline").stdout.split() == ["3", "baseline"]
    bad = run_python(code, SKIPWAY_NUM_THREADS="many")
    assert "SKIPWAY_NUM_THREADS: expected 1 to 256, got many" in bad.stderr
    assert "expected baseline, avx2, avx512, avx512_bf16 or amx, got mmx" in run_python(code, SKIPWAY_ISA="mmx").stderr


def test_same_bits_at_any_thread_count(threads):
    rng = np.random.default_rng(0)
    x = sw.from_numpy(rng.standard_normal((8, 24, 19, 17)).astype(np.float32))
    w = sw.from_numpy(rng.standard_normal((40, 24, 3, 3)).astype(np.float32))
    results = []
    for n in (1, 2, 5):
        threads(n)
        a, b = x.clone().requires_grad_(), w.clone().requires_grad_()
        y = sw.nn.functional.conv2d(a, b, padding=1)
        y = sw.nn.functional.batch_norm(y, None, None, training=True)
        (y.exp() * y).sum().backward()
        results.append([t.numpy().tobytes() for t in (y.detach(), a.grad, b.grad)])
    assert results[0] == results[1] == results[2]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this platform tells no thread where to run")
def test_threads_may_run_where_they_might_before(threads):
    """A worker that sleeps is woken away from its caller, and is free to go anywhere after that."""
    before = set(os.listdir("/proc/self/task"))
    threads(4)
    x = sw.ones(1 << 20)
    allowed = os.sched_getaffinity(0)
    for cores in (allowed, {min(allowed)}):
        mine = [int(t) for t in set(os.listdir("/proc/self/task")) - before]
        assert len(mine) == 3
        for t in mine:
            os.sched_setaffinity(t, cores)
        for _ in range(5):
            time.sleep(0.01)  # they sleep after 2 ms
            assert (x + 1).sum().item() == 2 << 20
        assert all(os.sched_getaffinity(t) == cores for t in mine)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_fork_after_a_parallel_op():
    code = """
import os, skipway as sw
x = sw.randn(1 << 20)
expected = x.exp().sum().item()
pid = os.fork()
if pid == 0:
    ok = x.exp().sum().item() == expected and sw.matmul(sw.ones(300, 300), sw.ones(300, 300)).sum().item() == 2.7e7
    os._exit(0 if ok else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), x.exp().sum().item() == expected)
"""
    result = run_python(code, SKIPWAY_NUM_THREADS="2")
    assert result.stdout.split() == ["0", "True"], result.stderr


def test_ctrl_c_ends_a_long_op_within_a_second():
    code = """
import signal, time
import skipway as sw
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with it ignored
a = sw.ones(6000, 6000)
end = time.monotonic() + 60
print("ready", flush=True)
try:
    while time.monotonic() < end:
        sw.matmul(a, a)
except KeyboardInterrupt:
    print("interrupted", sw.ones(3).sum().item(), flush=True)
"""
    env = {**os.environ, "SKIPWAY_NUM_THREADS": "2"}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=env)
    try:
        assert process.stdout.readline().strip() == "ready"
        time.sleep(0.5)
        sent = time.monotonic()
        process.send_signal(signal.SIGINT)
        line = process.stdout.readline()
        assert line.split() == ["interrupted", "3.0"]
        assert time.monotonic() - sent < 5  # a second on an idle machine
    finally:
        process.kill()
        process.wait()


def test_two_python_threads_at_once():
    import threading

    x = sw.randn(1 << 18)
    expected = x.exp().numpy().tobytes()
    failures = []

    def work():
        for _ in range(20):
            if x.exp().numpy().tobytes() != expected:
                failures.append(1)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert not failures


def test_import_leaves_the_floating_point_mode_alone():
    code = """
import numpy as np
tiny = np.float32(1e-40)
import skipway as sw
sw.randn(1 << 18).exp().sum()
sw.nn.functional.conv2d(sw.randn(2, 8, 16, 16), sw.randn(8, 8, 3, 3))
print(tiny * np.float32(0.5) > 0)
"""
    assert run_python(code).stdout.strip() == "True"
