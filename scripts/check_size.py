"""Checks the size of a wheel, packed and installed, and the time that `import skipway` adds to NumPy's own import."""

import statistics
import subprocess
import sys
import zipfile

MAX_WHEEL_MB = 8
MAX_INSTALLED_MB = 25
MAX_IMPORT_MS = 150


def import_ms(modules: str) -> float:
    """Median of seven fresh interpreters, in milliseconds."""
    code = f"import time; t = time.perf_counter(); import {modules}; print((time.perf_counter() - t) * 1e3)"
    runs = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(8)]
    return statistics.median(runs[1:])


def main() -> int:
    wheel = zipfile.ZipFile(sys.argv[1])
    packed = sum(f.compress_size for f in wheel.infolist()) / 1e6
    installed = sum(f.file_size for f in wheel.infolist()) / 1e6
    added = import_ms("numpy, skipway") - import_ms("numpy")
    print(f"wheel {packed:.2f} MB (limit {MAX_WHEEL_MB}), installed {installed:.2f} MB (limit {MAX_INSTALLED_MB})")
    print(f"import skipway adds {added:.0f} ms to NumPy's import (aim: under {MAX_IMPORT_MS})")
    return int(packed > MAX_WHEEL_MB or installed > MAX_INSTALLED_MB)


if __name__ == "__main__":
    sys.exit(main())
