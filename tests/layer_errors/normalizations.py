"""Bad input and options of normalization and dropout."""

from dataclasses import replace

from .case import Row, given, ints, kind, shape, value, x

_FEATURES = [
    value("expected num_features to be at least 0, got -3", -3),
    kind("expected num_features to be an integer, got 2.5", 2.5),
    kind("expected eps to be a number, got 'small'", 3, eps="small"),
    kind("expected momentum to be a number, got 'fast'", 3, momentum="fast"),
]
_AFFINE = [replace(bad, given=given(*bad.given.args, **bad.given.kwargs, affine=True)) for bad in _FEATURES]
_LAZY = [
    kind("expected eps to be a number, got 'small'", "small"),
    kind("expected momentum to be a number, got 'fast'", momentum="fast"),
]
_SIZES = [
    value("expected normalized_shape to be at least 0, got (4, -1)", (4, -1)),
    kind("expected normalized_shape to be an integer or integers, got '4'", "4"),
    kind("expected eps to be a number, got 'small'", 4, eps="small"),
]
_LRN = [
    value("expected size to be at least 1, got 0", 0),
    kind("expected size to be an integer, got 2.5", 2.5),
    kind("expected alpha to be a number, got 'one'", 3, alpha="one"),
]
_LRN_CALL = shape("expected input (N, C, d1, ...) of 3 to 5 dimensions, got (2, 3)", x(2, 3))

ROWS = {
    "LayerNorm": Row(
        given(4),
        [
            shape("expected input whose last dimensions are (4,), got (2, 3)", x(2, 3)),
            kind("expected input to be of a floating dtype, got int64", ints(2, 4)),
        ],
        _SIZES,
    ),
    "RMSNorm": Row(
        given(4),
        [
            shape("expected input whose last dimensions are (4,), got (2, 3)", x(2, 3)),
            kind("expected x to be a tensor, got 4 (int)", 4),
        ],
        _SIZES,
    ),
    "GroupNorm": Row(
        given(2, 4),
        [
            shape("expected input (N, C, ...) of at least 2 dimensions, got (4,)", x(4)),
            shape("expected weight of shape (6,) (one value per channel of input (2, 6)), got (4,)", x(2, 6)),
        ],
        [
            value("expected num_groups to be at least 1, got 0", 0, 4),
            value("num_channels must be divisible by num_groups, got 4 and 3", 3, 4),
            value("expected num_channels to be at least 0, got -4", 2, -4),
        ],
    ),
    "LocalResponseNorm": Row(given(3), [_LRN_CALL], _LRN),
    "CrossMapLRN2d": Row(given(3), [_LRN_CALL], _LRN),
    "SyncBatchNorm": Row(
        given(3),
        [
            shape("got 1D of shape (3,)", x(3)),
            shape("expected weight of shape (4,) (one value per channel of input (2, 4)), got (3,)", x(2, 4)),
        ],
        _FEATURES,
    ),
}

for _d, _wanted in ((1, "2D or 3D"), (2, "4D"), (3, "5D")):
    _image, _point = (2, 4, *(5,) * _d), (1, 3, *(1,) * _d)
    _dims = shape(f"expected {_wanted} input, got 1D of shape (3,)", x(3))
    _channels = shape(f"expected weight of shape (4,) (one value per channel of input {_image}), got (3,)", x(*_image))
    _one = value(
        f"expected more than 1 value per channel in training, got input {_point}; use drop_last=True", x(*_point)
    )
    _integers = kind("expected input to be of a floating dtype, got int64", ints(*_image))
    _act = value('expected activation None, "relu"', x(*_image)).of(4, activation="step")
    _residual = shape(f"expected residual of the input's shape {_image}, got (2, 3)", x(*_image), x(2, 3)).of(4)
    ROWS[f"BatchNorm{_d}d"] = Row(given(3), [_dims, _channels, _one, _integers.of(4), _act, _residual], _FEATURES)
    ROWS[f"LazyBatchNorm{_d}d"] = Row(given(), [_dims, _one.by(f"BatchNorm{_d}d")], _LAZY)

    _dims = shape(f"expected {_d + 1}D or {_d + 2}D input, got 1D of shape (3,)", x(3))
    _one = value(f"expected more than 1 spatial value per channel, got input {_point}", x(*_point))
    ROWS[f"InstanceNorm{_d}d"] = Row(given(3), [_dims, _channels.of(3, affine=True), _one, _integers], _AFFINE)
    ROWS[f"LazyInstanceNorm{_d}d"] = Row(given(), [_dims, _one.by(f"InstanceNorm{_d}d")], _LAZY)

_P = [
    value("expected p between 0 and 1, got 1.5", 1.5),
    value("expected p between 0 and 1, got -0.1", -0.1),
    value("expected p between 0 and 1, got nan", float("nan")),
    kind("expected p to be a number, got 'half'", "half"),
]
_INTEGERS = kind("expected input to be of a floating dtype, got int64", ints(2, 4, 3))
_IMAGES = kind(_INTEGERS.says, ints(2, 4, 3, 3))
_CHANNELS = "expected at least 2 dimensions (N, C, ...), got (3,)"
ROWS |= {
    "Dropout": Row(given(), [_INTEGERS, kind("expected input to be a tensor, got [1.0] (list)", [1.0])], _P),
    "Dropout1d": Row(given(), [_INTEGERS, shape("expected 2 or 3 dimensions, got (3,)", x(3))], _P),
    "Dropout2d": Row(given(), [_INTEGERS, shape(_CHANNELS, x(3))], _P),
    "SpatialDropout": Row(given(), [_INTEGERS, shape(_CHANNELS, x(3))], _P),
    "Dropout3d": Row(given(), [_IMAGES, shape("expected 4 or 5 dimensions, got (3,)", x(3))], _P),
    "AlphaDropout": Row(given(), [_INTEGERS], _P),
    "FeatureAlphaDropout": Row(given(), [_INTEGERS, shape(_CHANNELS, x(3))], _P),
}
