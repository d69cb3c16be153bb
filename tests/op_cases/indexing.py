from skipway.testing import reference

from .case import OpCase, Sample, bools, ints, normal, places
from .shapes import moves

CASES = [
    moves(
        "sw.gather",
        Sample(normal(7), 0, ints(4, high=7)),
        Sample(normal(5, 7), 1, ints(5, 3, high=7)),
        Sample(normal(5, 7), 0, ints(9, 7, high=5)),
        Sample(normal(5, 7, 3), 1, ints(4, 2, 3, high=7)),
        Sample(normal(2, 33), -1, ints(2, 33, high=33)),
        Sample(normal(5, 7), 0, ints(0, 7, high=5)),
        Sample(normal(0, 7), 1, ints(0, 3, high=7)),
        large=Sample(normal(300, 331), 1, ints(300, 331, high=331)),
    ),
    moves(
        "sw.scatter",
        Sample(normal(7), 0, places(4, dim=0, size=7), normal(4)),
        Sample(normal(5, 7), 1, places(5, 3, dim=1, size=7), normal(5, 3)),
        Sample(normal(5, 7), 0, places(4, 7, dim=0, size=5), normal(5, 7, grad=False)),
        Sample(normal(5, 7), 1, places(3, 3, dim=1, size=7), 2.5),
        Sample(normal(5, 7), 1, ints(5, 0, high=7), normal(5, 0)),
    ),
    moves(
        "sw.scatter_add",
        Sample(normal(7), 0, ints(9, high=7), normal(9)),
        Sample(normal(5, 7), 1, ints(5, 33, high=7), normal(5, 33)),
        Sample(normal(5, 7), 0, ints(8, 7, high=5), normal(9, 7, grad=False)),
        large=Sample(normal(300, 31), 1, ints(300, 331, high=31), normal(300, 331)),
    ),
    moves(
        "sw.index_select",
        Sample(normal(7), 0, ints(4, high=7)),
        Sample(normal(5, 7), 1, ints(9, high=7)),
        Sample(normal(5, 7, 3), 0, ints(3, high=5)),
        Sample(normal(5, 33), -1, ints(33, high=33)),
        Sample(normal(5, 7), 0, ints(0, high=5)),
        large=Sample(normal(300, 331), 0, ints(400, high=300)),
    ),
    moves(
        "sw.index_add",
        Sample(normal(5, 7), 0, ints(9, high=5), normal(9, 7)),
        Sample(normal(5, 7), 1, ints(3, high=7), normal(5, 3), alpha=2),
    ),
    moves(
        "sw.masked_fill",
        Sample(normal(3, 5), bools(3, 5), 2.0),
        Sample(normal(3, 33), bools(33), -1.5),
        Sample(normal(0), bools(0), 1.0),
    ),
    moves("sw.masked_select", Sample(normal(3, 5), bools(3, 5)), Sample(normal(3, 33), bools(33))),
    moves(
        "F.embedding",
        Sample(ints(5, high=7), normal(7, 3)),
        Sample(ints(2, 5, high=7), normal(7, 33)),
        Sample(ints(0, high=7), normal(7, 3)),
        Sample(ints(high=7), normal(7, 3)),
        large=Sample(ints(2000, high=50), normal(50, 64)),
    ),
    moves(
        "F.embedding",
        Sample(ints(2, 9, high=4), normal(4, 3), 1),
        Sample(ints(9, high=4), normal(4, 33), padding_idx=-1),
        name="embedding_padding",
        not_derivative="the padding row is left as it is",
    ),
    OpCase(
        "F.one_hot",
        [Sample(ints(9, high=3)), Sample(ints(2, 5, high=3), 3), Sample(ints(0, high=3), 3)],
        gradient=False,
        mostly_zero="one of the classes",
    ),
    OpCase("sw.repeat_interleave", [Sample(normal(3, 5), 2, 1), Sample(normal(7), 3, 0)], sums=True, exact=True),
    *[
        OpCase(
            "Tensor.__getitem__",
            [Sample(normal(5, 7, 9), key) for key in keys],
            name=f"getitem_{name}",
            forward=reference.getitem,
            backward=reference.getitem_backward,
            sums=True,
            exact=True,
        )
        for name, keys in (
            ("int", (2, (slice(None), -1), (1, 2, 3))),
            ("slice", ((slice(1, 4), slice(None, None, 3), slice(2, None)), slice(3, 3), (..., 3), (slice(-2, None),))),
            ("none", (None, (None, slice(1, 3), None))),
            ("list", ([0, 2, 2, 4], (slice(None), [6, 0, 0]))),
        )
    ],
]
