"""Calls that must fail, continued: functions of one tensor, pairs of them, and the less common ops."""

from .bad_inputs import index, kind, shape, value
from .case import Bad, ints, normal

x = normal
_OUT_OF_TWO = "dim 2 is out of range for 2 dimensions (expected -2 to 1)"
_NOT_ALIKE = "shapes (2, 3) and (4,) do not broadcast: sizes 3 and 4 differ in dimension 1"

# Any tensor will do, and nothing else.
ANY_TENSOR = (
    "neg", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "rsqrt", "square", "reciprocal", "abs",
    "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "erf", "floor", "ceil", "trunc", "round", "sign",
    "sigmoid", "tanh", "logical_not", "isnan", "isinf", "isfinite", "asinh", "acosh", "atanh", "erfc", "frac", "logit",
    "relu",
)  # fmt: skip
FLOATING = (
    "relu6", "leaky_relu", "elu", "selu", "celu", "logsigmoid", "silu", "mish", "hardtanh", "hardsigmoid", "hardswish",
    "softsign", "tanhshrink", "softshrink", "hardshrink", "std_mean", "var_mean", "nanmean", "norm",
)  # fmt: skip
PAIRS = (
    "sub", "mul", "div", "remainder", "minimum", "atan2", "eq", "ne", "lt", "le", "gt", "ge", "logical_and",
    "logical_or", "hypot", "xlogy", "copysign", "fmod",
)  # fmt: skip
ALONG_A_DIM = (
    "softmin", "cumprod", "nansum", "nanmean", "std_mean", "var_mean", "median", "std", "norm", "argsort", "all", "any",
    "unbind",
)  # fmt: skip
LOSSES_OF_TWO = ("kl_div", "soft_margin_loss", "hinge_embedding_loss", "poisson_nll_loss")

SPECIFIC: dict[str, list[Bad]] = {
    "threshold": [kind("threshold: expected input to be of a floating dtype, got int64", ints(3), 0.0, 1.0)],
    "lerp": [shape("lerp: " + _NOT_ALIKE, x(2, 3), x(4), 0.5)],
    "clamp": [value("clamp: expected min or max (or both) to be given", x(3))],
    "addcmul": [shape("addcmul: " + _NOT_ALIKE, x(2, 3), x(4), x(3))],
    "addcdiv": [
        shape("addcdiv: " + _NOT_ALIKE, x(2, 3), x(4), x(3)),
        kind("addcdiv: expected floating tensors, got int64", ints(3), ints(3), ints(3)),
    ],
    "outer": [shape("outer: expected input with 1 dimension, got (2, 3)", x(2, 3), x(3))],
    "addmm": [
        shape("addmm: expected mat1 with 2 dimensions, got (2, 3, 1)", x(2, 4), x(2, 3, 1), x(3, 4)),
        shape("shapes (2, 5) and (2, 4) do not broadcast", x(2, 5), x(2, 3), x(3, 4)),
    ],
    "baddbmm": [
        shape(
            "baddbmm: expected batch1 and batch2 with the same batch size, got (2, 3, 5) and (3, 5, 4)",
            x(2, 3, 4), x(2, 3, 5), x(3, 5, 4),
        )
    ],
    "bilinear": [
        shape("bilinear: expected inputs with last dimensions (2, 3)", x(3, 2), x(3, 4), x(5, 2, 3)),
        shape("bilinear: expected inputs with last dimensions (4,)", x(3, 2), x(3, 4), x(5, 4)),
        shape("shapes (3, 5) and (4,) do not broadcast", x(3, 2), x(3, 4), x(5, 2, 4), x(4)),
    ],
    "scaled_dot_product_attention": [
        shape("expected other with 4 rows", x(2, 3, 4), x(2, 5, 3), x(2, 5, 3)),
        shape("expected other with 5 rows", x(2, 3, 4), x(2, 5, 4), x(2, 6, 3)),
    ],
    "conv_transpose1d": [
        shape("conv_transpose1d: expected 2 input channels (dim 1), got (2, 3, 8)", x(2, 3, 8), x(2, 4, 3))
    ],
    "conv_transpose3d": [
        shape("conv_transpose3d: expected input with 5 dimensions (N, C, ...)", x(3, 8), x(3, 4, 3, 3, 3))
    ],
    "index_add": [
        shape("expected source of shape (2, 3), got (3, 3)", x(5, 3), 0, ints(2, high=5), x(3, 3)),
        index("index 5 is out of range for dimension 0 of size 5", x(5, 3), 0, ints(2, low=5, high=6), x(2, 3)),
    ],
    "index_copy": [
        shape("expected source of shape (2, 3), got (3, 3)", x(5, 3), 0, ints(2, high=5), x(3, 3)),
        index("index 5 is out of range for dimension 0 of size 5", x(5, 3), 0, ints(2, low=5, high=6), x(2, 3)),
    ],
    "index_fill": [
        index(_OUT_OF_TWO, x(5, 3), 2, ints(2), 1.0),
        index("index 5 is out of range for dimension 0 of size 5", x(5, 3), 0, ints(2, low=5, high=6), 1.0),
    ],
    "take": [
        index("index 15 is out of range", x(3, 5), ints(2, low=15, high=16)),
        kind("take: expected index to be of an integer dtype, got float32", x(3, 5), x(2)),
    ],
    "take_along_dim": [
        index("index 5 is out of range for dimension 1 of size 5", x(3, 5), ints(3, 2, low=5, high=6), 1),
        kind("of an integer dtype, got float32", x(3, 5), x(3, 2), 1),
    ],
    "repeat_interleave": [
        value("repeat_interleave: repeats must not be negative, got -1", x(3), -1),
        shape("repeat_interleave: expected repeats of shape (3,), got (2,)", x(3), ints(2)),
    ],
    "median": [index("median: dimension 0 of input of shape (0, 3) has no elements", x(0, 3), 0)],
    "kthvalue": [
        value("kthvalue: k = 4 is out of range for dimension 1 of size 3", x(2, 3), 4),
        value("kthvalue: k = 0 is out of range for dimension 1 of size 3", x(2, 3), 0),
    ],
    "max_dim": [
        index("max: " + _OUT_OF_TWO, x(2, 3), 2),
        index("max: dimension 0 of input of shape (0, 3) has no elements", x(0, 3), 0),
    ],
    "min_dim": [
        index("min: " + _OUT_OF_TWO, x(2, 3), 2),
        index("min: dimension 0 of input of shape (0, 3) has no elements", x(0, 3), 0),
    ],
    "diagonal": [
        index("diagonal: dim 1 is out of range for 1 dimensions", x(3)),
        value("diagonal: dim1 and dim2 are both dimension 1", x(3, 4), 0, 1, 1),
    ],
    "diag": [shape("diag: expected input of 1 or 2 dimensions, got shape (2, 3, 4)", x(2, 3, 4))],
    "tril": [shape("tril: expected input of at least 2 dimensions, got shape (3,)", x(3))],
    "triu": [shape("triu: expected input of at least 2 dimensions, got shape (3,)", x(3))],
    "movedim": [
        index("movedim: " + _OUT_OF_TWO, x(2, 3), 0, 2),
        shape("movedim: source (0, 1) and destination (0,) differ in length", x(2, 3), (0, 1), (0,)),
    ],
    "narrow": [
        value("narrow: start 3 and length 3 do not fit in dimension 0 of size 5", x(5, 3), 0, 3, 3),
        value("narrow: start 0 and length -1 do not fit in dimension 0 of size 5", x(5, 3), 0, 0, -1),
        index("narrow: " + _OUT_OF_TWO, x(5, 3), 2, 0, 1),
    ],
    "select": [
        index("select: index 5 is out of range for dimension 0 of size 5", x(5, 3), 0, 5),
        index("select: " + _OUT_OF_TWO, x(5, 3), 2, 0),
    ],
    "tensor_split": [
        value("tensor_split: the number of sections must be positive, got 0", x(5), 0),
        index("tensor_split: dim 1 is out of range for 1 dimensions", x(5), 2, 1),
    ],
    "tile": [value("repeats must not be negative, got (1, -1)", x(2, 3), (-1,))],
    "hstack": [
        value("hstack: expected at least one tensor", []),
        shape("same shape except in dimension 1, got (2, 3) and (3, 3) (tensor 1)", [x(2, 3), x(3, 3)]),
    ],
    "vstack": [
        value("vstack: expected at least one tensor", []),
        shape("same shape except in dimension 0, got (2, 3) and (2, 4) (tensor 1)", [x(2, 3), x(2, 4)]),
    ],
    "roll": [
        value("roll: shifts (1, 2) and dims (0,) differ in length", x(2, 3), (1, 2), (0,)),
        index("roll: " + _OUT_OF_TWO, x(2, 3), 1, 2),
    ],
    "normalize": [kind("of a floating dtype, got int64", ints(2, 3)), index(_OUT_OF_TWO, x(2, 3), dim=2)],
    "cosine_similarity": [
        shape("cosine_similarity: expected shapes that broadcast, got x1 (2, 3) and x2 (2, 4)", x(2, 3), x(2, 4)),
        index(_OUT_OF_TWO, x(2, 3), x(2, 3), dim=2),
    ],
    "pairwise_distance": [
        shape("pairwise_distance: expected shapes that broadcast, got x1 (2, 3) and x2 (2, 4)", x(2, 3), x(2, 4))
    ],
    "local_response_norm": [
        shape("local_response_norm: expected input (N, C, d1, ...) of 3 to 5 dimensions, got (3,)", x(3), 2),
        value("local_response_norm: expected size > 0, got 0", x(2, 3, 4), 0),
    ],
    "rms_norm": [
        shape("rms_norm: expected input whose last dimensions are (4,), got (2, 3)", x(2, 3), (4,)),
        shape("rms_norm: expected weight of normalized_shape (3,), got (4,)", x(2, 3), (3,), x(4)),
    ],
    "pixel_unshuffle": [
        shape("pixel_unshuffle: expected height and width divisible by downscale_factor 2", x(2, 3, 5, 4), 2),
        value("pixel_unshuffle: expected downscale_factor to be at least 1, got 0", x(2, 3, 4, 4), 0),
    ],
    "channel_shuffle": [
        shape("channel_shuffle: expected channels divisible by groups 2, got (2, 5, 3)", x(2, 5, 3), 2),
        value("channel_shuffle: expected groups to be at least 1, got 0", x(2, 4, 3), 0),
    ],
    "unfold": [
        shape("unfold: a kernel of (4, 4) does not fit into (1, 2, 3, 3)", x(1, 2, 3, 3), 4),
        shape("unfold: expected (N, C, H, W) or (C, H, W) input, got (3, 3)", x(3, 3), 2),
        value("unfold: expected kernel_size of at least 1, got 0", x(1, 2, 3, 3), 0),
        value("unfold: expected stride of at least 1, got 0", x(1, 2, 3, 3), 2, stride=0),
        value("unfold: expected padding of at least 0, got -1", x(1, 2, 3, 3), 2, padding=-1),
    ],
    "fold": [
        shape("fold: expected (N, C * 4, 12) input for output_size (5, 4), got (2, 8, 11)", x(2, 8, 11), (5, 4), 2),
        shape("fold: expected (N, C * 4, 12) input for output_size (5, 4), got (2, 7, 12)", x(2, 7, 12), (5, 4), 2),
        shape("fold: expected (N, C * kernel, windows) input of 2 or 3 dimensions, got (12,)", x(12), (5, 4), 2),
        value("fold: expected stride of at least 1, got 0", x(2, 8, 12), (5, 4), 2, stride=0),
    ],
    "interpolate": [
        shape("interpolate: expected (N, C, ...) input of 3 to 5 dimensions, got (3, 4)", x(3, 4), size=2),
        shape("interpolate: expected a size of 1 numbers, got (2, 2)", x(1, 2, 4), size=(2, 2)),
        shape("interpolate: expected output sizes from 1 to", x(1, 2, 4), size=0),
        value("interpolate: mode 'bilinear' does not apply to input", x(1, 2, 4), size=2, mode="bilinear"),
        value("interpolate: expected one of size and scale_factor, got size None", x(1, 2, 4)),
        value("interpolate: expected one of size and scale_factor, got size 2", x(1, 2, 4), size=2, scale_factor=2.0),
        kind("interpolate: expected input to be of a floating dtype, got int64", ints(1, 2, 4), size=2),
    ],
    "lp_pool2d": [
        shape("the input (1, 2, 4, 4) is too small for kernel_size (5, 5)", x(1, 2, 4, 4), 2.0, 5),
        value("expected kernel_size of at least 1, got (0,)", x(1, 2, 4, 4), 2.0, 0),
        value("lp_pool2d: expected a norm_type other than 0, got 0.0", x(1, 2, 4, 4), 0.0, 2),
    ],
    "max_pool1d": [value("max_pool1d: expected kernel_size of at least 1, got (0,)", x(2, 3, 8), 0)],
    "avg_pool1d": [shape("avg_pool1d: the input (2, 3, 8) is too small for kernel_size (9,)", x(2, 3, 8), 9)],
    "adaptive_avg_pool1d": [shape("adaptive_avg_pool1d: expected an input of 2 or 3 dimensions, got (8,)", x(8), 2)],
    "adaptive_max_pool1d": [
        shape("adaptive_max_pool1d: expected spatial dimensions of at least 1, got input (2, 3, 0)", x(2, 3, 0), 2)
    ],
    "max_pool3d": [shape("max_pool3d: expected an input of 4 or 5 dimensions, got (2, 3, 8)", x(2, 3, 8), 2)],
    "avg_pool3d": [value("avg_pool3d: expected stride of at least 1, got (0,)", x(2, 3, 4, 4, 4), 2, 0)],
    "adaptive_avg_pool3d": [
        value("adaptive_avg_pool3d: expected output_size of at least 0, got (-1,)", x(2, 3, 4, 4, 4), -1)
    ],
    "adaptive_max_pool3d": [
        shape("adaptive_max_pool3d: expected an input of 4 or 5 dimensions, got (3, 4)", x(3, 4), 2)
    ],
    "margin_ranking_loss": [
        shape("expected shapes that broadcast, got input1 (5,), input2 (4,) and target (5,)", x(5), x(4), x(5)),
        value("expected reduction to be 'none', 'mean' or 'sum', got 'avg'", x(5), x(5), x(5), reduction="avg"),
    ],
    "triplet_margin_loss": [
        shape("triplet_margin_loss: expected shapes that broadcast", x(4, 5), x(4, 6), x(4, 5)),
        value("to be 'none', 'mean' or 'sum', got 'avg'", x(4, 5), x(4, 5), x(4, 5), reduction="avg"),
    ],
    "cosine_embedding_loss": [
        shape("cosine_embedding_loss: expected shapes that broadcast", x(4, 5), x(4, 6), x(4)),
        value("to be 'none', 'mean' or 'sum', got 'avg'", x(4, 5), x(4, 5), x(4), reduction="avg"),
    ],
    "multi_margin_loss": [
        index("multi_margin_loss: expected target classes in 0 to 4, got 5", x(4, 5), ints(4, low=5, high=6)),
        shape("expected (N, C) input and (N,) target, got input (4, 5) and target (3,)", x(4, 5), ints(3, high=5)),
    ],
    "dropout_0.25": [kind("dropout: expected input to be of a floating dtype, got int64", ints(3))],
    "dropout1d_0.4": [shape("dropout1d: expected 2 or 3 dimensions, got (3,)", x(3))],
    "dropout2d_0.4": [shape("dropout2d: expected at least 2 dimensions (N, C, ...), got (3,)", x(3))],
    "dropout3d_0.4": [shape("dropout3d: expected 4 or 5 dimensions, got (3,)", x(3))],
    "alpha_dropout_0.3": [kind("alpha_dropout: expected input to be of a floating dtype, got int64", ints(3))],
}  # fmt: skip

_EXACTLY = " expected input and target of one shape, got input (5, 1) and target (5,)"
_FAMILIES: list[dict[str, Bad]] = [
    {name: kind(f"{name}(): incompatible function arguments", "not a tensor") for name in ANY_TENSOR},
    {name: kind(f"{name}: expected input to be of a floating dtype, got int64", ints(3)) for name in FLOATING},
    {name: shape(f"{name}: {_NOT_ALIKE}", x(2, 3), x(4)) for name in PAIRS},
    {name: index(_OUT_OF_TWO, x(2, 3), dim=2) for name in ALONG_A_DIM},
    {name: shape(name + ":" + _EXACTLY, x(5, 1), x(5)) for name in LOSSES_OF_TWO},
]
BAD: dict[str, list[Bad]] = {name: list(calls) for name, calls in SPECIFIC.items()}
for _family in _FAMILIES:
    for _name, _bad in _family.items():
        BAD.setdefault(_name, []).append(_bad)
