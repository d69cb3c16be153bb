// Layer normalisation (Ba et al. 2016, eq. 4) over the last `cols` elements of each row, and its uncentred form, RMS
// norm (Zhang & Sennrich 2019), where mean = 0:
//   y = (x - mean) * rstd * weight + bias,   rstd = 1 / sqrt(sum((x - mean)^2) / cols + eps)
// Backward, with g = dy * weight and xhat = (x - mean) * rstd:
//   dx = rstd * (g - mean(g) - xhat * mean(g * xhat)),   dweight = sum over rows of dy * xhat,   dbias = sum of dy
// (without mean(g) in RMS norm). Statistics are sums shifted by about the row's mean or by its first value, in float64
// or in short float32 parts; see ops/batch_norm.h.
#pragma once
#include <optional>

#include "core/tensor.h"
#include "kernels/dispatch.h"

namespace skipway {

// weight, bias: of shape normalized_shape, or undefined; 16-bit inputs take float32 ones too.
Tensor layer_norm(const Tensor& input, const Shape& normalized_shape, const Tensor& weight, const Tensor& bias,
                  double eps);
// eps: the machine epsilon of the type that computes, where none is given.
Tensor rms_norm(const Tensor& input, const Shape& normalized_shape, const Tensor& weight, std::optional<double> eps);

struct LayerNormArgs {
  int64_t rows, cols;
  DType dtype, weight_dtype, bias_dtype;
  bool centred;  // false: RMS norm
  double eps;
  const void *x, *weight, *bias;  // weight and bias may be null
  void* y;
  double* statistics;  // out: [rows] means, then [rows] of rstd
};
struct LayerNormGradArgs {
  int64_t rows, cols;
  DType dtype, weight_dtype, bias_dtype;
  bool centred;
  const void *x, *weight, *dy;
  const double* statistics;
  Grad dx, dweight, dbias;
};
SW_DECLARE_KERNEL(layer_norm_forward, LayerNormArgs)
SW_DECLARE_KERNEL(layer_norm_backward, LayerNormGradArgs)

}  // namespace skipway
