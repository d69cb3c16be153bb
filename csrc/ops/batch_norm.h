// Normalisation of channels with an affine map, and optionally a residual and an activation, as one op:
//   y = act((x - mean) * rstd * weight + bias + residual),   rstd = 1 / sqrt(var + eps)
// batch_norm (Ioffe & Szegedy 2015): mean and (biased) variance of a channel over all its values in training, the
// running ones otherwise. Group norm and instance norm are the same kernels, with statistics per sample and group.
// Backward, with dz = dy * act'(z), xhat = (x - mean) * rstd, and means over the values that share a statistic:
//   dresidual = dz,   dbias = sum(dz),   dweight = sum(dz * xhat)
//   dx = rstd * (weight * dz - mean(weight * dz) - xhat * mean(weight * dz * xhat))    (rstd * weight * dz in eval
//   mode)
//
// Numerics: statistics are sums of (x - s) and (x - s)^2 in float64, s being the average of a few of the channel's
// values (float64: one). As s lies among the n values, (mean - s)^2 <= n * var, so the subtraction loses at most a
// factor n of float64's precision. Narrower elements are first summed in float32, 64 rows at a time, and those sums in
// float64; that stands where (mean - s)^2 <= 8 var for every channel and no square is near the limits of float32.
#pragma once
#include <optional>
#include <string>

#include "core/tensor.h"
#include "kernels/dispatch.h"
#include "kernels/fused_args.h"

namespace skipway {

// input: (N, C) or (N, C, spatial...), up to 5-D; weight, bias, running_mean, running_var: (C,), each may be undefined.
// Training updates the running statistics in place, running += momentum * (batch - running), with the unbiased
// variance, except of channels whose batch statistics are not finite. The result is channels-last.
Tensor batch_norm(const Tensor& input, const Tensor& running_mean, const Tensor& running_var, const Tensor& weight,
                  const Tensor& bias, bool training, double momentum, double eps, const Tensor& residual,
                  const std::optional<std::string>& activation);

// What batch, group and instance norm have in common once their arguments are checked.
struct ChannelNormSpec {
  const char* name;
  bool per_sample = false;  // statistics per sample (group and instance norm) or over the batch
  int64_t groups = 0;       // channels / groups share a statistic
  bool batch_stats = true;  // from the data, or from the running statistics
  double momentum = 0, eps = 1e-5;
  FusedAct activation = FusedAct::None;
};
Tensor channel_norm(const ChannelNormSpec& spec, const Tensor& input, const Tensor& running_mean,
                    const Tensor& running_var, const Tensor& weight, const Tensor& bias, const Tensor& residual);
void check_channel_vector(const char* op, const char* arg, const Tensor& t, const Tensor& input);

// An activation given by name: applied by the kernel itself, or as an op of its own after it.
struct OutputActivation {
  FusedAct fused = FusedAct::None;
  std::string after;
  Tensor finish(const Tensor& y) const;
};
OutputActivation parse_output_activation(const char* op, const std::optional<std::string>& name);  // throws ValueError

struct ChannelNormArgs {
  int64_t samples, rows, channels, groups;  // data: [samples, rows, channels], dense
  DType dtype, weight_dtype, bias_dtype, running_dtype;
  FusedAct activation;
  bool batch_stats;
  double eps, momentum;
  const void *x, *residual, *weight, *bias;  // all but x may be null
  void *running_mean, *running_var;          // may be null when batch_stats
  void* y;                                   // null: statistics and coefficients only
  double* coefficients;   // out, for the backward pass: [4][samples][channels] = mean, rstd, weight * rstd, bias
  const double* moments;  // [2][channels], of one sample: mean, and sum of squared deviations; null: found in x
  float* apply;           // out, may be null: [3][channels] = mean, scale, shift of a ConvPrologue; of one sample
  uint8_t* mask;  // CUDA, out: a byte per channel_pack() elements, a bit where act passes the gradient on; may be null
};
// How many neighbouring elements CUDA kernels read at once: 128 bits of them, or 1.
SW_INLINE int64_t channel_pack(const ChannelNormArgs& a) {
  const auto address = [](const void* p) { return reinterpret_cast<uintptr_t>(p); };
  const int64_t pack = 16 / size_of(a.dtype);
  const bool aligned = ((address(a.x) | address(a.residual) | address(a.y)) & 15) == 0;
  return aligned && a.rows * a.channels % pack == 0 ? pack : 1;
}
// y = act((x - mean) * scale + shift + residual), as channel_norm_forward writes it for one sample. With `rounds`, what
// the sum and act are given is rounded to dtype first, as if each were an op of its own.
struct ChannelNormApplyArgs {
  int64_t rows, channels;
  DType dtype;
  FusedAct activation;
  bool rounds;
  const void *x, *residual;    // residual may be null
  const double* coefficients;  // [4][channels]
  void* y;
};
struct ChannelNormGradArgs {
  int64_t samples, rows, channels, groups;
  DType dtype, weight_dtype, bias_dtype;
  FusedAct activation;
  bool batch_stats;
  const void *x, *y, *dy;  // y: null when act's sign is to be recomputed from x (no residual) or comes from `mask`
  const double* coefficients;
  Grad dx, dresidual, dweight, dbias;
  const uint8_t* mask;           // CUDA: in y's place
  int64_t mask_unit;             // elements of a byte
  const double* sums = nullptr;  // CUDA, of one sample: ConvGradSums of dy, which spare the first pass; may be null
};
SW_DECLARE_KERNEL(channel_norm_forward, ChannelNormArgs)
SW_DECLARE_KERNEL(channel_norm_apply, ChannelNormApplyArgs)
SW_DECLARE_KERNEL(channel_norm_backward, ChannelNormGradArgs)

}  // namespace skipway
