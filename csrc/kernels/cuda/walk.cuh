// The operands of elementwise kernels, whatever their strides and dtype (see kernels/walk_args.h).
#pragma once
#include "kernels/cuda/pack.cuh"
#include "kernels/walk_args.h"

namespace skipway::cuda {

// n / d and n % d for 0 <= n < 2^31 by a multiplication (Granlund and Montgomery, "Division by invariant integers using
// multiplication", PLDI 1994).
struct Divider {
  uint32_t divisor = 1, multiplier = 0, shift = 0;
  Divider() = default;
  explicit Divider(uint32_t d) : divisor(d) {
    while ((uint64_t(1) << shift) < d) ++shift;
    multiplier = uint32_t(((uint64_t(1) << 32) * ((uint64_t(1) << shift) - d)) / d + 1);
  }
  __device__ __forceinline__ uint32_t divide(uint32_t n) const {
    return (__umulhi(n, multiplier) + n) >> shift;  // no carry: n < 2^31
  }
};

// Any dtype as the compute type T, and back. Floats become integers by truncation and bool by != 0.
template <class T>
__device__ __forceinline__ T read_as(const void* p, DType d, int64_t i) {
  switch (d) {
    case DType::Bool:
    case DType::UInt8:
      return T(static_cast<const uint8_t*>(p)[i]);
    case DType::Int32:
      return T(static_cast<const int32_t*>(p)[i]);
    case DType::Int64:
      return T(static_cast<const int64_t*>(p)[i]);
    case DType::Float16:
      return T(float(static_cast<const float16*>(p)[i]));
    case DType::BFloat16:
      return T(float(static_cast<const bfloat16*>(p)[i]));
    case DType::Float32:
      return T(static_cast<const float*>(p)[i]);
    default:
      return T(static_cast<const double*>(p)[i]);
  }
}
template <class T>
__device__ __forceinline__ void write_as(void* p, DType d, int64_t i, T value) {
  switch (d) {
    case DType::Bool:
      static_cast<uint8_t*>(p)[i] = value != T(0);
      break;
    case DType::UInt8:
      static_cast<uint8_t*>(p)[i] = uint8_t(int64_t(value));
      break;
    case DType::Int32:
      static_cast<int32_t*>(p)[i] = int32_t(int64_t(value));
      break;
    case DType::Int64:
      static_cast<int64_t*>(p)[i] = int64_t(value);
      break;
    case DType::Float16:
      static_cast<float16*>(p)[i] = float16(float(value));
      break;
    case DType::BFloat16:
      static_cast<bfloat16*>(p)[i] = bfloat16(float(value));
      break;
    case DType::Float32:
      static_cast<float*>(p)[i] = float(value);
      break;
    default:
      static_cast<double*>(p)[i] = double(value);
  }
}

// A Walk with what the device needs to find element `pos` of the operation. kIndex32: fewer than 2^31 elements.
struct DeviceWalk {
  void* data;
  uint64_t immediate;
  DType dtype;
  bool dense, small, repeats;  // repeats: the innermost dimension has stride 0
  int ndim;
  int64_t sizes[kMaxDims], strides[kMaxDims];
  Divider dividers[kMaxDims];

  DeviceWalk() = default;
  DeviceWalk(const Walk& w, int64_t numel)
      : data(w.data),
        immediate(w.immediate),
        dtype(w.dtype),
        dense(w.dense()),
        small(numel < (int64_t(1) << 31)),
        repeats(w.strides[w.ndim - 1] == 0),
        ndim(w.ndim) {
    for (int d = 0; d < w.ndim; ++d) {
      sizes[d] = w.sizes[d];
      strides[d] = w.strides[d];
      if (small) dividers[d] = Divider(uint32_t(w.sizes[d] ? w.sizes[d] : 1));
    }
  }

  __device__ __forceinline__ int64_t offset(int64_t pos) const {
    if (dense) return pos;
    int64_t at = 0;
    if (small) {
      uint32_t rest = uint32_t(pos);
      for (int d = ndim - 1; d > 0; --d) {
        const uint32_t outer = dividers[d].divide(rest);
        at += int64_t(rest - outer * dividers[d].divisor) * strides[d];
        rest = outer;
      }
      return at + int64_t(rest) * strides[0];
    }
    for (int d = ndim - 1; d > 0; --d) {
      const int64_t outer = pos / sizes[d];
      at += (pos - outer * sizes[d]) * strides[d];
      pos = outer;
    }
    return at + pos * strides[0];
  }
  template <class T>
  __device__ __forceinline__ T read(int64_t pos) const {
    if (!data) return read_as<T>(&immediate, dtype, 0);
    return read_as<T>(data, dtype, offset(pos));
  }
  template <class T>
  __device__ __forceinline__ void write(int64_t pos, T value) const {
    write_as<T>(data, dtype, offset(pos), value);
  }
};

}  // namespace skipway::cuda
