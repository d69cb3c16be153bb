from .case import OpCase, Sample, distinct, given, normal

# Around the widths of vectors (2 to 16 elements of float32 or float64), and with tails behind them.
LENGTHS = ((0,), (1,), (7,), (8,), (9,), (15,), (16,), (17,), (31,), (33,))
# Far out, where exp overflows or a formula loses its digits.
TAILS = given([-1000.0, -90.0, -40.0, -12.0, -8.5, -6.0, -1e-3, 1e-3, 6.5, 8.5, 12.0, 40.0, 90.0, 1000.0])


def curve(path: str, *args: object, name: str = "", make=normal, **options) -> OpCase:
    """A row for a function of one tensor, with further arguments `args`."""
    samples = [Sample(make(*shape, std=3.0) if make is normal else make(*shape), *args) for shape in LENGTHS]
    samples += [Sample(make(2, 3, 5), *args), Sample(make(2, 3, 4, 5), *args), Sample(make(), *args)]
    options.setdefault("large", Sample(normal(70, 1031), *args))
    extra = [Sample(TAILS, *args)] if make is normal else []
    return OpCase(path, samples + extra, name=name, **options)


CASES = [
    curve("F.relu", exact=True),
    curve("F.relu6", exact=True),
    curve("F.leaky_relu"),
    curve("F.leaky_relu", 0.25, name="leaky_relu_quarter", exact=True),
    curve("F.elu"),
    curve("F.elu", 0.5, name="elu_half"),
    curve("F.selu"),
    curve("F.celu"),
    curve("F.celu", 2.0, name="celu_2"),
    curve("F.gelu"),
    OpCase(  # x sigmoid(a): a is off by at most 4.2 eps / 2, sigmoid(a) by |a| times that, and |a| <= 20: 42 eps
        "F.gelu",
        [Sample(normal(*n, std=3.0), approximate="tanh", condition=10.5) for n in LENGTHS]
        + [Sample(TAILS, approximate="tanh", condition=10.5)],
        name="gelu_tanh",
    ),
    curve("F.sigmoid"),
    curve("F.tanh"),
    curve("F.softplus"),
    curve("F.softplus", 2.0, 5.0, name="softplus_beta"),
    curve("F.logsigmoid"),
    curve("F.silu"),
    curve("F.mish"),
    curve("F.hardtanh", exact=True),
    curve("F.hardtanh", -2.0, 0.5, name="hardtanh_bounds"),
    curve("F.hardsigmoid"),
    curve("F.hardswish"),
    curve("F.softsign"),
    curve("F.tanhshrink"),
    curve("F.softshrink"),
    curve("F.hardshrink"),
    curve("F.threshold", 0.1, 20.0, name="threshold"),
    OpCase(
        "F.prelu",
        [
            Sample(normal(7, 5), normal(5)),
            Sample(normal(2, 3, 33), normal(3)),
            Sample(normal(2, 17, 4, 3), normal(17)),
            Sample(normal(2, 3, 4, 3), normal(1)),
            Sample(normal(0, 3, 4), normal(3)),
            Sample(normal(31), normal(1)),
        ],
        large=Sample(normal(4, 8, 50, 50), normal(8)),
        sums=True,
        exact=True,
    ),
    OpCase(
        "F.maxout",
        [
            Sample(distinct(3, 4), 2),
            Sample(distinct(2, 6, 5), 3),
            Sample(distinct(2, 4, 3, 5), 2),
            Sample(distinct(3, 2, 8), 4, dim=2),
            Sample(distinct(0, 4), 2),
            Sample(distinct(5, 3), 1),
        ],
        large=Sample(normal(8, 16, 30, 30), 4),
        exact=True,
    ),
    OpCase(
        "F.crelu",
        [
            Sample(normal(3, 4)),
            Sample(normal(2, 3, 31)),
            Sample(normal(2, 3, 4, 5)),
            Sample(normal(7, 3), dim=0),
            Sample(normal(0, 4)),
        ],
        large=Sample(normal(8, 8, 33, 33)),
        exact=True,
    ),
    OpCase("F.glu", [Sample(normal(3, 8)), Sample(normal(2, 6, 5), 1), Sample(normal(34)), Sample(normal(0, 4))]),
    *[
        OpCase(
            f"F.{name}",
            [
                Sample(normal(1, 1), dim=1),
                Sample(normal(3, 7), dim=1),
                Sample(normal(2, 33), dim=-1),
                Sample(normal(2, 1000), dim=-1),
                Sample(normal(7, 3), dim=0),
                Sample(normal(2, 5, 3, 4), dim=1),
                Sample(normal(2, 31, 3), dim=1),
                Sample(normal(3, 8, mean=2000.0), dim=1),
                Sample(normal(0, 8), dim=1),
                Sample(normal(17), dim=0),
                Sample(given([[1000.0, -1000.0, 999.0], [88.0, 89.0, 90.0]]), dim=1),
            ],
            large=Sample(normal(301, 257), dim=1),
            sums=True,
        )
        for name in ("softmax", "softmin", "log_softmax")
    ],
]
