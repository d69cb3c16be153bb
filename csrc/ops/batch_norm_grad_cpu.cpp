// Channel normalisation, backward. Formulas: ops/batch_norm.h; how the data is cut: kernels/channel_plan.h.
#include "core/parallel.h"
#include "kernels/channel_plan.h"
#include "kernels/fused.h"
#include "kernels/partial.h"
#include "kernels/stream.h"
#include "kernels/wide.h"
#include "ops/batch_norm.h"

namespace skipway {
namespace SW_ISA {
namespace {

template <class S>
struct Columns {  // per-column constants, padded to whole vectors
  S *mean, *scale, *shift, *b, *c;
  S* spare;  // room for a vector
};

template <class T>
struct Streams {
  const T *x, *y, *dy;
  T* out;  // dz or dx
};

// dz = dy * act'(z), from y where there is one, else from z computed anew.
template <class T, FusedAct A, bool kFromX, class V>
SW_INLINE V masked(V dy, V x, V y, const Columns<accumulate_type<T>>& k, int64_t c) {
  if constexpr (A == FusedAct::None) return dy;
  if constexpr (kFromX) return fused_act_grad<A>(dy, (x - vload(k.mean + c)) * vload(k.scale + c) + vload(k.shift + c));
  return fused_act_grad<A>(dy, y);
}

// add_wide by way of memory: a sum that is taken apart by lanes where it stands is kept on the stack from the start.
template <class S, class V>
SW_INLINE void add_through(S* room, double* to, V v) {
  vstore(room, v);
  for (int i = 0; i < int(sizeof(V) / sizeof(S)); i += kWide) add_wide(to + i, load_wide(room + i));
}

// s1[c] += sum over rows of dz, s2[c] += sum of dz * (x - mean); stores dz where a mode asks for it. U vectors of
// columns: as many as registers hold sums for, since short strips of long rows keep caches from reading ahead.
constexpr int kPanel = 4;

template <class T, FusedAct A, bool kFromX, GradMode kDz, int U>
SW_INLINE void grad_sums_panel(Streams<T> s, int64_t rows, int64_t stride, const Columns<accumulate_type<T>>& k,
                               int64_t c, int64_t lanes, bool past, double* s1, double* s2) {
  using V = typename Lanes<T>::vec;
  constexpr int L = Lanes<T>::n;
  V a[U], b[U];
  for (int u = 0; u < U; ++u) a[u] = b[u] = V{};
  for (int64_t r = 0, i = c; r < rows; ++r, i += stride) {
#pragma GCC unroll 4
    for (int u = 0; u < U; ++u) {
      const int64_t j = i + u * L;
      const V x = take(s.x + j, lanes), dy = take(s.dy + j, lanes);
      V y{};
      if constexpr (A != FusedAct::None && !kFromX) y = take(s.y + j, lanes);
      const V dz = masked<T, A, kFromX>(dy, x, y, k, c + u * L);
      a[u] += dz;
      b[u] += dz * (x - vload(k.mean + c + u * L));
      if constexpr (kDz != GradMode::Skip) {
        V out = dz;
        if constexpr (kDz == GradMode::Add) out = rounded_to<T>(out) + take(s.out + j, lanes);
        if (past) {
          vstore_past(s.out + j, out);
        } else {
          put(s.out + j, out, lanes);
        }
      }
    }
  }
  for (int u = 0; u < U; ++u) {
    add_through(k.spare, s1 + c + u * L, a[u]);
    add_through(k.spare, s2 + c + u * L, b[u]);
  }
}

template <class T, FusedAct A, bool kFromX, GradMode kDz>
void grad_sums(Streams<T> s, int64_t rows, int64_t width, const Columns<accumulate_type<T>>& k, bool past, double* s1,
               double* s2) {
  constexpr int L = Lanes<T>::n;
  const int64_t block = width <= kPanel * L ? 64 : max64(8, min64(64, 2048 / width));
  for (int64_t r = 0; r < rows; r += block) {
    const int64_t n = min64(block, rows - r);
    int64_t c = 0;
    for (; c + kPanel * L <= width; c += kPanel * L)
      grad_sums_panel<T, A, kFromX, kDz, kPanel>(s, n, width, k, c, L, past, s1, s2);
    for (; c < width; c += L)
      grad_sums_panel<T, A, kFromX, kDz, 1>(s, n, width, k, c, min64(L, width - c), past, s1, s2);
    s.x += n * width;
    s.dy += n * width;
    if constexpr (A != FusedAct::None && !kFromX) s.y += n * width;
    if constexpr (kDz != GradMode::Skip) s.out += n * width;
  }
  finish_stores(past);
}

// dx = scale * dz + b * (x - mean) + c, written or added; what is added is rounded first, as the sum of two tensors is:
// which of the two is done depends on who else holds them, and no bit may.
template <class T, FusedAct A, bool kFromX, bool kAdd>
SW_INLINE void grad_row(Streams<T> s, int64_t n, const Columns<accumulate_type<T>>& k, bool past) {
  using V = typename Lanes<T>::vec;
  constexpr int L = Lanes<T>::n;
  auto step = [&](V x, V dy, V y, int64_t c) {
    const V dz = masked<T, A, kFromX>(dy, x, y, k, c);
    return vload(k.scale + c) * dz + (vload(k.b + c) * (x - vload(k.mean + c)) + vload(k.c + c));
  };
  int64_t c = 0;
#pragma GCC unroll 4
  for (; c + L <= n; c += L) {
    V y{};
    if constexpr (A != FusedAct::None && !kFromX) y = vload(s.y + c);
    V out = step(vload(s.x + c), vload(s.dy + c), y, c);
    if constexpr (kAdd) {
      vstore(s.out + c, rounded_to<T>(out) + vload(s.out + c));
    } else {
      vstore_either(s.out + c, out, past);
    }
  }
  if (c < n) {
    const int64_t m = n - c;
    V y{};
    if constexpr (A != FusedAct::None && !kFromX) y = take(s.y + c, m);
    V out = step(take(s.x + c, m), take(s.dy + c, m), y, c);
    if constexpr (kAdd) out = rounded_to<T>(out) + take(s.out + c, m);
    put(s.out + c, out, m);
  }
}

template <class T, FusedAct A, bool kFromX, bool kAdd>
void grad_rows(Streams<T> s, int64_t rows, int64_t width, int64_t rest, const Columns<accumulate_type<T>>& columns,
               bool past) {
  const Columns<accumulate_type<T>> k = columns;  // a copy: the stores below cannot change it
  for (int64_t r = 0; r < rows; ++r) {
    grad_row<T, A, kFromX, kAdd>(s, width, k, past);
    s.x += width;
    s.dy += width;
    s.out += width;
    if constexpr (A != FusedAct::None && !kFromX) s.y += width;
  }
  if (rest) grad_row<T, A, kFromX, kAdd>(s, rest, k, false);
  finish_stores(past);
}

// The source of act's mask, as template arguments: f(ActTag, from x?). Only relu is ever recomputed from x.
struct Yes {
  static constexpr bool value = true;
};
struct No {
  static constexpr bool value = false;
};
template <class F>
SW_INLINE void dispatch_mask(FusedAct act, bool from_x, const F& f) {
  if (act == FusedAct::Relu && from_x) return f(ActTag<FusedAct::Relu>{}, Yes{});
  dispatch_act(act, [&](auto tag) { f(tag, No{}); });
}

template <class T>
Columns<accumulate_type<T>> expand(const ChannelPlan& p, const Coefficients& k, const double* b, const double* c) {
  using S = accumulate_type<T>;
  const int64_t n = p.padded();
  S* base = static_cast<S*>(thread_scratch(2, size_t(6 * n) * sizeof(S)));
  __builtin_memset(base, 0, size_t(6 * n) * sizeof(S));
  Columns<S> o{base, base + n, base + 2 * n, base + 3 * n, base + 4 * n, base + 5 * n};
  for (int64_t i = 0, j = 0; i < p.period; ++i, j = j + 1 == p.channels ? 0 : j + 1) {
    o.mean[i] = S(k.mean[j]);
    o.scale[i] = S(k.scale[j]);
    const double rest = k.mean[j] - double(o.mean[i]);
    o.shift[i] = S(k.bias[j] - rest * k.scale[j]);
    if (b == nullptr) continue;
    const double slope = b[j] * k.rstd[j];
    o.b[i] = S(slope);
    o.c[i] = S(c[j] - slope * rest);
  }
  return o;
}

// Whether a result that begins at `out`, here and in the other tasks, goes past the caches.
template <class T>
bool goes_past(const ChannelNormGradArgs& a, const ChannelPlan& p, const T* out) {
  const int64_t bytes = a.samples * p.rows * p.channels * int64_t(sizeof(T));
  return p.period % Lanes<T>::n == 0 && streams(out, bytes, Lanes<T>::n * int64_t(sizeof(T)));
}

template <class T>
void sum_task(const ChannelNormGradArgs& a, const ChannelPlan& p, int64_t task, int64_t base, const Coefficients& k,
              double* sums) {
  __builtin_memset(sums, 0, size_t(2 * p.padded()) * sizeof(double));
  const auto columns = expand<T>(p, k, nullptr, nullptr);
  const int64_t at = base + p.first(task) * p.period, rows = p.count(task);
  Streams<T> s{static_cast<const T*>(a.x) + at, a.y ? static_cast<const T*>(a.y) + at : nullptr,
               static_cast<const T*>(a.dy) + at, a.dresidual.data ? static_cast<T*>(a.dresidual.data) + at : nullptr};
  auto run = [&]<FusedAct A, bool kFromX, GradMode kDz>() {
    const int64_t n = rows * p.period;
    const bool past = kDz == GradMode::Write && goes_past<T>(a, p, s.out);
    if (rows) grad_sums<T, A, kFromX, kDz>(s, rows, p.period, columns, past, sums, sums + p.padded());
    if (!p.last(task) || !p.tail) return;
    Streams<T> rest{s.x + n, s.y ? s.y + n : nullptr, s.dy + n, s.out ? s.out + n : nullptr};
    grad_sums<T, A, kFromX, kDz>(rest, 1, p.tail, columns, false, sums, sums + p.padded());
  };
  dispatch_mask(a.activation, a.y == nullptr, [&]<FusedAct A, class FromX>(ActTag<A>, FromX) {
    if constexpr (A != FusedAct::None && !FromX::value) {
      if (a.dresidual.mode == GradMode::Write) return run.template operator()<A, false, GradMode::Write>();
      if (a.dresidual.mode == GradMode::Add) return run.template operator()<A, false, GradMode::Add>();
    }
    run.template operator()<A, FromX::value, GradMode::Skip>();
  });
}

template <class T>
void dx_task(const ChannelNormGradArgs& a, const ChannelPlan& p, int64_t task, int64_t base, const Coefficients& k,
             const double* b, const double* c) {
  const auto columns = expand<T>(p, k, b, c);
  const int64_t at = base + p.first(task) * p.period;
  const bool have_dz = a.dresidual.mode == GradMode::Write;  // dz stands in dresidual already
  const T* dz = static_cast<const T*>(have_dz ? a.dresidual.data : a.dy);
  Streams<T> s{static_cast<const T*>(a.x) + at, a.y ? static_cast<const T*>(a.y) + at : nullptr, dz + at,
               static_cast<T*>(a.dx.data) + at};
  const int64_t rows = p.count(task), rest = p.last(task) ? p.tail : 0;
  const bool past = goes_past<T>(a, p, s.out);
  dispatch_mask(have_dz ? FusedAct::None : a.activation, a.y == nullptr,
                [&]<FusedAct A, class FromX>(ActTag<A>, FromX) {
                  if (a.dx.mode == GradMode::Add) {
                    grad_rows<T, A, FromX::value, true>(s, rows, p.period, rest, columns, past);
                  } else {
                    grad_rows<T, A, FromX::value, false>(s, rows, p.period, rest, columns, past);
                  }
                });
}

// From a sample's sums (of dz and dz * (x - mean)) to the constants of dx, and its share of dbias and dweight.
void finish_sums(const ChannelNormGradArgs& a, const ChannelPlan& p, const double* s1, const double* s2,
                 const Coefficients& k, bool float64, double* b, double* c, double* dbias, double* dweight) {
  const int64_t size = a.groups > 0 ? a.channels / a.groups : 1;
  const double n = double(p.rows) * double(size);
  for (int64_t g = 0, at = 0; g < a.groups; ++g, at += size) {
    double sum = 0, dot = 0;
    for (int64_t j = at; j < at + size; ++j) {
      const double rest = float64 ? 0 : k.mean[j] - double(float(k.mean[j]));
      const double d = (s2[j] - rest * s1[j]) * k.rstd[j];
      dbias[j] += s1[j];
      dweight[j] += d;
      sum += k.scale[j] * s1[j];
      dot += k.scale[j] * d;
    }
    for (int64_t j = at; j < at + size; ++j) {
      b[j] = a.batch_stats ? -dot / n : 0;
      c[j] = a.batch_stats ? -sum / n : 0;
    }
  }
}

template <class T>
void backward(const ChannelNormGradArgs& a) {
  const ChannelPlan p(a.rows, a.channels);
  const int64_t padded = p.padded(), nc = a.channels;
  const bool params = a.dweight.mode != GradMode::Skip || a.dbias.mode != GradMode::Skip;
  const bool sums_needed = params || a.dresidual.mode != GradMode::Skip || a.batch_stats;
  const int64_t slices = p.chunks > 1 || a.samples == 1 ? 1 : kNormSlices;
  double* totals = static_cast<double*>(thread_scratch(3, size_t(slices * 2 * nc + 1) * sizeof(double)));
  __builtin_memset(totals, 0, size_t(slices * 2 * nc) * sizeof(double));

  for_samples(p, p.rows > 0 ? a.samples : 0, [&](int64_t sample, int64_t slice) {
    const Coefficients k = coefficients_of(const_cast<double*>(a.coefficients), a.samples, nc, sample);
    const int64_t base = sample * p.rows * p.channels;
    double* sums = static_cast<double*>(thread_scratch(0, size_t(p.chunks * 2 * padded) * sizeof(double)));
    double* b = static_cast<double*>(thread_scratch(1, size_t(2 * nc + 1) * sizeof(double)));
    __builtin_memset(b, 0, size_t(2 * nc) * sizeof(double));
    if (sums_needed) {
      parallel_tasks(p.chunks, [&](int64_t t) { sum_task<T>(a, p, t, base, k, sums + t * 2 * padded); });
      for (int64_t t = 1; t < p.chunks; ++t)
        for (int64_t i = 0; i < 2 * padded; ++i) sums[i] += sums[t * 2 * padded + i];
      for (int64_t f = 1; f < p.folds; ++f) {
        for (int64_t c = 0; c < nc; ++c) {
          sums[c] += sums[f * nc + c];
          sums[padded + c] += sums[padded + f * nc + c];
        }
      }
      double* total = totals + slice * 2 * nc;
      finish_sums(a, p, sums, sums + padded, k, dtype_of<T> == DType::Float64, b, b + nc, total, total + nc);
    }
    if (a.dx.mode == GradMode::Skip) return;
    // Backwards through the chunks: what was read last is in cache still.
    parallel_tasks(p.chunks, [&](int64_t t) { dx_task<T>(a, p, p.chunks - 1 - t, base, k, b, b + nc); });
  });
  if (!params) return;
  for (int64_t s = 1; s < slices; ++s)
    for (int64_t i = 0; i < 2 * nc; ++i) totals[i] += totals[s * 2 * nc + i];
  for (int64_t c = 0; c < nc; ++c) {
    if (a.dbias.mode != GradMode::Skip) store_from_double(a.dbias.data, a.bias_dtype, c, totals[c]);
    if (a.dweight.mode != GradMode::Skip) store_from_double(a.dweight.data, a.weight_dtype, c, totals[nc + c]);
  }
}

}  // namespace

void channel_norm_backward(const ChannelNormGradArgs& a) {
  dispatch_float(a.dtype, [&]<class T>(Type<T>) { backward<T>(a); });
}

}  // namespace SW_ISA
}  // namespace skipway
