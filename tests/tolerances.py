"""How far a result may be from its float64 reference: written once, here.

A result y computed from the same (already rounded) inputs may differ from the reference r by

    STORE * eps(dtype) * |r|  +  SUM * sqrt(n) * eps(compute) * scale

eps(dtype) is the spacing of the stored type at 1, eps(compute) that of the type in which the op computes (bfloat16 and
float16 compute in float32), n the length of the longest sum. The scale is the largest |r|, and for sums no less than
the root mean square of the inputs: the rounding errors of a sum are relative to its terms, not to what is left after
they cancel. A sample's `condition`, derived beside it, multiplies the second term.

Instructions that multiply bfloat16 (vdpbf16ps, AMX's tdpbf16ps) keep to the same limits: a product of two significands
of 8 bits is exact in float32, so that only the sums round, to nearest, as additions of float32 do. They take bfloat16
operands and float32 sums below 2^-126 for zero, which FLOOR covers.

The ops in STORED compute from an intermediate z that was rounded to a stored type, which adds

    value * eps  to results,    slope * sqrt(n) * eps * max|dy|  to gradients.
"""

from typing import NamedTuple

import numpy as np

# Winograd's F(4x4, 3x3) sums products of transformed tiles, and transforms the sums. For independent inputs of equal
# size, product j of an axis is |B_j| |G_j| times as large as a plain one and reaches result i with weight A_ij, so that
# relative errors of the sums grow, as a root mean square over results and both axes, by
# mean_i sum_j (A_ij |B_j| |G_j|)^2 / 3 = 5.1; as they have n / 9 terms where the plain sum has n, that is 5.1 / 3 = 1.7
# times its error. (csrc/kernels/winograd.h has the matrices; with the usual points 0, +-1, +-2 it is 3.6 times.) The
# transforms' own rounding adds a little. `condition` is this factor.
WINOGRAD = 3.0

EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "bfloat16": 2.0**-7, "float16": 2.0**-10}
COMPUTE = {"float64": 2.0**-52, "float32": 2.0**-23, "bfloat16": 2.0**-23, "float16": 2.0**-23}
STORE, SUM = 1.0, 4.0
FLOOR = {"float64": 1e-300, "float32": 1e-37, "bfloat16": 1e-37, "float16": 2.0**-24}  # results that underflow


class Stored(NamedTuple):
    """`eps`: of the type that z is kept in."""

    eps: dict[str, float]
    value: float
    slope: float


STORED = {
    # dx = dy y (1 - y), y kept as computed: 1 - y is off by the rounding of y, eps / 2
    "sigmoid": Stored(COMPUTE, 0.0, 0.5),
    # y = act(z), z kept like y, off by z eps / 2: |z act'(z)| <= 1.2 |y| + 1.5, of which 1.5 eps / 2 is beyond STORE;
    # dz = dy act'(z): |z act''(z)| <= 1
    "residual_add_activations": Stored(EPS, 0.75, 0.5),
    # the same, with weights up to 2
    "batch_norm_activations": Stored(EPS, 0.75, 1.0),
    # the same, times weights or inputs of up to 3
    "linear_activations": Stored(EPS, 0.75, 1.5),
}


def allowed(
    op: str,
    dtype: str,
    expected: np.ndarray,
    length: int,
    terms: float,
    condition: float = 1.0,
    incoming: float = 0.0,
) -> np.ndarray:
    """The largest |result - expected|, element by element.

    terms: the root mean square of the inputs for a sum, else 0. condition: how much the sample's inputs amplify a
        relative error.
    incoming: for a gradient, the largest |dy|.
    """
    size = np.where(np.isfinite(expected), np.abs(expected), 0.0)
    scale = max(float(size.max(initial=0.0)), terms)
    limit = STORE * EPS[dtype] * size + SUM * np.sqrt(max(length, 1)) * COMPUTE[dtype] * scale * condition
    if op in STORED:
        z = STORED[op]
        limit = limit + z.eps[dtype] * (z.slope * np.sqrt(max(length, 1)) * incoming if incoming else z.value)
    return limit + FLOOR[dtype]
