// Products of bfloat16 matrices on instructions that multiply bfloat16; the formula stands in ops/matmul.h.
#pragma once
#include "kernels/isa_level.h"
#include "ops/matmul.h"

namespace skipway {

SW_DECLARE_BF16_KERNEL(gemm_bf16, GemmArgs)

// For the kernel of ops/matmul.h: true when the product has been computed here.
bool gemm_in_bf16(const GemmArgs& a);

}  // namespace skipway
