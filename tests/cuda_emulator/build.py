"""Builds the CUDA sources with a host compiler against the emulator, once, and again for what changed.

    library()                     the project's kernels and backend: build/cuda_emulator/checked/_cuda_emulated.so
    library(checked=False)        the same without instrumentation: fast, and blind to most faults
    library("bugs", [Edit(...), ...])     with some sources compiled after an edit of their text (see seeded/)
    self_test_library()           the emulator with the small kernels of self_test/

The compiler is $CXX if that is GCC, or else g++; nothing else is needed. As a program, this prints the library's path.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import functools
import hashlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
BUILD = Path(os.environ.get("SKIPWAY_EMULATOR_BUILD", ROOT / "build" / "cuda_emulator"))

COMMON = [
    *("-std=gnu++20", "-g1", "-fPIC", "-fvisibility=hidden", "-fvisibility-inlines-hidden", "-Wall", "-Wextra"),
    *("-Wno-psabi", "-Wno-attributes", "-Wno-unknown-pragmas", "-ffp-contract=off"),
    *("-DSW_CUDA_EMULATED", "-DSW_CUDA_MODULE", f"-I{ROOT / 'csrc'}", f"-I{ROOT / 'tests'}"),
]
# Kernels: every access calls a hook of the emulator; no sanitizer's library is linked.
CHECKED = [
    *("-O1", "-fsanitize=thread", "-fsanitize=bounds,alignment,integer-divide-by-zero,shift"),
    *("--param", "tsan-instrument-func-entry-exit=0", "-fno-optimize-sibling-calls"),
]
UNCHECKED = ["-O2", "-fno-optimize-sibling-calls"]
HOST = ["-O3"]
LINK = ["-shared", "-Wl,--wrap=memcpy,--wrap=memmove,--wrap=memset", "-Wl,-z,defs", "-ldl", "-pthread"]


class BuildError(RuntimeError):
    """The compiler's command and its output."""


@functools.cache
def compiler() -> list[str]:
    for command in (shlex.split(os.environ.get("CXX", "g++")), ["g++"]):
        if shutil.which(command[0]) and "clang" not in output([*command, "--version"]):  # clang has other options
            return command
    raise BuildError("the emulated CUDA kernels need GCC: g++ is not installed, and CXX names no GCC")


def output(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout


def run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise BuildError(f"{shlex.join(command)}\n{done.stdout}{done.stderr}")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def dependencies(depfile: Path) -> list[Path]:
    text = depfile.read_text().replace("\\\n", " ")
    return [Path(p.replace("\0", " ")) for p in text.partition(":")[2].replace("\\ ", "\0").split()]


def up_to_date(target: Path, command: Sequence[str], inputs: Sequence[Path]) -> bool:
    """Was target made by this command, after the last change of its inputs?"""
    made_by = target.with_suffix(target.suffix + ".command")
    if not target.exists() or not made_by.exists() or made_by.read_text() != shlex.join(command):
        return False
    made = target.stat().st_mtime_ns
    return all(p.exists() and p.stat().st_mtime_ns < made for p in inputs)


def make(target: Path, command: Sequence[str]) -> None:
    temporary = target.with_suffix(f".{os.getpid()}.tmp")
    run([*command, "-o", str(temporary)])
    temporary.replace(target)
    target.with_suffix(target.suffix + ".command").write_text(shlex.join(command))


def compile_source(source: Path, flags: Sequence[str], folder: Path) -> Path:
    key = hashlib.sha256(shlex.join([*compiler(), *flags, str(source)]).encode()).hexdigest()[:12]
    target = folder / f"{source.stem}.{key}.o"
    depfile = target.with_suffix(".d")
    command = [*compiler(), *flags, "-MD", "-MF", str(depfile), "-x", "c++", "-c", str(source)]
    if not depfile.exists() or not up_to_date(target, command, dependencies(depfile)):
        make(target, command)
    return target


def link(objects: Sequence[Path], target: Path) -> Path:
    command = [*compiler(), *map(str, objects), *LINK]
    if not up_to_date(target, command, objects):
        make(target, command)
    return target


def build(sources: Mapping[Path, Sequence[str]], target: Path) -> Path:
    """Sources with their flags to the shared library target."""
    with locked(target.parent):
        folder = target.parent / "objects"
        folder.mkdir(exist_ok=True)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(lambda item: compile_source(item[0], item[1], folder), sources.items()))
        return link(objects, target)


def emulator_sources() -> dict[Path, list[str]]:
    return {source: [*COMMON, *HOST] for source in sorted((HERE / "emulator").glob("*.cpp"))}


def project_sources() -> list[Path]:
    patterns = ("ops/*_cuda.cu", "kernels/*_cuda.cu", "kernels/cuda/*.cu")
    return [source for pattern in patterns for source in sorted((ROOT / "csrc").glob(pattern))]


@dataclass(frozen=True)
class Edit:
    """A source that is compiled with one piece of text replaced, in itself or in a header."""

    name: str
    source: str  # the .cu file that is compiled, relative to csrc
    file: str  # the file that is changed, relative to csrc; it must hold `find` exactly once
    find: str
    replacement: str

    def edited(self) -> str:
        """The changed file's text."""
        text = (ROOT / "csrc" / self.file).read_text()
        if text.count(self.find) != 1:
            raise BuildError(
                f"{self.name}: csrc/{self.file} was to hold this text once, and does {text.count(self.find)} times:\n"
                f"{self.find}"
            )
        return text.replace(self.find, self.replacement)

    def compiled(self, folder: Path) -> tuple[Path, list[str]]:
        """The file to compile and flags for it. The copy in `folder` is written only when it changes."""
        copy = folder / self.name / self.file
        text = self.edited()
        if not copy.exists() or copy.read_text() != text:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(text)
        return copy if self.file == self.source else ROOT / "csrc" / self.source, [f"-I{folder / self.name}"]


def library(name: str = "", edits: Sequence[Edit] = (), checked: bool = True) -> Path:
    """The project's CUDA library on the emulator.

    Args:
        name: of a library with edits; the file is called _cuda_emulated.NAME.so.
        edits: changes of sources, at most one of each.
        checked: instrument every memory access.
    """
    folder = BUILD / ("checked" if checked else "fast")
    kernel_flags = CHECKED if checked else UNCHECKED
    sources: dict[Path, Sequence[str]] = {}
    changes = {ROOT / "csrc" / edit.source: edit for edit in edits}
    unknown = [str(source) for source in changes if source not in project_sources()]
    if unknown or len(changes) != len(edits) or bool(edits) != bool(name):
        raise ValueError(f"edits: expected a name and different CUDA sources, got {name!r}, {edits}")
    for source in project_sources():
        if source in changes:
            file, flags = changes[source].compiled(folder / "edited")
            sources[file] = [*flags, *COMMON, *kernel_flags]
        else:
            sources[source] = [*COMMON, *kernel_flags]
    # The backend, and what of the core it and the kernels call, are host code.
    for source in [
        *sorted((ROOT / "csrc" / "cuda").glob("*.cu")),
        ROOT / "csrc/core/dtype.cpp",
        ROOT / "csrc/core/shape.cpp",
    ]:
        sources[source] = [*COMMON, *HOST]
    sources |= emulator_sources()
    return build(sources, folder / f"_cuda_emulated{'.' if name else ''}{name}.so")


def self_test_library(checked: bool = True) -> Path:
    sources = emulator_sources()
    for source in sorted((HERE / "self_test").glob("*.cu")):
        sources[source] = [*COMMON, *(CHECKED if checked else UNCHECKED)]
    return build(sources, BUILD / ("checked" if checked else "fast") / "self_test.so")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unchecked", action="store_true", help="without instrumentation")
    print(library(checked=not parser.parse_args().unchecked))
