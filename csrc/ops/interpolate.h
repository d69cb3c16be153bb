// Resizing of one to three spatial dimensions, each on its own: y[o] = sum over taps of weight * x[index]. With
// s = in / out (or 1 / scale_factor), and s = (in - 1) / (out - 1) where corners are aligned, output o lies at
//   u = s (o + 1/2) - 1/2, or u = s o with aligned corners
//   nearest: x[floor(s o)];  nearest-exact: x[floor(s (o + 1/2))]
//   linear:  the two inputs around max(u, 0);  cubic: four around u, convolved with a = -3/4 (Keys 1981)
// The gradient is the transposed sum. Results are channels-last in memory.
#pragma once
#include <string>
#include <vector>

#include "core/tensor.h"
#include "kernels/dispatch.h"

namespace skipway {

// x: (N, C, spatial...). mode: nearest, nearest-exact, linear, bilinear, trilinear, bicubic or area. scales: one for
// each spatial dimension, or empty (in / out).
Tensor interpolate(const Tensor& x, const Shape& size, const std::vector<double>& scales, const std::string& mode,
                   bool align_corners);

// Output o of a dimension has taps [start[o], start[o + 1]).
struct ResampleAxis {
  int64_t in = 1, out = 1;
  const int32_t* start;
  const int32_t* index;
  const double* weight;
};
// Tensors are dense channels-last: (n, axis[0], axis[1], axis[2], c).
struct ResampleArgs {
  DType dtype;
  int64_t n, c;
  ResampleAxis axis[3];
  const void* x;
  void* y;
};
SW_DECLARE_KERNEL(resample_kernel, ResampleArgs)

}  // namespace skipway
