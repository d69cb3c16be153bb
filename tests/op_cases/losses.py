import numpy as np

from .case import Input, OpCase, Sample, given, ints, normal, uniform

REDUCTIONS = ("mean", "sum", "none")


def ignoring(*shape: int, classes: int) -> Input:
    """Class numbers, of which about a third is -100."""
    return Input(lambda rng: np.where(rng.random(shape) < 0.3, -100, rng.integers(0, classes, shape)), False)


def probabilities(*shape: int, dim: int = 1) -> Input:
    def make(rng: np.random.Generator) -> np.ndarray:
        p = rng.uniform(0.1, 1.0, shape)
        return p / p.sum(axis=dim, keepdims=True)

    return Input(make, False)


def distance(path: str, *args: object, **options) -> OpCase:
    """A row for a loss of the difference of two tensors."""
    samples = [Sample(normal(*s), normal(*s), *args) for s in ((1,), (7,), (33,), (3, 5), (2, 3, 4, 5), (17, 31))]
    samples += [Sample(normal(3, 17), normal(3, 17), *args, reduction=r) for r in ("sum", "none")]
    samples += [Sample(normal(0, 3), normal(0, 3), *args, reduction=r) for r in ("sum", "none")]
    return OpCase(path, samples, large=Sample(normal(70, 1031), normal(70, 1031), *args), sums=True, **options)


CASES = [
    distance("F.mse_loss"),
    distance("F.l1_loss"),
    distance("F.smooth_l1_loss"),
    distance("F.huber_loss"),
    OpCase(
        "F.smooth_l1_loss",
        [Sample(normal(33), normal(33), beta=b) for b in (0.0, 0.3, 2.0)],
        name="smooth_l1_beta",
        sums=True,
    ),
    OpCase(
        "F.huber_loss", [Sample(normal(33), normal(33), delta=d) for d in (0.3, 2.0)], name="huber_delta", sums=True
    ),
    OpCase(
        "F.nll_loss",
        [
            *[Sample(normal(7, 5), ints(7, high=5), reduction=r) for r in REDUCTIONS],
            Sample(normal(7, 5), ints(7, high=5), uniform(5, grad=False)),
            Sample(normal(33, 5), ignoring(33, classes=5)),
            Sample(normal(33, 5), ignoring(33, classes=5), uniform(5, grad=False), reduction="none"),
            Sample(normal(2, 5, 3, 4), ints(2, 3, 4, high=5)),
            Sample(normal(5), ints(high=5)),
            Sample(normal(0, 5), ints(0, high=5), reduction="sum"),
        ],
        large=Sample(normal(3000, 31), ints(3000, high=31)),
        sums=True,
        mostly_zero="one class in the gradient",
    ),
    OpCase(
        "F.cross_entropy",
        [
            *[Sample(normal(7, 5), ints(7, high=5), reduction=r) for r in REDUCTIONS],
            Sample(normal(1, 1), ints(1, high=1)),
            Sample(normal(3, 33), ints(3, high=33)),
            Sample(normal(2, 1000), ints(2, high=1000)),
            Sample(normal(7, 5), ints(7, high=5), uniform(5, grad=False)),
            Sample(normal(33, 5), ignoring(33, classes=5)),
            Sample(normal(33, 5), ignoring(33, classes=5), uniform(5, grad=False), label_smoothing=0.1),
            *[Sample(normal(33, 5), ignoring(33, classes=5), label_smoothing=0.1, reduction=r) for r in REDUCTIONS],
            Sample(normal(33, 10), ints(33), label_smoothing=0.1, ignore_index=3),
            Sample(normal(2, 5, 3, 4), ints(2, 3, 4, high=5), label_smoothing=0.2),
            Sample(normal(2, 5, 9), ints(2, 9, high=5), uniform(5, grad=False)),
            *[Sample(normal(7, 5), probabilities(7, 5), reduction=r) for r in REDUCTIONS],
            Sample(normal(7, 5), probabilities(7, 5), uniform(5, grad=False), label_smoothing=0.1),
            Sample(normal(2, 5, 3), probabilities(2, 5, 3)),
            Sample(normal(5), ints(high=5)),
            Sample(normal(4, 6, mean=1000.0), ints(4, high=6)),
            Sample(normal(0, 5), ints(0, high=5), reduction="sum"),
            Sample(normal(0, 5), ints(0, high=5), reduction="none"),
            Sample(given([[200.0, -200.0, 0.0], [0.0, 1000.0, -1000.0]]), ints(2, high=3)),
        ],
        large=Sample(normal(3000, 31), ints(3000, high=31), label_smoothing=0.1),
        sums=True,
    ),
    OpCase(
        "F.binary_cross_entropy_with_logits",
        [
            *[Sample(normal(3, 7), uniform(3, 7, low=0.0, high=1.0, grad=False), reduction=r) for r in REDUCTIONS],
            Sample(normal(33, std=20.0), uniform(33, low=0.0, high=1.0, grad=False)),
            Sample(normal(3, 5), uniform(3, 5, low=0.0, high=1.0, grad=False), uniform(3, 5, grad=False)),
            Sample(normal(3, 5), uniform(3, 5, low=0.0, high=1.0, grad=False), pos_weight=uniform(5, grad=False)),
            Sample(normal(0, 5), uniform(0, 5, grad=False), reduction="sum"),
            Sample(given([1000.0, -1000.0, 50.0]), given([1.0, 0.0, 0.5], grad=False)),
        ],
        large=Sample(normal(70, 1031), uniform(70, 1031, low=0.0, high=1.0, grad=False)),
        sums=True,
    ),
    OpCase(
        "F.binary_cross_entropy",
        [
            *[
                Sample(uniform(3, 7, low=0.05, high=0.95), uniform(3, 7, low=0.0, high=1.0, grad=False), reduction=r)
                for r in REDUCTIONS
            ],
            Sample(
                uniform(3, 5, low=0.1, high=0.9),
                uniform(3, 5, low=0.0, high=1.0, grad=False),
                uniform(3, 5, grad=False),
            ),
        ],
        sums=True,
    ),
    OpCase(
        "F.kl_div",
        [
            *[
                Sample(normal(3, 7), uniform(3, 7, low=0.1, high=1.0, grad=False), reduction=r)
                for r in ("sum", "none", "batchmean")
            ],
            Sample(normal(3, 7), normal(3, 7, grad=False), reduction="batchmean", log_target=True),
        ],
        sums=True,
    ),
]
