import numpy as np
import skipway as sw
import skipway.nn.functional as F
from skipway.testing import reference

from .case import OpCase, Sample, normal, uniform


def _batch(
    shape: tuple[int, ...], condition: float = 1.0, affine: bool = True, std: float = 1.0, mean: float = 0.0, **options
) -> Sample:
    c = shape[1]
    weight, bias = (uniform(c), normal(c)) if affine else (None, None)
    return Sample(normal(*shape, mean=mean, std=std), None, None, weight, bias, True, condition=condition, **options)


def _running(shape: tuple[int, ...], **options) -> Sample:
    c = shape[1]
    statistics = (normal(c, grad=False), uniform(c, grad=False))
    return Sample(normal(*shape), *statistics, uniform(c), normal(c), False, **options)


def _masked(op: str, p: float):
    """The op with a fixed seed, and the reference with the mask that this seed gives, read off the result for ones."""

    def call(x):
        sw.manual_seed(7)
        return getattr(F, op)(x, p, True)

    def keep(x: np.ndarray) -> np.ndarray:
        ones = call(sw.ones(x.shape, dtype=sw.float64)).numpy()
        return np.isclose(ones, ones.max()) if op == "alpha_dropout" else ones != 0

    base = "alpha_dropout" if op == "alpha_dropout" else "dropout"
    forward, backward = getattr(reference, base), getattr(reference, base + "_backward")
    return dict(
        name=f"{op}_{p}",
        call=call,
        forward=lambda x: forward(x, keep(x), p),
        backward=lambda dy, x: backward(dy, x, keep(x), p),
    )


# Activations beside relu that the fused ops may name.
FUSED = ("relu6", "leaky_relu", "gelu", "silu", "mish", "hardswish")

CASES = [
    OpCase(
        "F.batch_norm",
        [
            _batch((7, 3)),
            _batch((33, 5)),
            _batch((2, 3, 9)),
            _batch((4, 3, 5, 3)),
            _batch((2, 17, 4, 4)),
            _batch((2, 33, 3, 3)),
            _batch((2, 2, 3, 2, 3)),
            _batch((4, 3, 5, 3), affine=False),
            _batch((64, 4), mean=2000.0),
            _batch((8, 3, 2, 2), eps=0.1),
            _batch((2, 3, 4, 4), residual=normal(2, 3, 4, 4)),
            _batch((2, 3, 4, 4), activation="relu"),
            _batch((2, 17, 3, 3), residual=normal(2, 17, 3, 3), activation="relu"),
            _running((7, 3)),
            _running((2, 3, 4, 5)),
            _running((0, 3, 4, 5)),
            _running((2, 17, 3, 3), residual=normal(2, 17, 3, 3), activation="relu"),
        ],
        large=_batch((16, 16, 20, 20)),
        sums=True,
    ),
    OpCase(
        "F.layer_norm",
        [
            Sample(normal(2, 3, 33), (33,)),
            Sample(normal(7, 8), (8,), uniform(8), normal(8)),
            Sample(normal(3, 31), (31,), uniform(31), None),
            Sample(normal(0, 8), (8,), uniform(8), normal(8)),
            Sample(normal(64, 4, mean=2000.0), (4,)),
            Sample(normal(2, 3, 4), (3, 4), uniform(3, 4), normal(3, 4)),
            Sample(normal(2, 2, 1025), (1025,), uniform(1025), normal(1025)),
            Sample(normal(5, 6), (6,), eps=0.1),
        ],
        large=Sample(normal(300, 257), (257,), uniform(257), normal(257)),
        sums=True,
    ),
    OpCase(
        "F.group_norm",
        [
            Sample(normal(2, 4, 5), 2, uniform(4), normal(4)),
            Sample(normal(2, 6, 4, 3), 3, uniform(6), normal(6)),
            Sample(normal(2, 6, 4, 3), 1),
            Sample(normal(2, 4, 3, 3), 4, uniform(4), normal(4)),
            Sample(normal(3, 32, 2, 2), 8, uniform(32), normal(32)),
            Sample(normal(2, 4, 3, 2, 2), 2, uniform(4), normal(4)),
            Sample(normal(5, 8), 2),
            Sample(normal(0, 4, 3, 3), 2, uniform(4), normal(4)),
            Sample(normal(2, 4, 4, 4, mean=2000.0), 2),
        ],
        large=Sample(normal(8, 16, 22, 22), 4, uniform(16), normal(16)),
        sums=True,
    ),
    OpCase(
        "F.instance_norm",
        [
            Sample(normal(2, 3, 9)),
            Sample(normal(2, 3, 4, 5), weight=uniform(3), bias=normal(3)),
            Sample(normal(2, 17, 4, 4), weight=uniform(17), bias=normal(17)),
            Sample(normal(1, 2, 3, 2, 3)),
            Sample(normal(0, 3, 4, 5), weight=uniform(3), bias=normal(3)),
        ],
        large=Sample(normal(8, 16, 22, 22), weight=uniform(16), bias=normal(16)),
        sums=True,
    ),
    OpCase(
        "F.residual_add",
        [
            Sample(normal(33), normal(33)),
            Sample(normal(2, 3, 4, 5), normal(2, 3, 4, 5)),
            Sample(normal(2, 17, 3, 3), normal(2, 17, 3, 3), 0.5),
            Sample(normal(2, 17, 3, 3), normal(2, 17, 3, 3), 1.0, "relu"),
            Sample(normal(7, 9), normal(7, 9), -2.0, "relu"),
            Sample(normal(7, 9), normal(7, 9), 1.0, "relu6"),
            Sample(normal(0, 3), normal(0, 3), 1.0, "relu"),
        ],
        large=Sample(normal(8, 16, 24, 24), normal(8, 16, 24, 24), 0.5, "relu"),
        exact=True,
    ),
    OpCase(
        "F.batch_norm",
        [_batch((2, 5, 3, 3), residual=normal(2, 5, 3, 3), activation=name) for name in FUSED]
        + [_running((2, 5, 3, 3), activation=name) for name in FUSED],
        name="batch_norm_activations",
        sums=True,
    ),
    OpCase(
        "F.residual_add",
        [Sample(normal(2, 5, 3, 3), normal(2, 5, 3, 3), 0.5, name) for name in FUSED],
        name="residual_add_activations",
    ),
    *[
        OpCase(
            f"F.{op}",
            [Sample(normal(*shape)) for shape in shapes],
            large=Sample(normal(*large)),
            mostly_zero=zeros,
            **_masked(op, p),
        )
        for op, p, shapes, large, zeros in (
            ("dropout", 0.25, [(0,), (1,), (7,), (33,), (3, 4, 5), (2, 3, 4, 5)], (70, 1031), ""),
            ("dropout", 1.0, [(33,)], (7,), "everything is dropped"),
            ("dropout", 0.0, [(33,)], (7,), ""),
            ("dropout1d", 0.4, [(4, 5, 7), (0, 5, 7)], (40, 50, 33), ""),
            ("dropout2d", 0.4, [(4, 5, 3, 3), (2, 17, 2, 2)], (20, 30, 12, 11), ""),
            ("dropout3d", 0.4, [(4, 5, 2, 3, 2)], (10, 20, 5, 8, 9), ""),
            ("alpha_dropout", 0.3, [(33,), (3, 4, 5)], (70, 1031), ""),
        )
    ],
]
