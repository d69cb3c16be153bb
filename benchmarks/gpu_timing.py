"""Timing on a device: with CUDA events on a GPU, by the clock elsewhere.

An op of a few microseconds takes Python longer to launch than the GPU to run. So a GPU is first given a wait; while it
waits the calls are queued, and then they run without gaps: what the events enclose is the GPU's time alone. A call that
waits for the device itself cannot be queued; a round in which the GPU was done waiting before the last call was queued
is counted as `late`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

ROUND_SECONDS = 1.5e-3  # of work between two events
MOST_CALLS = 40
CYCLES_PER_SECOND = 2.0e9  # no GPU's clock is much faster: a wait is never shorter than asked for

Calls = Sequence[Callable[[], object]]


class Timing(NamedTuple):
    seconds: list[float]  # of one call, by round
    late: int  # rounds that include the host's time
    error: str = ""


def run(calls: Calls, repeat: int) -> None:
    """Results live until the same set of inputs has its turn again, so that they take turns in the cache too."""
    kept: list[object] = [None] * len(calls)
    for i in range(repeat):
        kept[i % len(calls)] = calls[i % len(calls)]()


class Clock:
    """Of the CPU: the time of calls between two moments when nothing runs."""

    def __init__(self, synchronize: Callable[[], object] = lambda: None) -> None:
        self.synchronize = synchronize

    def time(self, calls: Calls, repeat: int) -> tuple[float, bool]:
        """Seconds of one call, and whether that is late; `repeat` calls, the sets of inputs taken in turn."""
        self.synchronize()
        begin = time.perf_counter()
        run(calls, repeat)
        self.synchronize()
        return (time.perf_counter() - begin) / repeat, False


class EventClock(Clock):
    """Of a GPU. lib: skipway or torch; wait(seconds) keeps the device's default stream busy for about that long."""

    def __init__(self, lib: Any, wait: Callable[[float], object]) -> None:
        super().__init__(lib.cuda.synchronize)
        self.lib, self.wait = lib, wait
        self.margin = 1.5

    def time(self, calls: Calls, repeat: int) -> tuple[float, bool]:
        begin = time.perf_counter()
        run(calls, repeat)  # how long does queueing take? (an upper bound, if the queue is full)
        queueing = time.perf_counter() - begin
        self.synchronize()
        start, end = (self.lib.cuda.Event(enable_timing=True) for _ in range(2))
        self.wait(self.margin * queueing + 2e-4)
        start.record()
        run(calls, repeat)
        end.record()
        late = start.query()
        self.synchronize()
        return start.elapsed_time(end) * 1e-3 / repeat, late


def repeats(clock: Clock, calls: Calls) -> int:
    """Calls for about ROUND_SECONDS, after a warm-up."""
    for call in calls:
        call()
    seconds = clock.time(calls, max(3, len(calls)))[0]
    return max(1, min(MOST_CALLS, int(ROUND_SECONDS / max(seconds, 1e-7)) + 1))


def interleaved(contenders: dict[str, tuple[Clock, Calls]], rounds: int) -> dict[str, Timing]:
    """Each contender's rounds, turn by turn; who goes first alternates. One that fails is left out of later rounds."""
    number: dict[str, int] = {}
    failed: dict[str, str] = {}

    def attempt(name: str, run: Callable[[], Any]) -> Any:
        if name in failed:
            return None
        try:
            return run()
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {error}"
            return None

    for name, (clock, calls) in contenders.items():
        number[name] = attempt(name, lambda clock=clock, calls=calls: repeats(clock, calls)) or 0
    times: dict[str, list[float]] = {name: [] for name in contenders}
    late = dict.fromkeys(contenders, 0)
    for i in range(rounds):
        for name in list(contenders) if i % 2 == 0 else reversed(list(contenders)):
            clock, calls = contenders[name]
            result = attempt(name, lambda name=name, clock=clock, calls=calls: clock.time(calls, number[name]))
            if result is not None:
                times[name].append(result[0])
                late[name] += result[1]
    return {name: Timing(times[name], late[name], failed.get(name, "")) for name in contenders}
