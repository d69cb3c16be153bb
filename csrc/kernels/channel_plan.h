// How channel normalisation cuts dense [samples, rows, channels] data.
//
// A sample is seen as rows of one `period`, a multiple of the channel count chosen so that whole vectors fit
// (3 channels: 32 pixels side by side are 96 columns); the last, partial row is the tail. Rows are cut into chunks by
// shape alone; each chunk sums into its own buffer and the buffers are added in order, so that the bits do not depend
// on the number of threads.
#pragma once
#include "core/parallel.h"
#include "kernels/wide.h"

namespace skipway {
namespace SW_ISA {

inline constexpr int64_t kNormTask = 32768;
inline constexpr int64_t kNormSlices = 64;  // of small samples

struct ChannelPlan {
  int64_t channels, rows;  // of one sample
  int64_t folds, period;   // period = folds * channels columns
  int64_t full, tail;      // whole rows of one period, elements left over
  int64_t chunk, chunks;   // periods per task, tasks

  SW_INLINE ChannelPlan(int64_t rows_, int64_t channels_) : channels(channels_), rows(rows_) {
    constexpr int64_t lanes = 4 * kWide;
    int64_t a = channels, b = lanes;
    while (b != 0) {
      const int64_t r = a % b;
      a = b;
      b = r;
    }
    folds = lanes / a;
    while (channels > 0 && folds * channels < 64) folds *= 2;
    if (rows < 2 * folds || folds * channels > 4096) folds = 1;
    period = folds * channels;
    full = rows / folds;
    tail = rows % folds * channels;
    chunk = max64(16, period > 0 ? kNormTask / period : 1);
    chunks = max64(1, (full + chunk - 1) / chunk);
  }
  SW_INLINE int64_t first(int64_t task) const { return task * chunk; }
  SW_INLINE int64_t count(int64_t task) const { return min64(chunk, full - first(task)); }
  SW_INLINE bool last(int64_t task) const { return task == chunks - 1; }
  SW_INLINE int64_t padded() const { return round_up(period, 64); }
};

// Per channel, in float64: mean, rstd, weight * rstd, bias. Laid out as [4][samples][channels].
struct Coefficients {
  double *mean, *rstd, *scale, *bias;
};
SW_INLINE Coefficients coefficients_of(double* base, int64_t samples, int64_t channels, int64_t sample) {
  const int64_t n = samples * channels;
  double* p = base + sample * channels;
  return {p, p + n, p + 2 * n, p + 3 * n};
}

// f(sample, slice) for each: a big sample's chunks run in parallel, small samples run in parallel with each
// other, in at most kNormSlices slices.
template <class F>
SW_INLINE void for_samples(const ChannelPlan& p, int64_t samples, const F& f) {
  if (p.chunks > 1 || samples == 1) {
    for (int64_t s = 0; s < samples; ++s) f(s, int64_t(0));
    return;
  }
  const int64_t size = max64(1, p.rows * p.channels);
  const int64_t slice = max64((samples + kNormSlices - 1) / kNormSlices, min64(samples, (kNormTask + size - 1) / size));
  parallel_for(samples, slice, [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) f(s, begin / slice);
  });
}

}  // namespace SW_ISA
}  // namespace skipway
