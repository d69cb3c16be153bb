"""Weights that are kept packed between calls: never stale."""

import gc

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
from skipway import nn

pytestmark = pytest.mark.usefixtures("restore")

SHAPES = [((1, 64, 8, 8), (64, 64, 3, 3), 1), ((1, 24, 9, 9), (40, 24, 3, 3), 1), ((2, 64, 7, 7), (33, 64, 1, 1), 0),
          ((1, 32, 9, 9), (64, 8, 3, 3), 1)]  # fmt: skip


def sample(shape):
    x_shape, w_shape, padding = shape
    rng = np.random.default_rng(0)
    x, w = (sw.from_numpy(rng.standard_normal(s).astype(np.float32)).clone() for s in (x_shape, w_shape))
    return x, w, dict(padding=padding, groups=x_shape[1] // w_shape[1])


def close(a, b):
    return float((a - b).abs().max()) <= 1e-4 * float(b.abs().max())


def changes():
    """Every way in which a weight may come to hold something else, each from the tensor to what computes with it."""

    def in_place(w):
        w.mul_(2)
        return w

    def through_a_view(w):
        w[0] += 1
        return w

    def through_numpy(w):
        w.numpy()[:] *= 3
        return w

    def through_dlpack(w):
        np.from_dlpack(w)[:1] = 7
        return w

    def by_an_optimizer(w):
        p = nn.Parameter(w)
        p.grad = sw.ones_like(p)
        sw.optim.SGD([p], lr=1.0).step()
        return w

    def by_loading(w):
        layer = nn.Conv2d(w.shape[1], w.shape[0], w.shape[2], bias=False)
        layer.weight = nn.Parameter(w)
        layer.load_state_dict({"weight": w + 1})
        return layer.weight.detach()

    return [in_place, through_a_view, through_numpy, through_dlpack, by_an_optimizer, by_loading]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_changes_are_seen(isa, shape):
    for change in changes():
        x, w, kw = sample(shape)
        with sw.no_grad():
            first, second = F.conv2d(x, w, **kw), F.conv2d(x, w, **kw)
            np.testing.assert_array_equal(first.numpy(), second.numpy())
        w = change(w)
        with sw.no_grad():
            changed = F.conv2d(x, w, **kw)
        assert not close(first, changed), change.__name__
        assert close(changed, F.conv2d(x, w.clone(), **kw)), change.__name__


def test_an_array_exported_before_the_first_use_is_seen():
    x, w, kw = sample(SHAPES[0])
    array = w.numpy()
    with sw.no_grad():
        first = F.conv2d(x, w, **kw)
        array *= 2
        assert close(F.conv2d(x, w, **kw), 2 * first)


def test_memory_of_numpy_is_seen():
    x, w, kw = sample(SHAPES[0])
    array = w.numpy().copy()
    w = sw.from_numpy(array)
    with sw.no_grad():
        first = F.conv2d(x, w, **kw)
        array *= 2
        assert close(F.conv2d(x, w, **kw), 2 * first)


def test_new_weights_at_an_old_address_are_new():
    x, w, kw = sample(SHAPES[0])
    with sw.no_grad():
        for scale in range(1, 6):
            other = w * scale
            assert close(F.conv2d(x, other, **kw), scale * F.conv2d(x, w.clone(), **kw))
            del other
            gc.collect()


def test_each_algorithm_isa_and_batch_has_its_own():
    _, w, kw = sample(SHAPES[0])
    with sw.no_grad():
        for batch in (1, 5, 1, 3, 8, 5):
            x = sw.ones((batch, 64, 8, 8))
            for algorithm in ("direct", "winograd", "auto"):
                sw.backends.cpu.set_conv_algorithm(algorithm)
                for isa in {"baseline", sw._core.best_isa()}:
                    sw._core.set_isa(isa)
                    assert close(F.conv2d(x, w, **kw)[-1:], F.conv2d(x[:1], w.clone(), **kw))


def test_threads_may_share_a_weight():
    from concurrent.futures import ThreadPoolExecutor

    x, w, kw = sample(SHAPES[0])

    def run(_):
        with sw.no_grad():
            return F.conv2d(x, w, **kw).numpy()

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(run, range(32)))
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)
