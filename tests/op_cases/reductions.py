import numpy as np

from .case import OpCase, Sample, bools, distinct, given, normal, uniform

SHAPES = ((1,), (7,), (31,), (33,), (8,), (15,), (17,))
_TRUTH = [[1.0, 0.0, 2.0], [3.0, 1.0, 1.0]]


def over(
    path: str, make=normal, empty: bool = True, several: bool = True, everything: bool = True, **options
) -> OpCase:
    """A row for a reduction (x, dim, keepdim=)."""
    samples = [Sample(make(*s)) for s in SHAPES] if everything else [Sample(make(*s), 0) for s in SHAPES]
    samples += [
        Sample(make(3, 5, 7), dim=1),
        Sample(make(3, 5, 7), dim=-1),
        Sample(make(3, 5, 7), dim=0, keepdim=True),
        Sample(make(2, 33), dim=1),
        Sample(make(33, 2), dim=0),
        Sample(make(2, 3, 4, 5), dim=2),
    ]
    if several:
        samples += [
            Sample(make(3, 5, 7), dim=(0, 2)),
            Sample(make(2, 3, 4, 5), dim=(2, 3), keepdim=True),
            Sample(make(2, 3, 4, 5), dim=(0, 2, 3)),
        ]
    if empty:
        samples += [Sample(make(0)) if everything else Sample(make(0), 0), Sample(make(3, 0), dim=1)]
    samples += [Sample(make(0, 3), dim=1)]
    options.setdefault("large", Sample(normal(70, 1031), dim=0))
    return OpCase(path, samples, sums=True, **options)


CASES = [
    over("sw.sum", exact=True),
    OpCase(
        "sw.sum",
        [Sample(normal(300)), Sample(normal(257, 511)), Sample(normal(100_003))],
        name="sum_long",
        sums=True,
        exact=True,
        large=Sample(normal(200_003)),
    ),
    over("sw.mean", empty=False),
    over("sw.var", lambda *s: normal(*[max(n, 2) if n else 0 for n in s]), empty=False),
    over("sw.std", lambda *s: normal(*[max(n, 2) if n else 0 for n in s]), empty=False),
    OpCase(
        "sw.var",
        [
            Sample(normal(3, 33), dim=1, correction=0),
            Sample(normal(65, mean=2000.0)),
            Sample(normal(3, 5), dim=0, correction=2),
        ],
        name="var_correction",
        sums=True,
    ),
    over("sw.amax", distinct, empty=False, everything=False, exact=True),
    over("sw.amin", distinct, empty=False, everything=False, exact=True),
    OpCase("sw.max", [Sample(distinct(3, 33)), Sample(distinct(1)), Sample(normal(17))], name="max_all", exact=True),
    OpCase("sw.min", [Sample(distinct(3, 33)), Sample(distinct(1)), Sample(normal(17))], name="min_all", exact=True),
    over(
        "sw.max",
        distinct,
        empty=False,
        several=False,
        everything=False,
        exact=True,
        name="max_dim",
        large=Sample(normal(300, 331), 1),
    ),
    over(
        "sw.min",
        distinct,
        empty=False,
        several=False,
        everything=False,
        exact=True,
        name="min_dim",
        large=Sample(normal(300, 331), 1),
    ),
    over("sw.argmax", distinct, empty=False, several=False, gradient=False, mostly_zero="positions"),
    over("sw.argmin", distinct, empty=False, several=False, gradient=False, mostly_zero="positions"),
    over("sw.prod", uniform, several=False, exact=False, large=Sample(uniform(40, 1031), dim=0)),
    OpCase(
        "sw.prod",
        [Sample(given([[2.0, 0.0, 3.0], [0.0, 4.0, 0.0], [5.0, 6.0, 7.0]]), dim=1)],
        name="prod_zeros",
        mostly_zero="zeros are the point",
    ),
    over("sw.norm", empty=False, several=False),
    OpCase(
        "sw.norm",
        [
            Sample(normal(3, 33), 1),
            Sample(normal(3, 33), 3),
            Sample(normal(2, 3, 4, 5), 2, dim=(0, 2, 3)),
            Sample(normal(33), np.inf),
            Sample(normal(3, 5, 7), 1, dim=1),
            Sample(normal(3, 5), 2, dim=1, keepdim=True),
        ],
        name="norm_p",
        sums=True,
    ),
    over("sw.logsumexp", everything=False, empty=False, large=Sample(normal(70, 1031), dim=1)),
    OpCase("sw.logsumexp", [Sample(normal(3, 8, mean=1000.0), 1, condition=1000.0)], name="logsumexp_far", sums=True),
    OpCase(
        "sw.cumsum",
        [
            *[Sample(normal(*s), 0) for s in ((0,), *SHAPES)],
            Sample(normal(3, 5, 7), 1),
            Sample(normal(2, 3, 33), -1),
            Sample(normal(0, 3), 1),
        ],
        large=Sample(normal(70, 1031), 1),
        sums=True,
        exact=True,
    ),
    OpCase(
        "sw.sort",
        [
            *[Sample(distinct(*s)) for s in ((0,), *SHAPES)],
            Sample(distinct(3, 5, 7), 1),
            Sample(distinct(4, 33), descending=True),
            Sample(distinct(9, 3), 0, True),
            Sample(normal(0, 3)),
        ],
        large=Sample(normal(300, 331)),
    ),
    OpCase(
        "sw.argsort",
        [Sample(distinct(33)), Sample(distinct(3, 5, 7), 1), Sample(distinct(4, 33), descending=True)],
        gradient=False,
    ),
    OpCase(
        "sw.topk",
        [
            Sample(distinct(1), 1),
            Sample(distinct(7), 3),
            Sample(distinct(3, 33), 5),
            Sample(distinct(4, 9, 3), 4, 1),
            Sample(distinct(4, 17), 2, -1, False),
            Sample(distinct(4, 17), 17),
            Sample(normal(0, 17), 2),
            Sample(distinct(3, 5), 0),
        ],
        large=Sample(normal(300, 331), 5),
    ),
    OpCase(
        "sw.all",
        [Sample(given(_TRUTH, grad=False), dim=d) for d in (0, 1)] + [Sample(bools(33))],
        gradient=False,
        mostly_zero="seldom all",
    ),
    OpCase("sw.any", [Sample(given(_TRUTH, grad=False), dim=d) for d in (0, 1)] + [Sample(bools(33))], gradient=False),
]
