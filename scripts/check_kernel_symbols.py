"""Checks that kernel objects share no inline code with the rest of the module.

A weak symbol in an object compiled for AVX-512 may be the copy that the linker keeps for everyone, and then an older
machine crashes in code that has nothing to do with AVX-512. So each weak symbol of such an object must lie in its
instruction set's own namespace (or be a lambda or template instantiated with a type from it).

    python scripts/check_kernel_symbols.py BUILD_FOLDER
"""

import re
import subprocess
import sys
from pathlib import Path


def main() -> int:
    failures, seen = [], 0
    for isa in ("avx2", "avx512", "avx512_bf16", "amx"):
        for path in sorted(Path(sys.argv[1]).rglob(f"kernels_{isa}.dir/**/*.o")):
            seen += 1
            listing = subprocess.run(
                ["nm", "-C", "--defined-only", path], capture_output=True, text=True, check=True
            ).stdout
            weak = re.findall(r"^[0-9a-f]+ [WVu] (.*)$", listing, re.MULTILINE)
            weak = [symbol for symbol in weak if not symbol.startswith("DW.ref.")]  # pointers, not code
            failures += [f"{path.name}: {symbol}" for symbol in weak if isa not in symbol]  # also in mangled names
    print(f"{seen} kernel objects checked, {len(failures)} shared symbols")
    print("\n".join(failures[:20]))
    return int(bool(failures) or seen == 0)


if __name__ == "__main__":
    sys.exit(main())
