"""DataLoader: order, workers, failures, and what is left behind."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import skipway as sw
from skipway.data import DataLoader, Dataset, IterableDataset, TensorDataset, get_worker_info

needs_fork = pytest.mark.skipif(sys.platform != "linux", reason="uses fork and /proc")


class Squares(Dataset):
    def __init__(self, n=20, size=1):
        self.n, self.size = n, size

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return np.full(self.size, i * i, np.float32), i


class Broken(Squares):
    def __getitem__(self, i):
        if i == 7:
            raise LookupError("sample seven is bad")
        return super().__getitem__(i)


class Killer(Squares):
    def __getitem__(self, i):
        if i == 9:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(i)


class Slow(Squares):
    def __getitem__(self, i):
        time.sleep(30)


class Seeds(Squares):
    def __getitem__(self, i):
        info = get_worker_info()
        return info.id, info.seed, random.random(), float(np.random.rand()), float(sw.rand(1).item())


class Shares(IterableDataset):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        info = get_worker_info()
        start, step = (0, 1) if info is None else (info.id, info.num_workers)
        return iter(range(start, self.n, step))


class Pids(Squares):
    def __getitem__(self, i):
        return os.getpid()


def labels(loader):
    return [b[1].tolist() for b in loader]


def wait_gone(pids, seconds=5.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        alive = [p for p in pids if running(p)]
        if not alive:
            return True
        time.sleep(0.05)
    return False


def running(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def ways():
    return [{}, {"num_workers": 2}, {"num_workers": 3, "use_threads": True}]


@pytest.mark.parametrize("how", ways())
def test_order_and_values(how):
    loader = DataLoader(Squares(10), batch_size=4, **how)
    batches = list(loader)
    assert [b[1].tolist() for b in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    np.testing.assert_array_equal(batches[2][0].numpy(), [[64], [81]])
    assert len(loader) == 3
    assert labels(DataLoader(Squares(10), batch_size=4, drop_last=True, **how)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert labels(DataLoader(Squares(0), batch_size=4, **how)) == []


def test_shuffle_is_the_same_with_any_workers():
    def order(**how):
        return labels(
            DataLoader(Squares(50), batch_size=8, shuffle=True, generator=sw.Generator().manual_seed(3), **how)
        )

    first = order()
    assert sorted(sum(first, [])) == list(range(50)) and sum(first, []) != list(range(50))
    for how in ways():
        assert order(**how) == first


def test_large_batches_arrive_whole():
    loader = DataLoader(Squares(12, size=70_001), batch_size=3, num_workers=2)
    for i, (x, y) in enumerate(loader):
        assert tuple(x.shape) == (3, 70_001) and y.tolist() == [3 * i, 3 * i + 1, 3 * i + 2]
        assert (x.numpy() == np.array(y.tolist())[:, None] ** 2).all()
        x += 1  # batches can be written to


def test_workers_after_the_thread_pool_was_used():
    a = sw.randn(300, 300)
    (a @ a).sum().item()
    loader = DataLoader(TensorDataset(sw.arange(64).reshape(64, 1).float()), batch_size=16, num_workers=2)
    total = sum(float((b @ b.T).sum().item()) for (b,) in loader)
    assert total == sum(sum(range(i, i + 16)) ** 2 for i in range(0, 64, 16))


@pytest.mark.parametrize("how", ways()[1:])
def test_more_workers_than_batches_and_prefetch(how):
    assert labels(DataLoader(Squares(3), batch_size=2, prefetch_factor=7, **how)) == [[0, 1], [2]]


def test_custom_parts():
    loader = DataLoader(Squares(6), batch_sampler=[[0, 5], [3]], collate_fn=lambda b: [i for _, i in b])
    assert list(loader) == [[0, 5], [3]]
    assert [i for _, i in DataLoader(Squares(3), batch_size=None)] == [0, 1, 2]
    assert labels(DataLoader(Squares(6), batch_size=2, sampler=[4, 1, 2])) == [[4, 1], [2]]


@pytest.mark.parametrize("how", ways())
def test_iterable(how):
    loader = DataLoader(Shares(11), batch_size=2, **how)
    for _ in range(2):
        seen = [v for b in loader for v in b.tolist()]
        assert sorted(seen) == list(range(11))
        assert [v for b in loader for v in b.tolist()] == seen
    assert sorted(int(v) for v in DataLoader(Shares(5), batch_size=None, **how)) == list(range(5))


@pytest.mark.parametrize("how", ways())
def test_an_exception_reaches_the_user(how):
    with pytest.raises(LookupError, match="sample seven is bad") as caught:
        list(DataLoader(Broken(), batch_size=2, **how))
    if how:
        text = str(caught.value)
        assert "Caught LookupError in DataLoader worker" in text and "__getitem__" in text


def fail_to_start(worker):
    raise OSError(f"no licence for worker {worker}")


def test_an_exception_in_worker_init():
    with pytest.raises(OSError, match="no licence for worker 0"):
        list(DataLoader(Squares(), num_workers=2, worker_init_fn=fail_to_start))


@needs_fork
def test_a_killed_worker_is_noticed():
    start = time.monotonic()
    with pytest.raises(RuntimeError, match="killed by signal 9"):
        list(DataLoader(Killer(), batch_size=2, num_workers=2))
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("how", ways()[1:])
def test_timeout(how):
    start = time.monotonic()
    with pytest.raises(RuntimeError, match="timed out after 0.3 seconds"):
        list(DataLoader(Slow(), timeout=0.3, **how))
    assert time.monotonic() - start < 10


def test_worker_seeds():
    def run(seed):
        return [tuple(float(v) for v in b) for b in DataLoader(
            Seeds(8), batch_size=None, num_workers=2, generator=sw.Generator().manual_seed(seed))]  # fmt: skip

    first = run(1)
    assert [b[0] for b in first] == [0, 1] * 4
    assert first[1][1] == first[0][1] + 1
    assert len({b[2:] for b in first}) == 8  # all draws differ, between workers too
    assert run(1) == first and run(2) != first


@needs_fork
def test_persistent_workers():
    loader = DataLoader(Pids(8), batch_size=2, num_workers=2, persistent_workers=True)
    first = {p for b in loader for p in b.tolist()}
    assert first == {p for b in loader for p in b.tolist()} and len(first) == 2
    it = iter(loader)
    next(it)  # an unfinished epoch does not leak into the next
    assert len(list(loader)) == 4
    del it, loader
    gc.collect()
    assert wait_gone(first)
    fresh = DataLoader(Pids(8), batch_size=2, num_workers=2)
    assert {p for b in fresh for p in b.tolist()} != {p for b in fresh for p in b.tolist()}


@needs_fork
def test_a_dropped_iterator_leaves_no_workers():
    it = iter(DataLoader(Pids(1000), batch_size=2, num_workers=2))
    pids = {*next(it).tolist(), *next(it).tolist()}
    assert len(pids) == 2
    del it
    gc.collect()
    assert wait_gone(pids)


SCRIPT = """
import os, sys, time
import numpy as np
import skipway as sw
from skipway.data import DataLoader
class D:
    def __len__(self): return 100000
    def __getitem__(self, i):
        time.sleep(0.01)
        return np.full(30000, os.getpid(), np.int64)
if __name__ == "__main__":
    pids = set()
    for i, b in enumerate(DataLoader(D(), batch_size=2, num_workers=2)):
        pids.add(int(b[0, 0]))
        if i == 3:
            print(*pids, flush=True)
            {end}
"""


@needs_fork
@pytest.mark.parametrize("end", ["time.sleep(60)", "sys.exit(0)", "raise RuntimeError('x')"])
def test_no_orphans_when_the_parent_ends(end):
    p = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.replace("{end}", end)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        pids = [int(v) for v in p.stdout.readline().split()]
        assert len(pids) == 2
        if "sleep" in end:
            p.kill()
        p.wait(20)
        assert wait_gone(pids, 10)
    finally:
        p.kill()
        p.stdout.close()


def test_spawn():
    loader = DataLoader(Squares(5), batch_size=2, num_workers=1, multiprocessing_context="spawn")
    assert labels(loader) == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_workers": -1}, "num_workers must be at least 0, got -1"),
        ({"timeout": -1}, "timeout must be at least 0"),
        ({"batch_size": 0}, "batch_size must be a positive integer, got 0"),
        ({"shuffle": True, "sampler": [0]}, "exclude each other"),
        ({"batch_sampler": [[0]], "batch_size": 2}, "batch_sampler excludes"),
        ({"prefetch_factor": 2}, "needs num_workers"),
        ({"persistent_workers": True}, "needs num_workers"),
        ({"batch_size": None, "drop_last": True}, "drop_last needs a batch_size"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        DataLoader(Squares(), **kwargs)


def test_bad_arguments_of_iterable_and_context():
    with pytest.raises(ValueError, match="shuffle does not go with"):
        DataLoader(Shares(3), shuffle=True)
    with pytest.raises(ValueError, match="multiprocessing_context must be one of"):
        iter(DataLoader(Squares(), num_workers=1, multiprocessing_context="teleport"))


@needs_fork
def test_batches_hold_no_file_descriptors():
    before = len(os.listdir("/proc/self/fd"))
    kept = list(DataLoader(Squares(40, size=20_000), batch_size=1, num_workers=2))
    assert len(kept) == 40 and len(os.listdir("/proc/self/fd")) <= before + 2


def test_what_the_samplers_were_made_from_cannot_change():
    loader = DataLoader(Squares(4), batch_size=2)
    with pytest.raises(ValueError, match="batch_size cannot be changed"):
        loader.batch_size = 4
    assert len(loader) == 2
