"""save and load."""

from __future__ import annotations

import argparse
import io
import json
import os
import pathlib
import pickle
import signal
import struct
import subprocess
import sys
import time
from collections import OrderedDict

import numpy as np
import pytest
import skipway as sw
from hypothesis import given, settings
from hypothesis import strategies as st
from skipway import nn
from skipway.io import LoadError


def roundtrip(obj):
    f = io.BytesIO()
    sw.save(obj, f)
    f.seek(0)
    return sw.load(f)


def same(a, b):
    if isinstance(a, sw.Tensor):
        return a.dtype == b.dtype and tuple(a.shape) == tuple(b.shape) and a.tolist() == b.tolist()
    if isinstance(a, dict):
        return type(a) is type(b) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


def test_structures():
    obj = {
        "model": OrderedDict([("w", sw.randn(3, 4)), ("n", sw.tensor(7))]),
        "numbers": [1, -(10**30), 0.1, 1e300, float("inf"), float("nan"), -0.0, True, None],
        "tuple": (1, (2, []), {}),
        3: {"int key": "ü\n\"'", (1, "a"): None, None: 1, 2.5: 2, True: 3},
        "bytes": b"\0\xff",
        "strings": ["", "tensor", "dict"],
        "": {"tensor": "looks like code", "dict": [[1, 2]]},
    }
    out = roundtrip(obj)
    assert same(obj, out)
    assert str(out["numbers"][6]) == "-0.0"
    for plain in (None, 5, "s", [], {}, (), 2.5, True, sw.arange(3)):
        assert same(plain, roundtrip(plain))


PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
KEYS = st.one_of(st.integers(), st.text(max_size=5), st.none(), st.tuples(st.integers(), st.text(max_size=2)))
NESTED = st.recursive(
    st.one_of(PLAIN, st.lists(st.floats(width=32), max_size=3).map(lambda v: sw.tensor(v, dtype=sw.float32))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.tuples(inner, inner), st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(NESTED)
def test_any_structure(obj):
    out = roundtrip(obj)
    assert same(obj, out) or "nan" in repr(obj)
    assert repr(obj) == repr(out)


def test_other_values():
    out = roundtrip(
        {
            "set": {3, 1},
            "array": np.arange(6, dtype=np.float32).reshape(2, 3),
            "scalar": np.float64(1.5),
            "path": pathlib.Path("a/b"),
            "args": argparse.Namespace(lr=0.1, name="x"),
            "dtype": sw.bfloat16,
            "device": sw.device("cpu"),
        }
    )
    assert out["set"] == {1, 3} and out["array"].tolist() == [[0, 1, 2], [3, 4, 5]] and out["array"].dtype == np.float32
    assert out["scalar"] == 1.5 and isinstance(out["scalar"], np.float64) and out["path"] == pathlib.Path("a/b")
    assert out["args"].lr == 0.1 and out["dtype"] == sw.bfloat16 and out["device"] == sw.device("cpu")


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "int64", "int32", "uint8", "bool"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3, 4)])
def test_dtypes_and_shapes(dtype, shape):
    x = (sw.arange(int(np.prod(shape))).reshape(shape) % 2).to(getattr(sw, dtype))
    assert same(x, roundtrip([x])[0])


def test_views_and_layouts():
    x = sw.arange(24).reshape(2, 3, 4).float()
    for v in (x.permute(2, 0, 1), x[:, 1], x[:, :, ::2], x[0, 0].expand(3, 4)):
        assert same(v, roundtrip(v))


def test_shared_tensors_are_stored_once():
    w = sw.randn(10)
    f = io.BytesIO()
    sw.save({"a": w, "b": [w, w.view(2, 5)]}, f)
    f.seek(0)
    out = sw.load(f)
    assert out["a"] is out["b"][0] and same(out["b"][1], w.view(2, 5))


def test_requires_grad_and_parameters():
    out = roundtrip({"p": nn.Parameter(sw.ones(2)), "g": sw.ones(2, requires_grad=True), "t": sw.ones(2)})
    assert isinstance(out["p"], nn.Parameter) and out["p"].requires_grad and out["g"].requires_grad
    assert not out["t"].requires_grad and not roundtrip(nn.Parameter(sw.ones(1), requires_grad=False)).requires_grad


def test_state_dicts(tmp_path):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimizer = sw.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(sw.randn(5, 3)).sum().backward()
    optimizer.step()
    path = tmp_path / "checkpoint.pth"
    sw.save({"net": model.state_dict(), "optimizer": optimizer.state_dict(), "acc": 93.5, "epoch": 4}, path)
    state = sw.load(path, map_location="cpu", weights_only=False)
    assert state["acc"] == 93.5 and set(state["optimizer"]["state"]) == {0, 1, 2, 3}
    other = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    other.load_state_dict(state["net"])
    again = sw.optim.SGD(other.parameters(), lr=0.5)
    again.load_state_dict(state["optimizer"])
    assert again.param_groups[0]["lr"] == 0.1 and again.param_groups[0]["momentum"] == 0.9
    assert same(dict(model.state_dict()), dict(other.state_dict()))


def test_others_can_read_it_and_we_them(tmp_path):
    from safetensors.numpy import load_file, save_file

    path = tmp_path / "a.safetensors"
    sw.save({"model": {"fc.weight": sw.ones(2, 3)}, "lr": 0.1}, path)
    assert load_file(path)["model.fc.weight"].tolist() == [[1, 1, 1], [1, 1, 1]]
    save_file({"x": np.arange(3, dtype=np.int64), "h": np.ones(2, np.float16)}, path)
    out = sw.load(path)
    assert out["x"].tolist() == [0, 1, 2] and out["h"].dtype == sw.float16


def test_map_location(tmp_path):
    sw.save({"a": sw.ones(1)}, tmp_path / "a")
    for where in ("cpu", sw.device("cpu"), {"cuda:0": "cpu"}, lambda t, name: t):
        assert sw.load(tmp_path / "a", where)["a"].tolist() == [1]


# -------------------------------------------------------------------------------------------------------------- errors


def test_what_cannot_be_saved(tmp_path):
    path = tmp_path / "a"
    sw.save(1, path)
    with pytest.raises(TypeError, match=r"Linear at obj\['net'\]\['0'\]: save its state_dict"):
        sw.save({"net": [nn.Linear(1, 1)]}, path)
    with pytest.raises(TypeError, match="only tensors, numbers"):
        sw.save(object(), path)
    assert sw.load(path) == 1 and os.listdir(tmp_path) == ["a"]


def test_damaged_files_name_themselves(tmp_path):
    path = tmp_path / "m.safetensors"
    sw.save({"a": sw.arange(1000).float(), "b": [1, 2]}, path)
    good = path.read_bytes()
    for cut in (0, 1, 7, 8, 9, 50, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:cut])
        with pytest.raises(LoadError, match="m.safetensors"):
            sw.load(path)
    path.write_bytes(good + b"x")
    with pytest.raises(LoadError, match="m.safetensors"):
        sw.load(path)
    for at in range(8, 300, 3):  # no damage to the header may do worse than an error
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x15]) + good[at + 1 :])
        try:
            sw.load(path)
        except LoadError as e:
            assert "m.safetensors" in str(e)


def with_structure(code):
    header = json.dumps({"__metadata__": {"skipway.structure": code}}).encode()
    return struct.pack("<Q", len(header)) + header


@pytest.mark.parametrize(
    "code", ["{", "{}", '{"tensor": "none"}', '{"dict": 3}', '{"strange": 1}', '{"dict": [[[], 1]]}']
)
def test_damaged_structure(tmp_path, code):
    path = tmp_path / "s.safetensors"
    path.write_bytes(with_structure(code))
    with pytest.raises(LoadError, match="s.safetensors.*damaged"):
        sw.load(path)


def test_pickles_are_refused(tmp_path):
    path = tmp_path / "model.pth"
    for protocol in (2, 4, 5):
        path.write_bytes(pickle.dumps({"a": 1}, protocol))
        with pytest.raises(LoadError, match=r"model\.pth: refused: it holds a pickle that torch\.save did not write"):
            sw.load(path)
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(LoadError, match=r"model\.pth: damaged or truncated"):
        sw.load(path)


def test_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        sw.load(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        sw.save(1, tmp_path / "none" / "a")
    with pytest.raises(IsADirectoryError):
        sw.save(1, tmp_path)


# -------------------------------------------------------------------------------------------------------------- atomic

WRITER = """
import sys
import skipway as sw
i = 0
while True:
    i += 1
    sw.save({"i": i, "x": sw.full((300_000,), float(i))}, sys.argv[1])
    if i == 1:
        print("ready", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills with SIGKILL")
def test_a_kill_leaves_a_whole_file(tmp_path):
    path = tmp_path / "state.safetensors"
    sw.save({"i": 0, "x": sw.zeros(300_000)}, path)
    seen = set()
    for k in range(5):
        p = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert p.stdout.readline() == "ready\n"
        time.sleep(0.05 + 0.013 * k)
        p.send_signal(signal.SIGKILL)
        p.wait()
        p.stdout.close()
        state = sw.load(path)
        assert bool((state["x"] == float(state["i"])).all())
        seen.add(state["i"])
    assert max(seen) > 0
    sw.save({"i": 1}, path)
    assert os.listdir(tmp_path) == ["state.safetensors"]  # what killed writers left is gone


def test_save_keeps_mode_and_links(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    sw.save(1, real)
    os.chmod(real, 0o640)
    link.symlink_to(real)
    sw.save(2, link)
    assert link.is_symlink() and sw.load(real) == 2 and os.stat(real).st_mode & 0o777 == 0o640


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a"
    sw.save(1, path)
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        sw.save(2, path)
    monkeypatch.undo()
    assert sw.load(path) == 1 and os.listdir(tmp_path) == ["a"]
