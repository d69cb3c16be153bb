"""The CUDA emulator finds each kind of fault in a small kernel, names its line, and is silent about the right kernel.

The kernels are in cuda_emulator/self_test; a comment "// fault: KIND|KIND" stands on the line that a report must name.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cuda_emulator import build
from cuda_emulator.control import Emulator

SELF_TEST = Path(build.HERE) / "self_test"
TESTS = Path(build.HERE).parent

# The fault that the wrong variant of each test has: one or the other, where that depends on the order. "host: ..." has
# no line in a kernel; "result: ..." is what the test itself finds.
FAULTS = {
    "read_past_end": "global memory read out of bounds",
    "write_before_start": "global memory write out of bounds",
    "copy_vector_tail": "global memory write out of bounds",
    "copy_struct_past_end": "global memory read out of bounds",
    "read_uninitialised": "read of uninitialised global memory",
    "read_uninitialised_shared": "read of uninitialised shared memory",
    "shared_of_last_block": "read of uninitialised shared memory",
    "overrun_static_shared": "shared memory write out of bounds",
    "overrun_dynamic_shared": "shared memory write out of bounds",
    "dynamic_struct_too_large": "dynamic shared memory is smaller than its struct",
    "local_array_index": "array index out of bounds",
    "constant_table": "array index out of bounds",
    "misaligned_vector": "misaligned access",
    "divide_by_zero": "integer division by zero",
    "increment": "read through a pointer that is not device memory",
    "shared_read_after_write": "shared memory race (read after write)",
    "shared_write_after_read": "shared memory race (write after read)",
    "shared_write_after_write": "shared memory race (write after write)",
    "within_a_warp": "shared memory race (read after write)",
    "shuffle_is_no_barrier": "shared memory race (read after write)",
    "between_blocks": "global memory race (write after write)",
    "read_of_other_block": "global memory race",
    "histogram": "global memory race (read after write)",
    "plain_read_of_atomic": "global memory race",
    "last_block_sums": "global memory race (read after write)",
    "last_block_sums_acquired": "global memory race (read after write)",
    "last_block_own_fences": "global memory race (read after write)",
    "half_a_warp_shuffles": "the mask of a warp operation names lanes that have exited",
    "early_return_then_vote": "the mask of a warp operation names lanes that have exited",
    "not_in_own_mask": "a lane calls a warp operation that its mask does not name",
    "partial_warp": "the mask of a warp operation names lanes that do not exist",
    "source_outside_mask": "a shuffle reads from a lane that does not take part",
    "different_masks": "lanes of a warp meet at different warp operations",
    "different_operations": "lanes of a warp meet at different warp operations",
    "divergent_barrier": "barrier divergence: threads wait at different __syncthreads",
    "return_before_barrier": "barrier divergence: __syncthreads is not reached by threads that have exited",
    "barrier_and_shuffle": "deadlock",
    "spin": "the kernel does not end",
    "endless_arithmetic": "host: the kernel does not end",
    "wait_too_lax": "read of shared memory before its asynchronous copy was waited for",
    "wait_without_barrier": "shared memory race",
    "stage_overwritten_too_early": "shared memory race (write after read)",
    "never_waited": "cp.async has not been waited for",
    "misaligned_copy": "misaligned cp.async",
    "copy_past_end": "global memory read out of bounds",
    "ldmatrix_race": "shared memory race (read after write)",
    "ldmatrix_misaligned": "misaligned ldmatrix",
    "mma_without_a_lane": "the mask of a warp operation names lanes that have exited",
    "stage_not_empty": "more arrivals at an mbarrier than its count",
    "stage_not_full": "read of uninitialised shared memory|read of shared memory before its asynchronous copy",
    "too_few_bytes_expected": "read of shared memory before its asynchronous copy was waited for|deadlock",
    "stage_released_too_early": "shared memory race (write after read)",
    "accumulators_read_too_early": "result: wrong product",  # NaN until they are waited for
    "mbarrier_not_initialised": "use of an mbarrier that was not initialised",
    "mbarrier_not_fenced": "TMA with an mbarrier that was initialised without a fence.proxy.async",
    "accumulators_not_fenced": "wgmma without a wgmma.fence",
    "products_not_committed": "wgmma has not been waited for when its thread ends",
    "stored_operands": "wgmma reads what was written without a fence.proxy.async",
    "too_many_threads": "impossible launch",
    "grid_too_large": "impossible launch",
    "empty_grid": "impossible launch",
    "too_much_dynamic_shared": "impossible launch",
    "too_many_parameters": "impossible launch",
    "two_static_structs": "too much shared memory",
    "memory_of_other_device": "access to the memory of another device",
    "stream_of_other_device": "launch on a stream of another device",
    "use_after_free": "use of freed memory",
    "taken_back": "use of freed memory",
    "double_free": "host: double free",
    "copy_out_of_bounds": "host: cudaMemcpy: the source is out of bounds",
    "copy_of_wrong_kind": "host: cudaMemcpy from the device, but the source is host memory",
    "fill_out_of_bounds": "host: cudaMemset: out of bounds",
    "copied_uninitialised": "read of uninitialised global memory",
    "handed_out_part_bounds": "global memory write out of bounds",
    "handed_out_again": "read of uninitialised global memory",
    "pinned_memory": "global memory read out of bounds",
    "wait_in_capture": "host: operation not permitted when stream is capturing",
    "device_wait_in_capture": "host: operation not permitted when stream is capturing",
    "allocation_in_capture": "host: operation not permitted when stream is capturing",
    "pinned_allocation_in_capture": "host: operation not permitted when stream is capturing",
    "event_wait_in_capture": "host: operation not permitted on an event last recorded in a capturing stream",
    "pageable_copy_in_capture": "host: a captured copy of pageable host memory",
    "memory_gone_before_the_launch": "use of freed memory",
    "handed_out_in_capture": "read of uninitialised global memory",
}
# Results are right, and there is no wrong variant.
RIGHT_ONLY = {
    "boxes_of_images",
    "transpose_tile",
    "vector_accesses",
    "lane_arithmetic",
    "transposed_load",
    "tf32_product",
    "out_of_memory",
    "many_allocations",
    "streams_and_events",
    "captured_work_runs_later",
    "capture_on_legacy_stream",
    "fork_and_join",
    "relaxed_allocation",
}


class SelfTest(Emulator):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.library.self_test_names.restype = ctypes.c_char_p
        self.library.self_test_run.restype = ctypes.c_char_p

    def names(self) -> list[str]:
        return self.library.self_test_names().decode().split()

    def run(self, name: str, right: bool) -> str:
        """What the test threw, or nothing."""
        endless = not right and name in ("spin", "endless_arithmetic")
        self.set_time_limit(0.3 if endless else 60)
        return self.library.self_test_run(name.encode(), int(right)).decode()


@pytest.fixture(scope="module")
def emulator() -> SelfTest:
    return SelfTest(build.self_test_library())


def markers() -> dict[str, list[str]]:
    """'races.cu:12' to the kinds that may be reported there."""
    found = {}
    for path in SELF_TEST.glob("*.cu"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if match := re.search(r"// fault: (.*)", line):
                found[f"{path.name}:{number}"] = [kind for kind in match[1].split("|") if kind]
    return found


def reported(message: str) -> list[tuple[str, str]]:
    """Kinds and lines of a report."""
    faults = []
    for line in message.removeprefix("CUDA emulator: ").splitlines():
        kind = re.sub(r"^ *[\w<>:, ]+?(<.*?>)?: (?=[a-z])", "", line, count=1)
        place = re.search(r" at (\w+\.cu:\d+)", line)
        faults.append((kind, place[1] if place else ""))
    return faults


def test_every_kernel_has_a_row(emulator: SelfTest) -> None:
    assert sorted(emulator.names()) == sorted([*FAULTS, *RIGHT_ONLY])
    assert emulator.checked()


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", [*FAULTS, *sorted(RIGHT_ONLY)])
def test_right_kernel_is_silent(emulator: SelfTest, name: str, seed: int) -> None:
    emulator.set_seed(seed)
    assert emulator.run(name, right=True) == ""


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_reported_with_its_line(emulator: SelfTest, name: str, seed: int) -> None:
    emulator.set_seed(seed)
    message = emulator.run(name, right=False)
    expected = FAULTS[name]
    if expected.startswith("result: "):
        assert message == expected.removeprefix("result: ")
        return
    assert message.startswith("CUDA emulator: "), message
    if expected.startswith("host: "):
        assert expected.removeprefix("host: ") in message
        return
    places = markers()
    named = [(kind, place) for kind, place in reported(message) if any(e in kind for e in expected.split("|"))]
    assert named, message
    marked = [place for kind, place in named if any(alternative in kind for alternative in places.get(place, []))]
    assert marked, f"no marker at a reported line: {message}"


def test_message_names_kernel_thread_and_partner(emulator: SelfTest) -> None:
    message = emulator.run("between_blocks", right=False)
    assert re.fullmatch(
        r"CUDA emulator: between_blocks<false>: global memory race \(write after write\) at races\.cu:\d+, "
        r"with thread \(0,0,0\) of block \(\d,0,0\), by thread \(0,0,0\) of block \(\d,0,0\).*",
        message,
    )


def test_same_order_from_the_same_seed(emulator: SelfTest) -> None:
    messages = []
    for seed in (5, 5, 6):
        emulator.set_seed(seed)
        messages.append(emulator.run("between_blocks", right=False))
    assert messages[0] == messages[1] != messages[2]


def test_faults_are_listed_until_cleared(emulator: SelfTest) -> None:
    emulator.clear_faults()
    assert emulator.run("histogram", right=True) == "" and emulator.faults() == []
    emulator.run("histogram", right=False)
    assert any("global memory race" in fault for fault in emulator.faults())
    emulator.clear_faults()
    assert emulator.faults() == []


def test_event_limit(emulator: SelfTest) -> None:
    emulator.set_seed(1)
    emulator.set_event_limit(5000)
    message = emulator.run("spin", right=False)
    emulator.set_event_limit(0)
    assert "the kernel does not end" in message and "memory accesses and switches" in message


def test_lists_of_kernels(emulator: SelfTest) -> None:
    for name in emulator.names():
        if name not in ("spin", "endless_arithmetic"):
            emulator.run(name, right=False)
        emulator.run(name, right=True)
    kernels = emulator.kernels()
    assert "void (anonymous namespace)::histogram<true>(int const*, int*)" in kernels
    assert len(kernels) == len(set(kernels)) and not any("operator()" in kernel for kernel in kernels)
    never = set(kernels) - set(emulator.launched())
    assert never <= {f"void (anonymous namespace)::{k}" for k in ("spin<false>(int*, int*)", ENDLESS)}
    assert set(emulator.launched()) <= set(kernels)


ENDLESS = "endless_arithmetic<false>(unsigned int*, unsigned int)"


def test_counts_bank_conflicts_of_ldmatrix(emulator: SelfTest) -> None:
    emulator.reset_counters()
    emulator.run("ldmatrix_race", right=True)  # rows of 48 bytes: no two of eight meet
    assert emulator.counter("matrix_loads") == 6 and emulator.counter("matrix_load_conflicts") == 0
    emulator.reset_counters()
    emulator.run("transposed_load", right=True)  # rows of 16 bytes: all banks once
    assert emulator.counter("matrix_loads") == 2 and emulator.counter("matrix_load_conflicts") == 0
    with pytest.raises(KeyError):
        emulator.counter("no such counter")


def test_counts_bank_conflicts_of_plain_accesses(emulator: SelfTest) -> None:
    emulator.count_bank_conflicts(True)
    counts = []
    for right in (True, False):
        emulator.reset_counters()
        assert emulator.run("transpose_tile", right=right) == ""
        counts.append((emulator.counter("shared_wavefronts"), emulator.counter("shared_conflicts")))
    by_line = emulator.bank_conflicts()
    emulator.reset_counters()
    emulator.run("vector_accesses", right=True)
    vectors = emulator.counter("shared_wavefronts"), emulator.counter("shared_conflicts")
    emulator.count_bank_conflicts(False)
    assert counts == [(64, 0), (32 + 32 * 32, 32 * 31)]
    (line,) = [place for place, (_, conflicts) in by_line.items() if conflicts]
    text = (SELF_TEST / "memory.cu").read_text().splitlines()[int(line.split(":")[1]) - 1]
    assert text.endswith("// conflicts") and by_line[line] == (32 * 32, 32 * 31)
    # 2 warps: 4 phases of 8 lanes write 128 bytes each; two words are read at a stride of 16 bytes and by all lanes.
    assert vectors == (2 * (4 + 4 + 1), 2 * 3)


def test_threads_of_the_host_take_turns(emulator: SelfTest) -> None:
    emulator.set_seed(1)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda i: emulator.library.self_test_on_own_thread(i % 2 == 0), range(40)))
    assert results == [0, 1] * 20


def run_alone(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    prelude = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_cuda_emulator import SelfTest, build\n"
        "emulator = SelfTest(build.self_test_library())\n"
    )
    return subprocess.run(
        [sys.executable, "-c", prelude + code, str(TESTS)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_host_code_that_touches_device_memory_ends_the_process(emulator: SelfTest) -> None:
    assert run_alone("emulator.run('histogram', True)").returncode == 0
    done = run_alone(
        "import ctypes\n"
        "address = emulator.library.self_test_device_memory\n"
        "address.restype = ctypes.c_void_p\n"
        "ctypes.string_at(address(), 4)\n"
    )
    assert done.returncode == -signal.SIGSEGV
    assert "CUDA emulator: host code touched device memory" in done.stderr


def test_launched_kernels_are_written_at_exit(tmp_path: Path, emulator: SelfTest) -> None:
    file = tmp_path / "launched.txt"
    for name in ("histogram", "spin"):
        assert run_alone(f"emulator.run({name!r}, True)", SKIPWAY_EMULATOR_LAUNCHED=str(file)).returncode == 0
    assert file.read_text().splitlines() == [
        "void (anonymous namespace)::histogram<true>(int const*, int*)",
        "void (anonymous namespace)::spin<true>(int*, int*)",
    ]


def test_seed_and_memory_from_the_environment(emulator: SelfTest) -> None:
    code = "print(emulator.run('out_of_memory', True), emulator.run('between_blocks', False))"
    outputs = [
        run_alone(code, SKIPWAY_EMULATOR_MEMORY_MIB="8", SKIPWAY_EMULATOR_SEED=seed).stdout for seed in ("5", "6")
    ]
    assert all("global memory race" in output for output in outputs) and outputs[0] != outputs[1]


def test_build_errors_show_the_compilers_output(tmp_path: Path) -> None:
    source = tmp_path / "broken.cu"
    source.write_text("int f() { return undeclared; }\n")
    with pytest.raises(build.BuildError, match="undeclared.*was not declared"):
        build.build({source: build.COMMON}, tmp_path / "build" / "broken.so")


def test_a_changed_source_is_built_again(tmp_path: Path) -> None:
    source, header = tmp_path / "one.cpp", tmp_path / "value.h"
    header.write_text("#define VALUE 1\n")
    source.write_text(
        '#include "value.h"\nextern "C" __attribute__((visibility("default"))) int f() { return VALUE; }\n'
    )
    sources = {source: ["-fPIC"]}
    target = tmp_path / "build" / "one.so"

    def made() -> int:
        return build.build(sources, target).stat().st_mtime_ns

    first = made()
    assert made() == first
    header.write_text("#define VALUE 2\n")
    second = made()
    assert second > first
    sources[source] = ["-fPIC", "-DMORE"]
    assert made() > second
