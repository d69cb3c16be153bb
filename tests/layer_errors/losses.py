"""Bad input and options of losses. An unknown reduction is found when the loss is called."""

from .case import Bad, Row, given, index, ints, kind, shape, value, x

_A, _B = x(2, 3), x(2, 4)
_SHAPES = shape("expected input and target of one shape, got input (2, 3) and target (2, 4)", _A, _B)
_LIST = kind("expected target to be a tensor, got [1.0] (list)", _A, [1.0])
_MISSING = kind("expected arguments (input, target): missing a required argument: 'target'", _A)
_INTEGERS = kind("expected input to be of a floating dtype, got int64", ints(2, 3), ints(2, 3))
_PYTHON = "expected reduction to be 'none', 'mean' or 'sum', got 'average'"
_CORE = 'expected reduction "none", "mean" or "sum", got "average"'


def _reduction(says, *call, **more) -> Bad:
    return value(says, *call).of(reduction="average", **more)


def _margin(*names):
    return [kind(f"expected {name} to be a number, got 'wide'", **{name: "wide"}) for name in names]


def _pairwise(*options, calls=()):
    """A loss of input and target of one shape."""
    return Row(given(), [_SHAPES, _LIST, _MISSING, _INTEGERS, _reduction(_CORE, _A, _A), *calls], list(options))


_WEIGHT = kind("expected weight to be a tensor, got [1.0]", weight=[1.0])
_BROADCAST = "expected weight that broadcasts to the input's shape (2, 3), got (5,)"
_CLASSES = "expected target classes in 0 to 2 (3 classes), got 7 at row 0"

_nll = Row(
    given(),
    [
        index(_CLASSES, _A, ints(2, fill=7)),
        shape("expected target of shape (2,) for input (2, 3), got (3,)", _A, ints(3)),
        kind("expected target class indices of dtype int64, int32 or uint8, got float32", _A, x(2)),
        shape("expected weight of shape (3,) (one per class), got (5,)", _A, ints(2)).of(x(5)),
        _reduction(_CORE, _A, ints(2)),
        _LIST,
    ],
    [_WEIGHT, kind("expected ignore_index to be an integer, got 0.5", ignore_index=0.5)],
)

_NO_MARGIN = value("expected margin to be greater than 0, got 0", margin=0)
_ANCHORS = [
    shape("expected shapes that broadcast, got anchor (2, 3), positive (2, 3) and negative (2, 4)", _A, _A, _B),
    shape("expected the same number of dimensions, got anchor (2, 3), positive (2, 3) and negative (3,)", _A, _A, x(3)),
    _reduction(_PYTHON, _A, _A, _A),
    kind("expected negative to be a tensor, got 3 (int)", _A, _A, 3),
]

ROWS = {
    "L1Loss": _pairwise(kind("expected reduction to be a string, got None", reduction=None)),
    "MSELoss": _pairwise(
        calls=[shape("got input (3, 1) and target (3,); shapes are not broadcast in a loss", x(3, 1), x(3))],
    ),
    "SmoothL1Loss": _pairwise(
        value("expected beta to be at least 0, got -1", beta=-1),
        kind("expected beta to be a number, got 'b'", beta="b"),
    ),
    "HuberLoss": _pairwise(value("expected delta to be greater than 0, got 0", delta=0)),
    "KLDivLoss": _pairwise(),
    "SoftMarginLoss": _pairwise(),
    "PoissonNLLLoss": Row(
        given(),
        [
            _SHAPES,
            kind("expected arguments (log_input, target): missing a required argument: 'target'", _A),
            _reduction(_CORE, _A, _A),
        ],
        _margin("eps"),
    ),
    "HingeEmbeddingLoss": _pairwise(*_margin("margin")),
    "BCELoss": _pairwise(
        _WEIGHT,
        calls=[
            value("expected input values in [0, 1] (probabilities), got 2 ", _A + 2, _A),
            shape(_BROADCAST, _A, _A).of(x(5)),
        ],
    ),
    "BCEWithLogitsLoss": _pairwise(
        _WEIGHT,
        kind("expected pos_weight to be a tensor, got 2.0", pos_weight=2.0),
        calls=[shape(_BROADCAST, _A, _A).of(x(5)), shape("pos_" + _BROADCAST[9:], _A, _A).of(pos_weight=x(5))],
    ),
    "CrossEntropyLoss": Row(
        given(),
        [
            index(_CLASSES, _A, ints(2, fill=7)),
            shape("expected target of shape (2,) for input (2, 3), got (3,)", _A, ints(3)),
            shape("expected class probabilities of the input's shape (2, 3), got target (2, 4)", _A, _B),
            shape("expected weight of shape (3,) (one per class), got (5,)", _A, ints(2)).of(x(5)),
            _reduction(_CORE, _A, ints(2)),
            _LIST,
            _MISSING,
        ],
        [
            _WEIGHT,
            value("expected label_smoothing between 0 and 1, got 1.5", label_smoothing=1.5),
            kind("expected ignore_index to be an integer, got 'pad'", ignore_index="pad"),
        ],
    ),
    "NLLLoss": _nll,
    "NLLLoss2d": _nll,
    "GaussianNLLLoss": Row(
        given(),
        [
            shape("expected shapes that broadcast, got input (2, 3) and target (2, 4)", _A, _B, _A),
            shape("expected var of the input's shape, but for sizes of 1 or the last dimension, got ", _A, _A, _B),
            shape("got input (2, 3) and var (3,)", _A, _A, x(3)),
            value("expected var of at least 0, got -1.0", _A, _A, _A - 1),
            kind("expected var to be a tensor or a number, got 'wide'", _A, _A, "wide"),
            _reduction(_PYTHON, _A, _A, _A),
        ],
        [value("expected eps to be greater than 0, got 0", eps=0)],
    ),
    "MultiLabelSoftMarginLoss": Row(
        given(),
        [
            shape("expected shapes that broadcast, got input (2, 3) and target (2, 4)", _A, _B),
            shape("expected shapes that broadcast, got input (2, 3) and weight (5,)", _A, _A).of(x(5)),
            _reduction(_PYTHON, _A, _A),
            _LIST,
        ],
        [_WEIGHT],
    ),
    "MarginRankingLoss": Row(
        given(),
        [
            shape("expected shapes that broadcast, got input1 (2, 3), input2 (2, 4) and target (2, 3)", _A, _B, _A),
            shape(
                "expected the same number of dimensions, got input1 (2, 3), input2 (2, 3) and target ()", _A, _A, x()
            ),
            _reduction(_PYTHON, _A, _A, _A),
        ],
        _margin("margin"),
    ),
    "CosineEmbeddingLoss": Row(
        given(),
        [
            shape("expected shapes that broadcast, got input1 (2, 3) and input2 (2, 4)", _A, _B, x(2)),
            shape("got input1 (2, 3), input2 (2, 3) and target (2, 1)", _A, _A, x(2, 1)),
            shape("expected (N, D) inputs and (N,) target, or (D,) and (), got", _A, _A, x(5)),
            shape("expected (N, D) inputs and (N,) target, or (D,) and (), got input1 (), ", x(), x(), x()),
            _reduction(_PYTHON, _A, _A, x(2)),
        ],
        _margin("margin"),
    ),
    "MultiMarginLoss": Row(
        given(),
        [
            shape("expected (N, C) input and (N,) target, got input (2, 3) and target (3,)", _A, ints(3)),
            index("expected target classes in 0 to 2, got 7", _A, ints(2, fill=7)),
            kind("expected target classes of an integer dtype, got float32", _A, x(2)),
            shape("expected weight of shape (3,) (one per class), got (5,)", _A, ints(2)).of(weight=x(5)),
            _reduction(_PYTHON, _A, ints(2)),
            _LIST,
        ],
        [value("expected p to be 1 or 2, got 3", 3), _WEIGHT, *_margin("margin")],
    ),
    "MultiLabelMarginLoss": Row(
        given(),
        [
            shape("a target of its shape, got input (2, 3) and target (2, 4)", _A, ints(2, 4)),
            index("expected target classes in -1 to 2, got 3", _A, ints(2, 3, fill=3)),
            kind("expected target classes of an integer dtype, got float32", _A, _A),
            _reduction(_PYTHON, _A, ints(2, 3)),
            _LIST,
        ],
        [],
    ),
    "TripletMarginLoss": Row(given(), _ANCHORS, [_NO_MARGIN, *_margin("margin", "p", "eps")]),
    "TripletMarginWithDistanceLoss": Row(
        given(),
        _ANCHORS,
        [
            kind("expected distance_function to be a function, got 'l1'", distance_function="l1"),
            _NO_MARGIN,
            *_margin("margin"),
        ],
    ),
}
