// Channel normalisation on dense [samples, rows, channels] data. Read csrc/ops/batch_norm.h for the formulas.
//
// A sample's data is seen as rows of one `period`, a multiple of the channel count chosen so that whole vectors fit
// (3 channels: 64 pixels side by side are 192 columns); the last, partial row is the tail. Rows are cut into chunks by
// shape alone; each chunk sums into its own buffer and the buffers are added in order, so that the bits do not depend on
// the number of threads.
#include "core/parallel.h"
#include "kernels/wide.h"
#include "ops/batch_norm.h"

namespace skipway {
namespace SW_ISA {
namespace {

constexpr int64_t kTaskElements = 32768;
constexpr int64_t kSlices = 64;                // of small samples

struct Plan {
  int64_t channels, rows;       // of one sample
  int64_t folds, period;        // period = folds * channels columns
  int64_t full, tail;           // whole rows of one period, elements left over
  int64_t chunk, chunks;        // periods per task, tasks

  SW_INLINE Plan(int64_t rows_, int64_t channels_) : channels(channels_), rows(rows_) {
    constexpr int64_t lanes = 4 * kWide;
    int64_t a = channels, b = lanes;
    while (b != 0) {
      const int64_t r = a % b;
      a = b;
      b = r;
    }
    folds = lanes / a;
    while (channels > 0 && folds * channels < 128) folds *= 2;
    if (rows < 2 * folds || folds * channels > 4096) folds = 1;
    period = folds * channels;
    full = rows / folds;
    tail = rows % folds * channels;
    chunk = max64(16, period > 0 ? kTaskElements / period : 1);
    chunks = max64(1, (full + chunk - 1) / chunk);
  }
  SW_INLINE int64_t first(int64_t task) const { return task * chunk; }
  SW_INLINE int64_t count(int64_t task) const { return min64(chunk, full - first(task)); }
  SW_INLINE bool last(int64_t task) const { return task == chunks - 1; }
  SW_INLINE int64_t padded() const { return round_up(period, 64); }
};

// ---- statistics -----------------------------------------------------------------------------------------------------

// s1[c] = sum over rows of d, s2[c] = sum of d * d, d = x[row][c] - shift[c]
template <class T>
void shifted_sums(const T* x, int64_t rows, int64_t period, const double* shift, double* s1, double* s2) {
  constexpr int U = 4;
  int64_t c = 0;
  for (; c + U * kWide <= period; c += U * kWide) {
    vdouble k[U], a[U] = {}, b[U] = {};
    for (int u = 0; u < U; ++u) k[u] = vload(shift + c + u * kWide);
    const T* p = x + c;
    for (int64_t r = 0; r < rows; ++r, p += period) {
#pragma GCC unroll 4
      for (int u = 0; u < U; ++u) {
        const vdouble d = load_wide(p + u * kWide) - k[u];
        a[u] += d;
        b[u] += d * d;
      }
    }
    for (int u = 0; u < U; ++u) {
      vstore(s1 + c + u * kWide, a[u]);
      vstore(s2 + c + u * kWide, b[u]);
    }
  }
  for (; c < period; ++c) {
    double a = 0, b = 0;
    for (int64_t r = 0; r < rows; ++r) {
      const double d = double(x[r * period + c]) - shift[c];
      a += d;
      b += d * d;
    }
    s1[c] = a;
    s2[c] = b;
  }
}

template <class T>
void chunk_stats(const Plan& p, int64_t task, const T* x, const double* shift, double* sums) {
  double *s1 = sums, *s2 = sums + p.period;
  shifted_sums(x + p.first(task) * p.period, p.count(task), p.period, shift, s1, s2);
  if (!p.last(task)) return;
  const T* rest = x + p.full * p.period;
  for (int64_t c = 0; c < p.tail; ++c) {
    const double d = double(rest[c]) - shift[c];
    s1[c] += d;
    s2[c] += d * d;
  }
}

// Adds up chunks and folds: the two sums of each channel end up in sums[0 .. channels) and sums[period .. +channels).
void combine(const Plan& p, double* sums) {
  const int64_t n = 2 * p.period;
  for (int64_t t = 1; t < p.chunks; ++t)
    for (int64_t i = 0; i < n; ++i) sums[i] += sums[t * n + i];
  for (int64_t f = 1; f < p.folds; ++f) {
    for (int64_t c = 0; c < p.channels; ++c) {
      sums[c] += sums[f * p.channels + c];
      sums[p.period + c] += sums[p.period + f * p.channels + c];
    }
  }
}

struct Coefficients {
  double *mean, *rstd, *scale, *bias;
};
SW_INLINE Coefficients coefficients_of(double* base, int64_t samples, int64_t channels, int64_t sample) {
  const int64_t n = samples * channels;
  double* p = base + sample * channels;
  return {p, p + n, p + 2 * n, p + 3 * n};
}

// From sums to mean, variance (left in k.rstd), channel by channel, then group by group.
void finish_stats(const ChannelNormArgs& a, const Plan& p, const double* shift, const double* sums, Coefficients k) {
  const double n = double(p.rows);
  for (int64_t c = 0; c < a.channels; ++c) {
    const double m = sums[c] / n, var = sums[p.period + c] / n - m * m;
    k.mean[c] = shift[c] + m;
    k.rstd[c] = var < 0 ? 0 : var;  // NaN stays
  }
  const int64_t size = a.groups > 0 ? a.channels / a.groups : 1;
  if (size <= 1) return;
  for (int64_t g = 0; g < a.groups; ++g) {
    double *mean = k.mean + g * size, *var = k.rstd + g * size, d = 0, spread = 0;
    const double origin = mean[0];
    for (int64_t i = 0; i < size; ++i) d += mean[i] - origin;
    const double centre = origin + d / double(size);
    for (int64_t i = 0; i < size; ++i) spread += var[i] + (mean[i] - centre) * (mean[i] - centre);
    for (int64_t i = 0; i < size; ++i) {
      mean[i] = centre;
      var[i] = spread / double(size);
    }
  }
}

// The running statistics move by momentum, towards the mean over the samples of what the data says (one sample in batch
// norm). A channel whose statistics are not finite, in the running type, is left alone. Variances are in k.rstd still.
void update_running(const ChannelNormArgs& a, const Plan& p) {
  if (a.running_mean == nullptr || a.samples == 0) return;
  const double unbias = p.rows > 1 ? double(p.rows) / double(p.rows - 1) : 1;
  for (int64_t c = 0; c < a.channels; ++c) {
    double mean = 0, var = 0;
    for (int64_t s = 0; s < a.samples; ++s) {
      mean += a.coefficients[s * a.channels + c];
      var += a.coefficients[(a.samples + s) * a.channels + c];
    }
    mean = mean / double(a.samples);
    var = var / double(a.samples) * unbias;
    const double limit = a.running_dtype == DType::Float64 ? 1.7976931348623157e308 : 3.3895e38;
    if (!(__builtin_fabs(mean) <= limit && var <= limit)) continue;
    const double m = load_as_double(a.running_mean, a.running_dtype, c);
    const double v = load_as_double(a.running_var, a.running_dtype, c);
    store_from_double(a.running_mean, a.running_dtype, c, m + a.momentum * (mean - m));
    store_from_double(a.running_var, a.running_dtype, c, v + a.momentum * (var - v));
  }
}

void finish_coefficients(const ChannelNormArgs& a, Coefficients k) {
  for (int64_t c = 0; c < a.channels; ++c) {
    k.rstd[c] = 1 / __builtin_sqrt(k.rstd[c] + a.eps);
    k.scale[c] = k.rstd[c] * (a.weight ? load_as_double(a.weight, a.weight_dtype, c) : 1);
    k.bias[c] = a.bias ? load_as_double(a.bias, a.bias_dtype, c) : 0;
  }
}

// ---- forward --------------------------------------------------------------------------------------------------------

// y = act((x - mean) * scale + shift + residual) over one row. The mean is a float plus a rest that goes into shift, so
// that large means cost no accuracy.
template <class T, FusedAct A, bool kResidual>
SW_INLINE void apply_row(const T* x, const T* residual, T* y, int64_t n, const accumulate_type<T>* mean,
                         const accumulate_type<T>* scale, const accumulate_type<T>* shift) {
  constexpr int L = Lanes<T>::n;
  int64_t c = 0;
  for (; c + L <= n; c += L) {
    auto z = (vload(x + c) - vload(mean + c)) * vload(scale + c) + vload(shift + c);
    if constexpr (kResidual) z += vload(residual + c);
    vstore(y + c, fused_act<A>(z));
  }
  if (c < n) {
    auto z = (vload_n(x + c, n - c) - vload(mean + c)) * vload(scale + c) + vload(shift + c);
    if constexpr (kResidual) z += vload_n(residual + c, n - c);
    vstore_n(y + c, fused_act<A>(z), n - c);
  }
}

template <class T>
void apply_chunk(const ChannelNormArgs& a, const Plan& p, int64_t task, int64_t sample, Coefficients k) {
  using S = accumulate_type<T>;
  const int64_t padded = p.padded();
  S* mean = static_cast<S*>(thread_scratch(2, size_t(3 * padded) * sizeof(S)));
  S *scale = mean + padded, *shift = scale + padded;
  __builtin_memset(mean, 0, size_t(3 * padded) * sizeof(S));
  for (int64_t i = 0, c = 0; i < p.period; ++i, c = c + 1 == p.channels ? 0 : c + 1) {
    mean[i] = S(k.mean[c]);
    scale[i] = S(k.scale[c]);
    shift[i] = S(k.bias[c] - (k.mean[c] - double(mean[i])) * k.scale[c]);
  }
  const int64_t begin = sample * p.rows * p.channels + p.first(task) * p.period;
  const T* x = static_cast<const T*>(a.x) + begin;
  const T* residual = a.residual ? static_cast<const T*>(a.residual) + begin : nullptr;
  T* y = static_cast<T*>(a.y) + begin;
  const int64_t rows = p.count(task), rest = p.last(task) ? p.tail : 0;
  dispatch_act(a.activation, [&]<FusedAct A>(ActTag<A>) {
    const int64_t n = rows * p.period;
    if (residual) {
      for (int64_t i = 0; i < n; i += p.period) apply_row<T, A, true>(x + i, residual + i, y + i, p.period, mean, scale, shift);
      if (rest) apply_row<T, A, true>(x + n, residual + n, y + n, rest, mean, scale, shift);
    } else {
      for (int64_t i = 0; i < n; i += p.period) apply_row<T, A, false>(x + i, nullptr, y + i, p.period, mean, scale, shift);
      if (rest) apply_row<T, A, false>(x + n, nullptr, y + n, rest, mean, scale, shift);
    }
  });
}

// f(sample, parallel over chunks?): a big sample's chunks run in parallel, small samples run in parallel with each other,
// in at most kSlices slices.
template <class F>
SW_INLINE void for_samples(const Plan& p, int64_t samples, const F& f) {
  if (p.chunks > 1 || samples == 1) {
    for (int64_t s = 0; s < samples; ++s) f(s, int64_t(0));
    return;
  }
  const int64_t size = max64(1, p.rows * p.channels);
  const int64_t slice = max64((samples + kSlices - 1) / kSlices, min64(samples, (kTaskElements + size - 1) / size));
  parallel_for(samples, slice, [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) f(s, begin / slice);
  });
}

template <class T>
void forward(const ChannelNormArgs& a) {
  const Plan p(a.rows, a.channels);
  const int64_t size = p.rows * p.channels;
  if (!a.batch_stats) {
    Coefficients k = coefficients_of(a.coefficients, a.samples, a.channels, 0);
    for (int64_t c = 0; c < a.channels; ++c) {
      k.mean[c] = load_as_double(a.running_mean, a.running_dtype, c);
      k.rstd[c] = load_as_double(a.running_var, a.running_dtype, c);
    }
    finish_coefficients(a, k);
    parallel_tasks(p.chunks, [&](int64_t t) { apply_chunk<T>(a, p, t, 0, k); });
    return;
  }
  const bool running = a.running_mean != nullptr;
  for_samples(p, a.samples, [&](int64_t s, int64_t) {
    const T* x = static_cast<const T*>(a.x) + s * size;
    const Coefficients k = coefficients_of(a.coefficients, a.samples, a.channels, s);
    double* sums = static_cast<double*>(thread_scratch(0, size_t(p.chunks * 2 * p.period) * sizeof(double)));
    double* shift = static_cast<double*>(thread_scratch(1, size_t(p.period) * sizeof(double)));
    for (int64_t i = 0, c = 0; i < p.period; ++i, c = c + 1 == p.channels ? 0 : c + 1) shift[i] = double(x[c]);
    parallel_tasks(p.chunks, [&](int64_t t) { chunk_stats<T>(p, t, x, shift, sums + t * 2 * p.period); });
    combine(p, sums);
    finish_stats(a, p, shift, sums, k);
    if (running) return;
    finish_coefficients(a, k);
    parallel_tasks(p.chunks, [&](int64_t t) { apply_chunk<T>(a, p, t, s, k); });
  });
  if (!running) return;
  update_running(a, p);
  for_samples(p, a.samples, [&](int64_t s, int64_t) {
    const Coefficients k = coefficients_of(a.coefficients, a.samples, a.channels, s);
    finish_coefficients(a, k);
    parallel_tasks(p.chunks, [&](int64_t t) { apply_chunk<T>(a, p, t, s, k); });
  });
}

// ---- backward -------------------------------------------------------------------------------------------------------

template <class S>
struct Columns {  // per-column constants, padded to whole vectors
  S *mean, *rstd, *scale, *shift, *b, *c;
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

// s1[c] += sum over rows of dz, s2[c] += sum of dz * (x - mean); stores dz where a mode asks for it. U vectors of columns.
template <class T, FusedAct A, bool kFromX, GradMode kDz, int U>
SW_INLINE void grad_sums_panel(Streams<T> s, int64_t rows, int64_t stride, const Columns<accumulate_type<T>>& k, int64_t c,
                               int64_t lanes, double* s1, double* s2) {
  using V = typename Lanes<T>::vec;
  constexpr int L = Lanes<T>::n;
  V mean[U], a[U] = {}, b[U] = {};
  for (int u = 0; u < U; ++u) mean[u] = vload(k.mean + c + u * L);
  const bool whole = lanes == L;
  for (int64_t r = 0, i = c; r < rows; ++r, i += stride) {
#pragma GCC unroll 2
    for (int u = 0; u < U; ++u) {
      const int64_t j = i + u * L;
      const V x = whole ? vload(s.x + j) : vload_n(s.x + j, lanes), dy = whole ? vload(s.dy + j) : vload_n(s.dy + j, lanes);
      V y{};
      if constexpr (A != FusedAct::None && !kFromX) y = whole ? vload(s.y + j) : vload_n(s.y + j, lanes);
      const V dz = masked<T, A, kFromX>(dy, x, y, k, c + u * L);
      a[u] += dz;
      b[u] += dz * (x - mean[u]);
      if constexpr (kDz != GradMode::Skip) {
        V out = dz;
        if constexpr (kDz == GradMode::Add) out += whole ? vload(s.out + j) : vload_n(s.out + j, lanes);
        if (whole) {
          vstore(s.out + j, out);
        } else {
          vstore_n(s.out + j, out, lanes);
        }
      }
    }
  }
  for (int u = 0; u < U; ++u) {
    add_wide(s1 + c + u * L, a[u]);
    add_wide(s2 + c + u * L, b[u]);
  }
}

template <class T, FusedAct A, bool kFromX, GradMode kDz>
void grad_sums(Streams<T> s, int64_t rows, int64_t width, const Columns<accumulate_type<T>>& k, double* s1, double* s2) {
  constexpr int L = Lanes<T>::n;
  const int64_t block = max64(8, min64(64, 8192 / width));
  for (int64_t r = 0; r < rows; r += block) {
    const int64_t n = min64(block, rows - r);
    int64_t c = 0;
    for (; c + 2 * L <= width; c += 2 * L) grad_sums_panel<T, A, kFromX, kDz, 2>(s, n, width, k, c, L, s1, s2);
    for (; c < width; c += L) grad_sums_panel<T, A, kFromX, kDz, 1>(s, n, width, k, c, min64(L, width - c), s1, s2);
    s.x += n * width;
    s.dy += n * width;
    if constexpr (A != FusedAct::None && !kFromX) s.y += n * width;
    if constexpr (kDz != GradMode::Skip) s.out += n * width;
  }
}

// dx = scale * dz + b * (x - mean) * rstd + c, written or added.
template <class T, FusedAct A, bool kFromX, bool kAdd>
SW_INLINE void grad_row(Streams<T> s, int64_t n, const Columns<accumulate_type<T>>& k) {
  using V = typename Lanes<T>::vec;
  constexpr int L = Lanes<T>::n;
  auto step = [&](V x, V dy, V y, int64_t c) {
    const V dz = masked<T, A, kFromX>(dy, x, y, k, c);
    return vload(k.scale + c) * dz + (vload(k.b + c) * ((x - vload(k.mean + c)) * vload(k.rstd + c)) + vload(k.c + c));
  };
  int64_t c = 0;
  for (; c + L <= n; c += L) {
    V y{};
    if constexpr (A != FusedAct::None && !kFromX) y = vload(s.y + c);
    V out = step(vload(s.x + c), vload(s.dy + c), y, c);
    if constexpr (kAdd) out += vload(s.out + c);
    vstore(s.out + c, out);
  }
  if (c < n) {
    const int64_t m = n - c;
    V y{};
    if constexpr (A != FusedAct::None && !kFromX) y = vload_n(s.y + c, m);
    V out = step(vload_n(s.x + c, m), vload_n(s.dy + c, m), y, c);
    if constexpr (kAdd) out += vload_n(s.out + c, m);
    vstore_n(s.out + c, out, m);
  }
}

template <class T, FusedAct A, bool kFromX, bool kAdd>
void grad_rows(Streams<T> s, int64_t rows, int64_t width, int64_t rest, const Columns<accumulate_type<T>>& k) {
  for (int64_t r = 0; r < rows; ++r) {
    grad_row<T, A, kFromX, kAdd>(s, width, k);
    s.x += width;
    s.dy += width;
    s.out += width;
    if constexpr (A != FusedAct::None && !kFromX) s.y += width;
  }
  if (rest) grad_row<T, A, kFromX, kAdd>(s, rest, k);
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
Columns<accumulate_type<T>> expand(const Plan& p, const Coefficients& k, const double* b, const double* c) {
  using S = accumulate_type<T>;
  const int64_t n = p.padded();
  S* base = static_cast<S*>(thread_scratch(2, size_t(6 * n) * sizeof(S)));
  __builtin_memset(base, 0, size_t(6 * n) * sizeof(S));
  Columns<S> o{base, base + n, base + 2 * n, base + 3 * n, base + 4 * n, base + 5 * n};
  for (int64_t i = 0, j = 0; i < p.period; ++i, j = j + 1 == p.channels ? 0 : j + 1) {
    o.mean[i] = S(k.mean[j]);
    o.rstd[i] = S(k.rstd[j]);
    o.scale[i] = S(k.scale[j]);
    const double rest = k.mean[j] - double(o.mean[i]);
    o.shift[i] = S(k.bias[j] - rest * k.scale[j]);
    if (b == nullptr) continue;
    o.b[i] = S(b[j]);
    o.c[i] = S(c[j] - b[j] * rest * k.rstd[j]);
  }
  return o;
}

template <class T>
void sum_task(const ChannelNormGradArgs& a, const Plan& p, int64_t task, int64_t base, const Coefficients& k, double* sums) {
  __builtin_memset(sums, 0, size_t(2 * p.padded()) * sizeof(double));
  const auto columns = expand<T>(p, k, nullptr, nullptr);
  const int64_t at = base + p.first(task) * p.period, rows = p.count(task);
  Streams<T> s{static_cast<const T*>(a.x) + at, a.y ? static_cast<const T*>(a.y) + at : nullptr,
               static_cast<const T*>(a.dy) + at, a.dresidual.data ? static_cast<T*>(a.dresidual.data) + at : nullptr};
  auto run = [&]<FusedAct A, bool kFromX, GradMode kDz>() {
    const int64_t n = rows * p.period;
    if (rows) grad_sums<T, A, kFromX, kDz>(s, rows, p.period, columns, sums, sums + p.padded());
    if (!p.last(task) || !p.tail) return;
    Streams<T> rest{s.x + n, s.y ? s.y + n : nullptr, s.dy + n, s.out ? s.out + n : nullptr};
    grad_sums<T, A, kFromX, kDz>(rest, 1, p.tail, columns, sums, sums + p.padded());
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
void dx_task(const ChannelNormGradArgs& a, const Plan& p, int64_t task, int64_t base, const Coefficients& k, const double* b,
             const double* c) {
  const auto columns = expand<T>(p, k, b, c);
  const int64_t at = base + p.first(task) * p.period;
  const bool have_dz = a.dresidual.mode == GradMode::Write;  // dz stands in dresidual already
  const T* dz = static_cast<const T*>(have_dz ? a.dresidual.data : a.dy);
  Streams<T> s{static_cast<const T*>(a.x) + at, a.y ? static_cast<const T*>(a.y) + at : nullptr, dz + at,
               static_cast<T*>(a.dx.data) + at};
  const int64_t rows = p.count(task), rest = p.last(task) ? p.tail : 0;
  dispatch_mask(have_dz ? FusedAct::None : a.activation, a.y == nullptr, [&]<FusedAct A, class FromX>(ActTag<A>, FromX) {
    if (a.dx.mode == GradMode::Add) {
      grad_rows<T, A, FromX::value, true>(s, rows, p.period, rest, columns);
    } else {
      grad_rows<T, A, FromX::value, false>(s, rows, p.period, rest, columns);
    }
  });
}

// From a sample's sums (of dz and dz * (x - mean)) to the constants of dx, and its share of dbias and dweight.
void finish_sums(const ChannelNormGradArgs& a, const Plan& p, const double* s1, const double* s2, const Coefficients& k,
                 bool float64, double* b, double* c, double* dbias, double* dweight) {
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
  const Plan p(a.rows, a.channels);
  const int64_t padded = p.padded(), nc = a.channels;
  const bool params = a.dweight.mode != GradMode::Skip || a.dbias.mode != GradMode::Skip;
  const bool sums_needed = params || a.dresidual.mode != GradMode::Skip || a.batch_stats;
  const int64_t slices = p.chunks > 1 || a.samples == 1 ? 1 : kSlices;
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
    parallel_tasks(p.chunks, [&](int64_t t) { dx_task<T>(a, p, t, base, k, b, b + nc); });
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

void channel_norm_forward(const ChannelNormArgs& a) {
  if (a.samples * a.rows * a.channels == 0) return;
  dispatch_float(a.dtype, [&]<class T>(Type<T>) { forward<T>(a); });
}

void channel_norm_backward(const ChannelNormGradArgs& a) {
  dispatch_float(a.dtype, [&]<class T>(Type<T>) { backward<T>(a); });
}

}  // namespace SW_ISA
}  // namespace skipway
