"""The type stub says what the compiled module says."""

import importlib.util
import inspect
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_stub_matches_the_module():
    spec = importlib.util.spec_from_file_location("make_stub", ROOT / "scripts" / "make_stub.py")
    assert spec and spec.loader
    make_stub = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_stub)
    expected = make_stub.make()
    assert make_stub.STUB.read_text() == expected, "run python scripts/make_stub.py"
    assert "def conv2d(input: " in expected and "class Tensor:" in expected


def test_every_function_of_the_core_has_a_stub():
    from skipway import _core

    text = (ROOT / "python" / "skipway" / "_core.pyi").read_text()
    missing = [n for n, f in vars(_core).items() if inspect.isroutine(f) and f"def {n}(" not in text]
    assert not missing
