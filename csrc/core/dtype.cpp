#include "core/dtype.h"

namespace skipway {

const char* name_of(DType d) {
  static const char* const names[kNumDTypes] = {"bool", "uint8", "int32", "int64", "bfloat16", "float32", "float64"};
  return names[int(d)];
}

DType promote(DType a, DType b) {
  // The enumeration is ordered so that the larger one holds both, apart from uint8 with a signed type, which is
  // smaller.
  return a > b ? a : b;
}

}  // namespace skipway
