from collections.abc import Callable

from .activations import LENGTHS, curve
from .case import Input, OpCase, Sample, bools, given, ints, normal, uniform


def between(low: float, high: float) -> Callable[..., Input]:
    return lambda *shape: uniform(*shape, low=low, high=high)


def pair(path: str, left=normal, right=normal, **options) -> OpCase:
    """A row for a function of two tensors: the same shapes, every way of broadcasting, numbers."""
    samples = [Sample(left(*n), right(*n)) for n in LENGTHS]
    samples += [
        Sample(left(3, 5, 7), right(7)),
        Sample(left(5), right(3, 1)),
        Sample(left(2, 3, 4, 5), right(1, 3, 1, 1)),
        Sample(left(2, 3, 1, 5), right(3, 4, 1)),
        Sample(left(2, 3), right()),
        Sample(left(), right(17)),
        Sample(left(0, 3), right(1, 3)),
        Sample(left(4, 33), 1.5),
    ]
    options.setdefault("large", Sample(left(70, 1031), right(1031)))
    return OpCase(path, samples, sums=True, **options)


def step(path: str) -> OpCase:
    return curve(path, mostly_zero="" if path != "sw.trunc" else "numbers below 1", exact=True)


def compare(path: str) -> OpCase:
    few = lambda *shape: Input(lambda rng: rng.integers(-1, 2, shape).astype(float), False)  # noqa: E731
    samples = [Sample(few(*n), few(*n)) for n in LENGTHS]
    samples += [Sample(few(3, 5), few(5)), Sample(few(4, 1), few(3)), Sample(few(33), 0.0), Sample(few(), few())]
    return OpCase(
        path,
        samples,
        gradient=False,
        mostly_zero="true for one pair in three" if path in ("sw.eq", "sw.lt", "sw.gt") else "",
    )


CASES = [
    curve("sw.neg", exact=True),
    curve("sw.exp", make=between(-5.0, 3.0)),
    curve("sw.exp2", make=between(-5.0, 3.0)),
    curve("sw.expm1", make=between(-2.0, 2.0)),
    curve("sw.log", make=between(0.01, 20.0), large=Sample(uniform(70, 1031))),
    curve("sw.log2", make=between(0.01, 20.0), large=Sample(uniform(70, 1031))),
    curve("sw.log10", make=between(0.01, 20.0), large=Sample(uniform(70, 1031))),
    curve("sw.log1p", make=between(-0.9, 5.0), large=Sample(uniform(70, 1031))),
    curve("sw.sqrt", make=between(0.1, 9.0), large=Sample(uniform(70, 1031))),
    curve("sw.rsqrt", make=between(0.1, 9.0), large=Sample(uniform(70, 1031))),
    curve("sw.square", exact=True),
    curve("sw.reciprocal", make=between(0.2, 4.0)),
    curve("sw.abs", exact=True),
    curve("sw.sin", make=between(-9.0, 9.0)),
    curve("sw.cos", make=between(-9.0, 9.0)),
    curve("sw.tan", make=between(-1.2, 1.2)),
    curve("sw.asin", make=between(-0.9, 0.9), large=None),
    curve("sw.acos", make=between(-0.9, 0.9), large=None),
    curve("sw.atan", make=between(-4.0, 4.0)),
    curve("sw.sinh", make=between(-3.0, 3.0)),
    curve("sw.cosh", make=between(-3.0, 3.0)),
    curve("sw.erf"),
    step("sw.floor"),
    step("sw.ceil"),
    step("sw.trunc"),
    step("sw.round"),
    step("sw.sign"),
    curve("sw.sigmoid"),
    curve("sw.tanh"),
    pair("sw.add", exact=True),
    pair("sw.sub", exact=True),
    pair("sw.mul", exact=True),
    pair("sw.div", right=uniform),
    pair("sw.pow", left=uniform),
    OpCase(
        "sw.pow",
        [Sample(normal(33), p) for p in (2, 3, 1, 0, 2.0)] + [Sample(uniform(17), p) for p in (0.5, -1, -0.5, 1.5)],
        name="pow_number",
    ),
    OpCase("sw.pow", [Sample(given(2.0), uniform(9)), Sample(1.5, uniform(3, 5))], name="pow_of_number"),
    pair("sw.remainder", right=uniform, mostly_zero=""),
    pair("sw.maximum", exact=True),
    pair("sw.minimum", exact=True),
    pair("sw.atan2", right=uniform),
    OpCase("sw.add", [Sample(normal(3, 5), normal(5), alpha=2)], name="add_alpha", exact=True),
    OpCase("sw.sub", [Sample(normal(3, 5), normal(5), alpha=2)], name="sub_alpha", exact=True),
    OpCase("sw.lerp", [Sample(normal(3, 33), normal(3, 33), 0.25), Sample(normal(0), normal(0), 0.5)]),
    OpCase(
        "sw.where",
        [
            *[Sample(bools(*n), normal(*n), normal(*n)) for n in LENGTHS],
            Sample(bools(3, 1), normal(5), normal(3, 5)),
            Sample(bools(2, 3, 4), normal(1, 3, 1), normal()),
            Sample(bools(7), normal(7), 2.0),
        ],
        large=Sample(bools(70, 1031), normal(70, 1031), normal(1031)),
        sums=True,
        exact=True,
    ),
    OpCase(
        "sw.clamp",
        [
            *[Sample(normal(*n), -0.5, 0.75) for n in LENGTHS],
            Sample(normal(3, 5), min=-0.5),
            Sample(normal(3, 5), max=0.5),
        ],
        large=Sample(normal(70, 1031), -0.5, 0.5),
    ),
    *[compare(f"sw.{name}") for name in ("eq", "ne", "lt", "le", "gt", "ge")],
    OpCase(
        "sw.logical_and",
        [Sample(bools(3, 5), bools(5)), Sample(bools(33), bools(33))],
        gradient=False,
        mostly_zero="one in four",
    ),
    OpCase("sw.logical_or", [Sample(bools(3, 5), bools(5)), Sample(bools(33), bools(33))], gradient=False),
    OpCase("sw.logical_not", [Sample(bools(3, 5)), Sample(bools(33)), Sample(ints(9, high=2))], gradient=False),
    *[
        OpCase(
            f"sw.{name}",
            [Sample(given([1.0, float("nan"), float("inf"), -float("inf"), 0.0], grad=False))],
            gradient=False,
            mostly_zero="" if name == "isfinite" else "few are not finite",
        )
        for name in ("isnan", "isinf", "isfinite")
    ],
]
