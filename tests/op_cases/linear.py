from .case import OpCase, Sample, normal
from .normalization import FUSED

_PRODUCTS = [
    (1, 1, 1),
    (1, 7, 1),
    (7, 1, 7),
    (3, 5, 4),
    (17, 33, 15),
    (31, 8, 33),
    (2, 257, 3),
    (64, 16, 16),
    (65, 65, 65),
]

CASES = [
    OpCase(
        "F.linear",
        [
            *[Sample(normal(m, k), normal(n, k), normal(n)) for m, k, n in _PRODUCTS],
            Sample(normal(3, 5), normal(4, 5)),
            Sample(normal(2, 3, 5), normal(4, 5), normal(4)),
            Sample(normal(5), normal(4, 5), normal(4)),
            Sample(normal(0, 5), normal(4, 5), normal(4)),
        ],
        large=Sample(normal(130, 140), normal(150, 140), normal(150)),
        sums=True,
        exact=True,
    ),
    OpCase(
        "F.linear",
        [Sample(normal(5, 7), normal(9, 7), normal(9), activation=name) for name in FUSED]
        + [
            Sample(normal(3, 5), normal(33, 5), activation="relu"),
            Sample(normal(2, 300), normal(3, 300), normal(3), activation="relu"),
            Sample(normal(19, 2100), normal(5, 2100), normal(5), activation="relu6"),
            Sample(normal(0, 5), normal(4, 5), normal(4), activation="relu"),
        ],
        name="linear_activations",
        large=Sample(normal(130, 140), normal(150, 140), normal(150), activation="relu"),
        sums=True,
    ),
    OpCase(
        "sw.matmul",
        [
            *[Sample(normal(m, k), normal(k, n)) for m, k, n in _PRODUCTS],
            Sample(normal(5), normal(5)),
            Sample(normal(5), normal(5, 3)),
            Sample(normal(4, 5), normal(5)),
            Sample(normal(2, 4, 5), normal(5)),
            Sample(normal(5), normal(2, 5, 3)),
            Sample(normal(2, 3, 4, 5), normal(3, 5, 2)),
            Sample(normal(2, 1, 4, 5), normal(3, 5, 2)),
            Sample(normal(7, 3, 5), normal(5, 4)),
            Sample(normal(0, 5), normal(5, 4)),
            Sample(normal(2, 0, 5), normal(5, 4)),
            Sample(normal(3, 0), normal(0, 4)),
        ],
        large=Sample(normal(130, 140), normal(140, 150)),
        sums=True,
        exact=True,
        mostly_zero="",
    ),
    OpCase("sw.mm", [Sample(normal(m, k), normal(k, n)) for m, k, n in _PRODUCTS[:6]], sums=True, exact=True),
    OpCase(
        "sw.bmm",
        [
            *[Sample(normal(3, m, k), normal(3, k, n)) for m, k, n in _PRODUCTS[:6]],
            Sample(normal(0, 3, 4), normal(0, 4, 5)),
        ],
        large=Sample(normal(16, 33, 40), normal(16, 40, 35)),
        sums=True,
        exact=True,
    ),
    OpCase("sw.mv", [Sample(normal(m, k), normal(k)) for m, k, _ in _PRODUCTS[:6]], sums=True, exact=True),
    OpCase("sw.dot", [Sample(normal(k), normal(k)) for k in (0, 1, 7, 31, 33, 1000)], sums=True, exact=True),
    OpCase("sw.outer", [Sample(normal(3), normal(5)), Sample(normal(1), normal(33))], sums=True, exact=True),
    OpCase(
        "sw.addmm",
        [
            Sample(normal(3, 4), normal(3, 5), normal(5, 4)),
            Sample(normal(4), normal(3, 5), normal(5, 4), beta=0.5, alpha=2.0),
        ],
        sums=True,
    ),
]
