// Kinds of faults beside those of core/cuda.h, which most sources include, for the few kernels that raise them.
#pragma once
#include "core/cuda.h"

namespace skipway::cuda {

inline constexpr FaultKind kDivisionByZero = FaultKind(2);  // an Error: an integer was divided by zero
// A ValueError: value holds the bits of a float64 that is not in [0, 1], limit its place in memory.
inline constexpr FaultKind kNoProbability = FaultKind(3);

}  // namespace skipway::cuda
