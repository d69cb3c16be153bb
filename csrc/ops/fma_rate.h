// How fast multiply-adds can be: tiles of the matrix microkernel on operands that stay in the first-level cache.
#pragma once
#include "kernels/dispatch.h"

namespace skipway {

struct FmaRateArgs {
  int64_t tasks, tiles;  // tiles per task; tasks run on all threads
  double* flops;         // out: what was computed
};
SW_DECLARE_KERNEL(fma_rate, FmaRateArgs)

}  // namespace skipway
