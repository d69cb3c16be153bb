// How elementwise kernels reach their operands, whatever their strides and dtype.
//
// run_elementwise cuts the order of a Walk into chunks; an operand that is dense and of the compute
// type is used in place, any other is first gathered and converted into a chunk in L1. So a kernel is one loop over
// dense memory, written for three compute types: float (also for bfloat16), double and int64_t (for all integers and
// bool).
#pragma once
#include "core/parallel.h"
#include "kernels/simd.h"
#include "kernels/walk_args.h"

namespace skipway {
namespace SW_ISA {

inline constexpr int64_t kChunk = 512;
inline constexpr int64_t kGrain = 32768;

// Elements [pos, pos + n) of a walk from or to dense memory of another dtype; n <= kChunk.
void walk_read(const Walk& walk, int64_t pos, int64_t n, DType as, void* to);
void walk_write(const Walk& walk, int64_t pos, int64_t n, DType from_dtype, const void* from);
// Dense memory of one dtype to another. Floats become integers by truncation; out of range, the value is unspecified.
void convert_run(DType to_dtype, void* to, DType from_dtype, const void* from, int64_t n);

// Vectors of a compute type, int64_t included, so that one functor serves all three.
template <class T>
struct Wide : Lanes<T> {};
template <>
struct Wide<int64_t> {
  using scalar = int64_t;
  using vec = vlong;
  using mask = vlong;
  static constexpr int n = kVecBytes / 8;
};
// a + b, a - b, a * b; integers wrap around.
typedef uint64_t vulong __attribute__((vector_size(kVecBytes)));
template <class V>
SW_INLINE V wide_add(V a, V b) {
  return a + b;
}
SW_INLINE vlong wide_add(vlong a, vlong b) { return (vlong)((vulong)a + (vulong)b); }
template <class V>
SW_INLINE V wide_sub(V a, V b) {
  return a - b;
}
SW_INLINE vlong wide_sub(vlong a, vlong b) { return (vlong)((vulong)a - (vulong)b); }
template <class V>
SW_INLINE V wide_mul(V a, V b) {
  return a * b;
}
SW_INLINE vlong wide_mul(vlong a, vlong b) { return (vlong)((vulong)a * (vulong)b); }

template <class T>
SW_INLINE typename Wide<T>::vec wide_load(const T* p) {
  return load_raw<typename Wide<T>::vec>(p);
}
template <class T>
SW_INLINE typename Wide<T>::vec wide_load_n(const T* p, int64_t count) {
  typename Wide<T>::vec v{};
  __builtin_memcpy(&v, p, size_t(count) * sizeof(T));
  return v;
}
template <class T>
SW_INLINE typename Wide<T>::vec wide_set(T x) {
  return x - typename Wide<T>::vec{};
}

// o[i] = f(in[0][i], ...), one vector at a time; the lanes beyond n compute on zeros.
template <class T, int kIn, class F>
SW_INLINE void map_wide(T* o, const T* const (&in)[kIn], int64_t n, const F& f) {
  using V = typename Wide<T>::vec;
  constexpr int64_t w = Wide<T>::n;
  const auto apply = [&](auto&& load) -> V {
    if constexpr (kIn == 1) {
      return f(load(in[0]));
    } else if constexpr (kIn == 2) {
      return f(load(in[0]), load(in[1]));
    } else {
      return f(load(in[0]), load(in[1]), load(in[2]));
    }
  };
  int64_t i = 0;
  for (; i + w <= n; i += w) {
    const V y = apply([&](const T* p) { return wide_load(p + i); });
    __builtin_memcpy(o + i, &y, sizeof y);
  }
  if (i < n) {
    const V y = apply([&](const T* p) { return wide_load_n(p + i, n - i); });
    __builtin_memcpy(o + i, &y, size_t(n - i) * sizeof(T));
  }
}
// The same element by element, for what has no vector form (the C library's functions).
template <class T, int kIn, class F>
SW_INLINE void map_scalar(T* o, const T* const (&in)[kIn], int64_t n, const F& f) {
  for (int64_t i = 0; i < n; ++i) {
    if constexpr (kIn == 1) {
      o[i] = f(in[0][i]);
    } else {
      o[i] = f(in[0][i], in[1][i]);
    }
  }
}

// Which run of equal elements holds [pos, pos + count); -1 if none does.
SW_INLINE int64_t run_at(const Walk& w, int64_t pos, int64_t count) {
  const int64_t size = w.sizes[w.ndim - 1];
  if (w.strides[w.ndim - 1] != 0 || size < count) return -1;
  return (pos + count - 1) / size == pos / size ? pos / size : -1;
}

// f(T* out, const T* const (&in)[kIn], count) over chunks of the n elements. An operand that repeats within a chunk (a
// number, a bias along the innermost dimension) is gathered once per task.
template <class T, int kIn, class F>
SW_INLINE void run_elementwise(int64_t n, const Walk& out, const Walk* const (&in)[kIn], const F& f) {
  bool direct[kIn], repeats[kIn], all_direct = out.dense() && out.dtype == dtype_of<T>;
  const bool out_direct = all_direct;
  int64_t period = 1;
  for (int k = 0; k < kIn; ++k) {
    direct[k] = in[k]->dense() && in[k]->dtype == dtype_of<T>;
    all_direct = all_direct && direct[k];
    const int64_t p = in[k]->period;
    repeats[k] = !direct[k] && p <= kChunk && (p % period == 0 || period % p == 0);
    if (repeats[k] && p > period) period = p;
  }
  const int64_t chunk = period * (kChunk / period);
  parallel_for(n, chunk * (kGrain / chunk), [&](int64_t begin, int64_t end) {
    alignas(64) T buffer[kIn + 1][kChunk];
    const T* from[kIn];
    int64_t filled[kIn];  // the run of equal elements (a bias along an outer dimension) that the buffer holds
    for (int k = 0; k < kIn; ++k) {
      from[k] = buffer[k];
      filled[k] = -1;
      if (repeats[k]) walk_read(*in[k], 0, end - begin < chunk ? end - begin : chunk, dtype_of<T>, buffer[k]);
    }
    const int64_t step = all_direct ? end - begin : chunk;
    for (int64_t pos = begin; pos < end; pos += step) {
      const int64_t count = end - pos < step ? end - pos : step;
      for (int k = 0; k < kIn; ++k) {
        if (direct[k]) {
          from[k] = static_cast<const T*>(in[k]->data) + pos;
        } else if (!repeats[k]) {
          const int64_t run = run_at(*in[k], pos, count);
          if (run < 0 || run != filled[k]) walk_read(*in[k], pos, count, dtype_of<T>, buffer[k]);
          filled[k] = run;
        }
      }
      T* to = out_direct ? static_cast<T*>(out.data) + pos : buffer[kIn];
      f(to, from, count);
      if (!out_direct) walk_write(out, pos, count, dtype_of<T>, to);
    }
  });
}

}  // namespace SW_ISA
}  // namespace skipway
