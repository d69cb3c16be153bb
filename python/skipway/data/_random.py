"""Random numbers whose bits depend on the seed alone, whatever the version of NumPy.

NumPy promises the raw output of its bit generators, not that of ``Generator``'s methods; everything here is made from
raw 64-bit words of Philox.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_MASK = (1 << 64) - 1


def draw_seed(generator: Any = None) -> int:
    """A fresh seed from ``generator`` or, without one, from the library's global generator."""
    import skipway as sw

    return int(sw.randint(0, 2**62, (1,), generator=generator).item())


class Stream:
    """Random numbers keyed by up to four integers, such as ``Stream(seed, epoch, batch)``."""

    def __init__(self, *key: int) -> None:
        words = [int(k) & _MASK for k in key] + [0] * (4 - len(key))
        # The seed and one word form the key; the others choose a far-away part of the counter.
        self._bits = np.random.Philox(key=[words[0], words[1]], counter=[0, 0, words[2], words[3]])

    def words(self, n: int) -> np.ndarray:
        return np.asarray(self._bits.random_raw(n), dtype=np.uint64)

    def uniform(self, shape: int | tuple[int, ...] = ()) -> np.ndarray:
        """float64 in [0, 1)."""
        n = int(np.prod(shape, dtype=np.int64))
        return ((self.words(n) >> np.uint64(11)) * 2.0**-53).reshape(shape)

    def integers(self, high: int, shape: int | tuple[int, ...] = ()) -> np.ndarray:
        """int64 in [0, high); high may be up to 2**32."""
        n = int(np.prod(shape, dtype=np.int64))
        return (((self.words(n) >> np.uint64(32)) * np.uint64(high)) >> np.uint64(32)).astype(np.int64).reshape(shape)

    def normal(self, shape: int | tuple[int, ...] = ()) -> np.ndarray:
        """Standard normal (Box-Muller)."""
        u, v = self.uniform(shape), self.uniform(shape)
        return np.sqrt(-2.0 * np.log1p(-u)) * np.cos(2.0 * np.pi * v)

    def permutation(self, n: int) -> np.ndarray:
        return np.argsort(self.words(n), kind="stable")
