"""What the tests of elementwise ops share: their references in NumPy, and the numbers to try."""

import numpy as np
from scipy import special

EPS = 2.0**-23
RNG = np.random.default_rng(3)
SIZES = [0, 1, 7, 31, 33]
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-42, -1e-42, 1e30, -1e30, 1.0, -1.0, 88.5, -88.5, -104.0, 0.5, 2.5]

# name: (NumPy's function, domain of the first and of the second operand)
BINARY = {
    "add": (np.add, (-3, 3), (-3, 3)),
    "sub": (np.subtract, (-3, 3), (-3, 3)),
    "mul": (np.multiply, (-3, 3), (-3, 3)),
    "div": (np.true_divide, (-3, 3), (0.5, 3)),
    "pow": (np.power, (0.3, 3), (-2, 2)),
    "maximum": (np.maximum, (-3, 3), (-3, 3)),
    "minimum": (np.minimum, (-3, 3), (-3, 3)),
    "atan2": (np.arctan2, (-3, 3), (0.5, 3)),
    "hypot": (np.hypot, (-3, 3), (0.5, 3)),
    "xlogy": (special.xlogy, (-3, 3), (0.5, 3)),
    "floor_divide": (np.floor_divide, (-3, 3), (0.5, 3)),
    "remainder": (np.remainder, (-3, 3), (0.5, 3)),
    "fmod": (np.fmod, (-3, 3), (0.5, 3)),
}
COMPARISONS = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
}
# name: (float64 reference, domain, units in the last place that float32 may be off)
UNARY = {
    "neg": (np.negative, (-3, 3), 0),
    "abs": (np.abs, (-3, 3), 0),
    "sign": (np.sign, (-3, 3), 0),
    "exp": (np.exp, (-9, 9), 2),
    "exp2": (np.exp2, (-9, 9), 2),
    "expm1": (np.expm1, (-9, 9), 2),
    "log": (np.log, (0.01, 9), 2),
    "log2": (np.log2, (0.01, 9), 2),
    "log10": (np.log10, (0.01, 9), 2),
    "log1p": (np.log1p, (-0.9, 9), 2),
    "sqrt": (np.sqrt, (0.01, 9), 1),
    "rsqrt": (lambda x: 1 / np.sqrt(x), (0.01, 9), 2),
    "square": (np.square, (-3, 3), 1),
    "reciprocal": (lambda x: 1 / x, (0.2, 3), 1),
    "sin": (np.sin, (-9, 9), 5),
    "cos": (np.cos, (-9, 9), 5),
    "tan": (np.tan, (-1.4, 1.4), 4),
    "asin": (np.arcsin, (-0.9, 0.9), 4),
    "acos": (np.arccos, (-0.9, 0.9), 4),
    "atan": (np.arctan, (-9, 9), 4),
    "sinh": (np.sinh, (-5, 5), 4),
    "cosh": (np.cosh, (-5, 5), 4),
    "tanh": (np.tanh, (-5, 5), 3),
    "asinh": (np.arcsinh, (-5, 5), 4),
    "acosh": (np.arccosh, (1.2, 5), 4),
    "atanh": (np.arctanh, (-0.9, 0.9), 4),
    "sigmoid": (special.expit, (-9, 9), 3),
    "logit": (special.logit, (0.05, 0.95), 9),
    "erf": (special.erf, (-4, 4), 3),
    "erfc": (special.erfc, (-4, 4), 4),
    "erfinv": (special.erfinv, (-0.99, 0.99), 4),
    "floor": (np.floor, (-3, 3), 0),
    "ceil": (np.ceil, (-3, 3), 0),
    "round": (np.round, (-3, 3), 0),
    "trunc": (np.trunc, (-3, 3), 0),
    "frac": (lambda x: x - np.trunc(x), (-3, 3), 0),
}


def uniform(shape, domain, dtype=np.float64):
    return RNG.uniform(*domain, size=shape).astype(dtype)
