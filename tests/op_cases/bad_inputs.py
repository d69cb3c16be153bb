"""Calls that must fail: by the name of the row, what is passed, the exception, and what its message says."""

from .case import Bad, bools, given, ints, normal

x = normal
_OUT_OF_TWO = "dim 2 is out of range for 2 dimensions (expected -2 to 1)"
_NOT_ONE_SHAPE = "expected input and target of one shape, got input (5, 1) and target (5,)"


def shape(message: str, *args: object, **kwargs: object) -> Bad:
    return Bad("ShapeError", message, *args, **kwargs)


def value(message: str, *args: object, **kwargs: object) -> Bad:
    return Bad("ValueError", message, *args, **kwargs)


def index(message: str, *args: object, **kwargs: object) -> Bad:
    return Bad("IndexError", message, *args, **kwargs)


def kind(message: str, *args: object, **kwargs: object) -> Bad:
    return Bad("TypeError", message, *args, **kwargs)


_IMAGE, _FILTER = x(2, 3, 8, 8), x(4, 3, 3, 3)

CONVOLUTIONS = {
    "conv1d": [shape("conv1d: expected 2 input channels (dim 1), got (2, 3, 8)", x(2, 3, 8), x(4, 2, 3))],
    "conv2d": [
        shape("conv2d: expected 2 input channels (dim 1), got (2, 3, 8, 8)", _IMAGE, x(4, 2, 3, 3)),
        shape("conv2d: expected bias of shape (4,), got (5,)", _IMAGE, _FILTER, x(5)),
        shape(
            "conv2d: expected input with 4 dimensions (N, C, ...), or 3 without a batch, got (3, 8)", x(3, 8), _FILTER
        ),
        shape("conv2d: expected weight with 4 dimensions, got (4, 3, 3)", _IMAGE, x(4, 3, 3)),
        shape("conv2d: expected weight without empty dimensions, got (4, 3, 0, 3)", _IMAGE, x(4, 3, 0, 3)),
        shape("got kernel 3 and padded input 2 in dim 2", x(2, 3, 2, 2), _FILTER),
        shape(
            "expected weight's dim 0 to be a multiple of groups 2, got (3, 2, 3, 3)",
            x(2, 4, 8, 8),
            x(3, 2, 3, 3),
            groups=2,
        ),
        value("conv2d: expected stride >= 1, got 0", _IMAGE, _FILTER, stride=0),
        value("conv2d: expected stride >= 1, got -1", _IMAGE, _FILTER, stride=-1),
        value("conv2d: expected stride to be a number or 2 numbers, got (1, 2, 3)", _IMAGE, _FILTER, stride=(1, 2, 3)),
        value("conv2d: expected padding >= 0, got -1", _IMAGE, _FILTER, padding=-1),
        value('conv2d: expected padding to be numbers, "same" or "valid", got "full"', _IMAGE, _FILTER, padding="full"),
        value('conv2d: expected stride 1 with padding "same", got 2', _IMAGE, _FILTER, stride=2, padding="same"),
        value("conv2d: expected dilation >= 1, got 0", _IMAGE, _FILTER, dilation=0),
        value("conv2d: expected groups >= 1, got 0", _IMAGE, _FILTER, groups=0),
        value("conv2d: sizes overflow", _IMAGE, _FILTER, padding=2**62),
        shape("conv2d: expected a kernel no larger than the padded input", _IMAGE, _FILTER, dilation=2**61),
        kind("conv2d: expected input to be of a floating dtype, got int64", ints(2, 3, 8, 8), ints(4, 3, 3, 3)),
    ],
    "conv3d": [shape("conv3d: expected input with 5 dimensions", x(3, 8), x(4, 3, 3, 3, 3))],
    "conv_transpose2d": [
        shape("conv_transpose2d: expected 2 input channels (dim 1), got (2, 3, 8, 8)", _IMAGE, x(2, 4, 3, 3)),
        shape("conv_transpose2d: expected bias of shape (4,), got (3,)", _IMAGE, x(3, 4, 3, 3), x(3)),
        shape("expected an output of at least one element, got -1", x(2, 3, 1, 1), x(3, 4, 1, 1), padding=1),
        value("conv_transpose2d: expected stride >= 1, got 0", _IMAGE, x(3, 4, 3, 3), stride=0),
        value("expected output_padding smaller than stride or dilation", _IMAGE, x(3, 4, 3, 3), output_padding=1),
    ],
}

PRODUCTS = {
    "linear": [
        shape("linear: expected input whose last dimension is 5, got (2, 3)", x(2, 3), x(4, 5)),
        shape("linear: expected bias of shape (4,), got (3,)", x(2, 3), x(4, 3), x(3)),
        value("linear: expected activation None", x(2, 3), x(4, 3), x(4), "none"),
    ],
    "matmul": [
        shape("matmul: expected other with 3 rows, as many as input has columns", x(2, 3), x(4, 5)),
        shape("matmul: expected operands with at least one dimension, got (2, 3) and ()", x(2, 3), x()),
        shape("do not broadcast: sizes 3 and 2 differ", x(3, 2, 3), x(2, 3, 5)),
    ],
    "mm": [shape("mm: expected input with 2 dimensions, got (2, 3, 4)", x(2, 3, 4), x(4, 5))],
    "bmm": [
        shape("bmm: expected input with 3 dimensions, got (2, 3)", x(2, 3), x(3, 4)),
        shape("bmm: expected input and mat2 with the same batch size", x(2, 3, 4), x(3, 4, 5)),
    ],
    "mv": [shape("mv: expected other with 3 rows", x(2, 3), x(4))],
    "dot": [shape("dot: expected input with 1 dimension, got (3, 1)", x(3, 1), x(3))],
}

POOLING = {
    "max_pool2d": [
        value("max_pool2d: expected kernel_size of at least 1, got (0,)", _IMAGE, 0),
        value("max_pool2d: expected kernel_size of at least 1, got (-1,)", _IMAGE, -1),
        value("max_pool2d: expected stride of at least 1, got (0,)", _IMAGE, 3, 0),
        value("max_pool2d: expected dilation of at least 1, got (0,)", _IMAGE, 2, dilation=0),
        value("max_pool2d: expected padding of at most half the kernel size", _IMAGE, 3, padding=2),
        shape("max_pool2d: the input (2, 3, 2, 2) is too small for kernel_size (3, 3)", x(2, 3, 2, 2), 3),
        shape("max_pool2d: expected an input of 3 or 4 dimensions, got (8, 8)", x(8, 8), 2),
        shape("max_pool2d: expected kernel_size to be a number or 2 numbers, got (2, 2, 2)", _IMAGE, (2, 2, 2)),
    ],
    "avg_pool2d": [
        value("avg_pool2d: expected kernel_size of at least 1, got (0,)", _IMAGE, 0),
        value("avg_pool2d: expected padding of at most half the kernel size", _IMAGE, 2, padding=2),
        value("avg_pool2d: expected a divisor_override other than 0", _IMAGE, 2, divisor_override=0),
        shape("avg_pool2d: the input (2, 3, 1, 1) is too small for kernel_size (2, 2)", x(2, 3, 1, 1), 2),
    ],
    "adaptive_avg_pool2d": [
        shape(
            "adaptive_avg_pool2d: expected output_size to be a number or 2 numbers, got (1, 2, 3)", _IMAGE, (1, 2, 3)
        ),
        value("adaptive_avg_pool2d: expected output_size of at least 0, got (-1,)", _IMAGE, -1),
        shape("adaptive_avg_pool2d: expected an input of 3 or 4 dimensions, got (8, 8)", x(8, 8), 1),
    ],
    "adaptive_max_pool2d": [
        shape(
            "adaptive_max_pool2d: expected spatial dimensions of at least 1, got input (2, 3, 0, 8)", x(2, 3, 0, 8), 1
        )
    ],
}

NORMALIZATION = {
    "batch_norm": [
        shape("batch_norm: expected running_mean of shape (3,)", x(2, 3, 4), x(4), x(4)),
        shape("batch_norm: expected weight of shape (3,)", x(2, 3, 4), None, None, x(4), None, True),
        shape("batch_norm: expected bias of shape (3,)", x(2, 3, 4), None, None, x(3), x(2), True),
        shape("batch_norm: expected input (N, C) or (N, C, spatial...)", x(3), None, None, training=True),
        shape(
            "expected residual of the input's shape (2, 3, 4), got (2, 3, 5)",
            x(2, 3, 4),
            None,
            None,
            None,
            None,
            True,
            residual=x(2, 3, 5),
        ),
        value(
            "batch_norm: expected more than 1 value per channel in training, got input (1, 3)",
            x(1, 3),
            None,
            None,
            training=True,
        ),
        value("running_mean and running_var are needed", x(2, 3, 4), None, None),
        value("batch_norm: expected activation None", x(2, 3, 4), None, None, training=True, activation="none"),
    ],
    "layer_norm": [
        shape("layer_norm: expected input whose last dimensions are (4,), got (2, 3)", x(2, 3), (4,)),
        shape("layer_norm: expected weight of normalized_shape (3,), got (4,)", x(2, 3), (3,), x(4)),
        shape("layer_norm: expected bias of normalized_shape (3,), got (3, 1)", x(2, 3), (3,), x(3), x(3, 1)),
        value("layer_norm: expected a normalized_shape of at least one dimension, got ()", x(2, 3), ()),
    ],
    "group_norm": [
        value(
            "group_norm: expected a number of channels divisible by num_groups 2, got input (2, 5, 3)", x(2, 5, 3), 2
        ),
        value("group_norm: expected num_groups > 0, got 0", x(2, 4, 3), 0),
        shape("group_norm: expected weight of shape (4,)", x(2, 4, 3), 2, x(3)),
        shape("group_norm: expected input (N, C, ...) of at least 2 dimensions, got (4,)", x(4), 2),
    ],
    "instance_norm": [
        value("instance_norm: expected more than 1 spatial value per channel, got input (2, 3, 1)", x(2, 3, 1)),
        shape("instance_norm: expected input (N, C, spatial...) of at least 3 dimensions, got (2, 3)", x(2, 3)),
        shape("instance_norm: expected weight of shape (3,)", x(2, 3, 4), weight=x(4)),
    ],
    "residual_add": [
        shape("residual_add: expected x and branch of one shape, got (2, 3) and (2, 4)", x(2, 3), x(2, 4)),
        value("residual_add: expected activation None", x(2, 3), x(2, 3), 1.0, "none"),
    ],
}

ACTIVATIONS = {
    "prelu": [
        shape("prelu: expected weight of 1 or 3 elements (the channels of input (2, 3)), got (4,)", x(2, 3), x(4))
    ],
    "maxout": [
        shape("maxout: expected dimension 1 of input (2, 5) to be a multiple of pieces = 2", x(2, 5), 2),
        value("maxout: expected pieces of at least 1, got 0", x(2, 4), 0),
        index("maxout: dim 3 is out of range for 2 dimensions", x(2, 4), 2, dim=3),
    ],
    "crelu": [index("crelu: dim 3 is out of range for 2 dimensions", x(2, 4), dim=3)],
    "glu": [shape("glu: expected dimension 1 of input (2, 5) to be even", x(2, 5))],
    "gelu": [
        kind("gelu: expected input to be of a floating dtype, got int64", ints(3)),
        value("gelu: expected approximate to be 'none' or 'tanh', got 'no'", x(3), approximate="no"),
    ],
    "softmax": [
        index("softmax: " + _OUT_OF_TWO, x(2, 3), dim=2),
        kind("softmax: expected input to be of a floating dtype, got int64", ints(2, 3), dim=1),
    ],
    "log_softmax": [index("log_softmax: " + _OUT_OF_TWO, x(2, 3), dim=2)],
    "softplus": [value("softplus: expected beta other than 0", x(3), beta=0)],
}

_TARGET = ints(2, low=3, high=4)  # one too many
LOSSES = {
    "cross_entropy": [
        index("cross_entropy: expected target classes in 0 to 2 (3 classes), got 3 at row 0", x(2, 3), _TARGET),
        index("expected target classes in 0 to 2 (3 classes), got -1", x(2, 3), ints(2, low=-1, high=0)),
        shape("cross_entropy: expected target of shape (2,) for input (2, 3), got (3,)", x(2, 3), ints(3, high=3)),
        shape("expected target of shape (2, 4) for input (2, 3, 4), got (2,)", x(2, 3, 4), ints(2, high=3)),
        shape("cross_entropy: expected weight of shape (3,) (one per class), got (4,)", x(2, 3), ints(2, high=3), x(4)),
        shape("expected class probabilities of the input's shape (2, 3), got target (2, 4)", x(2, 3), x(2, 4)),
        value('expected reduction "none", "mean" or "sum", got "avg"', x(2, 3), ints(2, high=3), reduction="avg"),
        value("expected label_smoothing in [0, 1], got 1.5", x(2, 3), ints(2, high=3), label_smoothing=1.5),
    ],
    "nll_loss": [
        index("nll_loss: expected target classes in 0 to 2 (3 classes), got 3", x(2, 3), _TARGET),
        shape("nll_loss: expected target of shape (2,) for input (2, 3), got (1,)", x(2, 3), ints(1, high=3)),
        kind("nll_loss: expected target class indices of dtype int64", x(2, 3), x(2)),
    ],
    "mse_loss": [
        shape("mse_loss: " + _NOT_ONE_SHAPE, x(5, 1), x(5)),
        value('expected reduction "none", "mean" or "sum", got "x"', x(5), x(5), reduction="x"),
    ],
    "l1_loss": [shape("l1_loss: " + _NOT_ONE_SHAPE, x(5, 1), x(5))],
    "smooth_l1_loss": [
        shape("smooth_l1_loss: " + _NOT_ONE_SHAPE, x(5, 1), x(5)),
        value("smooth_l1_loss: expected beta >= 0, got -1", x(5), x(5), beta=-1.0),
    ],
    "huber_loss": [
        shape("huber_loss: " + _NOT_ONE_SHAPE, x(5, 1), x(5)),
        value("huber_loss: expected delta > 0, got 0", x(5), x(5), delta=0.0),
    ],
    "binary_cross_entropy_with_logits": [shape(_NOT_ONE_SHAPE, x(5, 1), x(5))],
    "binary_cross_entropy": [value("expected input values in [0, 1] (probabilities)", given([1.5]), given([1.0]))],
}

ELEMENTWISE = {
    "add": [
        shape("add: shapes (2, 3) and (2, 4) do not broadcast: sizes 3 and 4 differ in dimension 1", x(2, 3), x(2, 4))
    ],
    "where": [shape("where: shapes (2,) and (3,) do not broadcast", bools(2), x(3), x(3))],
    "pow": [shape("pow: shapes (3,) and (4,) do not broadcast", x(3), x(4))],
    "maximum": [shape("maximum: shapes (2, 3) and (4,) do not broadcast", x(2, 3), x(4))],
}

REDUCTIONS = {
    **{
        name: [index(f"{name}: " + _OUT_OF_TWO, x(2, 3), dim=2)]
        for name in ("argmax", "var", "prod", "amax", "logsumexp")
    },
    "sum": [
        index("sum: " + _OUT_OF_TWO, x(2, 3), dim=2),
        value("sum: dimension 0 appears twice in dim (0, 0)", x(2, 3), dim=(0, 0)),
    ],
    "mean": [kind("mean: expected input of a floating dtype", ints(2, 3))],
    "amin": [value("amin: no elements to reduce in input of shape (0, 3)", x(0, 3), dim=0)],
    "argmin": [value("argmin: no elements in input of shape (0,)", x(0))],
    "cumsum": [index("cumsum: " + _OUT_OF_TWO, x(2, 3), 2)],
    "sort": [index("sort: " + _OUT_OF_TWO, x(2, 3), dim=2)],
    "topk": [
        value("topk: k = 4 is out of range for dimension 1 of size 3", x(2, 3), 4),
        value("topk: k = -1 is out of range", x(2, 3), -1),
    ],
}

SHAPES = {
    "cat": [
        value("cat: expected at least one tensor", []),
        shape("same shape except in dimension 0, got (2, 3) and (2, 4) (tensor 1)", [x(2, 3), x(2, 4)]),
        index("cat: " + _OUT_OF_TWO, [x(2, 3)], dim=2),
    ],
    "stack": [
        value("stack: expected at least one tensor", []),
        shape("stack: expected tensors of the same shape, got (2, 3) and (2, 4) (tensor 1)", [x(2, 3), x(2, 4)]),
    ],
    "split": [
        value("split: split_size must be positive, got 0", x(5), 0),
        value("split: sizes add up to 4, not to 5, the size of dimension 0", x(5), [2, 2]),
    ],
    "chunk": [value("chunk: chunks must be positive, got 0", x(5), 0)],
    "pad": [
        value(
            "pad: expected pad to be an even number of at most 4 amounts for input of shape (2, 3), got 1",
            x(2, 3),
            (1,),
        ),
        value("pad: expected pad to be an even number of at most 4 amounts", x(2, 3), (1, 1, 1, 1, 1, 1)),
        value("pad: mode 'reflect' cannot pad dimension 2 of size 3 by 3 and 0", x(1, 2, 3), (3, 0), "reflect"),
        value("'constant', 'reflect', 'replicate' or 'circular', got 'no'", x(1, 2, 3), (1, 0), "no"),
        value("pad: pad amounts -2 and -2 leave no valid size for dimension 1", x(2, 3), (-2, -2)),
        value("leave no valid size for dimension 1", x(2, 3), (2**62, 2**62)),
    ],
    "reshape": [
        shape("reshape: shape (4, 2) is invalid for input of shape (2, 3) (6 elements)", x(2, 3), (4, 2)),
        shape("reshape: only one size can be -1, got (-1, -1)", x(2, 3), (-1, -1)),
        shape("reshape: shape (-1, 4) is invalid for input of shape (2, 3)", x(2, 3), (-1, 4)),
    ],
    "flatten": [shape("flatten: start_dim 1 comes after end_dim 0", x(2, 3), 1, 0)],
    "squeeze": [index("squeeze: dim 4 is out of range for 2 dimensions", x(2, 3), 4)],
    "unsqueeze": [index("unsqueeze: dim 5 is out of range for 3 dimensions", x(2, 3), 5)],
    "permute": [
        shape("permute: expected 2 dims for input of shape (2, 3), got (0,)", x(2, 3), (0,)),
        value("permute: dimension 0 appears twice", x(2, 3), (0, 0)),
    ],
    "transpose": [index("transpose: " + _OUT_OF_TWO, x(2, 3), 0, 2)],
    "expand": [
        shape("expand: input of shape (2, 3) cannot be expanded to (2, 4)", x(2, 3), (2, 4)),
        shape("expand: shape (3,) has fewer dimensions than input of shape (2, 3)", x(2, 3), (3,)),
        shape("is too large", x(2, 3), (2**40, 2**40, 2, 3)),
    ],
    "repeat": [shape("repeat: expected at least 2 repeats for input of shape (2, 3), got (2,)", x(2, 3), (2,))],
    "flip": [index("flip: " + _OUT_OF_TWO, x(2, 3), (2,))],
    "pixel_shuffle": [shape("expected channels divisible by upscale_factor^2 = 4, got (1, 3, 2, 2)", x(1, 3, 2, 2), 2)],
}

_THREE, _FLOATS = ints(1, 2, low=3, high=4), x(2, 3)
INDEXING = {
    "gather": [
        index("gather: index 3 is out of range for dimension 1 of size 3", x(2, 3), 1, _THREE),
        index("gather: " + _OUT_OF_TWO, x(2, 3), 2, _THREE),
        shape(
            "gather: expected index with 2 dimensions like input of shape (2, 3), got shape (1,)", x(2, 3), 1, ints(1)
        ),
        kind("gather: expected index to be of an integer dtype, got float32", x(2, 3), 1, _FLOATS),
    ],
    "scatter": [
        index("scatter: index 3 is out of range for dimension 1 of size 3", x(2, 3), 1, _THREE, x(2, 3)),
        shape("scatter: index of shape (1, 2) is larger than src of shape (1, 1)", x(2, 3), 1, _THREE, x(1, 1)),
    ],
    "scatter_add": [
        index("scatter_add: index -4 is out of range", x(2, 3), 1, ints(1, 1, low=-4, high=-3), x(2, 3)),
    ],
    "index_select": [
        index("index_select: index 3 is out of range for dimension 1 of size 3", x(2, 3), 1, ints(1, low=3, high=4)),
        shape("index_select: expected index to have at most 1 dimension, got shape (1, 2)", x(2, 3), 1, _THREE),
        kind("index_select: expected index to be of an integer dtype, got float32", x(2, 3), 1, x(1)),
    ],
    "masked_fill": [kind("masked_fill: expected mask to be a bool tensor, got float32", x(2, 3), _FLOATS, 1.0)],
    "masked_select": [kind("masked_select: expected mask of dtype bool, got float32", x(2, 3), _FLOATS)],
    "embedding": [
        index("embedding: index 3 is out of range for 3 rows", _THREE, x(3, 2)),
        index("embedding: index -1 is out of range for 3 rows", ints(1, low=-1, high=0), x(3, 2)),
        index("embedding: padding_idx 7 is out of range for 3 rows", ints(1, high=3), x(3, 2), 7),
        shape("embedding: expected weight of shape (num_embeddings, embedding_dim), got (3,)", ints(1, high=3), x(3)),
        kind("expected input to be of an integer dtype, got float32", x(3), x(3, 2)),
    ],
    "one_hot": [
        index("one_hot: class -1 is negative", ints(1, low=-1, high=0)),
        index("one_hot: class 3 is out of range for 2 classes", _THREE, 2),
    ],
    "getitem_int": [
        index("index 2 is out of range for dimension 0 of size 2", x(2, 3), 2),
        index("too many indices for input of shape (2, 3): got 3", x(2, 3), (0, 0, 0)),
        index("expected integers, slices, None, Ellipsis, or integer or bool tensors, got str", x(2, 3), "a"),
    ],
    "getitem_list": [index("index 3 is out of range for dimension 0 of size 2", x(2, 3), [3])],
}

_FAMILIES = (
    CONVOLUTIONS, PRODUCTS, POOLING, NORMALIZATION, ACTIVATIONS, LOSSES, ELEMENTWISE, REDUCTIONS, SHAPES, INDEXING,
)  # fmt: skip
BAD: dict[str, list[Bad]] = {name: calls for family in _FAMILIES for name, calls in family.items()}
