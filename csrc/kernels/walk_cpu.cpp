#include "kernels/walk.h"

namespace skipway {
namespace SW_ISA {
namespace {

template <class D, class S>
SW_INLINE D convert(S v) {
  if constexpr (is_half(dtype_of<S>)) {
    return convert<D>(float(v));
  } else if constexpr (dtype_of<D> == DType::Bool) {
    return v != S(0);
  } else if constexpr (is_half(dtype_of<D>)) {
    return D(float(v));
  } else if constexpr (dtype_of<D> == DType::UInt8 && is_floating(dtype_of<S>)) {
    return uint8_t(int32_t(v));
  } else {
    return D(v);
  }
}

template <class D, class S>
SW_INLINE void convert_loop(D* to, const S* from, int64_t n) {
  if constexpr (dtype_of<D> == dtype_of<S>) {
    __builtin_memmove(to, from, size_t(n) * sizeof(D));
  } else {
    int64_t i = 0;
    if constexpr ((dtype_of<D> == DType::Float32 && dtype_of<S> == DType::BFloat16) ||
                  (dtype_of<S> == DType::Float32 && dtype_of<D> == DType::BFloat16)) {
      for (; i + Lanes<float>::n <= n; i += Lanes<float>::n) vstore(to + i, vload(from + i));
    }
    for (; i < n; ++i) to[i] = convert<D>(from[i]);
  }
}

// Unsigned integers of `bytes` bytes that may stand for elements of any type.
template <int bytes>
struct Raw;
template <>
struct Raw<1> {
  typedef uint8_t type __attribute__((may_alias));
};
template <>
struct Raw<2> {
  typedef uint16_t type __attribute__((may_alias));
};
template <>
struct Raw<4> {
  typedef uint32_t type __attribute__((may_alias));
};
template <>
struct Raw<8> {
  typedef uint64_t type __attribute__((may_alias));
};

template <int bytes>
void gather(const Walk& w, int64_t pos, int64_t n, void* out) {
  using U = typename Raw<bytes>::type;
  U* to = static_cast<U*>(out);
  const U* base = static_cast<const U*>(w.data);
  const int64_t stride = w.strides[w.ndim - 1];
  for (Cursor c(w, pos); n > 0;) {
    const int64_t run = c.run(n);
    const U* from = base + c.offset;
    if (stride == 1) {
      for (int64_t i = 0; i < run; ++i) to[i] = from[i];
    } else if (stride == 0) {
      const U value = *from;
      for (int64_t i = 0; i < run; ++i) to[i] = value;
    } else {
      for (int64_t i = 0; i < run; ++i) to[i] = from[i * stride];
    }
    to += run;
    n -= run;
    c.advance(run);
  }
}

template <int bytes>
void scatter(const Walk& w, int64_t pos, int64_t n, const void* in) {
  using U = typename Raw<bytes>::type;
  const U* from = static_cast<const U*>(in);
  U* base = static_cast<U*>(w.data);
  const int64_t stride = w.strides[w.ndim - 1];
  for (Cursor c(w, pos); n > 0;) {
    const int64_t run = c.run(n);
    U* to = base + c.offset;
    for (int64_t i = 0; i < run; ++i) to[i * stride] = from[i];
    from += run;
    n -= run;
    c.advance(run);
  }
}

SW_INLINE void* at(const Walk& w, int64_t pos) { return static_cast<char*>(w.data) + pos * size_of(w.dtype); }

}  // namespace

void convert_run(DType to_dtype, void* to, DType from_dtype, const void* from, int64_t n) {
  if (from_dtype == DType::Bool && to_dtype != DType::Bool) from_dtype = DType::UInt8;  // the same bytes, as numbers
  dispatch_any(to_dtype, [&]<class D>(Type<D>) {
    dispatch_any(from_dtype,
                 [&]<class S>(Type<S>) { convert_loop(static_cast<D*>(to), static_cast<const S*>(from), n); });
  });
}

void walk_read(const Walk& w, int64_t pos, int64_t n, DType as, void* to) {
  if (w.dense()) return convert_run(as, to, w.dtype, at(w, pos), n);
  alignas(64) char staged[kChunk * 8];
  void* native = as == w.dtype ? to : staged;
  dispatch_bytes(w.dtype, [&]<class U>(Type<U>) { gather<sizeof(U)>(w, pos, n, native); });
  if (native != to) convert_run(as, to, w.dtype, native, n);
}

void walk_write(const Walk& w, int64_t pos, int64_t n, DType from_dtype, const void* from) {
  if (w.dense()) return convert_run(w.dtype, at(w, pos), from_dtype, from, n);
  alignas(64) char staged[kChunk * 8];
  if (from_dtype != w.dtype) {
    convert_run(w.dtype, staged, from_dtype, from, n);
    from = staged;
  }
  dispatch_bytes(w.dtype, [&]<class U>(Type<U>) { scatter<sizeof(U)>(w, pos, n, from); });
}

}  // namespace SW_ISA
}  // namespace skipway
