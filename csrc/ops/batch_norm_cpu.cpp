// Channel normalisation, forward. Formulas: ops/batch_norm.h; how the data is cut: kernels/channel_plan.h.
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

// ---- statistics -----------------------------------------------------------------------------------------------------

// s1[c] = sum over rows of d, s2[c] = sum of d * d, d = x[row][c] - shift[c], for the columns from `c` on
template <class T>
void column_sums(const T* x, int64_t rows, int64_t period, int64_t c, const double* shift, double* s1, double* s2) {
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

// The same for all columns, by vectors.
template <class T>
void shifted_sums(const T* x, int64_t rows, int64_t period, const double* shift, double* s1, double* s2) {
  constexpr int U = kVecBytes == 64 ? 8 : 4;  // rows of 64 columns in one go, where registers hold their sums
  int64_t c = 0;
  for (; c + U * kWide <= period; c += U * kWide) {
    vdouble a[U] = {}, b[U] = {};
    const T* p = x + c;
    for (int64_t r = 0; r < rows; ++r, p += period) {
#pragma GCC unroll 8
      for (int u = 0; u < U; ++u) {
        const vdouble d = load_wide(p + u * kWide) - vload(shift + c + u * kWide);
        a[u] += d;
        b[u] += d * d;
      }
    }
    for (int u = 0; u < U; ++u) {
      vstore(s1 + c + u * kWide, a[u]);
      vstore(s2 + c + u * kWide, b[u]);
    }
  }
  column_sums(x, rows, period, c, shift, s1, s2);
}

// The same for elements narrower than float64: kShortSum rows at a time in float32, whose rounding is relative to d,
// the distance from about the channel's mean. `reliable` says whether that was good enough.
inline constexpr int64_t kShortSum = 64;

// U vectors of columns
template <int U, class T>
SW_INLINE void short_strip(const T* x, int64_t rows, int64_t period, const double* shift, double* s1, double* s2) {
  constexpr int L = Lanes<T>::n;
  vfloat k[U];
  for (int u = 0; u < U; ++u)
    for (int i = 0; i < L; ++i) k[u][i] = float(shift[u * L + i]);
  for (int i = 0; i < U * L; ++i) s1[i] = s2[i] = 0;
  for (int64_t begin = 0; begin < rows; begin += kShortSum) {
    vfloat a[U] = {}, b[U] = {};
    const T* p = x + begin * period;
    for (int64_t r = min64(kShortSum, rows - begin); r > 0; --r, p += period) {
#pragma GCC unroll 4
      for (int u = 0; u < U; ++u) {
        const vfloat d = vload(p + u * L) - k[u];
        a[u] += d;
        b[u] += d * d;
      }
    }
    for (int u = 0; u < U; ++u) {
      add_wide(s1 + u * L, a[u]);
      add_wide(s2 + u * L, b[u]);
    }
  }
}
template <class T>
void short_shifted_sums(const T* x, int64_t rows, int64_t period, const double* shift, double* s1, double* s2) {
  constexpr int L = Lanes<T>::n;
  int64_t c = 0;
  for (; c + 4 * L <= period; c += 4 * L) short_strip<4>(x + c, rows, period, shift + c, s1 + c, s2 + c);
  for (; c + L <= period; c += L) short_strip<1>(x + c, rows, period, shift + c, s1 + c, s2 + c);
  column_sums(x, rows, period, c, shift, s1, s2);
}

// Whether float32 sums of d and d^2 lost nothing that counts: the shift was within a few deviations of the mean,
// and the squares neither overflowed nor vanished. NaN is not reliable.
bool reliable(const ChannelPlan& p, const double* sums) {
  const double n = double(p.rows);
  for (int64_t c = 0; c < p.channels; ++c) {
    const double m = sums[c] / n, square = sums[p.period + c] / n;
    const bool constant = sums[c] == 0 && sums[p.period + c] == 0;
    if (!constant && !(m * m <= 8 * (square - m * m) && square > 1e-30 && square < 1e33)) return false;
  }
  return true;
}

template <class T, bool kShort>
void chunk_stats(const ChannelPlan& p, int64_t task, const T* x, const double* shift, double* sums) {
  double *s1 = sums, *s2 = sums + p.period;
  if constexpr (kShort) {
    short_shifted_sums(x + p.first(task) * p.period, p.count(task), p.period, shift, s1, s2);
  } else {
    shifted_sums(x + p.first(task) * p.period, p.count(task), p.period, shift, s1, s2);
  }
  if (!p.last(task)) return;
  const T* rest = x + p.full * p.period;
  for (int64_t c = 0; c < p.tail; ++c) {
    const double d = double(rest[c]) - shift[c];
    s1[c] += d;
    s2[c] += d * d;
  }
}

// Adds up chunks and folds: the two sums of each channel end up in sums[0 .. channels) and sums[period .. +channels).
void combine(const ChannelPlan& p, double* sums) {
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

// From sums to mean, variance (left in k.rstd), channel by channel, then group by group.
void finish_stats(const ChannelNormArgs& a, const ChannelPlan& p, const double* shift, const double* sums,
                  Coefficients k) {
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

// The same where a convolution has left mean and deviations.
void ready_stats(const ChannelNormArgs& a, const ChannelPlan& p, Coefficients k) {
  for (int64_t c = 0; c < a.channels; ++c) {
    k.mean[c] = a.moments[c];
    k.rstd[c] = a.moments[a.channels + c] / double(p.rows);
  }
}

// The running statistics move by momentum, towards the mean over the samples of what the data says (one sample in batch
// norm). A channel whose statistics are not finite, in the running type, is left alone. Variances are in k.rstd still.
void update_running(const ChannelNormArgs& a, const ChannelPlan& p) {
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

// y = act((x - mean) * scale + shift + residual) over one row, `rounds` of ChannelNormApplyArgs. The mean is a float
// plus a rest that goes into shift, so that large means cost no accuracy.
template <class T, FusedAct A, bool kResidual, bool kRounds, class V, class S>
SW_INLINE V apply(V x, V residual, const S* mean, const S* scale, const S* shift) {
  V z = (x - vload(mean)) * vload(scale) + vload(shift);
  if constexpr (kRounds) z = rounded_to<T>(z);
  if constexpr (kResidual) z += residual;
  if constexpr (kResidual && kRounds) z = rounded_to<T>(z);
  return fused_act<A>(z);
}
template <class T, FusedAct A, bool kResidual, bool kRounds>
SW_INLINE void apply_row(const T* x, const T* residual, T* y, int64_t n, const accumulate_type<T>* mean,
                         const accumulate_type<T>* scale, const accumulate_type<T>* shift, bool past) {
  constexpr int L = Lanes<T>::n;
  using V = typename Lanes<T>::vec;
  int64_t c = 0;
  for (; c + L <= n; c += L) {
    V r{};
    if constexpr (kResidual) r = vload(residual + c);
    const V z = apply<T, A, kResidual, kRounds>(V(vload(x + c)), r, mean + c, scale + c, shift + c);
    vstore_either(y + c, z, past);
  }
  if (c < n) {
    V r{};
    if constexpr (kResidual) r = take(residual + c, n - c);
    put(y + c, apply<T, A, kResidual, kRounds>(V(take(x + c, n - c)), r, mean + c, scale + c, shift + c), n - c);
  }
}

template <class S>
struct ApplyColumns {  // per column of a period, padded to whole vectors
  S *mean, *scale, *shift;
};
template <class S>
SW_INLINE void split_mean(const Coefficients& k, int64_t c, const ApplyColumns<S>& to, int64_t i) {
  to.mean[i] = S(k.mean[c]);
  to.scale[i] = S(k.scale[c]);
  to.shift[i] = S(k.bias[c] - (k.mean[c] - double(to.mean[i])) * k.scale[c]);
}

// Whether the results of all samples, y of one of them, are stored past the caches.
template <class T>
bool stores_past(const ChannelPlan& p, int64_t samples, const T* y) {
  constexpr int64_t size = sizeof(T);
  return p.period % Lanes<T>::n == 0 && streams(y, samples * p.rows * p.channels * size, Lanes<T>::n * size);
}

// One chunk of rows; `from` and `to` are of the sample.
template <class T, bool kRounds>
void apply_chunk(const ChannelPlan& p, int64_t task, FusedAct act, const T* from, const T* add, T* to,
                 const Coefficients& k, bool past) {
  using S = accumulate_type<T>;
  const int64_t padded = p.padded();
  S* memory = static_cast<S*>(thread_scratch(2, size_t(3 * padded) * sizeof(S)));
  __builtin_memset(memory, 0, size_t(3 * padded) * sizeof(S));
  const ApplyColumns<S> columns{memory, memory + padded, memory + 2 * padded};
  for (int64_t i = 0, c = 0; i < p.period; ++i, c = c + 1 == p.channels ? 0 : c + 1) split_mean(k, c, columns, i);
  const int64_t begin = p.first(task) * p.period;
  const T *x = from + begin, *residual = add ? add + begin : nullptr;
  T* y = to + begin;
  const int64_t rows = p.count(task), n = rows * p.period, rest = p.last(task) ? p.tail : 0;
  const S *mean = columns.mean, *scale = columns.scale, *shift = columns.shift;
  dispatch_act(act, [&]<FusedAct A>(ActTag<A>) {
    if (residual) {
      for (int64_t i = 0; i < n; i += p.period)
        apply_row<T, A, true, kRounds>(x + i, residual + i, y + i, p.period, mean, scale, shift, past);
      if (rest) apply_row<T, A, true, kRounds>(x + n, residual + n, y + n, rest, mean, scale, shift, false);
    } else {
      for (int64_t i = 0; i < n; i += p.period)
        apply_row<T, A, false, kRounds>(x + i, nullptr, y + i, p.period, mean, scale, shift, past);
      if (rest) apply_row<T, A, false, kRounds>(x + n, nullptr, y + n, rest, mean, scale, shift, false);
    }
  });
  finish_stores(past);
}

// What follows the statistics of a sample: y, or the numbers from which it is computed.
template <class T>
void apply_sample(const ChannelNormArgs& a, const ChannelPlan& p, int64_t sample, const Coefficients& k) {
  if (a.apply) {
    const ApplyColumns<float> columns{a.apply, a.apply + a.channels, a.apply + 2 * a.channels};
    for (int64_t c = 0; c < a.channels; ++c) split_mean(k, c, columns, c);
  }
  if (!a.y) return;
  const int64_t at = sample * p.rows * p.channels;
  const T *x = static_cast<const T*>(a.x) + at, *add = a.residual ? static_cast<const T*>(a.residual) + at : nullptr;
  T* y = static_cast<T*>(a.y) + at;
  const bool past = stores_past(p, a.samples, y);
  // Backwards through the chunks: what was read last is in cache still.
  parallel_tasks(p.chunks, [&](int64_t t) {
    apply_chunk<T, false>(p, a.batch_stats ? p.chunks - 1 - t : t, a.activation, x, add, y, k, past);
  });
}

// Shifts near the channels' means: averages of a few rows (exact where all their values are equal). float64 needs none.
template <class T>
void choose_shift(const ChannelPlan& p, const T* x, double* shift) {
  const int64_t picks = sizeof(T) < sizeof(double) ? min64(16, p.rows / 16 + 1) : 1;
  const int64_t stride = p.rows / picks * p.channels;
  for (int64_t c = 0; c < p.channels; ++c) {
    double sum = 0;
    for (int64_t k = 0; k < picks; ++k) sum += double(x[k * stride + c]);
    shift[c] = double(accumulate_type<T>(sum / double(picks)));
  }
  for (int64_t i = p.channels; i < p.period; ++i) shift[i] = shift[i - p.channels];
}

// The sums of one sample, over `shift`, in the first part of `sums`.
template <class T>
void sample_sums(const ChannelPlan& p, const T* x, const double* shift, double* sums) {
  if constexpr (sizeof(T) < sizeof(double)) {
    parallel_tasks(p.chunks, [&](int64_t t) { chunk_stats<T, true>(p, t, x, shift, sums + t * 2 * p.period); });
    combine(p, sums);
    if (reliable(p, sums)) return;
  }
  parallel_tasks(p.chunks, [&](int64_t t) { chunk_stats<T, false>(p, t, x, shift, sums + t * 2 * p.period); });
  combine(p, sums);
}

// f(sample) for each; many samples run in parallel with each other, however big they are.
template <class F>
SW_INLINE void each_sample(const ChannelPlan& p, int64_t samples, const F& f) {
  if (samples < 16) return for_samples(p, samples, [&](int64_t s, int64_t) { f(s); });
  const int64_t size = max64(1, p.rows * p.channels);
  parallel_for(samples, max64(1, kNormTask / size), [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) f(s);
  });
}

template <class T>
void forward(const ChannelNormArgs& a) {
  const ChannelPlan p(a.rows, a.channels);
  const int64_t size = p.rows * p.channels;
  if (!a.batch_stats) {
    Coefficients k = coefficients_of(a.coefficients, a.samples, a.channels, 0);
    for (int64_t c = 0; c < a.channels; ++c) {
      k.mean[c] = load_as_double(a.running_mean, a.running_dtype, c);
      k.rstd[c] = load_as_double(a.running_var, a.running_dtype, c);
    }
    finish_coefficients(a, k);
    return apply_sample<T>(a, p, 0, k);
  }
  const bool running = a.running_mean != nullptr;
  each_sample(p, a.samples, [&](int64_t s) {
    const T* x = static_cast<const T*>(a.x) + s * size;
    const Coefficients k = coefficients_of(a.coefficients, a.samples, a.channels, s);
    double* sums = static_cast<double*>(thread_scratch(0, size_t(p.chunks * 2 * p.period) * sizeof(double)));
    double* shift = static_cast<double*>(thread_scratch(1, size_t(p.period) * sizeof(double)));
    if (a.moments) {
      ready_stats(a, p, k);
    } else {
      choose_shift(p, x, shift);
      sample_sums(p, x, shift, sums);
      finish_stats(a, p, shift, sums, k);
    }
    if (running) return;
    finish_coefficients(a, k);
    apply_sample<T>(a, p, s, k);
  });
  if (!running) return;
  update_running(a, p);
  each_sample(p, a.samples, [&](int64_t s) {
    const Coefficients k = coefficients_of(a.coefficients, a.samples, a.channels, s);
    finish_coefficients(a, k);
    apply_sample<T>(a, p, s, k);
  });
}

}  // namespace

void channel_norm_forward(const ChannelNormArgs& a) {
  if (a.samples * a.rows * a.channels == 0) return;
  dispatch_float(a.dtype, [&]<class T>(Type<T>) { forward<T>(a); });
}

void channel_norm_apply(const ChannelNormApplyArgs& a) {
  if (a.rows * a.channels == 0) return;
  dispatch_float(a.dtype, [&]<class T>(Type<T>) {
    const ChannelPlan p(a.rows, a.channels);
    const Coefficients k = coefficients_of(const_cast<double*>(a.coefficients), 1, a.channels, 0);
    const T *x = static_cast<const T*>(a.x), *residual = static_cast<const T*>(a.residual);
    T* y = static_cast<T*>(a.y);
    const bool rounds = a.rounds && sizeof(T) == 2, past = x != y && stores_past(p, 1, y);
    parallel_tasks(p.chunks, [&](int64_t t) {
      if (rounds) {
        apply_chunk<T, sizeof(T) == 2>(p, t, a.activation, x, residual, y, k, past);
      } else {
        apply_chunk<T, false>(p, t, a.activation, x, residual, y, k, past);
      }
    });
  });
}

}  // namespace SW_ISA
}  // namespace skipway
