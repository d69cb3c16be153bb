"""Bad input and options of activations."""

from .case import Row, given, index, ints, kind, shape, value, x

_INTEGERS = kind("expected input to be of a floating dtype, got int64", ints(2, 4))
_LIST = kind("expected input to be a tensor, got [1.0] (list)", [1.0])
_TOO_MANY = kind("expected arguments (input): too many positional arguments", x(2), x(2))
_DIM = index("dim 3 is out of range for 2 dimensions (expected -2 to 1)", x(2, 4))


def _number(name, *before, **more):
    return kind(f"expected {name} to be a number, got 'one'", *before, **{name: "one"}, **more)


_NO_DIM = kind("expected dim to be an integer, got 1.5", dim=1.5)

ROWS = {
    "ReLU": Row(given(), [_LIST, _TOO_MANY], []),
    "ReLU6": Row(given(), [_INTEGERS, _LIST], []),
    "SELU": Row(given(), [_INTEGERS], []),
    "SiLU": Row(given(), [_INTEGERS], []),
    "Mish": Row(given(), [_INTEGERS], []),
    "Hardswish": Row(given(), [_INTEGERS], []),
    "Hardsigmoid": Row(given(), [_INTEGERS], []),
    "Sigmoid": Row(given(), [_LIST, _TOO_MANY], []),
    "Tanh": Row(given(), [_LIST], []),
    "Softsign": Row(given(), [_INTEGERS], []),
    "LogSigmoid": Row(given(), [_INTEGERS], []),
    "Tanhshrink": Row(given(), [_INTEGERS], []),
    "Hardtanh": Row(
        given(),
        [_INTEGERS],
        [
            value("expected min_val < max_val, got 1.0 and -1.0", 1.0, -1.0),
            _number("min_val"),
            kind("expected max_val to be a number, got 'one'", max_value="one"),
        ],
    ),
    "LeakyReLU": Row(given(), [_INTEGERS], [_number("negative_slope")]),
    "ELU": Row(given(), [_INTEGERS], [_number("alpha")]),
    "CELU": Row(given(), [_INTEGERS, value("expected alpha other than 0, got 0", x(2)).of(0)], [_number("alpha")]),
    "PReLU": Row(
        given(),
        [
            _INTEGERS,
            shape("weight of 1 or 4 elements (the channels of input (2, 4)), got (3,)", x(2, 4)).of(3),
        ],
        [value("expected num_parameters to be at least 0, got -1", -1), _number("init")],
    ),
    "RReLU": Row(
        given(),
        [kind("expected input to be a tensor, got 3 (int)", 3), _INTEGERS],
        [value("expected lower <= upper, got 0.5 and 0.25", 0.5, 0.25), _number("lower")],
    ),
    "GELU": Row(given(), [_INTEGERS], [value("expected approximate to be 'none' or 'tanh', got 'fast'", "fast")]),
    "Softplus": Row(given(), [_INTEGERS, value("expected beta other than 0, got 0", x(2)).of(0)], [_number("beta")]),
    "Hardshrink": Row(given(), [_INTEGERS], [_number("lambd")]),
    "Softshrink": Row(
        given(), [_INTEGERS, value("expected lambd of at least 0, got -1", x(2)).of(-1)], [_number("lambd")]
    ),
    "Threshold": Row(given(0, 1), [_INTEGERS], [_number("value", 0), _number("threshold", value=0)]),
    "GLU": Row(
        given(),
        [
            _INTEGERS,
            shape("expected dimension 1 of input (2, 3) to be even", x(2, 3)),
            shape("input () to be even", x()),
        ],
        [_NO_DIM],
    ),
    "Softmax": Row(given(3), [_DIM, _INTEGERS], [_NO_DIM, kind("expected dim to be an integer, got [1]", [1])]),
    "Softmin": Row(given(3), [_DIM, _INTEGERS], [_NO_DIM]),
    "LogSoftmax": Row(given(3), [_DIM, _INTEGERS], [_NO_DIM]),
    "Softmax2d": Row(given(), [shape("expected 3D or 4D input, got (2, 3)", x(2, 3)), _LIST], []),
    "Maxout": Row(
        given(3),
        [shape("expected dimension 1 of input (2, 4) to be a multiple of pieces = 3", x(2, 4))],
        [value("expected pool_size to be at least 1, got 0", 0)],
    ),
    "CReLU": Row(given(3), [_DIM, _LIST], [_NO_DIM]),
    "MultiheadAttention": Row(
        given(4, 2),
        [
            shape("expected query of shape (3, 2, 4), got (3, 2, 5)", x(3, 2, 5), x(3, 2, 4), x(3, 2, 4)),
            shape("expected key of the query's batch size 2, got (3, 1, 4)", x(3, 2, 4), x(3, 1, 4), x(3, 1, 4)),
            shape("expected key of shape (5, 2, 4), got (5, 2, 3)", x(3, 2, 4), x(5, 2, 3), x(5, 2, 4)),
            shape("expected value of shape (5, 2, 4), got (3, 2, 4)", x(3, 2, 4), x(5, 2, 4), x(3, 2, 4)),
            shape("2 or 3 dimensions alike, got query (4,) and key (3, 2, 4)", x(4), x(3, 2, 4), x(3, 2, 4)),
            shape(
                "expected key_padding_mask of shape (2, 3), got (3, 2)",
                *[x(3, 2, 4)] * 3,
                key_padding_mask=x(3, 2),
            ),
            shape("expected attn_mask of shape (3, 3) or (4, 3, 3), got (2, 2)", *[x(3, 2, 4)] * 3, attn_mask=x(2, 2)),
            kind("expected arguments (query, key, value, ", x(3, 4)),
        ],
        [
            value("embed_dim must be divisible by num_heads, got 5 and 2", 5, 2),
            value("expected num_heads to be at least 1, got 0", 4, 0),
            value("expected dropout between 0 and 1, got 2", 4, 2, dropout=2),
            value("expected add_bias_kv and add_zero_attn to be False, got True and False", 4, 2, add_bias_kv=True),
        ],
    ),
}
