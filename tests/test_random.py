"""Random numbers: the generator's published vectors, the distributions, and the same bits everywhere."""

import copy
import pickle

import numpy as np
import pytest
from conftest import available_isas
from skipway import _core

pytestmark = pytest.mark.usefixtures("restore")


def every_way(make):
    """make() on every instruction set and thread count that this machine can run; asserts equal bits."""
    results = []
    for isa in available_isas():
        for threads in (1, 2, 5):
            _core.set_isa(isa)
            _core.set_num_threads(threads)
            results.append(make())
    for other in results[1:]:
        assert results[0].tobytes() == other.tobytes()
    return results[0]


def philox4x32(key, counter):
    """Philox4x32-10 in Python integers: key of 2 words, counter of 4."""
    k, c = list(key), list(counter)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


# The known-answer vectors that Random123 publishes for philox4x32 with 10 rounds: counter, key, output.
KNOWN_ANSWERS = [
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize("counter, key, expected", KNOWN_ANSWERS)
def test_philox_known_answers(counter, key, expected):
    assert philox4x32(key, counter) == expected
    words = _core._philox4x32_10(key[0] | key[1] << 32, counter[0] | counter[1] << 32, counter[2] | counter[3] << 32)
    assert words == expected


def test_uniform_bits_follow_the_documented_layout():
    seed, offset, n = 0x123456789ABCDEF0, 3, 150
    _core.manual_seed(seed)
    for _ in range(offset):
        _core.rand(1)
    got = every_way(lambda: _core.rand(n, generator=_core.Generator().manual_seed(seed)).numpy())
    key = [seed & 0xFFFFFFFF, seed >> 32]
    for e in range(n):
        word = philox4x32(key, [e // 64 * 16 + e % 16, 0, 0, 0])[e // 16 % 4]
        assert got[e] == (word >> 8) * 2.0**-24
    later = _core.rand(1).numpy()  # the op of offset 3
    assert later[0] == (philox4x32(key, [0, 0, offset, 0])[0] >> 8) * 2.0**-24
    wide = _core.rand(70, dtype=_core.float64, generator=_core.Generator().manual_seed(seed)).numpy()
    for e in range(70):
        words = philox4x32(key, [e // 32 * 16 + e % 16, 0, 0, 0])
        half = 2 * (e // 16 % 2)
        assert wide[e] == ((words[half] << 32 | words[half + 1]) >> 11) * 2.0**-53


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("n", [0, 1, 7, 63, 64, 65, 100_003])
def test_fills_have_the_same_bits_everywhere(dtype, n):
    def fill(change):
        def run():
            x = _core.empty((n,), dtype=getattr(_core, dtype))
            change(x, _core.Generator().manual_seed(7))
            return x.numpy().copy()

        return every_way(run)

    u = fill(lambda x, g: x.uniform_(-1.0, 3.0, generator=g)).astype(np.float64)
    assert np.all((u >= -1) & (u < 3))
    fill(lambda x, g: x.normal_(2.0, 5.0, generator=g))
    assert np.all(fill(lambda x, g: x.exponential_(2.0, generator=g)).astype(np.float64) >= 0)
    assert set(np.unique(fill(lambda x, g: x.bernoulli_(0.25, generator=g)).astype(float))) <= {0.0, 1.0}
    t = fill(lambda x, g: _core.trunc_normal_(x, 0.5, 2.0, -1.0, 0.75, generator=g)).astype(np.float64)
    assert np.all((t >= -1) & (t <= 0.75))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_distributions(dtype):
    scipy_stats = pytest.importorskip("scipy.stats")
    d, n = getattr(_core, dtype), 200_000
    g = _core.Generator().manual_seed(11)

    def p_value(x, cdf):
        return scipy_stats.kstest(x.numpy().astype(np.float64), cdf).pvalue

    assert p_value(_core.rand(n, dtype=d, generator=g), "uniform") > 1e-3
    assert p_value(_core.randn(n, dtype=d, generator=g), "norm") > 1e-3
    assert p_value(_core.empty((n,), dtype=d).exponential_(4.0, generator=g), scipy_stats.expon(scale=0.25).cdf) > 1e-3
    windows = [(-2, 2), (-1, 1), (0.5, 0.9), (3, np.inf), (-np.inf, -4), (-1, 5), (-5, 1), (6, 6.1), (30, 31)]
    for low, high in windows:
        x = _core.empty((n // 4,), dtype=d)
        _core.trunc_normal_(x, 0.0, 1.0, float(low), float(high), generator=g)
        values = x.numpy()
        assert values.min() >= np.dtype(dtype).type(low) and values.max() <= np.dtype(dtype).type(high)
        assert p_value(x, scipy_stats.truncnorm(low, high).cdf) > 1e-3, (low, high)


def test_normals_agree_with_box_muller_in_float64():
    seed, n = 5, 64
    got = _core.randn(n, dtype=_core.float64, generator=_core.Generator().manual_seed(seed)).numpy()
    got32 = _core.randn(n, generator=_core.Generator().manual_seed(seed)).numpy()
    for e in range(0, n, 32):
        for j in range(16):
            w = philox4x32([seed, 0], [e // 32 * 16 + j, 0, 0, 0])
            u1 = (w[0] << 32 | w[1]) / 2.0**64
            angle = 2 * np.pi * ((w[2] << 32 | w[3]) / 2.0**64)
            r = np.sqrt(-2 * np.log(u1))
            np.testing.assert_allclose(got[[e + j, e + j + 16]], [r * np.cos(angle), r * np.sin(angle)], rtol=1e-13)
    for j in range(16):
        w = philox4x32([seed, 0], [j, 0, 0, 0])
        for k in (0, 2):
            r, angle = np.sqrt(-2 * np.log((w[k] + 0.5) / 2.0**32)), 2 * np.pi * w[k + 1] / 2.0**32
            pair = got32[[16 * k + j, 16 * k + j + 16]]
            np.testing.assert_allclose(pair, [r * np.cos(angle), r * np.sin(angle)], rtol=2e-6, atol=1e-7)


def test_values_belong_to_logical_elements():
    def fill(x):
        return x.normal_(generator=_core.Generator().manual_seed(1)).numpy()

    plain = fill(_core.empty((2, 3, 4, 5)))
    channels_last = fill(_core.from_numpy(np.zeros((2, 4, 5, 3), np.float32).transpose(0, 3, 1, 2)))
    sliced = fill(_core.from_numpy(np.zeros((2, 3, 4, 10), np.float32)[..., ::2]))
    np.testing.assert_array_equal(plain, channels_last)
    np.testing.assert_array_equal(plain, sliced)
    longer = _core.randn(500, generator=_core.Generator().manual_seed(1)).numpy()
    np.testing.assert_array_equal(longer[:120], plain.ravel())


def test_float32_uniform_stays_below_its_upper_end():
    x = _core.empty((200_000,))
    x.uniform_(1e6, 1e6 + 0.25, generator=_core.Generator().manual_seed(0))
    assert x.numpy().max() < np.float32(1e6 + 0.25)
    b = _core.empty((100_000,), dtype=_core.bfloat16)
    b.uniform_(generator=_core.Generator().manual_seed(0))
    assert 0.99 < b.numpy().astype(np.float32).max() < 1


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "float32"])
def test_randint(dtype):
    x = every_way(
        lambda: _core.randint(
            3, 9, (100_000,), dtype=getattr(_core, dtype), generator=_core.Generator().manual_seed(2)
        ).numpy()
    )
    counts = np.bincount(x.astype(np.int64), minlength=9)
    assert counts[:3].sum() == 0 and len(counts) == 9
    assert np.abs(counts[3:] - 100_000 / 6).max() < 600
    assert str(x.dtype) == dtype


def test_random_spans_the_dtype():
    g = _core.Generator().manual_seed(4)
    assert _core.empty((4000,), dtype=_core.bool).random_(generator=g).numpy().mean() == pytest.approx(0.5, abs=0.05)
    assert len(np.unique(_core.empty((20_000,), dtype=_core.uint8).random_(generator=g).numpy())) == 256
    wide = _core.empty((1000,), dtype=_core.int64).random_(generator=g).numpy()
    assert wide.min() >= 0 and wide.max() > 2**62
    full = _core.empty((1000,), dtype=_core.int64).random_(-(2**63), 2**63 - 1, generator=g).numpy()
    assert full.min() < -(2**61) and full.max() > 2**61
    assert _core.randint(10, (3, 4), generator=g).shape == (3, 4)
    assert _core.randint(low=5, high=6, size=(2,), generator=g).tolist() == [5, 5]
    assert _core.randint_like(_core.empty((7,)), 5, generator=g).dtype is _core.float32


def test_randperm_is_a_permutation_and_uniform():
    p = _core.randperm(10_000, generator=_core.Generator().manual_seed(3)).numpy()
    assert np.array_equal(np.sort(p), np.arange(10_000)) and not np.array_equal(p, np.arange(10_000))
    assert _core.randperm(0).numpy().shape == (0,) and _core.randperm(1).tolist() == [0]
    g = _core.Generator().manual_seed(1)
    counts = {}
    for _ in range(6000):
        key = tuple(_core.randperm(3, generator=g).tolist())
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 6 and max(abs(v - 1000) for v in counts.values()) < 130


def test_bernoulli():
    g = _core.Generator().manual_seed(3)
    p = _core.from_numpy(np.array([0.0, 1.0, 0.5], np.float32))
    draws = np.stack([_core.bernoulli(p, generator=g).numpy() for _ in range(2000)])
    assert np.all(draws[:, 0] == 0) and np.all(draws[:, 1] == 1) and draws[:, 2].mean() == pytest.approx(0.5, abs=0.05)
    assert np.all(_core.empty((500,)).bernoulli_(1.0).numpy() == 1)
    assert np.all(_core.empty((500,)).bernoulli_(0.0).numpy() == 0)
    with pytest.raises(ValueError, match=r"bernoulli_: expected probabilities in \[0, 1\], got 1.5"):
        _core.bernoulli(_core.from_numpy(np.array([1.5], np.float32)))
    with pytest.raises(ValueError, match="bernoulli_: expected a probability"):
        _core.empty((3,)).bernoulli_(-0.5)


def test_multinomial():
    g = _core.Generator().manual_seed(9)
    w = _core.from_numpy(np.array([[0, 1, 3, 0, 6], [5, 0, 0, 5, 0]], np.float32))
    x = _core.multinomial(w, 20_000, replacement=True, generator=g).numpy()
    freq = np.stack([np.bincount(row, minlength=5) / 20_000 for row in x])
    np.testing.assert_allclose(freq, [[0, 0.1, 0.3, 0, 0.6], [0.5, 0, 0, 0.5, 0]], atol=0.015)
    assert freq[0, 0] == freq[0, 3] == freq[1, 1] == 0
    first = np.array([_core.multinomial(w, 2, generator=g).numpy() for _ in range(4000)])
    assert np.all(first[:, :, 0] != first[:, :, 1])
    np.testing.assert_allclose(np.bincount(first[:, 0, 0], minlength=5) / 4000, [0, 0.1, 0.3, 0, 0.6], atol=0.035)
    assert set(first[:, 1].ravel()) == {0, 3}
    one = _core.multinomial(_core.from_numpy(np.array([0.0, 2.0])), 1)
    assert one.shape == (1,) and one.tolist() == [1] and one.dtype is _core.int64
    with pytest.raises(ValueError, match="cannot draw 3 samples without replacement from 2"):
        _core.multinomial(_core.from_numpy(np.array([1.0, 2.0, 0.0])), 3)
    with pytest.raises(ValueError, match="weights >= 0, got -1"):
        _core.multinomial(_core.from_numpy(np.array([1.0, -1.0])), 1)
    with pytest.raises(ValueError, match="sum to 0"):
        _core.multinomial(_core.from_numpy(np.zeros(3)), 1, True)


def test_normal_of_tensors_and_sizes():
    mean = _core.from_numpy(np.array([0.0, 100.0, -100.0], np.float32))
    x = _core.normal(mean, _core.from_numpy(np.array([[0.0], [1.0]], np.float32)))
    assert x.shape == (2, 3) and x.tolist()[0] == [0.0, 100.0, -100.0]
    assert abs(x.numpy()[1] - [0, 100, -100]).max() < 7
    assert _core.normal(1.0, 0.0, (2, 2)).tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert _core.normal(mean, 2.0).shape == (3,)
    with pytest.raises(ValueError, match="std >= 0, got -1"):
        _core.empty((3,)).normal_(0.0, -1.0)


def test_generator_state():
    g = _core.Generator()
    assert g.manual_seed(2**64 - 1) is g and g.initial_seed() == 2**64 - 1
    assert g.manual_seed(-1).initial_seed() == 2**64 - 1
    g.manual_seed(42)
    _core.rand(5, generator=g)
    state = g.get_state()
    assert state.dtype is _core.uint8 and state.shape == (16,)
    a = _core.randn(100, generator=g).tolist()
    other = _core.Generator()
    other.set_state(state)
    assert _core.randn(100, generator=other).tolist() == a
    assert _core.randn(100, generator=g).tolist() != a
    with pytest.raises(TypeError, match="uint8"):
        g.set_state(_core.rand(16))
    with pytest.raises(ValueError, match=r"\(16,\)"):
        g.set_state(_core.empty((3,), dtype=_core.uint8))
    with pytest.raises(ValueError, match="2\\*\\*64"):
        g.manual_seed(2**64)
    with pytest.raises(TypeError, match="manual_seed: expected an integer"):
        g.manual_seed("7")
    assert g.manual_seed(np.int64(5)).initial_seed() == 5
    assert g.seed() == g.initial_seed()
    for copied in (copy.deepcopy(g), copy.copy(g), pickle.loads(pickle.dumps(g))):
        assert _core.rand(3, generator=copied).tolist() == _core.rand(3, generator=copy.copy(g)).tolist()
    assert _core.Generator().initial_seed() != _core.Generator().initial_seed()


def test_default_generator():
    assert _core.manual_seed(7) is _core.default_generator and _core.initial_seed() == 7
    a = _core.rand(3).tolist()
    state = _core.get_rng_state()
    b = _core.rand(3).tolist()
    _core.set_rng_state(state)
    assert _core.rand(3).tolist() == b != a
    _core.manual_seed(7)
    assert _core.rand(3).tolist() == a


def test_creation_arguments():
    assert _core.rand(2, 3).shape == _core.rand((2, 3)).shape == _core.rand(size=(2, 3)).shape == (2, 3)
    assert _core.randn(2, dtype=_core.float64, requires_grad=True, device="cpu").requires_grad
    assert _core.rand_like(_core.empty((2, 5), dtype=_core.bfloat16)).dtype is _core.bfloat16
    assert _core.randn_like(_core.empty((2, 5)), dtype=_core.float64).dtype is _core.float64
    out = _core.empty((3,))
    assert _core.rand(3, out=out) is out
    with pytest.raises(ValueError, match="sizes >= 0"):
        _core.rand(-1)
    with pytest.raises(TypeError, match="floating"):
        _core.rand(3, dtype=_core.int64)
    with pytest.raises(ValueError, match="low < high"):
        _core.randint(5, 5, (3,))
    with pytest.raises(TypeError, match="randint: expected an integer as high, got 2.5"):
        _core.randint(0, 2.5, (3,))
    with pytest.raises(ValueError, match="do not fit uint8"):
        _core.randint(0, 300, (3,), dtype=_core.uint8)
    with pytest.raises(ValueError, match="from <= to"):
        _core.empty((3,)).uniform_(1.0, 0.0)
    with pytest.raises(RuntimeError, match="uniform_"):
        _core.empty((3,)).requires_grad_().uniform_()
