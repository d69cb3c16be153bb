#include "ops/matmul_bf16.h"

namespace skipway {

// Products of a few rows or columns read each element once or twice: they are not worth packing.
bool gemm_in_bf16(const GemmArgs& a) {
  constexpr int64_t kFew = 4, kWork = 32 << 10;
  if (a.dtype != DType::BFloat16 || a.m <= kFew || a.n <= kFew || a.m * a.n * a.k < kWork) return false;
  return launch_bf16(gemm_bf16, a);
}

}  // namespace skipway
