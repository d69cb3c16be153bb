"""Bad input and options of pooling, padding and resizing."""

from .case import Row, given, index, ints, kind, shape, value, x

ROWS = {}

_WINDOW = [
    value("expected kernel_size to be at least 1, got 0", 0),
    value("expected stride to be at least 1, got 0", 2, 0),
    value("expected padding to be at least 0, got -1", 2, padding=-1),
    kind("expected kernel_size to be an integer or integers, got 2.5", 2.5),
    kind("expected kernel_size to be an integer or integers, got 'two'", "two"),
]

for _d in (1, 2, 3):
    _flat, _image, _empty = x(3), (2, 3, *(5,) * _d), (2, 3, *(0,) * _d)
    _nine, _many = (9,) * _d, (2,) * (_d + 1)
    _dims = shape(f"expected an input of {_d + 1} or {_d + 2} dimensions, got (3,)", _flat)
    _small = shape(f"the input {_image} is too small for kernel_size {_nine}, stride {_nine}", x(*_image)).of(9)
    _integers = kind("expected input to be of a floating dtype, got int64", ints(*_image))
    _padding = value("expected padding of at most half the kernel size, got padding", x(*_image)).of(2, padding=3)
    _kernel = shape(f"expected kernel_size to be a number or {_d} numbers, got {_many}", x(*_image)).of(_many)

    ROWS[f"MaxPool{_d}d"] = Row(
        given(2),
        [_dims, _small, _integers, _padding, _kernel],
        [*_WINDOW, value("expected dilation to be at least 1, got 0", 2, dilation=0)],
    )
    _divisor = value("expected a divisor_override other than 0, got 0", 2, divisor_override=0)
    ROWS[f"AvgPool{_d}d"] = Row(
        given(2), [_dims, _small, _integers, _padding, _kernel], [*_WINDOW, *([_divisor] if _d > 1 else [])]
    )
    ROWS[f"LPPool{_d}d"] = Row(
        given(2, 2),
        [_dims, shape(_small.says, x(*_image)).of(2, 9), kind("expected input to be a tensor, got 3 (int)", 3)],
        [
            value("expected a norm_type other than 0, got 0", 0, 2),
            kind("expected norm_type to be a number, got 'two'", "two", 2),
            value("expected kernel_size to be at least 1, got 0", 2, 0),
            value("expected stride to be at least 1, got -1", 2, 2, -1),
        ],
    )
    _output = [
        value("expected output_size to be at least 0, got -1", -1),
        kind("expected output_size to be an integer or integers, got 'all'", "all"),
    ]
    _numbers = shape(f"expected output_size to be a number or {_d} numbers, got {_many}", x(*_image)).of(_many)
    _nothing = shape(f"expected spatial dimensions of at least 1, got input {_empty}", x(*_empty))
    for _kind in ("Avg", "Max"):
        ROWS[f"Adaptive{_kind}Pool{_d}d"] = Row(given(2), [_dims, _numbers, _nothing, _integers], _output)

    _two, _long = (2, 3, *(2,) * _d), (4,) * (_d + 3)
    ROWS[f"MaxUnpool{_d}d"] = Row(
        given(2),
        [
            index(f"index 1000 is outside an output of {(4,) * _d}", x(*_two), ints(*_two, fill=1000)),
            index(f"index -1 is outside an output of {(4,) * _d}", x(*_two), ints(*_two, fill=-1)),
            shape(f"expected indices of the input's shape {_two}, got (2, 3)", x(*_two), ints(2, 3)),
            kind("expected int64 indices, got float32", x(*_two), x(*_two)),
            value(f"expected output_size from 3 to 5 in dimension {-_d}, got 9", x(*_two), ints(*_two), (9,) * _d),
            shape(f"expected an output_size of {_d} numbers, got {_long}", x(*_two), ints(*_two), _long),
            kind("expected arguments (input, indices, output_size): missing a required argument: 'indices'", x(*_two)),
        ],
        _WINDOW,
    )

    _pads = [
        kind("expected padding to be an integer or integers, got 1.5", 1.5),
        kind("expected padding to be an integer or integers, got 'one'", "one"),
    ]
    _odd = value(f"expected pad to be an even number of at most {2 * (_d + 2)} amounts", x(*_image)).of((1, 1, 1))
    _crop = value("pad amounts -9 and -9 leave no valid size for dimension", x(*_image)).of(-9)
    _over = "cannot pad dimension {} of size 5 by 6 and 6 (expected pad amounts from 0 to {})".format
    ROWS[f"ZeroPad{_d}d"] = Row(given(1), [_odd, _crop], _pads)
    ROWS[f"ConstantPad{_d}d"] = Row(
        given(1, 0.5),
        [value(_odd.says, x(*_image)).of((1, 1, 1), 0), value(_crop.says, x(*_image)).of(-9, 0)],
        [
            kind("expected padding to be an integer or integers, got 1.5", 1.5, 0),
            kind("expected value to be a number, got 'one'", 1, "one"),
        ],
    )
    ROWS[f"ReflectionPad{_d}d"] = Row(given(6), [value("mode 'reflect' " + _over(2, 4), x(*_image)), _odd], _pads)
    ROWS[f"CircularPad{_d}d"] = Row(given(6), [value("mode 'circular' " + _over(2, 5), x(*_image)), _odd], _pads)
    ROWS[f"ReplicationPad{_d}d"] = Row(
        given(1), [value("mode 'replicate' cannot pad dimension 2 of size 0 by 1 and 1", x(*_empty)), _odd], _pads
    )

_LINE = shape("expected (N, C, ...) input of 3 to 5 dimensions, got (2, 3)", x(2, 3))
_SCALES = [
    value("expected size to be at least 1, got 0", 0),
    kind("expected size to be an integer or integers, got 'big'", "big"),
    value("expected scale_factor to be greater than 0, got -2", scale_factor=-2),
    kind("expected scale_factor to be a number, got 'two'", scale_factor="two"),
]
_NEITHER = value("expected one of size and scale_factor, got size None and scale_factor None", x(2, 3, 4, 4)).of()
ROWS |= {
    "Upsample": Row(
        given(scale_factor=2),
        [
            _LINE,
            _NEITHER,
            value("got size 4 and scale_factor 2.0", x(2, 3, 4, 4)).of(4, 2),
            value("mode 'linear' does not apply to input of shape (2, 3, 4, 4)", x(2, 3, 4, 4)).of(4, mode="linear"),
            value("expected a positive scale_factor, got 1e+12", x(2, 3, 4, 4)).of(scale_factor=1e12),
        ],
        [*_SCALES, value("expected mode to be 'nearest', 'nearest-exact', 'linear'", 4, mode="lanczos")],
    ),
    "UpsamplingNearest2d": Row(given(scale_factor=2), [_LINE, _NEITHER], _SCALES),
    "UpsamplingBilinear2d": Row(
        given(scale_factor=2),
        [_LINE, value("mode 'bilinear' does not apply to input of shape (2, 3, 4)", x(2, 3, 4))],
        _SCALES,
    ),
    "PixelShuffle": Row(
        given(2),
        [
            shape("expected channels divisible by upscale_factor^2 = 4, got (2, 3, 5, 5)", x(2, 3, 5, 5)),
            kind("expected input to be a tensor, got 3 (int)", 3),
        ],
        [
            value("expected upscale_factor to be at least 1, got 0", 0),
            kind("expected upscale_factor to be an integer, got 1.5", 1.5),
        ],
    ),
    "PixelUnshuffle": Row(
        given(2),
        [shape("expected height and width divisible by downscale_factor 2, got (2, 3, 5, 5)", x(2, 3, 5, 5))],
        [value("expected downscale_factor to be at least 1, got -2", -2)],
    ),
    "ChannelShuffle": Row(
        given(2),
        [shape("expected channels divisible by groups 2, got (2, 3, 5, 5)", x(2, 3, 5, 5))],
        [value("expected groups to be at least 1, got 0", 0)],
    ),
    "Unfold": Row(
        given(7),
        [
            shape("a kernel of (7, 7) does not fit into (2, 3, 5, 5)", x(2, 3, 5, 5)),
            shape("expected (N, C, H, W) or (C, H, W) input, got (2, 3)", x(2, 3)),
            value("expected stride to be a number or 2 numbers, got (1, 1, 1)", x(2, 3, 5, 5)).of(2, stride=(1, 1, 1)),
        ],
        [
            value("expected kernel_size to be at least 1, got 0", 0),
            value("expected stride to be at least 1, got 0", 2, stride=0),
            value("expected padding to be at least 0, got -1", 2, padding=-1),
            value("expected dilation to be at least 1, got 0", 2, dilation=0),
        ],
    ),
    "Fold": Row(
        given(5, 2),
        [
            shape("expected (N, C * 4, 16) input for output_size (5, 5), got (1, 5, 16)", x(1, 5, 16)),
            shape("input of 2 or 3 dimensions, got (1, 3, 5, 5)", x(1, 3, 5, 5)),
            shape("a kernel of (2, 2) does not fit into output_size (1, 1)", x(1, 4, 0)).of(1, 2),
        ],
        [
            value("expected output_size to be at least 1, got 0", 0, 2),
            value("expected stride to be at least 1, got 0", 5, 2, stride=0),
            kind("expected kernel_size to be an integer or integers, got 'two'", 5, "two"),
        ],
    ),
}
