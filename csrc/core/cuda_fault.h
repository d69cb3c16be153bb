// Kinds of faults beside those of core/cuda.h, which most sources include, for the few kernels that raise them.
#pragma once
#include "core/cuda.h"

namespace skipway::cuda {

inline constexpr FaultKind kDivisionByZero = FaultKind(2);  // an Error: an integer was divided by zero

}  // namespace skipway::cuda
