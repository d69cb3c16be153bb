"""DataLoader: batches of a dataset, in this process or from workers that run ahead."""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import os
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from ._pin import finisher
from ._random import draw_seed
from ._workers import End, Failure, Job, ProcessWorker, ThreadWorker, default_context, shut_down
from .collate import default_collate, default_convert
from .dataset import IterableDataset
from .sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler

T_co = TypeVar("T_co", covariant=True)


class _Endless(Sampler[None]):
    """For iterable datasets, which need no indices."""

    def __iter__(self) -> Iterator[None]:
        return itertools.repeat(None)


class DataLoader(Generic[T_co]):
    """Batches of ``dataset``, with PyTorch's arguments.

    Args:
        dataset: map-style (``__getitem__``, ``__len__``) or an :class:`IterableDataset`.
        batch_size: samples per batch; None passes samples on one by one, as they are.
        shuffle: visit in a new random order each epoch.
        sampler, batch_sampler: the order, as indices or as lists of indices.
        num_workers: 0 loads in this process; otherwise so many workers run ahead.
        collate_fn: from a list of samples to a batch.
        pin_memory: put the tensors of each batch into page-locked memory, from which `x.to(device, non_blocking=True)`
            need not wait. Without a CUDA device it changes nothing.
        pin_memory_device: accepted and ignored: pinned memory serves all devices.
        drop_last: leave out a last batch that is smaller than the others.
        timeout: seconds to wait for a worker's batch, 0 for ever.
        worker_init_fn: called as ``worker_init_fn(worker_id)`` in each worker, after seeding.
        multiprocessing_context: a start method's name or a context; by default fork on Linux.
        generator: where the order and the workers' seeds come from; by default the global generator.
        prefetch_factor: batches each worker runs ahead (2).
        persistent_workers: keep the workers, and their copy of the dataset, from epoch to epoch.
        in_order: accepted; batches always come in the sampler's order.
        use_threads: workers are threads of this process: no copy of the dataset, for loading that releases the
            interpreter's lock (file and image reading, NumPy).

    The batches and their order depend on the generator's state alone. Worker ``i`` seeds ``random``, NumPy and skipway
    with ``base_seed + i``. An exception in a worker is raised here, with the worker's traceback in its message.
    """

    _iterator: _WorkerIterator | None = None
    _built = False

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable | None = None,
        batch_sampler: Iterable | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], Any] | None = None,
        multiprocessing_context: Any = None,
        generator: Any = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
        use_threads: bool = False,
    ) -> None:
        if num_workers < 0:
            raise ValueError(f"DataLoader: num_workers must be at least 0, got {num_workers}")
        if timeout < 0:
            raise ValueError(f"DataLoader: timeout must be at least 0, got {timeout}")
        if num_workers == 0 and prefetch_factor is not None:
            raise ValueError("DataLoader: prefetch_factor needs num_workers > 0")
        if prefetch_factor is not None and prefetch_factor < 1:
            raise ValueError(f"DataLoader: prefetch_factor must be at least 1, got {prefetch_factor}")
        if num_workers == 0 and persistent_workers:
            raise ValueError("DataLoader: persistent_workers needs num_workers > 0")
        self.dataset = dataset
        self.num_workers = num_workers
        self.prefetch_factor = 2 if num_workers > 0 and prefetch_factor is None else prefetch_factor
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.generator = generator
        self.persistent_workers = persistent_workers
        self.in_order = in_order
        self.use_threads = use_threads
        self.drop_last = drop_last
        self.batch_size = batch_size
        self._iterable = isinstance(dataset, IterableDataset)
        self._choose_samplers(shuffle, sampler, batch_sampler)
        self.collate_fn: Callable[[list], Any] = collate_fn or (
            default_collate if self._auto_collation else default_convert
        )
        self._built = True

    def __setattr__(self, name: str, value: Any) -> None:
        if self._built and name in ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "num_workers"):
            raise ValueError(f"DataLoader: {name} cannot be changed; make a new DataLoader")
        super().__setattr__(name, value)

    def _choose_samplers(self, shuffle: bool | None, sampler: Any, batch_sampler: Any) -> None:
        if self._iterable and (shuffle or sampler is not None or batch_sampler is not None):
            given = "shuffle" if shuffle else "sampler" if sampler is not None else "batch_sampler"
            raise ValueError(f"DataLoader: {given} does not go with an IterableDataset, which gives its own order")
        if sampler is not None and shuffle:
            raise ValueError("DataLoader: sampler and shuffle exclude each other")
        if batch_sampler is not None:
            if self.batch_size != 1 or shuffle or sampler is not None or self.drop_last:
                raise ValueError("DataLoader: batch_sampler excludes batch_size, shuffle, sampler and drop_last")
            self.batch_size = None
        elif self.batch_size is None and self.drop_last:
            raise ValueError("DataLoader: drop_last needs a batch_size")
        if sampler is None:
            if self._iterable:
                sampler = _Endless()
            elif shuffle:
                sampler = RandomSampler(self.dataset, generator=self.generator)
            else:
                sampler = SequentialSampler(self.dataset)
        if self.batch_size is not None and batch_sampler is None:
            batch_sampler = BatchSampler(sampler, self.batch_size, self.drop_last)
        self.sampler = sampler
        self.batch_sampler = batch_sampler

    @property
    def _auto_collation(self) -> bool:
        return self.batch_sampler is not None

    @property
    def _index_sampler(self) -> Any:
        return self.batch_sampler if self._auto_collation else self.sampler

    def _fetch_maker(self) -> Callable[[Any], Callable[[Any], Any]]:
        make = _iterable_fetch if self._iterable else _map_fetch
        return functools.partial(make, collate=self.collate_fn, batched=self._auto_collation, drop_last=self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        if self.num_workers == 0:
            return _SerialIterator(self)
        if not self.persistent_workers:
            return _WorkerIterator(self)
        if self._iterator is None or not self._iterator.workers:
            self._iterator = _WorkerIterator(self)
        else:
            self._iterator.reset()
        return self._iterator

    def __len__(self) -> int:
        if not self._iterable:
            return len(self._index_sampler)
        n = len(self.dataset)
        if self.batch_size is None:
            return n
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)


def _map_fetch(dataset: Any, collate: Callable, batched: bool, drop_last: bool) -> Callable[[Any], Any]:
    if not batched:
        return lambda index: collate(dataset[index])
    many = getattr(dataset, "__getitems__", None)
    if many is not None:
        return lambda indices: collate(many(indices))
    return lambda indices: collate([dataset[i] for i in indices])


def _iterable_fetch(dataset: Any, collate: Callable, batched: bool, drop_last: bool) -> Callable[[Any], Any]:
    source = iter(dataset)

    def fetch(indices: Any) -> Any:
        if not batched:
            return collate(next(source))
        samples = list(itertools.islice(source, len(indices)))
        if not samples or (drop_last and len(samples) < len(indices)):
            raise StopIteration
        return collate(samples)

    return fetch


class _SerialIterator:
    def __init__(self, loader: DataLoader) -> None:
        draw_seed(loader.generator)  # as with workers, so that their number does not change the order
        self._indices = iter(loader._index_sampler)
        self._fetch = loader._fetch_maker()(loader.dataset)
        self._finish = finisher(loader.pin_memory)
        self._length = functools.partial(len, loader)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self._finish(self._fetch(next(self._indices)))

    def __len__(self) -> int:
        return self._length()


class _WorkerIterator:
    def __init__(self, loader: DataLoader) -> None:
        self._timeout = loader.timeout
        self._finish = finisher(loader.pin_memory)
        self._sampler = loader._index_sampler
        self._persistent = loader.persistent_workers
        self._ahead = loader.num_workers * (loader.prefetch_factor or 2)
        self._epoch = -1
        self._length = functools.partial(len, loader)
        self.workers: list[Any] = []
        self._finalizer = weakref.finalize(self, shut_down, self.workers, os.getpid())
        context = _context(loader.multiprocessing_context)
        base_seed = draw_seed(loader.generator)
        for i in range(loader.num_workers):
            what = "thread" if loader.use_threads else "process"
            job = Job(
                loader.dataset, loader._fetch_maker(), loader.worker_init_fn, i, loader.num_workers, base_seed + i,
                f"DataLoader worker {what} {i}",
            )  # fmt: skip
            self.workers.append(ThreadWorker(job) if loader.use_threads else ProcessWorker(job, context))
        self._start()

    def reset(self) -> None:
        """A new epoch for persistent workers; batches of an unfinished one are dropped as they arrive."""
        self._start()

    def _start(self) -> None:
        self._epoch += 1
        self._indices = iter(self._sampler)
        self._live = deque(range(len(self.workers)))  # workers that have more, in the order of their turns
        self._pending: deque[int] = deque()  # the worker of each task dealt out and not yet answered
        for w in self.workers:
            w.put(("epoch", self._epoch))
        for _ in range(self._ahead):
            self._deal()

    def _deal(self) -> None:
        if not self._live:
            return
        try:
            index = next(self._indices)
        except StopIteration:
            return
        worker = self._live[0]
        self._live.rotate(-1)
        self.workers[worker].put(("fetch", index))
        self._pending.append(worker)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        while self._pending:
            worker = self._pending.popleft()
            try:
                epoch, value = self.workers[worker].get(self._timeout)
                while epoch != self._epoch:
                    epoch, value = self.workers[worker].get(self._timeout)
            except RuntimeError:  # dead or too slow: no batch can follow in order
                self._finalizer()
                self._pending.clear()
                raise
            if isinstance(value, End):
                if worker in self._live:
                    self._live.remove(worker)
                self._deal()
                continue
            self._deal()
            if isinstance(value, Failure):
                value.reraise()
            return self._finish(value)
        if not self._persistent:
            self._finalizer()
        raise StopIteration

    def __len__(self) -> int:
        return self._length()


def _context(given: Any) -> Any:
    if given is None:
        return default_context()
    if isinstance(given, str):
        if given not in multiprocessing.get_all_start_methods():
            raise ValueError(
                "DataLoader: multiprocessing_context must be one of"
                f" {multiprocessing.get_all_start_methods()}, got {given!r}"
            )
        return multiprocessing.get_context(given)
    return given
