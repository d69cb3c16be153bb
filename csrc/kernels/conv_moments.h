// The mean and the sum of squared deviations of each channel, from parts that are combined in order.
//
// A part sums (z - p) and (z - p)^2 in float32, p being the first z that it sees: as p is one of the part's n values,
// (p - mean)^2 <= n * variance, so that the subtraction in deviations() loses no more than a factor n of the precision,
// whatever the mean. Parts, of a thousand values or so, are combined in float64 (Chan, Golub & LeVeque 1979).
#pragma once
#include "kernels/partial.h"

namespace skipway::SW_ISA {

// Running sums of one part: [3][channels] floats, the pivots p, the sums and the sums of squares.
struct PartMoments {
  float* memory;
  int64_t channels;
  SW_INLINE void begin(vfloat first, int64_t c, int64_t lanes) const {
    put(memory + c, first, lanes);
    put(memory + channels + c, vfloat{}, lanes);
    put(memory + 2 * channels + c, vfloat{}, lanes);
  }
  // result: double[2][channels], mean and deviations of n values.
  SW_INLINE void end(int64_t n, int64_t c0, int64_t c1, double* result) const {
    for (int64_t c = c0; c < c1; ++c) {
      const double pivot = memory[c], sum = memory[channels + c], squares = memory[2 * channels + c];
      const double deviations = squares - sum * sum / double(n);
      result[c] = pivot + sum / double(n);
      result[channels + c] = deviations < 0 ? 0 : deviations;
    }
  }
};

// Adds a part of n values to the first `before` ones of a channel.
SW_INLINE void combine_moments(double& mean, double& deviations, int64_t before, double part_mean,
                               double part_deviations, int64_t n) {
  const double delta = part_mean - mean, total = double(before + n);
  mean += delta * double(n) / total;
  deviations += part_deviations + delta * delta * double(before) * double(n) / total;
}

}  // namespace skipway::SW_ISA
