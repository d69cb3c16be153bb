"""Compiles every CUDA source for sm_80 and sm_90 (or sm_90a, *_wgmma_cuda.cu), reads what ptxas reports, and checks it.

    python scripts/check_cuda_kernels.py            # checks; exit status 1 for a breach
    python scripts/check_cuda_kernels.py --write    # and writes the table in benchmarks/cuda_budget.md
    python scripts/check_cuda_kernels.py softmax    # only sources whose name contains the word

A kernel must not spill registers, unless ALLOWED_SPILLS gives the reason, and must have __launch_bounds__, whose
promise (threads per block, blocks per multiprocessor) its registers and static shared memory must keep.
Exit status 2: there is no nvcc.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "benchmarks" / "cuda_budget.md"
BEGIN, END = "<!-- kernels: begin -->", "<!-- kernels: end -->"
FLAGS = ["-std=c++20", "-O3", "--expt-relaxed-constexpr", "--extended-lambda", "-DSW_CUDA_MODULE"]
ARCHITECTURES = ("sm_80", "sm_90")
ONLY_SM_90A = "_wgmma_cuda.cu"  # how the names of sources with Hopper's own instructions end
SOURCES = ("ops/*_cuda.cu", "kernels/*_cuda.cu", "kernels/cuda/*.cu")

# A multiprocessor: threads, blocks, registers, shared memory of all blocks (each block costs 1 KiB more than it uses).
THREADS, BLOCKS, REGISTERS = 2048, 32, 65536
SHARED = {"sm_80": 164 * 1024, "sm_90": 228 * 1024, "sm_90a": 228 * 1024}

# Part of a demangled name: why its spills are accepted.
ALLOWED_SPILLS: dict[str, str] = {}


@dataclass
class Kernel:
    name: str
    source: str
    architecture: str
    registers: int = 0
    shared: int = 0  # static, bytes
    spills: int = 0  # bytes stored
    stack: int = 0
    threads: int = 0  # what __launch_bounds__ says
    promised: int = 0  # blocks per multiprocessor

    def blocks(self) -> int:
        """How many blocks of `threads` fit on a multiprocessor."""
        warps = -(-self.threads // 32)
        per_warp = -(-max(self.registers, 1) * 32 // 256) * 256
        by_registers = REGISTERS // per_warp // warps
        by_shared = SHARED[self.architecture] // (self.shared + 1024)
        return min(BLOCKS, THREADS // (warps * 32), by_registers, by_shared)

    def occupancy(self) -> float:
        return self.blocks() * -(-self.threads // 32) * 32 / THREADS

    def breaches(self) -> list[str]:
        found = []
        if self.spills and not any(part in self.name for part in ALLOWED_SPILLS):
            found.append(f"spills {self.spills} bytes of registers ({self.registers} used)")
        if not self.threads:
            found.append("has no __launch_bounds__")
        elif self.blocks() < max(1, self.promised):
            found.append(
                f"promises {max(1, self.promised)} blocks of {self.threads} threads per multiprocessor, and fits "
                f"{self.blocks()} ({self.registers} registers, {self.shared} bytes of shared memory)"
            )
        return [f"{self.source}: {self.name} on {self.architecture} {what}" for what in found]


def architectures(source: Path) -> tuple[str, ...]:
    return ("sm_90a",) if source.name.endswith(ONLY_SM_90A) else ARCHITECTURES


def find_nvcc() -> str | None:
    places = [os.environ.get("CUDACXX"), shutil.which("nvcc"), "/usr/local/cuda/bin/nvcc"]
    for path in sys.path:
        places += map(str, sorted(Path(path).glob("nvidia/cu*/bin/nvcc")))
    return next((p for p in places if p and Path(p).exists()), None)


def demangle(names: list[str]) -> list[str]:
    if not names or not shutil.which("c++filt"):
        return names
    text = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    return [readable(line) for line in text.splitlines()]


def readable(name: str) -> str:
    """Without namespaces and parameters: residual_add<bfloat16, 8>."""
    for noise in ("(anonymous namespace)::", "skipway::cuda::", "skipway::", "void "):
        name = name.replace(noise, "")
    name = re.sub(r"_GLOBAL__N_\w+::", "", name)
    depth = 0
    for i, c in enumerate(name):
        depth += (c == "<") - (c == ">")
        if c == "(" and depth == 0 and i:
            return name[:i]
    return name


def compile_source(nvcc: str, source: Path, architecture: str) -> list[Kernel]:
    with tempfile.TemporaryDirectory() as folder:
        command = [nvcc, *FLAGS, f"-I{ROOT / 'csrc'}", "-cubin", f"-arch={architecture}", "-Xptxas", "-v", "--keep"]
        command += ["-DSW_CUDA_SM90A"] if architecture == "sm_90a" else []
        command += ["--keep-dir", folder, str(source), "-o", f"{folder}/out.cubin"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{source.name} for {architecture} does not compile:\n{done.stdout}{done.stderr}")
        assembly = (Path(folder) / f"{source.stem}.ptx").read_text()
    kernels = read_report(done.stdout + done.stderr, source.name, architecture)
    for entry in re.split(r"^(?=(?:\.visible )?(?:\.weak )?\.entry )", assembly, flags=re.M)[1:]:
        head = entry[: entry.index("{")]
        name = re.search(r"\.entry ([\w$]+)", head)
        if name is None or name[1] not in kernels:
            raise RuntimeError(f"{source.name}: ptxas said nothing of {head[:200]}")
        threads = re.search(r"\.maxntid (\d+)(?:, (\d+))?(?:, (\d+))?", head)
        blocks = re.search(r"\.minnctapersm (\d+)", head)
        kernel = kernels[name[1]]
        kernel.threads = int(threads[1]) * int(threads[2] or 1) * int(threads[3] or 1) if threads else 0
        kernel.promised = int(blocks[1]) if blocks else 0
    for kernel, name in zip(kernels.values(), demangle(list(kernels)), strict=True):
        kernel.name = name
    return list(kernels.values())


def read_report(text: str, source: str, architecture: str) -> dict[str, Kernel]:
    kernels: dict[str, Kernel] = {}
    kernel = None
    for line in text.splitlines():
        if started := re.search(r"Compiling entry function '([^']+)'", line):
            kernel = kernels[started[1]] = Kernel(started[1], source, architecture)
        if kernel is None:
            continue
        if spilled := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores", line):
            kernel.stack, kernel.spills = int(spilled[1]), max(kernel.spills, int(spilled[2]))
        if used := re.search(r"Used (\d+) registers", line):
            kernel.registers = int(used[1])
            shared = re.search(r"(\d+) bytes smem", line)
            kernel.shared = int(shared[1]) if shared else 0
    return kernels


def table(kernels: list[Kernel]) -> str:
    """One row per kernel: the extremes over its instantiations."""
    groups: dict[tuple[str, str], list[Kernel]] = defaultdict(list)
    for k in kernels:
        groups[k.source, k.name.partition("<")[0]].append(k)
    head = ["kernel", "source", "variants", "threads"]
    head += [f"{what} {a}" for a in ARCHITECTURES for what in ("registers", "shared", "occupancy")]
    rows = [head, ["---"] * 4 + ["--:"] * (len(head) - 4)]
    for (source, name), group in sorted(groups.items()):
        threads = sorted({k.threads for k in group})
        row = [f"`{name}`", source, str(len({k.name for k in group})), span(threads)]
        for architecture in ARCHITECTURES:
            mine = [k for k in group if k.architecture.removesuffix("a") == architecture]
            if not mine:
                row += [""] * 3
                continue
            row += [span(sorted({k.registers for k in mine})), span(sorted({k.shared for k in mine}))]
            row.append(f"{min(k.occupancy() for k in mine):.0%}")
        rows.append(row)
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def span(values: list[int]) -> str:
    return str(values[0]) if values[0] == values[-1] else f"{values[0]}-{values[-1]}"


def write_table(kernels: list[Kernel], version: str) -> None:
    text = TABLE.read_text() if TABLE.exists() else f"# What the CUDA kernels need\n\n{BEGIN}\n{END}\n"
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    note = (
        f"By nvcc {version}: `python scripts/check_cuda_kernels.py --write`. Registers per thread, static shared\n"
        "memory in bytes per block, and the share of a multiprocessor's threads that fit (of the variant with the\n"
        "smallest share; dynamic shared memory is not counted). What only sm_90a has stands in the columns of sm_90."
    )
    TABLE.write_text(f"{before}{BEGIN}\n{note}\n\n{table(kernels)}\n{END}{after}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="parts of sources' names (default: all)")
    parser.add_argument("--write", action="store_true", help="write the table")
    parser.add_argument("-j", type=int, default=2, help="processes (default 2)")
    options = parser.parse_args()
    nvcc = find_nvcc()
    if nvcc is None:
        print("CUDA kernels: not compiled, as there is no nvcc")
        return 2
    version = re.search(r"release ([\d.]+)", subprocess.run([nvcc, "--version"], capture_output=True, text=True).stdout)
    sources = [s for pattern in SOURCES for s in sorted((ROOT / "csrc").glob(pattern))]
    sources = [s for s in sources if not options.words or any(word in s.name for word in options.words)]
    jobs = [(source, architecture) for source in sources for architecture in architectures(source)]
    with ThreadPoolExecutor(options.j) as pool:
        found = list(pool.map(lambda job: compile_source(nvcc, *job), jobs))
    kernels = [kernel for group in found for kernel in group]
    breaches = [breach for kernel in kernels for breach in kernel.breaches()]
    targets = sorted({architecture for _, architecture in jobs})
    print(f"CUDA kernels: {len(sources)} sources, {len(kernels)} kernels for {', '.join(targets)}")
    print("\n".join(breaches) if breaches else "no spills, and every promise of __launch_bounds__ is kept")
    if options.write and not options.words:
        write_table(kernels, version[1] if version else "of unknown version")
    return int(bool(breaches))


if __name__ == "__main__":
    sys.exit(main())
