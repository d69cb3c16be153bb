#include "core/dtype.h"

#include "core/check.h"

namespace skipway {

const char* name_of(DType d) {
  static const char* const names[kNumDTypes] = {"bool",    "uint8",    "int32",   "int64",
                                                "float16", "bfloat16", "float32", "float64"};
  return names[int(d)];
}

DType promote(DType a, DType b) {
  // The enumeration is ordered so that the larger one holds both, apart from uint8 with a signed type, which is
  // smaller.
  if (is_half(a) && is_half(b) && a != b) return DType::Float32;
  return a > b ? a : b;
}

void no_cpu_kernel(DType d) {
  throw TypeError(concat(name_of(d), " is a dtype for CUDA devices: on the CPU it is only copied, converted and used ",
                         "elementwise; use bfloat16 or float32"));
}

}  // namespace skipway
