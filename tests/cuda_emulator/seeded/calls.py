"""Small calls that reach the lines that the bugs change. As a program: runs some under some seeds, each with what
it reports and a digest of the bits that it gives, as JSON.

    SKIPWAY_CUDA_LIBRARY=... python calls.py 1,2,3 residual transpose
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import skipway as sw
import skipway.nn.functional as F

Call = Callable[[], "list[sw.Tensor]"]
CALLS: dict[str, Call] = {}


def call(function: Call) -> Call:
    CALLS[function.__name__] = function
    return function


def floats(*shape: int, seed: int = 0) -> sw.Tensor:
    return sw.tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32)).cuda()


def integers(values: list[int]) -> sw.Tensor:
    return sw.tensor(np.array(values)).cuda()


@call
def residual() -> list[sw.Tensor]:
    """Packs and a tail, in more than one block."""
    return [sw.residual_add(floats(2051), floats(2051, seed=1), activation="relu")]


@call
def residual_misaligned() -> list[sw.Tensor]:
    return [sw.residual_add(floats(258)[1:], floats(258, seed=1)[1:])]


@call
def residual_backward() -> list[sw.Tensor]:
    x, branch = floats(259).requires_grad_(), floats(259, seed=1)
    sw.residual_add(x, branch, scale=0.5, activation="relu").backward(floats(259, seed=2))
    return [x.grad]


@call
def residual_backward_of_one() -> list[sw.Tensor]:
    x = floats(259).requires_grad_()
    sw.residual_add(x, floats(259, seed=1), scale=0.5, activation="relu").backward(floats(259, seed=2))
    return [x.grad]


@call
def transpose() -> list[sw.Tensor]:
    """Tiles that are not full."""
    return [floats(45, 39).t().contiguous()]


@call
def transpose_many() -> list[sw.Tensor]:
    """More tiles than blocks."""
    return [floats(300, 290).t().contiguous()]


@call
def strided_copy() -> list[sw.Tensor]:
    return [floats(9, 11, 3)[:, ::2].contiguous()]


@call
def converted() -> list[sw.Tensor]:
    return [floats(777).double()]


@call
def sgd() -> list[sw.Tensor]:
    """A whole chunk, one that is not, tails, and tensors that are not aligned."""
    parameters = [floats(4099).requires_grad_(), floats(38)[1:].requires_grad_()]
    for p in parameters:
        p.grad = floats(*p.shape, seed=3)
    sw.optim.SGD(parameters, lr=0.1, momentum=0.9).step()
    return [p.detach() for p in parameters]


@call
def grad_norm() -> list[sw.Tensor]:
    """More chunks than blocks."""
    return [sw.nn.utils.get_total_norm([floats(5 + i % 3, seed=i) for i in range(70)])]


@call
def grad_norm_of_one() -> list[sw.Tensor]:
    return [sw.nn.utils.get_total_norm([floats(300)])]


@call
def product() -> list[sw.Tensor]:
    """Tiles that are not full, in three steps."""
    return [floats(70, 40) @ floats(40, 67, seed=1)]


@call
def product_of_integers() -> list[sw.Tensor]:
    return [integers(list(range(15))).reshape(5, 3) @ integers(list(range(12))).reshape(3, 4)]


def convolved(*shape: int, out: int, groups: int = 1) -> list[sw.Tensor]:
    x, w = floats(*shape).requires_grad_(), floats(out, shape[1] // groups, 3, 3, seed=1).requires_grad_()
    bias = floats(out, seed=2).requires_grad_()
    y = F.conv2d(x, w, bias, padding=1, groups=groups)
    y.backward(floats(*y.shape, seed=3))
    return [y.detach(), x.grad, w.grad, bias.grad]


@call
def convolution() -> list[sw.Tensor]:
    return convolved(2, 3, 9, 10, out=5)


@call
def convolution_forward() -> list[sw.Tensor]:
    return [F.conv2d(floats(1, 3, 6, 5), floats(4, 3, 3, 3, seed=1), padding=1)]


def halves(*shape: int, seed: int = 0) -> sw.Tensor:
    return floats(*shape, seed=seed).to(sw.bfloat16)


def convolved_halves(*shape: int, out: int) -> list[sw.Tensor]:
    x, w = halves(*shape).requires_grad_(), halves(out, shape[1], 3, 3, seed=1).requires_grad_()
    y = F.conv2d(x, w, padding=1)
    y.backward(halves(*y.shape, seed=3))
    return [t.float() for t in (y.detach(), x.grad, w.grad)]


@contextlib.contextmanager
def by_warpgroups() -> Iterator[None]:
    os.environ["SKIPWAY_CUDA_CONV"] = "warpgroups"
    try:
        yield
    finally:
        del os.environ["SKIPWAY_CUDA_CONV"]


@call
def convolution_by_warpgroups() -> list[sw.Tensor]:
    """Two chunks of channels; several rounds of the ring; strides that skip pixels; boxes that are not full."""
    w, image = halves(80, 72, 3, 3, seed=1), halves(1, 72, 9, 11)
    with by_warpgroups():
        return [F.conv2d(image, w, padding=1).float(), F.conv2d(image, w, padding=1, stride=2).float()]


@call
def convolution_in_tiles() -> list[sw.Tensor]:
    """Tiles that are not full; more steps than stages; two pieces."""
    return convolved_halves(1, 72, 20, 17, out=80)


@call
def convolution_in_halos() -> list[sw.Tensor]:
    """More tiles than blocks, several images in one."""
    return [F.conv2d(halves(65, 16, 8, 7), halves(16, 16, 3, 3, seed=1), padding=1).float()]


@call
def convolution_prologue() -> list[sw.Tensor]:
    x, w = halves(1, 72, 9, 9), halves(8, 72, 3, 3, seed=1)
    return [sw._core._conv2d_fused(x, w, padding=1, in_scale=floats(72), in_shift=floats(72))[0].float()]


@call
def convolution_of_a_norm() -> list[sw.Tensor]:
    """Whose weight gradient normalises what it loads."""
    x, w = halves(1, 72, 9, 9) + 3, halves(8, 72, 3, 3, seed=1).requires_grad_()
    y = F.conv2d(F.batch_norm(x, None, None, training=True), w, padding=1)
    return list(sw.autograd.grad(y, [w], halves(*y.shape, seed=3)))


def gradient_sums(shape: tuple[int, ...], out: int, stride: int) -> list[sw.Tensor]:
    """Of a norm and a convolution, whose data gradient sums what the norm's backward pass needs."""
    sw.backends.deferral.gradient_sums = True
    try:
        x, w = (halves(*shape) + 3).requires_grad_(), halves(out, shape[1], 3, 3, seed=1)
        gamma, beta = (halves(shape[1], seed=s).requires_grad_() for s in (4, 5))
        z = F.relu(F.batch_norm(x * 1, None, None, gamma, beta, training=True))
        y = F.conv2d(z, w, padding=1, stride=stride)
        return list(sw.autograd.grad(y, [x, gamma, beta], halves(*y.shape, seed=3)))
    finally:
        sw.backends.deferral.gradient_sums = False


@call
def gradient_sums_in_tiles() -> list[sw.Tensor]:
    """Four phases of two tiles each."""
    return gradient_sums((1, 72, 18, 17), 80, 2)


@call
def gradient_sums_by_warpgroups() -> list[sw.Tensor]:
    with by_warpgroups():
        return gradient_sums((1, 64, 9, 8), 72, 2)


@call
def gradient_sums_in_halos() -> list[sw.Tensor]:
    return gradient_sums((9, 16, 8, 7), 24, 1)


@call
def convolution_moments() -> list[sw.Tensor]:
    return list(sw._core._conv2d_fused(halves(1, 72, 9, 9), halves(8, 72, 3, 3, seed=1), padding=1, moments=True)[1:])


@call
def gather() -> list[sw.Tensor]:
    return [floats(13, 3)[:, integers([0, 2, 1])]]


@call
def gather_rows() -> list[sw.Tensor]:
    """Rows of 160 bytes, aligned and not, and of 132."""
    rows = integers([4, 0, 4])
    return [floats(5, 40)[rows], floats(5 * 40 + 1)[1:].reshape(5, 40)[rows], floats(5, 33)[rows]]


@call
def gather_beyond() -> list[sw.Tensor]:
    """Three indices out of range: one is reported when the host waits."""
    x = floats(13)
    try:
        x[integers([13, 14, 2, 15])].cpu()
    except IndexError:
        return [x]
    raise AssertionError("an index out of range was not reported")


@call
def scatter() -> list[sw.Tensor]:
    """Twice to one place."""
    x = floats(50)
    x[integers([3, 40, 3])] = floats(3, seed=1)
    return [x]


@call
def scatter_add() -> list[sw.Tensor]:
    return [floats(50).index_add(0, integers([3, 40, 3, 3]), floats(4, seed=1))]


@call
def relu() -> list[sw.Tensor]:
    return [F.relu(floats(3003))]


@call
def relu_misaligned() -> list[sw.Tensor]:
    return [F.relu(floats(258)[1:])]


@call
def dropout_channels_last() -> list[sw.Tensor]:
    sw.manual_seed(1)
    x = floats(2, 5, 7, 3).contiguous(memory_format=sw.channels_last)
    return [F.dropout(x, 0.4)]


@call
def dropout_rows() -> list[sw.Tensor]:
    sw.manual_seed(1)
    return [F.dropout2d(floats(2, 5, 3, 3), 0.4)]


@call
def running_sum() -> list[sw.Tensor]:
    return [floats(3, 70).cumsum(1)]


@call
def running_sum_in_chunks() -> list[sw.Tensor]:
    return [floats(2100).cumsum(0)]


@call
def running_product_grad() -> list[sw.Tensor]:
    x = floats(2, 50).requires_grad_()
    x.cumprod(1).backward(floats(2, 50, seed=1))
    return [x.grad]


@call
def softmax_of_columns() -> list[sw.Tensor]:
    return [F.softmax(floats(300, 5), 0)]


@call
def softmax_grad() -> list[sw.Tensor]:
    x = floats(9, 36).requires_grad_()
    F.softmax(x, 1).backward(floats(9, 36, seed=1))
    return [x.grad]


@call
def cross_entropy() -> list[sw.Tensor]:
    """More rows than one block has, and not a multiple of them."""
    return [F.cross_entropy(floats(301, 10), integers([i % 10 for i in range(301)]))]


@call
def cross_entropy_beyond() -> list[sw.Tensor]:
    x = floats(3, 10)
    try:
        F.cross_entropy(x, integers([1, 2000, 3])).cpu()
    except IndexError:
        return [x]
    raise AssertionError("a target out of range was not reported")


@call
def sorted_lines() -> list[sw.Tensor]:
    return list(floats(3, 37).sort(1))


@call
def batch_norm() -> list[sw.Tensor]:
    return [F.batch_norm(floats(2, 5, 9, 9), None, None, training=True)]


@call
def group_norm() -> list[sw.Tensor]:
    return [F.group_norm(floats(2, 12, 5, 5), 3)]


@call
def rms_norm() -> list[sw.Tensor]:
    """Rows of several warps, more of them than the blocks take at once."""
    return [F.rms_norm(floats(140, 600), (600,))]


@call
def layer_norm_of_a_long_row() -> list[sw.Tensor]:
    return [F.layer_norm(floats(1, 4100), (4100,))]


@call
def max_pool() -> list[sw.Tensor]:
    return [F.max_pool2d(floats(1, 3, 6, 6), 2)]


@call
def global_average() -> list[sw.Tensor]:
    return [F.adaptive_avg_pool2d(floats(1, 5, 9, 9), 1)]


@call
def dropout_in_a_graph() -> list[sw.Tensor]:
    """An eager call, a capture and its replays."""
    sw.manual_seed(1)
    step = sw.cuda.graph(lambda x: F.dropout(x, 0.5))
    return [step(floats(300)) for _ in range(4)]


def trained_in_a_graph(optimizer_of: Callable[..., sw.optim.Optimizer], scaled: bool) -> list[sw.Tensor]:
    """Four steps with falling learning rates, of which a scaler leaves the third out."""
    p, q = sw.nn.Parameter(floats(70)), sw.nn.Parameter(floats(9, seed=1))
    optimizer = optimizer_of([p, q], lr=0.1)
    scaler = sw.amp.GradScaler("cuda", enabled=scaled)

    def train(x: sw.Tensor) -> None:
        optimizer.zero_grad()
        scaler.scale((p * p).sum() * x + (q * q).sum()).backward()
        scaler.step(optimizer)
        scaler.update()

    step = sw.cuda.graph(train)
    for i in range(4):
        optimizer.param_groups[0]["lr"] = 0.1 / (i + 1)
        step(sw.tensor(float("inf") if scaled and i == 2 else 1.0).cuda())
    return [p.detach(), q.detach()]


@call
def sgd_in_a_graph() -> list[sw.Tensor]:
    return trained_in_a_graph(sw.optim.SGD, False)


@call
def scaled_adam_in_a_graph() -> list[sw.Tensor]:
    return trained_in_a_graph(sw.optim.AdamW, True)


def run(name: str) -> dict[str, str]:
    try:
        digest = hashlib.sha256()
        for result in CALLS[name]():
            digest.update(result.cpu().numpy().tobytes())
        return {"report": "", "digest": digest.hexdigest()}
    except Exception as error:
        forget_faults()
        return {"report": f"{type(error).__name__}: {error}", "digest": ""}


def forget_faults() -> None:
    """What a kernel raised before it failed is not the next call's."""
    with contextlib.suppress(Exception):
        sw.cuda.synchronize()


def main(seeds: str, *names: str) -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from cuda_emulator.control import Emulator

    emulator = Emulator(os.environ["SKIPWAY_CUDA_LIBRARY"])
    emulator.set_time_limit(30)
    results = {}
    for seed in seeds.split(","):
        emulator.set_seed(int(seed))
        results[seed] = {name: run(name) for name in names}
    print(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
