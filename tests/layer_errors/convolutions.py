"""Bad input and options of convolutions."""

from .case import Row, given, ints, kind, shape, value, x

ROWS = {}

for _d in (1, 2, 3):
    _one = (1,) * _d
    _image = (2, 3, *(5,) * _d)
    _channels = shape(f"expected 4 input channels (dim 1), got {_image}", x(*_image))
    _dims = shape(f"expected input with {_d + 2} dimensions (N, C, ...), or {_d + 1} without a batch, got (3,)", x(3))
    _integers = kind("expected input to be of a floating dtype, got int64", ints(*_image))
    _lazy_dims = shape(f"expected input of {_d + 1} or {_d + 2} dimensions, got (3,)", x(3))
    _groups = value("in_channels must be divisible by groups, got 3 and 2", x(*_image)).of(4, 3, groups=2)
    _large = shape(
        "expected a kernel no larger than the padded input, got kernel 9 and padded input 5 in dim 2", x(*_image)
    )

    def _options(*channels, ones=_one, dims=_d):
        return [
            value(f"expected stride to be at least 1, got {(0,) * dims}", *channels, 3, stride=0),
            value(f"expected kernel_size to be at least 1, got {(0,) * dims}", *channels, 0),
            value(f"expected dilation to be at least 1, got {(-1,) * dims}", *channels, 3, dilation=-1),
            value(f"expected padding to be at least 0, got {(-1,) * dims}", *channels, 3, padding=-1),
            value("expected groups to be at least 1, got 0", *channels, 3, groups=0),
            kind("expected groups to be an integer, got (1, 1)", *channels, 3, groups=(1, 1)),
            value("out_channels must be divisible by groups, got 4 and 3", *(3,) * (len(channels) - 1), 4, 3, groups=3),
            value("expected out_channels to be at least 0, got -4", *channels[:-1], -4, 3),
            kind("expected kernel_size to be an integer or integers, got ", *channels, "three"),
            kind(f"expected stride to be an integer or integers, got {(0.5,) * dims}", *channels, 3, stride=0.5),
        ]

    _modes = "padding_mode must be one of ['circular', 'reflect', 'replicate', 'zeros'], got 'mirror'"
    _strided = f"padding='same' is not supported for strided convolutions, got {(2,) * _d}"
    _padding = [
        value(_modes, 4, 4, 3, padding_mode="mirror"),
        value("expected padding to be 'same', 'valid' or integers, got 'full'", 4, 4, 3, padding="full"),
        value(_strided, 4, 4, 3, stride=2, padding="same"),
    ]
    _sizes = [
        value(f"expected kernel_size to be a number or {_d} numbers, got {(3,) * (_d + 1)}", 4, 4, (3,) * (_d + 1)),
        value("in_channels must be divisible by groups, got 3 and 2", 3, 4, 3, groups=2),
        value("expected in_channels to be at least 0, got -4", -4, 4, 3),
    ]
    _no_modes = value(
        "only 'zeros' padding mode is supported, got padding_mode='reflect'", 4, 4, 3, padding_mode="reflect"
    )
    _extra = value(f"expected output_padding to be at least 0, got {(-1,) * _d}", 4, 4, 3, output_padding=-1)
    _calls = [_channels, _dims, _integers]

    ROWS[f"Conv{_d}d"] = Row(given(4, 2, 3), [*_calls, _large.of(3, 2, 9)], [*_options(4, 4), *_padding, *_sizes])
    ROWS[f"ConvTranspose{_d}d"] = Row(
        given(4, 2, 3),
        [
            *_calls,
            value(
                f"expected output_size from 7 to 7 in dimension 0 for an input of {(5,) * _d}, got {(9,) * _d}",
                x(*_image),
                output_size=(9,) * _d,
            ).of(3, 2, 3),
            value(f"expected output_size to be {_d} or {_d + 2} sizes, got 9", x(*_image), output_size=9).of(3, 2, 3),
            value(f"expected output_padding smaller than stride or dilation, got {(5,) * _d}", x(*_image)).of(
                3, 2, 3, output_padding=5
            ),
        ],
        [*_options(4, 4), *_sizes, _no_modes, _extra],
    )
    ROWS[f"LazyConv{_d}d"] = Row(
        given(4, 3),
        [_lazy_dims, _groups, _integers.by(f"Conv{_d}d"), _large.of(4, 9).by(f"Conv{_d}d")],
        _options(4),
    )
    ROWS[f"LazyConvTranspose{_d}d"] = Row(
        given(4, 3), [_lazy_dims, _groups, _integers.by(f"ConvTranspose{_d}d")], _options(4)
    )
