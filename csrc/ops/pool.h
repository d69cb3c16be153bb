// Pooling over windows of one, two or three spatial dimensions:
//   max:      y[o] = max over the window of o of x;   dx[i] = sum of dy[o] over the windows whose maximum is at i
//   average:  y[o] = sum over the window of o of x / divisor[o];
//             dx[i] = sum over the windows that hold i of dy[o] / divisor[o]
// In each dimension the window of output o holds o * stride - padding + k * dilation for 0 <= k < kernel, as far as
// that is inside the input; for adaptive pooling from `in` to `out` sizes, [floor(o in / out), ceil((o + 1) in / out)).
// NaN is greater than every number; of equal maxima the first counts. Results are channels-last in memory.
#pragma once
#include "core/tensor.h"
#include "kernels/dispatch.h"

namespace skipway {

// One entry stands for all spatial dimensions; an empty stride is the kernel size, an empty padding 0, dilation 1.
struct PoolGeometry {
  Shape kernel, stride, padding, dilation;
  bool ceil_mode = false;
};
struct MaxPoolResult {
  Tensor values, indices;  // indices: int64, flat in the input's spatial dimensions; undefined unless asked for
};

// x: (N, C, spatial...) or (C, spatial...), with `dims` spatial dimensions. `op` is the name for errors.
MaxPoolResult max_pool(const char* op, int dims, const Tensor& x, const PoolGeometry& geometry, bool return_indices);
// divisor_override: 0 for none.
Tensor avg_pool(const char* op, int dims, const Tensor& x, const PoolGeometry& geometry, bool count_include_pad,
                int64_t divisor_override);
// An output size of -1 keeps the input's.
MaxPoolResult adaptive_max_pool(const char* op, int dims, const Tensor& x, const Shape& output_size,
                                bool return_indices);
Tensor adaptive_avg_pool(const char* op, int dims, const Tensor& x, const Shape& output_size);
// Zeros with x's values at `indices` of each plane. An empty output_size is the one that max_pool would undo.
Tensor max_unpool(const char* op, int dims, const Tensor& x, const Tensor& indices, const PoolGeometry& geometry,
                  const Shape& output_size);

struct PoolAxis {
  int64_t in = 1, out = 1, kernel = 1, stride = 1, padding = 0, dilation = 1;
  bool adaptive = false;
};
SW_INLINE int64_t window_begin(const PoolAxis& a, int64_t o) {
  if (a.adaptive) return o * a.in / a.out;
  const int64_t begin = o * a.stride - a.padding;
  return begin >= 0 ? begin : begin + (-begin + a.dilation - 1) / a.dilation * a.dilation;
}
SW_INLINE int64_t window_end(const PoolAxis& a, int64_t o) {
  if (a.adaptive) return ((o + 1) * a.in + a.out - 1) / a.out;
  const int64_t end = o * a.stride - a.padding + (a.kernel - 1) * a.dilation + 1;
  return end < a.in ? end : a.in;
}
// How many elements an average counts.
SW_INLINE int64_t window_count(const PoolAxis& a, int64_t o, bool include_pad) {
  if (a.adaptive || !include_pad) return window_end(a, o) - window_begin(a, o);
  const int64_t begin = o * a.stride - a.padding, end = begin + a.kernel;
  return (end < a.in + a.padding ? end : a.in + a.padding) - begin;
}
// Settings and sizes are below 2^31: 32 bits hold their sums, and divide faster.
SW_INLINE int64_t divide_small(int64_t a, int64_t b) { return int64_t(uint32_t(a) / uint32_t(b)); }
// The windows that may hold input i: [first_window, end_window).
SW_INLINE int64_t first_window(const PoolAxis& a, int64_t i) {
  if (a.adaptive) return i * a.out / a.in;
  const int64_t beyond = i + a.padding - (a.kernel - 1) * a.dilation;
  return beyond <= 0 ? 0 : divide_small(beyond + a.stride - 1, a.stride);
}
SW_INLINE int64_t end_window(const PoolAxis& a, int64_t i) {
  const int64_t end = a.adaptive ? ((i + 1) * a.out + a.in - 1) / a.in : divide_small(i + a.padding, a.stride) + 1;
  return end < a.out ? end : a.out;
}

// Tensors are dense channels-last: (n, axis[0], axis[1], axis[2], c).
struct PoolArgs {
  DType dtype;
  int64_t n, c;
  PoolAxis axis[3];
  const void* x;
  void* y;
  int32_t* indices;  // max: for each output, flat in the input's plane; may be null
  double divisor;    // average: 0 divides by the window's count
  bool count_include_pad;
};
struct PoolGradArgs {
  PoolArgs forward;  // x and y are not read
  const void* dy;
  void* dx;
};
SW_DECLARE_KERNEL(max_pool_forward, PoolArgs)
SW_DECLARE_KERNEL(max_pool_backward, PoolGradArgs)
SW_DECLARE_KERNEL(avg_pool_forward, PoolArgs)
SW_DECLARE_KERNEL(avg_pool_backward, PoolGradArgs)

// Row-major planes: forward y[index] = x, backward (gather) y = x[index].
struct UnpoolArgs {
  DType dtype;
  int64_t planes, small, large;  // elements of a pooled and of a full plane
  const int64_t* indices;
  const void* x;
  void* y;
  bool gather;
};
SW_DECLARE_KERNEL(max_unpool_kernel, UnpoolArgs)

}  // namespace skipway
