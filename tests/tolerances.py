"""How far a result may be from its float64 reference: written once, here.

A result y computed from the same (already rounded) inputs may differ from the reference r by

    STORE * eps(dtype) * |r|  +  SUM * sqrt(n) * eps(compute) * scale

eps(dtype) is the spacing of the stored type at 1, eps(compute) that of the type in which the op computes (bfloat16
computes in float32), n the length of the longest sum. The scale is the largest |r|, and for sums no less than the root
mean square of the inputs: the rounding errors of a sum are relative to its terms, not to what is left after they
cancel. FACTOR widens both for the ops named there, for the reason given.

Gradients of the ops in STORED are computed from a tensor that was rounded to the stored type, and may be off by its
rounding:

    + STORE * eps(dtype) * sqrt(n) * max(scale, max|dy|)
"""

import numpy as np

EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "bfloat16": 2.0**-7}
COMPUTE = {"float64": 2.0**-52, "float32": 2.0**-23, "bfloat16": 2.0**-23}
STORE, SUM = 1.0, 4.0
COMPOSED = 2.0  # of the ops in op_cases/more.py, each of whose steps rounds to the stored type
NUMERIC = 1e-9  # of gradients for which central differences stand in
FLOOR = {"float64": 1e-300, "float32": 1e-37, "bfloat16": 1e-37}  # results that underflow

FACTOR: dict[str, float] = {
    "gelu_tanh": 8.0,  # exp of an argument near 20, whose own rounding counts as often
}
_RESULT, _TERMS = "the result", "the terms of a sum over the broadcast axes"
STORED: dict[str, str] = {
    **dict.fromkeys(("sigmoid", "tanh", "exp", "exp2", "expm1", "sqrt", "rsqrt", "reciprocal", "tan"), _RESULT),
    **dict.fromkeys(("mul", "div", "pow", "pow_number", "remainder", "atan2", "prelu", "matmul", "outer"), _TERMS),
    **dict.fromkeys(("softmax", "softmin", "log_softmax", "glu"), _RESULT),
    **dict.fromkeys(("batch_norm_activations", "residual_add_activations"), "the sum, before its activation"),
    "pad": "the sums over one axis, which are the terms of those over the next",
}
STORED_RESULT = {  # the same for results
    "addmm": "the product, before it is added",
    **dict.fromkeys(("batch_norm_activations", "residual_add_activations"), "the sum, before its activation"),
}


def allowed(
    op: str,
    dtype: str,
    expected: np.ndarray,
    length: int,
    terms: float,
    condition: float = 1.0,
    incoming: float = 0.0,
    numeric: bool = False,
) -> np.ndarray:
    """The largest |result - expected|, element by element.

    terms: the root mean square of the inputs for a sum, else 0. condition: how much the sample's inputs amplify a
        relative error.
    incoming: for a gradient, the largest |dy|. numeric: the expected gradient is one of differences.
    """
    size = np.where(np.isfinite(expected), np.abs(expected), 0.0)
    scale = max(float(size.max(initial=0.0)), terms)
    summed = SUM * np.sqrt(max(length, 1)) * COMPUTE[dtype] * scale * condition
    limit = FACTOR.get(op, 1.0) * (STORE * EPS[dtype] * size + summed) + FLOOR[dtype]
    if numeric:  # composed of other ops
        limit = limit + COMPOSED * EPS[dtype] * np.sqrt(max(length, 1)) * max(scale, incoming)
    elif op in (STORED if incoming else STORED_RESULT):
        limit = limit + STORE * EPS[dtype] * condition * np.sqrt(max(length, 1)) * max(scale, incoming)
    return limit + NUMERIC * max(scale, incoming) if numeric else limit
