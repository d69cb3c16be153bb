// Sums in float64 over narrower elements, and access to small vectors of any floating dtype (parameters, statistics).
#pragma once
#include "kernels/simd.h"

namespace skipway {
namespace SW_ISA {

inline constexpr int kWide = Lanes<double>::n;  // lanes of a float64 vector

typedef float vfloat_half __attribute__((vector_size(kVecBytes / 2)));
typedef uint32_t vuint_half __attribute__((vector_size(kVecBytes / 2)));
typedef uint16_t vhalf_half __attribute__((vector_size(kVecBytes / 4)));

// kWide elements as float64.
SW_INLINE vdouble load_wide(const double* p) { return vload(p); }
SW_INLINE vdouble load_wide(const float* p) { return __builtin_convertvector(load_raw<vfloat_half>(p), vdouble); }
SW_INLINE vdouble load_wide(const bfloat16* p) {
  const vuint_half u = __builtin_convertvector(load_raw<vhalf_half>(p), vuint_half) << 16;
  return __builtin_convertvector((vfloat_half)u, vdouble);
}

// p[0 .. lanes of V) += v, in float64
SW_INLINE void add_wide(double* p, vdouble v) { vstore(p, vload(p) + v); }
SW_INLINE void add_wide(double* p, vfloat v) {
  float lanes[Lanes<float>::n];
  vstore(lanes, v);
  vstore(p, vload(p) + load_wide(lanes));
  vstore(p + kWide, vload(p + kWide) + load_wide(lanes + kWide));
}

SW_INLINE double load_as_double(const void* p, DType d, int64_t i) {
  double value = 0;
  dispatch_float(d, [&]<class T>(Type<T>) { value = double(static_cast<const T*>(p)[i]); });
  return value;
}
SW_INLINE void store_from_double(void* p, DType d, int64_t i, double value) {
  dispatch_float(d, [&]<class T>(Type<T>) { static_cast<T*>(p)[i] = T(accumulate_type<T>(value)); });
}

SW_INLINE int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
SW_INLINE int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
SW_INLINE int64_t round_up(int64_t a, int64_t b) { return (a + b - 1) / b * b; }

}  // namespace SW_ISA
}  // namespace skipway
