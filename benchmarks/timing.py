"""What every benchmark shares: contenders timed turn by turn in one process, and what the figures were taken on."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib import metadata

PAUSE, AWAKE = 0.02, 0.005  # seconds


def interleave(
    contenders: dict[str, Callable[[], object]], rounds: int, warmup: int = 2, calls: int = 1
) -> dict[str, list[float]]:
    """Seconds of each contender in each round, the mean of `calls` calls. Who goes first alternates.

    Before each turn there is a pause, as threads of the one before spin for a while and would take a core from the
    next, and untimed runs for 5 ms: a sleeping core of a virtual machine takes up to a millisecond to wake.
    """
    for _ in range(warmup):
        for run in contenders.values():
            run()
    times: dict[str, list[float]] = {name: [] for name in contenders}
    order = list(contenders)
    for i in range(rounds):
        for name in order if i % 2 == 0 else reversed(order):
            time.sleep(PAUSE)
            wake = time.perf_counter()
            while True:
                contenders[name]()
                if time.perf_counter() - wake > AWAKE:
                    break
            begin = time.perf_counter()
            for _ in range(calls):
                contenders[name]()
            times[name].append((time.perf_counter() - begin) / calls)
    return times


def cpu_name() -> str:
    try:
        with open("/proc/cpuinfo") as info:
            for line in info:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "source tree"


def header(packages: list[str], threads: int) -> str:
    import skipway as sw

    versions = ", ".join(f"{p} {version(p)}" for p in packages)
    return (
        f"command:  {' '.join(['python', *sys.argv])}\n"
        f"machine:  {cpu_name()}, {threads} threads, {platform.system()} {platform.machine()}\n"
        f"versions: Python {platform.python_version()}, {versions}; instruction set {sw._core.get_isa()}"
    )


def summary(name: str, seconds: list[float]) -> str:
    return f"{name:10s} min {min(seconds) * 1e3:9.3f} ms   median {statistics.median(seconds) * 1e3:9.3f} ms"


def ratios(ours: list[float], theirs: list[float]) -> tuple[float, float]:
    """Our time over theirs: of the minima, of the medians."""
    return min(ours) / min(theirs), statistics.median(ours) / statistics.median(theirs)


def peer_arguments(description: str, peers: list[str]) -> argparse.ArgumentParser:
    """For benchmarks with several peers, each optional; results go to a JSON file too."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--threads", type=int, default=2, help="threads of each contender (default 2)")
    parser.add_argument("--rounds", type=int, default=10, help="timed rounds (default 10)")
    known = ", ".join(peers)
    parser.add_argument("--peers", default=None, help=f"comma-separated, of {known}; default: those installed; '' none")
    parser.add_argument("--json", metavar="FILE", default=None, help="write the figures here too")
    return parser


def chosen_peers(args: argparse.Namespace, packages: dict[str, str]) -> list[str]:
    """The peers asked for; without a choice, those whose package is there. `packages`: of each peer."""
    if args.peers is None:
        return [p for p, package in packages.items() if version(package) != "source tree"]
    peers = [p for p in args.peers.split(",") if p]
    for p in peers:
        if p not in packages:
            raise SystemExit(f"--peers: expected some of {', '.join(packages)}, got {p}")
    return peers


def limit_threads(threads: int) -> None:
    """Before any library is loaded: thread pools that only the environment can size."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)


def table(title: str, times: dict[str, list[float]]) -> list[str]:
    """A line for each contender, with how many times faster than it the first one is, by minimum and by median."""
    ours = next(iter(times.values()))
    lines = [title]
    for name, seconds in times.items():
        least, median = ratios(seconds, ours)
        lines.append(f"  {summary(f'{name:14s}', seconds)}   {least:6.2f} {median:6.2f}")
    return lines


def write_json(path: str | None, packages: list[str], threads: int, rows: list[dict]) -> None:
    if path is None:
        return
    import skipway as sw

    about = {
        "command": ["python", *sys.argv],
        "machine": cpu_name(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": threads,
        "instruction_set": sw._core.get_isa(),
        "versions": {"python": platform.python_version(), **{p: version(p) for p in packages}},
    }
    with open(path, "w") as file:
        json.dump({"about": about, "rows": rows}, file, indent=1)
