// Element types, and the one way to go from a run-time dtype to a compile-time type.
//
// Everything here that kernels use is SW_INLINE: kernel sources are compiled once per instruction set, and an ordinary
// inline function might be kept by the linker in its AVX-512 copy, which would crash an older machine.
#pragma once
#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define SW_INLINE __host__ __device__ __forceinline__
#else
#define SW_INLINE inline __attribute__((always_inline))
#endif

namespace skipway {

enum class DType : uint8_t { Bool, UInt8, Int32, Int64, Float16, BFloat16, Float32, Float64 };
inline constexpr int kNumDTypes = 8;

// The upper half of a float32. Arithmetic happens in float32; a store rounds to nearest even.
struct bfloat16 {
  uint16_t bits;
  bfloat16() = default;
  SW_INLINE bfloat16(float value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
#else
    uint32_t u;
    __builtin_memcpy(&u, &value, 4);
    const bool nan = (u & 0x7fffffffu) > 0x7f800000u;
    bits = nan ? uint16_t((u >> 16) | 0x40) : uint16_t((u + 0x7fff + ((u >> 16) & 1)) >> 16);
#endif
  }
  SW_INLINE operator float() const {
    const uint32_t u = uint32_t(bits) << 16;
    float value;
    __builtin_memcpy(&value, &u, 4);
    return value;
  }
};

// IEEE 754 binary16. CUDA kernels compute with it (in float32); on the CPU it is copied, converted and used
// elementwise.
struct float16 {
  uint16_t bits;
  float16() = default;
  SW_INLINE float16(float value) {
#ifdef __CUDA_ARCH__
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
#else
    uint32_t u;
    __builtin_memcpy(&u, &value, 4);
    const uint32_t sign = u >> 16 & 0x8000u, magnitude = u & 0x7fffffffu;
    if (magnitude > 0x7f800000u) {
      bits = uint16_t(sign | 0x7e00u);  // NaN
    } else if (magnitude >= 0x477ff000u) {
      bits = uint16_t(sign | 0x7c00u);  // rounds to 2^16 or more
    } else if (magnitude >= 0x38800000u) {
      bits = uint16_t(sign | ((magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1)) >> 13));
    } else {  // subnormal: adding 1/2 aligns the fraction's last place at 2^-24
      float f;
      __builtin_memcpy(&f, &magnitude, 4);
      f += 0.5f;
      uint32_t v;
      __builtin_memcpy(&v, &f, 4);
      bits = uint16_t(sign | (v - 0x3f000000u));
    }
#endif
  }
  SW_INLINE operator float() const {
    float value;
#ifdef __CUDA_ARCH__
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
#else
    const uint32_t sign = uint32_t(bits & 0x8000u) << 16, magnitude = bits & 0x7fffu;
    if (magnitude >= 0x400u) {  // normal, infinite or NaN
      const uint32_t u = sign | ((magnitude << 13) + (magnitude >= 0x7c00u ? 0x70000000u : 0x38000000u));
      __builtin_memcpy(&value, &u, 4);
    } else {
      value = float(magnitude) * 0x1p-24f;
      if (sign) value = -value;
    }
#endif
    return value;
  }
};

template <class T>
struct Type {
  using type = T;
};

template <class T>
struct dtype_of_t;
#define SW_DTYPE_OF(T, D)                    \
  template <>                                \
  struct dtype_of_t<T> {                     \
    static constexpr DType value = DType::D; \
  };
SW_DTYPE_OF(bool, Bool)
SW_DTYPE_OF(uint8_t, UInt8)
SW_DTYPE_OF(int32_t, Int32)
SW_DTYPE_OF(int64_t, Int64)
SW_DTYPE_OF(float16, Float16)
SW_DTYPE_OF(bfloat16, BFloat16)
SW_DTYPE_OF(float, Float32)
SW_DTYPE_OF(double, Float64)
#undef SW_DTYPE_OF
template <class T>
inline constexpr DType dtype_of = dtype_of_t<T>::value;

// What sums of T accumulate in.
template <class T>
struct accumulate_t {
  using type = int64_t;
};
template <>
struct accumulate_t<float> {
  using type = float;
};
template <>
struct accumulate_t<float16> {
  using type = float;
};
template <>
struct accumulate_t<bfloat16> {
  using type = float;
};
template <>
struct accumulate_t<double> {
  using type = double;
};
template <class T>
using accumulate_type = typename accumulate_t<T>::type;

SW_INLINE constexpr int64_t size_of(DType d) {
  switch (d) {
    case DType::Bool:
    case DType::UInt8:
      return 1;
    case DType::Float16:
    case DType::BFloat16:
      return 2;
    case DType::Int32:
    case DType::Float32:
      return 4;
    default:
      return 8;
  }
}
SW_INLINE constexpr bool is_floating(DType d) { return d >= DType::Float16; }
SW_INLINE constexpr bool is_half(DType d) { return d == DType::Float16 || d == DType::BFloat16; }
// The dtype in which kernels keep statistics and parameters' partial sums.
SW_INLINE constexpr DType accumulate_dtype(DType d) {
  return d == DType::Float64 ? DType::Float64 : is_floating(d) ? DType::Float32 : DType::Int64;
}
const char* name_of(DType d);              // "float32"
DType promote(DType a, DType b);           // NumPy-like, bool < integers < floats; float16 with bfloat16 is float32
[[noreturn]] void no_cpu_kernel(DType d);  // TypeError

// dispatch_float(dtype, [&]<class T>(Type<T>) { ... }) runs the lambda for float, double or bfloat16, and is an error
// for float16, which only CUDA kernels take. The caller has checked the dtype: an integer does nothing.
template <class F>
SW_INLINE void dispatch_float(DType d, F&& f) {
  switch (d) {
    case DType::Float32:
      return f(Type<float>{});
    case DType::Float64:
      return f(Type<double>{});
    case DType::BFloat16:
      return f(Type<bfloat16>{});
#ifndef SW_CUDA_MODULE
    case DType::Float16:
      no_cpu_kernel(d);
#endif
    default:
      return;
  }
}
template <class F>
SW_INLINE void dispatch_integer(DType d, F&& f) {
  switch (d) {
    case DType::Int64:
      return f(Type<int64_t>{});
    case DType::Int32:
      return f(Type<int32_t>{});
    case DType::UInt8:
      return f(Type<uint8_t>{});
    case DType::Bool:
      return f(Type<bool>{});
    default:
      return;
  }
}
template <class F>
SW_INLINE void dispatch_all(DType d, F&& f) {
  if (is_floating(d)) {
    dispatch_float(d, f);
  } else {
    dispatch_integer(d, f);
  }
}
// float16 included.
template <class F>
SW_INLINE void dispatch_any(DType d, F&& f) {
  if (d == DType::Float16) return f(Type<float16>{});
  dispatch_all(d, f);
}
// By element size alone, for code that only moves elements: uint8_t, uint16_t, uint32_t or uint64_t.
template <class F>
SW_INLINE void dispatch_bytes(DType d, F&& f) {
  switch (size_of(d)) {
    case 1:
      return f(Type<uint8_t>{});
    case 2:
      return f(Type<uint16_t>{});
    case 4:
      return f(Type<uint32_t>{});
    default:
      return f(Type<uint64_t>{});
  }
}

}  // namespace skipway
