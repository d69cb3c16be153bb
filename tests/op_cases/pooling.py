from .case import OpCase, Sample, distinct, normal

CASES = []
for n in (1, 2, 3):
    x = {1: (2, 3, 11), 2: (2, 3, 7, 9), 3: (1, 2, 5, 6, 7)}[n]
    wide = {1: (1, 33, 9), 2: (1, 33, 6, 6), 3: (1, 17, 4, 4, 4)}[n]
    big = {1: (16, 16, 400), 2: (8, 16, 40, 40), 3: (4, 8, 14, 14, 14)}[n]
    adaptive = [
        Sample(normal(*x), 1),
        Sample(normal(*x), 2),
        Sample(normal(*x), (4,) * n),
        Sample(normal(*wide), 1),
        Sample(normal(0, *x[1:]), 1),
    ]
    CASES += [
        OpCase(
            f"F.max_pool{n}d",
            [
                Sample(normal(*x), 2),
                Sample(normal(*x), 3, 2, 1),
                Sample(normal(*x), 3, stride=1, padding=1),
                Sample(normal(*x), 2, 3, ceil_mode=True),
                Sample(normal(*x), 3, 2, 1, ceil_mode=True),
                Sample(normal(*x), 2, 1, dilation=2),
                Sample(normal(*x), 1),
                Sample(normal(*wide), 2),
                Sample(distinct(1, 1, *x[2:]), 3, 2, 1, return_indices=True),
                Sample(normal(0, *x[1:]), 2),
                Sample(normal(*x[1:]), 2),
                *([Sample(normal(*x), (3, 2), (2, 1), (1, 0))] if n == 2 else []),
            ],
            large=Sample(normal(*big), 2),
            exact=True,
        ),
        OpCase(
            f"F.avg_pool{n}d",
            [
                Sample(normal(*x), 2),
                Sample(normal(*x), 3, 2, 1),
                Sample(normal(*x), 3, 2, 1, count_include_pad=False),
                Sample(normal(*x), 2, 3, ceil_mode=True),
                Sample(normal(*x), 3, 2, 1, ceil_mode=True),
                Sample(normal(*x), 3, 2, 1, True, False),
                Sample(normal(*x), 1),
                Sample(normal(*wide), 2),
                Sample(normal(0, *x[1:]), 2),
                Sample(normal(*x[1:]), 2),
                *([Sample(normal(*x), 2, divisor_override=3)] if n > 1 else []),
            ],
            large=Sample(normal(*big), 2),
            sums=True,
        ),
        OpCase(
            f"F.adaptive_avg_pool{n}d",
            adaptive + ([Sample(normal(*x), (None, 3))] if n == 2 else []),
            large=Sample(normal(*big), 1),
            sums=True,
        ),
        OpCase(
            f"F.adaptive_max_pool{n}d",
            adaptive,
            large=Sample(normal(*big), 1),
            exact=True,
        ),
    ]
