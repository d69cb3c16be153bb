// How elementwise kernels reach their operands, whatever their strides and dtype.
//
// run_elementwise cuts the order of a Walk into chunks; an operand of the compute type that is dense, or has dense
// rows, is used in place, any other is first gathered and converted into a chunk in L1. So a kernel is one loop over
// dense memory, written for three compute types: float (also for bfloat16), double and int64_t (for all integers and
// bool). A few ops that are cheaper than the conversion are written for bfloat16 in place too.
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
  if constexpr (dtype_of<T> == DType::Int64) {
    return load_raw<vlong>(p);
  } else {
    return vload(p);
  }
}
template <class T>
SW_INLINE void wide_store(T* p, typename Wide<T>::vec v) {
  if constexpr (dtype_of<T> == DType::Int64) {
    __builtin_memcpy(p, &v, sizeof v);
  } else {
    vstore(p, v);
  }
}
template <class T>
SW_INLINE typename Wide<T>::vec wide_load_n(const T* p, int64_t count) {
  T lanes[Wide<T>::n] = {};
  __builtin_memcpy(lanes, p, size_t(count) * sizeof(T));
  return wide_load(lanes);
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
  const auto apply = [&](auto&& load) __attribute__((always_inline)) -> V {
    if constexpr (kIn == 1) {
      return f(load(0));
    } else if constexpr (kIn == 2) {
      return f(load(0), load(1));
    } else {
      return f(load(0), load(1), load(2));
    }
  };
  int64_t i = 0;
  if constexpr (dtype_of<T> == DType::BFloat16) {
    for (; i + 2 * w <= n; i += 2 * w) {
      EvenOdd x[kIn];
      for (int k = 0; k < kIn; ++k) x[k] = load_even_odd(in[k] + i);
      store_even_odd(o + i, {apply([&](int k) { return x[k].even; }), apply([&](int k) { return x[k].odd; })});
    }
  }
  for (; i + w <= n; i += w) wide_store(o + i, apply([&](int k) { return wide_load(in[k] + i); }));
  if (i < n) {
    T lanes[w];
    wide_store(lanes, apply([&](int k) { return wide_load_n(in[k] + i, n - i); }));
    __builtin_memcpy(o + i, lanes, size_t(n - i) * sizeof(T));
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

// Where a walk stands: index and offset of element pos, and the runs along the innermost dimension from there.
struct Cursor {
  const Walk& w;
  int64_t index[kMaxDims], offset = 0;
  SW_INLINE Cursor(const Walk& walk, int64_t pos) : w(walk) {
    for (int d = w.ndim - 1; d >= 0; --d) {
      index[d] = pos % w.sizes[d];
      pos /= w.sizes[d];
      offset += index[d] * w.strides[d];
    }
  }
  SW_INLINE int64_t run(int64_t n) const {
    const int64_t left = w.sizes[w.ndim - 1] - index[w.ndim - 1];
    return left < n ? left : n;
  }
  SW_INLINE void advance(int64_t count) {
    int d = w.ndim - 1;
    index[d] += count;
    offset += count * w.strides[d];
    for (; d > 0 && index[d] == w.sizes[d]; --d) {
      offset += w.strides[d - 1] - w.sizes[d] * w.strides[d];
      index[d] = 0;
      ++index[d - 1];
    }
  }
};

// Which run of equal elements holds [pos, pos + count); -1 if none does.
SW_INLINE int64_t run_at(const Walk& w, int64_t pos, int64_t count) {
  const int64_t size = w.sizes[w.ndim - 1];
  if (w.strides[w.ndim - 1] != 0 || size < count) return -1;
  return (pos + count - 1) / size == pos / size ? pos / size : -1;
}

inline constexpr int64_t kLongRow = 128;  // elements of a row that is worth a call of its own

// The length of w's dense rows of at least kLongRow elements; 0 where it has none.
SW_INLINE int64_t row_of(const Walk& w) {
  const int64_t size = w.sizes[w.ndim - 1];
  return w.strides[w.ndim - 1] == 1 && size >= kLongRow ? size : 0;
}

// f(T* out, const T* const (&in)[kIn], count) over chunks of the n elements. An operand that repeats within a chunk (a
// number, a short bias along the innermost dimension) is gathered once per task; where rows are read in place, chunks
// end where rows do.
template <class T, int kIn, class F>
SW_INLINE void run_elementwise(int64_t n, const Walk& out, const Walk* const (&in)[kIn], const F& f) {
  enum Way { Direct, Row, Repeats, Gather } way[kIn];
  const bool out_direct = out.dense() && out.dtype == dtype_of<T>;
  bool in_place = out_direct;  // nothing goes through a buffer
  int64_t period = 1, row = 0;
  for (int k = 0; k < kIn; ++k) {
    const bool same = in[k]->dtype == dtype_of<T>;
    const int64_t p = in[k]->period, length = same ? row_of(*in[k]) : 0;
    if (same && in[k]->dense()) {
      way[k] = Direct;
    } else if (p <= kChunk && (p % period == 0 || period % p == 0)) {
      way[k] = Repeats;
      if (p > period) period = p;
    } else if (length > 0 && (row == 0 || row == length)) {
      way[k] = Row;
      row = length;
    } else {
      way[k] = Gather;
    }
    in_place = in_place && (way[k] == Direct || way[k] == Row);
  }
  const int64_t chunk = period * (kChunk / period);
  parallel_for(n, chunk * (kGrain / chunk), [&](int64_t begin, int64_t end) {
    alignas(64) T buffer[kIn + 1][kChunk];
    const T* from[kIn];
    int64_t filled[kIn], held[kIn];  // the run of equal elements (a bias along an outer dimension) in the buffer
    for (int k = 0; k < kIn; ++k) {
      from[k] = buffer[k];
      filled[k] = -1;
      held[k] = 0;
      if (way[k] == Repeats) walk_read(*in[k], 0, end - begin < chunk ? end - begin : chunk, dtype_of<T>, buffer[k]);
    }
    for (int64_t pos = begin, count; pos < end; pos += count) {
      count = end - pos;
      if (!in_place && count > chunk - (pos - begin) % chunk) count = chunk - (pos - begin) % chunk;
      if (row > 0 && count > row - pos % row) count = row - pos % row;
      for (int k = 0; k < kIn; ++k) {
        switch (way[k]) {
          case Direct:
            from[k] = static_cast<const T*>(in[k]->data) + pos;
            break;
          case Row:
            from[k] = static_cast<const T*>(in[k]->data) + Cursor(*in[k], pos).offset;
            break;
          case Repeats:
            from[k] = buffer[k] + (pos - begin) % chunk;
            break;
          case Gather:
            const int64_t run = run_at(*in[k], pos, count);
            if (run >= 0 && run == filled[k] && count <= held[k]) break;
            walk_read(*in[k], pos, count, dtype_of<T>, buffer[k]);
            filled[k] = run;
            held[k] = count;
        }
      }
      T* to = out_direct ? static_cast<T*>(out.data) + pos : buffer[kIn];
      f(to, from, count);
      if (!out_direct) walk_write(out, pos, count, dtype_of<T>, to);
    }
  });
}

// Whether every operand is bfloat16.
template <int kIn>
SW_INLINE bool all_bfloat16(const Walk& out, const Walk* const (&in)[kIn]) {
  bool all = out.dtype == DType::BFloat16;
  for (int k = 0; k < kIn; ++k) all = all && in[k]->dtype == DType::BFloat16;
  return all;
}

}  // namespace SW_ISA
}  // namespace skipway
