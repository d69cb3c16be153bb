// cuBLASLt, loaded when the first product needs it.
#pragma once
#include "kernels/dispatch.h"
#include "ops/matmul.h"

namespace skipway::cuda {

// None: cuBLASLt has no kernel for the product (float64 and integers, operands of which neither stride is 1, batches
// that are no single stride), or SKIPWAY_CUBLAS=0. WithoutActivation: c holds a b + bias.
enum class CublasResult : uint8_t { None, WithoutActivation, Done };

// Throws DeviceError that says what to install when the library is not there.
CublasResult multiply_cublas(const GemmArgs& g, const Stream& stream);

}  // namespace skipway::cuda
