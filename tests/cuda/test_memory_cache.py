"""SKIPWAY_CUDA_CACHE=0, for tools that watch the device's memory."""

import os
import subprocess
import sys

CODE = """
import skipway as sw

x = sw.ones(1000, device="cuda")
assert sw.cuda.memory_reserved() == 4000, sw.cuda.memory_reserved()
y = sw.nn.functional.residual_add(x, x)
assert sw.cuda.memory_reserved() == 8000, sw.cuda.memory_reserved()
assert y.cpu().tolist() == 1000 * [2.0]
del x, y
assert sw.cuda.memory_reserved() == sw.cuda.memory_allocated() == 0, sw.cuda.memory_reserved()
"""


def test_without_a_cache_blocks_are_exact_and_go_back_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], env={**os.environ, "SKIPWAY_CUDA_CACHE": "0"})
    assert done.returncode == 0
