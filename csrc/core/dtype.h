// Element types, and the one way to go from a run-time dtype to a compile-time type.
//
// Everything here that kernels use is SW_INLINE: kernel sources are compiled once per instruction set, and an ordinary
// inline function might be kept by the linker in its AVX-512 copy, which would crash an older machine.
#pragma once
#include <cstdint>
#include <cstring>

#define SW_INLINE inline __attribute__((always_inline))

namespace skipway {

enum class DType : uint8_t { Bool, UInt8, Int32, Int64, BFloat16, Float32, Float64 };
inline constexpr int kNumDTypes = 7;

// The upper half of a float32. Arithmetic happens in float32; a store rounds to nearest even.
struct bfloat16 {
  uint16_t bits;
  bfloat16() = default;
  SW_INLINE bfloat16(float value) {
    uint32_t u;
    __builtin_memcpy(&u, &value, 4);
    const bool nan = (u & 0x7fffffffu) > 0x7f800000u;
    bits = nan ? uint16_t((u >> 16) | 0x40) : uint16_t((u + 0x7fff + ((u >> 16) & 1)) >> 16);
  }
  SW_INLINE operator float() const {
    const uint32_t u = uint32_t(bits) << 16;
    float value;
    __builtin_memcpy(&value, &u, 4);
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
    case DType::BFloat16:
      return 2;
    case DType::Int32:
    case DType::Float32:
      return 4;
    default:
      return 8;
  }
}
SW_INLINE constexpr bool is_floating(DType d) { return d >= DType::BFloat16; }
// The dtype in which kernels keep statistics and parameters' partial sums.
SW_INLINE constexpr DType accumulate_dtype(DType d) {
  return d == DType::Float64 ? DType::Float64 : is_floating(d) ? DType::Float32 : DType::Int64;
}
const char* name_of(DType d);     // "float32"
DType promote(DType a, DType b);  // NumPy-like, bool < integers < floats; bfloat16 with float32 is float32

// dispatch_float(dtype, [&]<class T>(Type<T>) { ... }) runs the lambda for float, double or bfloat16. The caller has
// checked the dtype: another one does nothing.
template <class F>
SW_INLINE void dispatch_float(DType d, F&& f) {
  switch (d) {
    case DType::Float32:
      return f(Type<float>{});
    case DType::Float64:
      return f(Type<double>{});
    case DType::BFloat16:
      return f(Type<bfloat16>{});
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
