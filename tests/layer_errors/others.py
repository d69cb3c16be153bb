"""Bad input and options of linear and recurrent layers, embedding, distances, reshaping and containers."""

from collections import OrderedDict

import skipway as sw
from skipway import nn

from .case import Row, given, index, ints, kind, lacking, shape, value, x

_OUT = [
    value("expected out_features to be at least 0, got -1", -1),
    kind("expected out_features to be an integer, got 2.5", 2.5),
]
ROWS = {
    "Identity": Row(given(), [kind("expected arguments (input): too many positional arguments", x(2), x(2))], []),
    "Linear": Row(
        given(4, 2),
        [
            shape("expected input whose last dimension is 4, got (2, 3)", x(2, 3)),
            shape("expected input whose last dimension is 4, got ()", x()),
            kind("expected input to be of a floating dtype, got int64", ints(2, 4)),
            kind("expected input and weight to have the same dtype, got float64 and float32", x(2, 4).double()),
            kind("expected input to be a tensor, got 3 (int)", 3),
        ],
        [
            value("expected in_features to be at least 0, got -1", -1, 2),
            value("expected out_features to be at least 0, got -2", 4, -2),
            kind("expected in_features to be an integer, got 4.0", 4.0, 2),
            kind("expected in_features to be an integer, got [4]", [4], 2),
            value("expected out_features to fit into 64 bits, got 9223372036854775808", 4, 2**63),
        ],
    ),
    "LazyLinear": Row(
        given(2),
        [
            shape("expected input of at least 1 dimension, got ()", x()),
            kind("expected input to be a tensor, got [1.0] (list)", [1.0]),
            kind("expected input to be of a floating dtype, got int64", ints(2, 4)).by("Linear"),
        ],
        _OUT,
    ),
    "Bilinear": Row(
        given(3, 4, 2),
        [
            shape("expected inputs with last dimensions (3, 4), got (2, 3) and (2, 5)", x(2, 3), x(2, 5)),
            shape("alike but for the last dimension, got input1 (2, 3) and input2 (5, 4)", x(2, 3), x(5, 4)),
            shape("alike but for the last dimension, got input1 (3,) and input2 (2, 4)", x(3), x(2, 4)),
            kind("expected arguments (input1, input2): missing a required argument: 'input2'", x(2, 3)),
        ],
        [
            value("expected in1_features to be at least 1, got 0", 0, 4, 2),
            value("expected in2_features to be at least 0, got -4", 3, -4, 2),
        ],
    ),
    "Embedding": Row(
        given(5, 2),
        [
            index("index 7 is out of range for 5 rows", ints(1, fill=7)),
            index("index -1 is out of range for 5 rows", ints(1, fill=-1)),
            kind("expected input to be of an integer dtype, got float32", x(3)),
            kind("expected input to be of an integer dtype, got float32", x(3)).of(5, 2, max_norm=1.0),
            index("index 7 is out of range for dimension 0 of size 5", ints(1, fill=7)).of(5, 2, max_norm=1.0),
        ],
        [
            value("expected padding_idx within 3 embeddings, got 3", 3, 2, 3),
            value("expected num_embeddings to be at least 0, got -3", -3, 2),
            kind("expected embedding_dim to be an integer, got 2.5", 3, 2.5),
            kind("expected max_norm to be a number, got 'one'", 3, 2, max_norm="one"),
            shape("expected a weight of shape (3, 2), got (2, 3)", 3, 2, _weight=x(2, 3)),
        ],
    ),
    "PairwiseDistance": Row(
        given(),
        [shape("expected shapes that broadcast, got x1 (2, 3) and x2 (2, 4)", x(2, 3), x(2, 4))],
        [kind("expected p to be a number, got 'two'", "two")],
    ),
    "CosineSimilarity": Row(
        given(2),
        [
            shape("expected shapes that broadcast, got x1 (2, 3) and x2 (2, 4)", x(2, 3), x(2, 4)),
            index("dim 2 is out of range for 2 dimensions (expected -2 to 1)", x(2, 3), x(2, 3)),
        ],
        [
            kind("expected dim to be an integer, got None", None),
            kind("expected eps to be a number, got 'tiny'", eps="tiny"),
            value("expected eps to be at least 0, got -1", eps=-1),
        ],
    ),
    "Flatten": Row(
        given(1, 5),
        [
            index("dim 5 is out of range for 2 dimensions (expected -2 to 1)", x(2, 3)),
            shape("start_dim 1 comes after end_dim 0", x(2, 3)).of(1, 0),
        ],
        [kind("expected start_dim to be an integer, got 'all'", "all")],
    ),
    "Unflatten": Row(
        given(1, (2, 2)),
        [
            shape("sizes (2, 2) do not multiply to 3, the size of dimension 1 of input of shape (2, 3)", x(2, 3)),
            shape("expected sizes of at least 0, of which one may be -1, got (-1, -1)", x(2, 4)).of(1, (-1, -1)),
            index("dim 5 is out of range for 2 dimensions (expected -2 to 1)", x(2, 4)).of(5, (2, 2)),
        ],
        [
            kind("expected dim to be an integer, got 'c'", "c", (2, 2)),
            value("expected unflattened_size to be at least -1, got (2, -2)", 1, (2, -2)),
        ],
    ),
}

_STATE = x(1, 2, 2)


def _recurrent(*head, lstm=False):
    """Rows of a layer with 4 features and 2 hidden units."""
    good = given(*head, 4, 2)
    wrong = (x(1, 2, 3), _STATE) if lstm else x(1, 2, 3)
    calls = [
        shape("expected 2D or 3D input with 4 features (dim -1), got (5, 2, 3)", x(5, 2, 3)),
        shape("expected 2D or 3D input with 4 features (dim -1), got (4,)", x(4)),
        shape("expected at least one time step, got (0, 2, 4)", x(0, 2, 4)),
        shape("expected hx of shape (1, 2, 2), got (1, 2, 3)", x(5, 2, 4), wrong),
        kind("expected input to be of a floating dtype, got int64", ints(5, 2, 4)),
        kind("expected input to be a tensor, got [1.0] (list)", [1.0]),
    ]
    if lstm:
        calls += [
            kind("expected hx to be a tuple (h, c) of tensors, got tensor(", x(5, 2, 4), _STATE),
            kind("expected hx to be a tuple (h, c) of tensors, got 3", x(5, 2, 4), 3),
        ]
    else:
        calls.append(kind("expected hx to be a tensor of shape (1, 2, 2), got 3", x(5, 2, 4), 3))
    options = [
        value("expected hidden_size to be at least 1, got 0", *head, 4, 0),
        value("expected num_layers to be at least 1, got 0", *head, 4, 2, 0),
        value("expected num_layers to be at most 65536, got 1000000000000", *head, 4, 2, 10**12),
        value("expected input_size to be at least 0, got -4", *head, -4, 2),
        value("expected dropout between 0 and 1, got 2", *head, 4, 2, dropout=2),
        kind("expected hidden_size to be an integer, got 'two'", *head, 4, "two"),
    ]
    return Row(good, calls, options)


def _cell(lstm=False):
    state = (x(2, 3), x(2, 2)) if lstm else x(2, 3)
    calls = [
        shape("expected 1D or 2D input with 4 features (dim -1), got (2, 3)", x(2, 3)),
        shape("expected 1D or 2D input with 4 features (dim -1), got (5, 2, 4)", x(5, 2, 4)),
        shape("expected hx of shape (2, 2), got (2, 3)", x(2, 4), state),
    ]
    if lstm:
        calls.append(kind("expected hx to be a tuple (h, c) of tensors, got tensor(", x(2, 4), x(2, 2)))
    else:
        calls.append(kind("expected hx to be a tensor, got 3 (int)", x(2, 4), 3))
    return Row(
        given(4, 2),
        calls,
        [
            value("expected hidden_size to be at least 0, got -2", 4, -2),
            kind("expected input_size to be an integer, got 4.5", 4.5, 2),
        ],
    )


_SINE = value("expected nonlinearity to be 'tanh' or 'relu', got 'sin'", 4, 2, nonlinearity="sin")
_NO_FORWARD = lacking('is missing the required "forward" function', x(2))
ROWS |= {
    "RNNBase": _recurrent("LSTM", lstm=True),
    "RNN": _recurrent(),
    "LSTM": _recurrent(lstm=True),
    "GRU": _recurrent(),
    "RNNCellBase": Row(
        given(4, 2, True, 1), [_NO_FORWARD], [value("expected hidden_size to be at least 0, got -2", 4, -2, True, 1)]
    ),
    "RNNCell": _cell(),
    "LSTMCell": _cell(lstm=True),
    "GRUCell": _cell(),
}
ROWS["RNNBase"].options.append(
    value("expected mode to be 'LSTM', 'GRU', 'RNN_TANH' or 'RNN_RELU', got 'XX'", "XX", 4, 2)
)
ROWS["RNN"].options.append(_SINE)
ROWS["RNNCell"].options.append(_SINE)
ROWS["LSTM"].options.append(value("expected proj_size 0 (no other is supported), got 3", 4, 2, proj_size=3))

ROWS |= {
    "Module": Row(given(), [_NO_FORWARD], [kind("got an unexpected keyword argument 'a'", a=1)]),
    "Sequential": Row(
        given(nn.ReLU()),
        [kind("expected arguments (input): too many positional arguments", x(2), x(2))],
        [
            kind("expected module '0' to be a Module or None, got 3 (int is not a Module subclass)", 3),
            kind("expected module 'a' to be a Module or None, got 'relu'", OrderedDict(a="relu")),
        ],
    ),
    "ModuleList": Row(
        given(),
        [_NO_FORWARD],
        [
            kind("expected modules to be an iterable, got 3", 3),
            kind("expected module '1' to be a Module or None, got 3", [nn.ReLU(), 3]),
        ],
    ),
    "ModuleDict": Row(
        given(),
        [_NO_FORWARD],
        [
            kind("expected modules to be a mapping or key/value pairs, got [3]", [3]),
            kind("expected module 'a' to be a Module or None, got 3", {"a": 3}),
            kind("expected keys of modules to be strings, got 3", {3: nn.ReLU()}),
        ],
    ),
    "ParameterList": Row(given(), [_NO_FORWARD], [kind("expected values to be an iterable, got 3", 3)]),
    "ParameterDict": Row(
        given(),
        [_NO_FORWARD],
        [
            kind("expected parameters to be a mapping or key/value pairs, got 3", 3),
            kind("expected keys of parameters to be strings, got 3", {3: sw.zeros(1)}),
        ],
    ),
}
