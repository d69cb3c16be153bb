"""Files of torch.save: some that PyTorch wrote (tests/data), and some written here, opcode by opcode."""

from __future__ import annotations

import io
import os
import pickle
import struct
import sys
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path

import numpy as np
import pytest
import skipway as sw
from skipway import nn
from skipway.io import LoadError

DATA = Path(__file__).parent / "data"


# ---- an assembler of pickles


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def plain(value):
    return pickle.dumps(value, 2)[2:-1]


def storage(key, kind="FloatStorage", count=6, *more):
    parts = (plain("storage"), name("torch", kind), plain(key), plain("cpu"), plain(count), *more)
    return b"(" + b"".join(parts) + b"tQ"


def tensor(stored, offset=0, size=(2, 3), stride=(3, 1)):
    args = stored + plain(offset) + plain(size) + plain(stride) + plain(False) + plain(OrderedDict())
    return name("torch._utils", "_rebuild_tensor_v2") + b"(" + args + b"tR"


def pickled(body):
    return b"\x80\x02" + body + b"."


def archive(body, storages=None, folder="x/", compression=zipfile.ZIP_STORED, **records):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as z:
        z.writestr(folder + "data.pkl", pickled(body))
        for key, data in ({"0": np.arange(6, dtype="<f4")} if storages is None else storages).items():
            z.writestr(f"{folder}data/{key}", data if isinstance(data, bytes) else data.tobytes())
        for key, data in records.items():
            z.writestr(folder + key, data)
    return file.getvalue()


def load(raw, **kwargs):
    file = io.BytesIO(raw)
    file.name = "weights.pth"
    return sw.load(file, **kwargs)


def refused(raw, match):
    with pytest.raises(LoadError, match=match) as caught:
        load(raw)
    assert str(caught.value).startswith("weights.pth: ")
    return str(caught.value)


# ---- what PyTorch wrote


@pytest.mark.parametrize("file", ["zip.pth", "legacy.pth"])
def test_what_pytorch_wrote(file):
    value = sw.load(DATA / file)
    keys = ["model", "shared", "expanded", "types", "empty", "scalar", "parameter", "plain", "size", "dtype", "device"]
    assert list(value) == keys
    bn = nn.BatchNorm1d(2)
    assert type(value["model"]) is OrderedDict and value["model"]._metadata[""] == {"version": 2}
    assert bn.load_state_dict(value["model"]).missing_keys == []
    base, turned, part = value["shared"]
    assert base.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]] and turned.tolist() == base.t().tolist()
    assert part.tolist() == [[4, 6], [8, 10]] and tuple(part.stride()) == (4, 2) and tuple(turned.stride()) == (1, 4)
    base[1, 0] = 100
    assert turned[0, 1].item() == 100 and part[0, 0].item() == 100  # they share memory
    assert value["expanded"].tolist() == [[2, 2, 2], [2, 2, 2]] and tuple(value["expanded"].stride()) == (0, 1)
    wider = {"int16": sw.int32, "int8": sw.int32}
    for dtype, t in value["types"].items():
        assert t.dtype == (wider.get(dtype) or getattr(sw, dtype)) and t.tolist() == [0, 1, 1 if dtype == "bool" else 3]
    assert len(value["types"]) == 9
    assert tuple(value["empty"].shape) == (0, 3) and value["scalar"].item() == 7 and value["scalar"].dim() == 0
    assert isinstance(value["parameter"], nn.Parameter) and value["parameter"].requires_grad
    assert value["plain"] == [1, -0.5, None, True, "text", (1, [2]), {3}, b"\0\xff", 2**80]
    assert value["size"] == (1, 2) and value["dtype"] == sw.bfloat16 and value["device"] == sw.device("cpu")


def test_a_module_is_refused():
    with pytest.raises(LoadError) as caught:
        sw.load(DATA / "module.pth", weights_only=False)
    message = str(caught.value)
    assert message.startswith(str(DATA / "module.pth"))
    assert "an object of the kind 'torch.nn.modules.linear.Linear'" in message
    assert "save the state_dict()" in message


# ---- what is read


def test_tensors():
    value = load(archive(b"]" + tensor(storage("0")) + b"a" + tensor(storage("0"), 1, (2,), (3,)) + b"a"))
    assert value[0].tolist() == [[0, 1, 2], [3, 4, 5]] and value[1].tolist() == [1, 4]
    value[0].zero_()
    assert value[1].tolist() == [0, 0]
    twice = b"]" + tensor(storage("0")) + b"q\x64ah\x64a"  # the same tensor, by the memo
    first, second = load(archive(twice))
    assert first is second


def test_parameters_and_flags():
    body = name("torch._utils", "_rebuild_parameter") + b"(" + tensor(storage("0")) + b"\x89}tR"
    p = load(archive(body))
    assert isinstance(p, nn.Parameter) and not p.requires_grad
    body = tensor(storage("0")).replace(plain(False) + plain(OrderedDict()), plain(True) + plain(OrderedDict()))
    assert load(archive(body)).requires_grad


@pytest.mark.parametrize(
    ("kind", "dtype", "values"),
    [
        ("HalfStorage", "<f2", [1, 2]),
        ("DoubleStorage", "<f8", [1, 2]),
        ("LongStorage", "<i8", [-1, 2]),
        ("CharStorage", "i1", [-1, 2]),
        ("BoolStorage", "?", [True, False]),
    ],
)
def test_storages(kind, dtype, values):
    body = tensor(storage("0", kind, 2), 0, (2,), (1,))
    assert load(archive(body, {"0": np.array(values, dtype)})).tolist() == values
    if dtype[0] == "<":
        big = archive(body, {"0": np.array(values, dtype.replace("<", ">"))}, byteorder=b"big")
        assert load(big).tolist() == values


def test_bfloat16_and_bytes_with_a_type():
    bits = np.array([0x3F80, 0xC000], "<u2")
    t = load(archive(tensor(storage("0", "BFloat16Storage", 2), 0, (2,), (1,)), {"0": bits}))
    assert t.dtype == sw.bfloat16 and t.tolist() == [1, -2]
    untyped = b"(" + plain("storage") + name("torch.storage", "UntypedStorage") + plain("0") + plain("cpu") + plain(4)
    args = untyped + b"tQ" + plain(0) + plain((2,)) + plain((1,)) + plain(False) + plain(OrderedDict())
    body = name("torch._utils", "_rebuild_tensor_v3") + b"(" + args + name("torch", "uint16") + b"tR"
    assert load(archive(body, {"0": np.array([3, 65535], "<u2")})).tolist() == [3, 65535]


def test_containers():
    value = {"a": [1, (2, {"b": None})], 3: {1.5, "x"}, (1, "k"): b"\1\xff", "f": frozenset({1}), "c": 1 + 2j}
    assert load(archive(plain(value))) == value
    assert load(archive(plain(Counter({3: 2, 5: 1})))) == Counter({3: 2, 5: 1})
    assert load(archive(plain([]), folder="")) == []
    for protocol in (3, 4, 5):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as z:
            z.writestr("x/data.pkl", pickle.dumps(value, protocol))
        assert load(file.getvalue()) == value


def legacy(body, keys, *storages, machine=None):
    head = [0x1950A86A20F9469CFC6C, 1001, machine or {"protocol_version": 1001, "little_endian": True}]
    raw = b"".join(pickled(plain(v)) for v in head) + pickled(body) + pickled(plain(keys))
    order = "<" if (machine or {}).get("little_endian", True) else ">"
    return raw + b"".join(struct.pack(f"{order}q", a.size) + a.tobytes() for a in storages)


def test_before_pytorch_1_6():
    body = b"]" + tensor(storage("k", "FloatStorage", 6, b"N")) + b"a"
    body += tensor(storage("j", "LongStorage", 2, b"N"), 1, (1,), (1,)) + b"a"
    a, b = np.arange(6, dtype="<f4"), np.array([7, 8], "<i8")
    value = load(legacy(body, ["j", "k"], b, a))
    assert value[0].tolist() == [[0, 1, 2], [3, 4, 5]] and value[1].tolist() == [8]
    big = legacy(body, ["j", "k"], b.astype(">i8"), a.astype(">f4"), machine={"little_endian": False})
    assert load(big)[0].tolist() == [[0, 1, 2], [3, 4, 5]]
    part = tensor(storage("k", "FloatStorage", 6, plain(("v", 2, 3))), 0, (3,), (1,))
    assert load(legacy(part, ["k"], a)).tolist() == [2, 3, 4]
    refused(legacy(body, ["j", "k"], b, a)[:-1], r"storage 'k' of 6 elements reaches behind the file's end")
    refused(legacy(body, ["k"], a), "'j'")
    refused(pickle.dumps({"a": 1}, 2), "a pickle that torch.save did not write")


def test_map_location():
    raw = archive(b"]" + tensor(storage("0")) + b"a" + tensor(storage("0"), 0, (6,), (1,)) + b"a")
    seen = []
    first, second = load(raw, map_location=lambda t, where: seen.append((tuple(t.shape), where)))
    assert seen == [((6,), "cpu")]
    first.zero_()
    assert second.tolist() == [0] * 6
    assert load(raw, map_location="cpu")[0].device == sw.device("cpu")


def test_paths_and_state_dicts(tmp_path):
    layer = nn.Linear(3, 2)
    body = b"}(" + plain("weight") + tensor(storage("0")) + plain("bias") + tensor(storage("1"), 0, (2,), (1,)) + b"u"
    path = tmp_path / "layer.pth"
    path.write_bytes(archive(body, {"0": np.arange(6, dtype="<f4"), "1": np.ones(6, "<f4")}))
    layer.load_state_dict(sw.load(path))
    assert layer.weight.tolist() == [[0, 1, 2], [3, 4, 5]] and layer.bias.tolist() == [1, 1]


# ---- what is refused


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (self.path,))


@pytest.mark.parametrize("protocol", [2, 4])
def test_nothing_is_executed(tmp_path, protocol):
    target = tmp_path / "made"
    code = pickle.dumps(Attack(str(target)), protocol)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as z:
        z.writestr("x/data.pkl", code)
    message = refused(file.getvalue(), "refused: it holds an object of the kind 'posix.mkdir'")
    assert "save the state_dict()" in message and not target.exists()
    refused(legacy(code[2:-1], []), "refused: it holds an object of the kind 'posix.mkdir'")
    before = set(sys.modules)
    refused(archive(name("antigravity", "geohash") + b")R"), "'antigravity.geohash'")
    assert set(sys.modules) == before


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (name("builtins", "eval") + plain(("1",)) + b"R", "an object of the kind 'builtins.eval'"),
        (name("torch", "ComplexFloatStorage"), "an object of the kind 'torch.ComplexFloatStorage'"),
        (name("numpy._core.multiarray", "scalar"), "an object of the kind 'numpy._core.multiarray.scalar'"),
        (b"(ios\nsystem\n", "the pickle instruction INST, which makes objects"),
        (name("collections", "OrderedDict") + b")\x81", "the pickle instruction NEWOBJ, which makes objects"),
        (name("collections", "OrderedDict") + b")R}" + plain("x") + b"\x01sb", "damaged"),
        (
            name("collections", "OrderedDict") + b")R" + plain({"x": 1}) + b"b",
            "a OrderedDict with attributes",
        ),
        (name("collections", "OrderedDict") + plain({"x": 1}) + b"b", "a Name with attributes of its own"),
        (plain(("module", 1)) + b"Q", "something outside of the pickle, of the kind 'module'"),
        (b"Pmodule\n", "something outside of the pickle, of the kind 'str'"),
        (plain([1]) + b")R", "a list cannot be called"),
        (b"}]K\x01s", "a list cannot be a key"),
        (b"}(" + b"(" * 9 + b"t" * 9 + b"K\x01u", "a tuple cannot be a key"),
        (b"(tK\x01a", "expected a list on the pickle's stack, got a tuple"),
        (b"h\x09", "KeyError: 9"),
        (b"0", "pop from empty list"),
        (b"\x86", "stack is too short"),
        (tensor(plain(3)), "a tensor without a storage, but with a int"),
        (
            tensor(storage("0", "FloatStorage", 6), 1),
            r"'0' has 6 elements, and a tensor of size \(2, 3\) reaches",
        ),
        (tensor(storage("0", "FloatStorage", 6), -1), "offset -1"),
        (tensor(storage("0", "FloatStorage", 6), 0, (2, 3), (3,)), r"size \(2, 3\), stride \(3,\)"),
        (tensor(storage("0", "FloatStorage", 6), 0, (2**40, 2**40), (0, 0)), r"size \(1099511627776"),
        (tensor(storage("0", "FloatStorage", 6), 0, (2.5, 1), (1, 1)), r"size \(2.5, 1\)"),
        (tensor(storage("0", "FloatStorage", 7)), "storage '0': expected 7 elements of float32, got 24 bytes"),
        (tensor(storage("0", "FloatStorage", -1)), "storage '0' of -1 elements"),
        (tensor(storage("9")), "x/data/9 is missing from the archive"),
        (tensor(storage("../data.pkl")), "missing from the archive"),
        (name("_codecs", "encode") + plain(("a", "utf-16")) + b"R", "bytes encoded as 'utf-16'"),
    ],
)
def test_what_is_refused(body, match):
    refused(archive(body), match)


def test_other_archives():
    refused(archive(plain(1), **{"constants.pkl": b""}), r"a TorchScript program \(torch.jit.load opens it\)")
    refused(archive(tensor(storage("0")), compression=zipfile.ZIP_DEFLATED), "compressed or encrypted")
    file = io.BytesIO()
    np.savez(file, a=np.ones(2))
    refused(file.getvalue(), "a zip archive without a data.pkl")
    refused(b"x" * 257 + b"ustar" + b"x" * 300, "a tar archive of PyTorch 0.1")
    refused(b"PK\5\6" + bytes(18), "a zip archive without a data.pkl")
    nested = b"(" * 100_000 + b"t" * 100_000
    assert isinstance(load(archive(nested)), tuple)


@pytest.mark.parametrize("file", ["zip.pth", "legacy.pth"])
def test_damaged_files_give_an_error_that_names_them(file):
    raw = (DATA / file).read_bytes()
    for end in range(8, len(raw) - 1, 97):
        refused(raw[:end], "damaged|truncated|not a")
    rng = np.random.default_rng(0)
    errors = 0
    for at in rng.integers(0, len(raw), 250):
        changed = bytearray(raw)
        changed[at] ^= 1 << int(rng.integers(0, 8))
        try:
            load(bytes(changed))
        except LoadError as e:
            errors += 1
            assert str(e).startswith("weights.pth: ")
    assert errors > 20
