"""Bad input and options of residual, highway and transformer blocks, and of noise on weights and branches."""

import skipway as sw
from skipway import nn

from .case import Row, given, index, ints, kind, shape, value, x

_MASK = sw.ones(3, 3, dtype=sw.bool).triu(1)
_P = [value("expected p between 0 and 1, got 1.5", p=1.5), kind("expected p to be a number, got 'half'", p="half")]
_ACTIVATION = value("expected activation to be 'relu', 'tanh', ", 4, activation="step")

ROWS = {
    "Residual": Row(
        given(nn.Identity()),
        [
            shape("expected x and branch of one shape, got (2, 3) and (2, 2)", x(2, 3)).of(nn.Linear(3, 2)),
            value('expected activation None, "relu"', x(2, 3)).of(nn.Identity(), activation="step"),
            shape("expected shortcut and branch of one shape, got (2, 3) and (2, 2)", x(2, 3)).of(
                nn.Linear(3, 2), gate=nn.Linear(3, 3)
            ),
            shape("expected gate to broadcast to branch, got (2, 2) and (2, 3)", x(2, 3)).of(
                nn.Identity(), gate=nn.Linear(3, 2)
            ),
        ],
        [
            kind("expected body to be a module, got 3", 3),
            kind("expected shortcut to be a module or None, got 'none'", nn.Identity(), "none"),
            kind("expected activation to be None, a name or a function, got 2", nn.Identity(), None, 2),
            kind("expected gate to be a module or None, got 0.5", nn.Identity(), gate=0.5),
            kind("expected preact to be a module or None, got 'relu'", nn.Identity(), preact="relu"),
            kind(
                "expected scale to be None, a number, two numbers or a Parameter, got 'half'", nn.ReLU(), scale="half"
            ),
            kind(
                "expected scale to be None, a number, two numbers or a Parameter, got (1,", nn.ReLU(), scale=(1, 2, 3)
            ),
            value("expected scale or gate, not both, got scale 0.5", nn.ReLU(), scale=0.5, gate=nn.ReLU()),
            value("expected gate_mode to be 'exclusive' or 'shortcut', got 'both'", nn.ReLU(), gate_mode="both"),
        ],
    ),
    "Highway": Row(
        given(4),
        [shape("expected input whose last dimension is 4, got (2, 3)", x(2, 3))],
        [
            value("expected features to be at least 1, got 0", 0),
            kind("expected gate_bias to be a number, got 'low'", 4, gate_bias="low"),
            _ACTIVATION,
        ],
    ),
    "HighwayConv2d": Row(
        given(4),
        [
            shape("expected (N, C, H, W) or (C, H, W) input with 4 channels, got (2, 3, 5, 5)", x(2, 3, 5, 5)),
            shape("expected (N, C, H, W) or (C, H, W) input with 4 channels, got (4, 5)", x(4, 5)),
        ],
        [
            value("expected channels to be at least 1, got 0", 0),
            value("expected kernel_size to be odd, got 2", 4, 2),
            kind("expected kernel_size to be an integer, got (3, 3)", 4, (3, 3)),
            _ACTIVATION,
        ],
    ),
    "TransformerEncoderLayer": Row(
        given(4, 2, 8),
        [
            shape("expected src of 2 or 3 dimensions with 4 features (dim -1), got (3, 5)", x(3, 5)),
            shape("expected src of 2 or 3 dimensions with 4 features (dim -1), got (4,)", x(4)),
            value("expected a src_mask with is_causal=True, got None", x(3, 4), None, None, True),
            shape("expected attn_mask of shape (5, 5)", x(5, 1, 4), _MASK).by("MultiheadAttention", "body.0.self_attn"),
        ],
        [
            value("expected d_model to be divisible by nhead, got 4 and 3", 4, 3),
            value("expected dim_feedforward to be at least 1, got 0", 4, 2, 0),
            value("expected dropout between 0 and 1, got 2", 4, 2, dropout=2),
            value("expected activation to be 'relu' or 'gelu', got 'tanh'", 4, 2, activation="tanh"),
            kind("expected activation to be 'relu', 'gelu' or a function, got 3", 4, 2, activation=3),
        ],
    ),
    "StochasticDepth": Row(
        given(0.5, "row"),
        [
            kind("expected input to be of a floating dtype, got int64", ints(2, 4)),
            shape("expected at least 1 dimension (N, ...), got ()", x()),
        ],
        [
            value("expected p between 0 and 1, got 1.5", 1.5, "row"),
            value("expected mode to be 'batch' or 'row', got 'rows'", 0.5, "rows"),
        ],
    ),
    "ShakeShake": Row(
        given(),
        [
            shape("expected x1 and x2 of one shape, got (2, 3) and (2, 4)", x(2, 3), x(2, 4)),
            kind("expected x1 and x2 to have the same dtype, got float32 and float64", x(2, 3), x(2, 3).double()),
            kind("expected arguments (x1, x2): missing a required argument: 'x2'", x(2, 3)),
        ],
        [
            value("expected forward_mode to be 'shake' or 'even', got 'keep'", "keep"),
            value("expected backward_mode to be 'shake', 'even' or 'keep', got 'odd'", backward_mode="odd"),
            value("expected level to be 'batch' or 'image', got 'pixel'", level="pixel"),
        ],
    ),
    "DropConnectLinear": Row(
        given(4, 2),
        [
            shape("expected input whose last dimension is 4, got (2, 3)", x(2, 3)),
            shape("expected input whose last dimension is 4, got (2, 3)", x(2, 3)).of(4, 2, per_sample=True),
        ],
        [value("expected in_features to be at least 0, got -1", -1, 2)],
    ),
    "AxisNorm": Row(
        given(4),
        [
            index("axis 3 is out of range for 3 dimensions (expected -3 to 2)", x(2, 4, 5)),
            shape("expected input (N, C, ...) of at least 2 dimensions, got (4,)", x(4)),
            shape(
                "expected weight of shape (6,) (one value per channel of input (2, 6, 3, 3)), got (4,)", x(2, 6, 3, 3)
            ),
            kind("expected input to be of a floating dtype, got int64", ints(2, 4, 3, 3)),
            value("expected axes that differ, at least one, got (1, -3)", x(2, 4, 3, 3)).of(4, (1, -3)),
            value("axis 1 among the axes, got groups 2 and axes (2, 3)", x(2, 4, 3, 3)).of(4, (2, 3), groups=2),
        ],
        [
            value("expected num_channels to be at least 1, got 0", 0),
            value("num_channels must be divisible by groups, got 4 and 3", 4, groups=3),
            kind("expected axes to be an integer or integers, got 'HW'", 4, "HW"),
            kind("expected eps to be a number, got 'small'", 4, eps="small"),
        ],
    ),
}
for _p in _P:
    ROWS["DropConnectLinear"].options.append(type(_p)(_p.error, _p.says, given(4, 2, **_p.given.kwargs)))
for _d in (1, 2, 3):
    ROWS[f"DropConnectConv{_d}d"] = Row(
        given(4, 2, 3),
        [
            shape("expected 4 input channels", x(2, 3, *(5,) * _d)),
            shape("expected 4 input channels", x(2, 3, *(5,) * _d)).of(4, 2, 3, per_sample=True),
        ],
        [type(_p)(_p.error, _p.says, given(4, 2, 3, **_p.given.kwargs)) for _p in _P],
    )
