"""Rules that the sources keep: who includes whom, what kernels may use, how long files are."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
SOURCES = sorted(p for p in CSRC.rglob("*") if p.suffix in {".h", ".cpp", ".cu", ".cuh"})
PYTHON = sorted(p for d in ("python", "tests", "benchmarks", "scripts") for p in (ROOT / d).rglob("*.py"))

KERNEL_CORE = {
    "core/shape.h",
    "core/dtype.h",
    "core/check.h",
    "core/rng.h",
    "core/device.h",
    "core/parallel.h",
    "core/cuda.h",
    "core/cuda_fault.h",
    "core/cuda_graph_backend.h",
}


def includes(path: Path) -> list[str]:
    """The project's own headers that a file includes."""
    return re.findall(r'#include "([^"]+)"', path.read_text())


def may_include(path: str, header: str) -> bool:
    layer, target = path.split("/")[0], header.split("/")[0]
    if layer == "core":
        return target == "core"
    if layer == "autograd":
        return target in {"core", "autograd"} or header == "kernels/dispatch.h"
    if layer == "kernels":
        return target in {"kernels", "cuda_emulator"} or header in KERNEL_CORE
    if layer == "cuda":
        return target == "kernels" or header in KERNEL_CORE
    if path.startswith("ops/") and re.search(r"_(cpu|cuda)\.(cpp|cu)$|\.cuh$", path):
        return target == "kernels" or target == "ops" or header in KERNEL_CORE
    if layer == "ops":
        return target in {"core", "autograd", "ops"} or re.fullmatch(r"kernels/[a-z0-9_]+\.h", header) is not None
    return layer == "bindings" and target in {"core", "autograd", "kernels", "ops", "bindings"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(CSRC)))
def test_includes_respect_the_layers(path):
    name = str(path.relative_to(CSRC))
    breaches = [header for header in includes(path) if not may_include(name, header)]
    assert not breaches, f"{name} may not include {breaches}"


@pytest.mark.parametrize("path", [p for p in SOURCES if p.name.endswith("_cpu.cpp")], ids=lambda p: p.stem)
def test_kernels_use_no_shared_inline_code(path):
    """A standard template instantiated in an AVX-512 object could be the copy that the linker keeps for everybody."""
    text = path.read_text()
    allowed = {"cstddef", "cstdint", "cstring", "math.h", "string.h", "stdint.h", "type_traits", "immintrin.h"}
    used = set(re.findall(r"#include <([^>]+)>", text))
    assert used <= allowed, f"{path.name} includes {sorted(used - allowed)}"
    assert "namespace SW_ISA" in text or "skipway::SW_ISA" in text


def test_files_stay_readable():
    assert len(SOURCES) > 100 and len(PYTHON) > 100
    too_long = {p.name: n for p in SOURCES + PYTHON if (n := len(p.read_text().splitlines())) > 450}
    assert not too_long, f"split these by meaning: {too_long}"


def test_derivations_and_the_code_that_cites_them_agree():
    """Each numbered equation of docs/backward.md but the chain rule is cited by an op, and no op cites another."""
    equations = set(re.findall(r"\$\$ \((\w+)\)$", (ROOT / "docs" / "backward.md").read_text(), re.MULTILINE))
    cited = {
        name
        for path in SOURCES
        for line in re.findall(r"// docs/backward\.md, equations? ((?:\(\w+\)(?: and )?)+)", path.read_text())
        for name in re.findall(r"\w+", line.replace(" and ", " "))
    }
    assert len(equations) > 8 and cited == equations - {"chain"}
