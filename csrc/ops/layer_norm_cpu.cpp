// Rows one after the other, each while it is in cache: sums, then the result. Formulas: ops/layer_norm.h.
#include "ops/layer_norm.h"

#include "core/parallel.h"
#include "kernels/across.h"
#include "kernels/partial.h"
#include "kernels/stream.h"
#include "kernels/wide.h"

namespace skipway {
namespace SW_ISA {
namespace {

constexpr int64_t kTaskElements = 32768;
constexpr int64_t kSlices = 64;  // into which the rows are cut for the parameters' gradients
constexpr int64_t kBlock = 64;   // rows whose share of those is summed in the element type before it goes to float64

// sum(x - shift) and sum((x - shift)^2)
template <class T>
SW_INLINE void shifted_sums(const T* x, int64_t n, double shift, double& sum, double& squares) {
  vdouble s[2] = {}, q[2] = {};
  const vdouble k = vset<double>(shift);
  int64_t c = 0;
  for (; c + 2 * kWide <= n; c += 2 * kWide) {
    for (int u = 0; u < 2; ++u) {
      const vdouble d = load_wide(x + c + u * kWide) - k;
      s[u] += d;
      q[u] += d * d;
    }
  }
  sum = hsum(s[0] + s[1]);
  squares = hsum(q[0] + q[1]);
  for (; c < n; ++c) {
    const double d = double(x[c]) - shift;
    sum += d;
    squares += d * d;
  }
}

struct Moments {
  double mean, var;
};

// From sums of x - shift and their squares. Centred only if there is a mean to take away.
SW_INLINE Moments moments_of(double shift, double sum, double squares, int64_t n, bool centred) {
  const double m = centred ? sum / double(n) : 0, var = squares / double(n) - m * m;
  return {shift + m, var < 0 ? 0 : var};  // NaN stays
}

template <class T>
SW_INLINE Moments row_moments(const T* x, int64_t n, bool centred) {
  const double shift = centred && n > 0 ? double(x[0]) : 0;
  double sum, squares;
  shifted_sums(x, n, shift, sum, squares);
  return moments_of(shift, sum, squares, n, centred);
}

// The same for elements that are narrower than float64, whose sums are short: up to kShort of them in float32, in as
// many parts as 4 vectors have lanes. A first pass finds about the mean; shifted by that, rounding is relative to the
// deviation and not to x. Squares that are too large or too small for float32 go the way above.
template <class T>
SW_INLINE Moments short_row_moments(const T* x, int64_t n, bool centred) {
  constexpr int64_t kShort = 2048;
  constexpr int L = Lanes<T>::n;
  double total = 0, rest = 0, squares = 0;
  for (int64_t begin = 0; centred && begin < n; begin += kShort) {
    vfloat part[4] = {};
    const int64_t end = min64(begin + kShort, n);
    int64_t c = begin;
    for (; c + 4 * L <= end; c += 4 * L)
      for (int u = 0; u < 4; ++u) part[u] += vload(x + c + u * L);
    for (; c < end; c += L) part[0] += take(x + c, min64(L, end - c));
    total += double(hsum((part[0] + part[1]) + (part[2] + part[3])));
  }
  const float shift = centred ? float(total / double(n)) : 0;
  for (int64_t begin = 0; begin < n; begin += kShort) {
    vfloat part[4] = {}, square[4] = {};
    const int64_t end = min64(begin + kShort, n);
    int64_t c = begin;
    for (; c + 4 * L <= end; c += 4 * L) {
      for (int u = 0; u < 4; ++u) {
        const vfloat d = vload(x + c + u * L) - shift;
        part[u] += d;
        square[u] += d * d;
      }
    }
    for (; c < end; c += L) {
      const int64_t lanes = min64(L, end - c);
      const vfloat d = (lanes == L ? vload(x + c) : vload_first(x + c, lanes, vset<float>(shift))) - shift;
      part[1] += d;
      square[1] += d * d;
    }
    rest += double(hsum((part[0] + part[1]) + (part[2] + part[3])));
    squares += double(hsum((square[0] + square[1]) + (square[2] + square[3])));
  }
  if (!(squares > 1e-25 && squares < 1e37)) return row_moments(x, n, centred);
  return moments_of(double(shift), rest, squares, n, centred);
}

// The parameters in the type that computes: as they are, or widened or filled into `room`; null where `p` is.
template <class S>
const S* widened(const void* p, DType d, int64_t n, S* room, bool fill, double value) {
  if (p == nullptr && !fill) return nullptr;
  if (p != nullptr && d == dtype_of<S>) return static_cast<const S*>(p);
  for (int64_t i = 0; i < n; ++i) room[i] = S(p ? load_as_double(p, d, i) : value);
  return room;
}

template <class T, bool kAffine, class S>
SW_INLINE void write_row(const T* x, T* y, int64_t n, const S* weight, const S* bias, double mean, double rstd,
                         bool past) {
  using V = typename Lanes<T>::vec;
  constexpr int L = Lanes<T>::n;
  const S high = S(mean), scale = S(rstd), rest = S((mean - double(high)) * rstd);  // xhat = (x - high) * rstd - rest
  auto map = [&](V v, V w, V b) {
    const V xhat = (v - high) * scale - rest;
    return kAffine ? xhat * w + b : xhat;
  };
  int64_t c = 0;
  for (; c + L <= n; c += L) {
    const V out = kAffine ? map(vload(x + c), vload(weight + c), vload(bias + c)) : map(vload(x + c), V{}, V{});
    vstore_either(y + c, out, past);
  }
  if (c < n) {
    const int64_t m = n - c;
    put(y + c, kAffine ? map(take(x + c, m), take(weight + c, m), take(bias + c, m)) : map(take(x + c, m), V{}, V{}),
        m);
  }
}

template <class T>
void forward(const LayerNormArgs& a) {
  using S = accumulate_type<T>;
  const int64_t n = a.cols;
  const bool affine = a.weight || a.bias;
  const bool past =
      n % Lanes<T>::n == 0 && streams(a.y, a.rows * n * int64_t(sizeof(T)), Lanes<T>::n * int64_t(sizeof(T)));
  parallel_for(a.rows, max64(1, kTaskElements / max64(n, 1)), [&](int64_t begin, int64_t end) {
    S* room = static_cast<S*>(thread_scratch(0, size_t(2 * n + 1) * sizeof(S)));
    const S* weight = widened<S>(a.weight, a.weight_dtype, n, room, affine, 1);
    const S* bias = widened<S>(a.bias, a.bias_dtype, n, room + n, affine, 0);
    for (int64_t r = begin; r < end; ++r) {
      const T* x = static_cast<const T*>(a.x) + r * n;
      T* y = static_cast<T*>(a.y) + r * n;
      Moments moments;
      if constexpr (sizeof(T) < sizeof(double)) {
        moments = short_row_moments(x, n, a.centred);
      } else {
        moments = row_moments(x, n, a.centred);
      }
      const double mean = moments.mean, rstd = 1 / __builtin_sqrt(moments.var + a.eps);
      a.statistics[r] = mean;
      a.statistics[a.rows + r] = rstd;
      if (affine) {
        write_row<T, true>(x, y, n, weight, bias, mean, rstd, past);
      } else {
        write_row<T, false>(x, y, n, weight, bias, mean, rstd, past);
      }
    }
    finish_stores(past);
  });
}

template <class T>
struct GradRow {
  using S = accumulate_type<T>;
  using V = typename Lanes<T>::vec;
  const T *x, *dy;
  T* dx;
  const S* weight;     // null: ones
  S *dweight, *dbias;  // null, or buffers to add to
  S high, rstd, rest;
  bool past;  // dx goes past the caches

  SW_INLINE V xhat(V v) const { return (v - high) * rstd - rest; }

  // sum(g) and sum(g * xhat), f(c, m) loading m elements from column c
  template <bool kWeight, bool kParams>
  SW_INLINE void sums(int64_t n, double& sum, double& dot) const {
    constexpr int L = Lanes<T>::n;
    V s[2] = {}, d[2] = {};
    auto step = [&](int u, int64_t c, V v, V dv, V w) {
      const V h = xhat(v), g = kWeight ? dv * w : dv;
      s[u] += g;
      d[u] += g * h;
      if constexpr (kParams) {
        vstore(dweight + c, vload(dweight + c) + dv * h);
        vstore(dbias + c, vload(dbias + c) + dv);
      }
    };
    int64_t c = 0;
    int u = 0;
    for (; c + 2 * L <= n; c += 2 * L) {
      step(0, c, vload(x + c), vload(dy + c), kWeight ? vload(weight + c) : V{});
      step(1, c + L, vload(x + c + L), vload(dy + c + L), kWeight ? vload(weight + c + L) : V{});
    }
    for (; c < n; c += L, u ^= 1) {  // lanes beyond the end have dy = 0
      const int64_t m = min64(L, n - c);
      step(u, c, take(x + c, m), take(dy + c, m), kWeight ? take(weight + c, m) : V{});
    }
    sum = double(hsum(s[0] + s[1]));
    dot = double(hsum(d[0] + d[1]));
  }

  // dx = rstd * (g - b - xhat * c), written or added
  template <bool kWeight, bool kAdd>
  SW_INLINE void write(int64_t n, S b, S c) const {
    constexpr int L = Lanes<T>::n;
    auto map = [&](V v, V dv, V w) { return rstd * ((kWeight ? dv * w : dv) - b - xhat(v) * c); };
    int64_t i = 0;
    for (; i + L <= n; i += L) {
      const V out = map(vload(x + i), vload(dy + i), kWeight ? vload(weight + i) : V{});
      if constexpr (kAdd) {
        vstore(dx + i, out + vload(dx + i));
      } else {
        vstore_either(dx + i, out, past);
      }
    }
    if (i < n) {
      const int64_t m = n - i;
      V out = map(take(x + i, m), take(dy + i, m), kWeight ? take(weight + i, m) : V{});
      if constexpr (kAdd) out += take(dx + i, m);
      put(dx + i, out, m);
    }
  }
};

template <class T, bool kWeight>
SW_INLINE void grad_row(const GradRow<T>& row, const LayerNormGradArgs& a) {
  using S = accumulate_type<T>;
  double sum, dot;
  if (row.dweight) {
    row.template sums<kWeight, true>(a.cols, sum, dot);
  } else {
    row.template sums<kWeight, false>(a.cols, sum, dot);
  }
  const S b = a.centred ? S(sum / double(a.cols)) : S(0), c = S(dot / double(a.cols));
  if (a.dx.mode == GradMode::Add) {
    row.template write<kWeight, true>(a.cols, b, c);
  } else if (a.dx.mode == GradMode::Write) {
    row.template write<kWeight, false>(a.cols, b, c);
  }
}

template <class T>
void backward(const LayerNormGradArgs& a) {
  using S = accumulate_type<T>;
  const int64_t n = a.cols, padded = round_up(n, 64);
  const bool params = a.dweight.mode != GradMode::Skip || a.dbias.mode != GradMode::Skip;
  const int64_t slice = max64(1, max64((a.rows + kSlices - 1) / kSlices, min64(a.rows, kTaskElements / max64(n, 1))));
  const int64_t slices = (a.rows + slice - 1) / slice;
  double* totals = static_cast<double*>(
      thread_scratch(1, size_t((params ? max64(slices, 1) * 2 * padded : 0) + 1) * sizeof(double)));
  if (params) __builtin_memset(totals, 0, size_t(max64(slices, 1) * 2 * padded) * sizeof(double));
  const bool past =
      n % Lanes<T>::n == 0 && streams(a.dx.data, a.rows * n * int64_t(sizeof(T)), Lanes<T>::n * int64_t(sizeof(T)));

  parallel_for(a.rows, slice, [&](int64_t begin, int64_t end) {
    S* room = static_cast<S*>(thread_scratch(0, size_t(3 * padded + 1) * sizeof(S)));
    const S* weight = widened<S>(a.weight, a.weight_dtype, n, room, false, 1);
    S* sums = params ? room + padded : nullptr;
    double* total = totals + begin / slice * 2 * padded;
    for (int64_t block = begin; block < end; block += kBlock) {
      if (params) __builtin_memset(sums, 0, size_t(2 * padded) * sizeof(S));
      for (int64_t r = block; r < min64(end, block + kBlock); ++r) {
        const double mean = a.statistics[r], rstd = a.statistics[a.rows + r];
        const S high = S(mean);
        const GradRow<T> row{static_cast<const T*>(a.x) + r * n,
                             static_cast<const T*>(a.dy) + r * n,
                             a.dx.data ? static_cast<T*>(a.dx.data) + r * n : nullptr,
                             weight,
                             sums,
                             params ? sums + padded : nullptr,
                             high,
                             S(rstd),
                             S((mean - double(high)) * rstd),
                             past};
        if (weight) {
          grad_row<T, true>(row, a);
        } else {
          grad_row<T, false>(row, a);
        }
      }
      for (int64_t c = 0; params && c < 2 * padded; ++c) total[c] += double(sums[c]);
    }
    finish_stores(past);
  });
  if (!params) return;
  for (int64_t s = 1; s < slices; ++s)
    for (int64_t c = 0; c < 2 * padded; ++c) totals[c] += totals[s * 2 * padded + c];
  for (int64_t c = 0; c < n; ++c) {
    if (a.dweight.mode != GradMode::Skip) store_from_double(a.dweight.data, a.weight_dtype, c, totals[c]);
    if (a.dbias.mode != GradMode::Skip) store_from_double(a.dbias.data, a.bias_dtype, c, totals[padded + c]);
  }
}

}  // namespace

void layer_norm_forward(const LayerNormArgs& a) {
  dispatch_float(a.dtype, [&]<class T>(Type<T>) { forward<T>(a); });
}

void layer_norm_backward(const LayerNormGradArgs& a) {
  dispatch_float(a.dtype, [&]<class T>(Type<T>) { backward<T>(a); });
}

}  // namespace SW_ISA
}  // namespace skipway
