// How an operand of an elementwise operation lies in memory, as plain numbers for kernels of any device.
//
// A Walk visits the elements of one operand in the order of the whole operation (the output's memory order), dimensions
// merged where they can be.
#pragma once
#include "core/dtype.h"
#include "core/shape.h"

namespace skipway {

struct Walk {
  void* data = nullptr;
  DType dtype = DType::Float32;
  int ndim = 1;                                          // at least 1
  int64_t sizes[kMaxDims] = {}, strides[kMaxDims] = {};  // outermost first; strides in elements, 0 where broadcast
  int64_t period = 1;                                    // the elements repeat after so many: 1 for a single number
  // A number on the CPU beside operands on a CUDA device: data is null and its bytes are here.
  uint64_t immediate = 0;
  SW_INLINE bool dense() const { return ndim == 1 && strides[0] == 1; }
};

// The type that elements of d are computed in: Float32, Float64 or Int64.
SW_INLINE constexpr DType compute_dtype(DType d) {
  return d == DType::Float64 ? DType::Float64 : is_floating(d) ? DType::Float32 : DType::Int64;
}
// dispatch_compute(compute_dtype(d), [&]<class T>(Type<T>) { ... })
template <class F>
SW_INLINE void dispatch_compute(DType d, F&& f) {
  switch (d) {
    case DType::Float32:
      return f(Type<float>{});
    case DType::Float64:
      return f(Type<double>{});
    default:
      return f(Type<int64_t>{});
  }
}

}  // namespace skipway
