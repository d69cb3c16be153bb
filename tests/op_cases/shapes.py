from .case import OpCase, Sample, normal


def moves(path: str, *samples: Sample, **options) -> OpCase:
    """A row for an op that only moves values: always exact."""
    return OpCase(path, list(samples), exact=True, sums=True, **options)


CASES = [
    moves(
        "sw.cat",
        Sample([normal(3, 4), normal(2, 4)]),
        Sample([normal(3, 4), normal(3, 1), normal(3, 33)], 1),
        Sample([normal(2, 3, 4, 5), normal(2, 17, 4, 5)], 1),
        Sample([normal(2, 3, 4), normal(2, 3, 1)], -1),
        Sample([normal(7)]),
        Sample([normal(0, 4), normal(3, 4), normal(0, 4)]),
        Sample([normal(0, 4), normal(0, 4)], 1),
        large=Sample([normal(70, 500), normal(70, 531)], 1),
    ),
    moves(
        "sw.stack",
        Sample([normal(3, 4), normal(3, 4)]),
        Sample([normal(3, 4), normal(3, 4), normal(3, 4)], 1),
        Sample([normal(33), normal(33)], -1),
        Sample([normal(), normal()]),
        Sample([normal(0, 3), normal(0, 3)]),
    ),
    moves(
        "sw.split",
        Sample(normal(7, 3), 3),
        Sample(normal(3, 7), 2, 1),
        Sample(normal(2, 9, 4), [2, 3, 4], 1),
        Sample(normal(33), 33),
        Sample(normal(0, 4), 2, 1),
    ),
    moves("sw.chunk", Sample(normal(7, 3), 3), Sample(normal(3, 8), 2, 1), Sample(normal(2, 6, 4), 4, dim=1)),
    moves("sw.unbind", Sample(normal(3, 4)), Sample(normal(3, 4), 1), Sample(normal(7))),
    moves(
        "F.pad",
        Sample(normal(3, 4), (1, 2)),
        Sample(normal(3, 4), (1, 2, 0, 3)),
        Sample(normal(2, 3, 4, 5), (1, 1, 1, 1)),
        Sample(normal(2, 3, 4, 5), (0, 0, 0, 0, 1, 2)),
        Sample(normal(3, 4), (1, 2), value=2.5),
        Sample(normal(3, 6), (-1, -2)),
        Sample(normal(3, 6), (-1, 2, 1, -1)),
        Sample(normal(2, 3, 33), (3, 2), "reflect"),
        Sample(normal(2, 3, 4, 5), (2, 1, 1, 3), "reflect"),
        Sample(normal(2, 3, 4), (3, 5), "replicate"),
        Sample(normal(2, 3, 4, 5), (2, 1, 1, 3), "replicate"),
        Sample(normal(2, 3, 4), (3, 2), "circular"),
        Sample(normal(2, 3, 4, 5), (2, 1, 1, 3), "circular"),
        Sample(normal(0, 3, 4), (1, 1)),
        large=Sample(normal(8, 16, 24, 24), (1, 1, 1, 1)),
    ),
    moves(
        "sw.reshape",
        Sample(normal(3, 4), (2, 6)),
        Sample(normal(2, 3, 4), (-1, 3)),
        Sample(normal(0, 3), (3, 0)),
        Sample(normal(1), ()),
    ),
    moves(
        "sw.flatten",
        Sample(normal(2, 3, 4)),
        Sample(normal(2, 3, 4, 5), 1),
        Sample(normal(2, 3, 4, 5), 1, 2),
        Sample(normal()),
        Sample(normal(0, 3, 4), 1),
    ),
    moves("sw.squeeze", Sample(normal(1, 3, 1)), Sample(normal(1, 3, 1), 0), Sample(normal(1, 3, 1), 1)),
    moves("sw.unsqueeze", Sample(normal(3), 0), Sample(normal(3, 4), -1), Sample(normal(), 0)),
    moves(
        "sw.permute",
        Sample(normal(2, 3, 4), (2, 0, 1)),
        Sample(normal(2, 3, 4, 5), (0, 2, 3, 1)),
        Sample(normal(0, 3), (1, 0)),
        Sample(normal(2, 3), (-1, 0)),
    ),
    moves("sw.transpose", Sample(normal(2, 3, 4), 0, 2), Sample(normal(33, 17), 0, -1)),
    moves(
        "Tensor.expand",
        Sample(normal(3, 1), (3, 4)),
        Sample(normal(3), (2, -1)),
        Sample(normal(1, 1, 5), (2, 3, 5)),
        Sample(normal(), (7,)),
        Sample(normal(1, 3), (0, 3)),
    ),
    moves(
        "Tensor.repeat",
        Sample(normal(3), (2,)),
        Sample(normal(2, 3), (2, 3)),
        Sample(normal(2, 3), (2, 1, 2)),
        Sample(normal(0, 3), (2, 2)),
    ),
    moves("sw.flip", Sample(normal(7), (0,)), Sample(normal(2, 3, 33), (0, 2)), Sample(normal(0, 3), (1,))),
    moves("sw.roll", Sample(normal(7), 2, 0), Sample(normal(3, 5), (1, -2), (0, 1)), Sample(normal(2, 33), -40, 1)),
    *(
        moves(
            name,
            Sample(normal(5, 7)),
            Sample(normal(2, 5, 5), -1),
            Sample(normal(5, 3), 1),
            mostly_zero="half is cut away",
        )
        for name in ("sw.tril", "sw.triu")
    ),
    moves(
        "F.pixel_shuffle", Sample(normal(2, 8, 3, 5), 2), Sample(normal(1, 9, 2, 2), 3), Sample(normal(0, 4, 2, 2), 2)
    ),
]
