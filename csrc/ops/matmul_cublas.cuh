// cuBLASLt, loaded when the first product needs it.
#pragma once
#include "kernels/dispatch.h"
#include "ops/matmul.h"

namespace skipway::cuda {

// Runs the product and returns true, or returns false where cuBLASLt has no kernel for it: float64 and integers,
// operands of which neither stride is 1, batches that are no single stride, or SKIPWAY_CUBLAS=0. Throws DeviceError
// that says what to install when the library is not there.
bool multiply_cublas(const GemmArgs& g, const Stream& stream);

}  // namespace skipway::cuda
