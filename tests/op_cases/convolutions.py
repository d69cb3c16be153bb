from .case import OpCase, Sample, normal


def image(n: int, *lead: int, size: int = 6):
    """Samples' inputs of n spatial axes, no two alike."""
    return normal(*lead, *range(size, size + n))


def kernel(n: int, *lead: int, size: int = 3):
    return normal(*lead, *[size] * n)


CASES = []
for n in (1, 2, 3):
    same = [
        Sample(image(n, 2, 3), kernel(n, 4, 3), None, 1, "same"),
        Sample(image(n, 2, 3), kernel(n, 4, 3, size=2), padding="same", dilation=2),
    ]
    CASES += [
        OpCase(
            f"F.conv{n}d",
            [
                Sample(image(n, 2, 3), kernel(n, 4, 3), normal(4)),
                Sample(image(n, 2, 3), kernel(n, 4, 3), normal(4), 1, 1),
                Sample(image(n, 2, 3), kernel(n, 4, 3), None, 2, 1),
                Sample(image(n, 1, 2), kernel(n, 3, 2, size=2), None, 3, 2),
                Sample(image(n, 2, 3), kernel(n, 4, 3, size=2), normal(4), 1, 0, 2),
                Sample(image(n, 2, 4), kernel(n, 6, 2), normal(6), 1, 1, 1, 2),
                Sample(image(n, 2, 4), kernel(n, 4, 1), None, 1, 1, 1, 4),
                Sample(image(n, 1, 4), kernel(n, 8, 1), normal(8), 2, 1, 1, 4),
                Sample(image(n, 2, 5), kernel(n, 7, 5, size=1), normal(7)),
                Sample(image(n, 2, 5), kernel(n, 7, 5, size=1), None, 2),
                Sample(image(n, 1, 16), kernel(n, 16, 16), None, 1, 1),
                Sample(image(n, 1, 17), kernel(n, 33, 17), None, 1, 1),
                Sample(image(n, 2, 1, size=3), kernel(n, 1, 1), normal(1)),
                Sample(image(n, 0, 3), kernel(n, 4, 3), normal(4), 1, 1),
                Sample(image(n, 3), kernel(n, 4, 3), normal(4), 1, 1),
                *same,
            ],
            large=Sample(
                normal(3, 16, *{1: (700,), 2: (26, 27), 3: (8, 9, 9)}[n]), kernel(n, 24, 16), normal(24), 1, 1
            ),
            sums=True,
            exact=True,
        ),
        OpCase(
            f"F.conv_transpose{n}d",
            [
                Sample(image(n, 2, 3, size=4), kernel(n, 3, 4), normal(4)),
                Sample(image(n, 2, 3, size=4), kernel(n, 3, 4), normal(4), 2, 1, 1),
                Sample(image(n, 2, 3, size=4), kernel(n, 3, 4, size=2), None, 2),
                Sample(image(n, 2, 4, size=3), kernel(n, 4, 3), normal(6), 1, 1, 0, 2),
                Sample(image(n, 1, 3, size=3), kernel(n, 3, 2, size=2), None, 3, 0, 2, 1, 2),
                Sample(image(n, 0, 3, size=4), kernel(n, 3, 4), normal(4), 2),
            ],
            large=Sample(normal(3, 16, *{1: (400,), 2: (18, 17), 3: (6, 7, 7)}[n]), kernel(n, 16, 8), normal(8), 2, 1),
            sums=True,
            exact=True,
        ),
    ]
CASES += [
    OpCase(
        "F.conv2d",
        [
            Sample(normal(2, 3, 9, 8), normal(4, 3, 3, 1), None, (2, 1), (1, 0)),
            Sample(normal(2, 3, 9, 8), normal(4, 3, 2, 3), None, (1, 2), (1, 2), (3, 1)),
            Sample(normal(2, 3, 12, 12), normal(8, 3, 7, 7), None, 2, 3),
            Sample(normal(2, 3, 8, 8), normal(4, 3, 5, 5), None, 1, 2),
            Sample(normal(1, 64, 8, 8), normal(32, 64, 3, 3), None, 1, 1),
            Sample(normal(2, 32, 8, 8), normal(64, 32, 3, 3), None, 2, 1),
        ],
        name="conv2d_shapes",
        sums=True,
        exact=True,
    ),
]
