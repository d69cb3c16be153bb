// What a convolution may do on its way in and a forward one on its way out, so that the normalised activation of a
// residual network need not be written. For float32 and bfloat16, on CUDA devices float16 too; the coefficients are
// float32.
#pragma once
#include "core/dtype.h"
#include "kernels/fused_args.h"

namespace skipway {

// The convolution reads act((x - mean[c]) * scale[c] + shift[c]), rounded to the image's dtype: bit for bit what
// channel_norm_apply (ops/batch_norm.h) writes. What pads the image stays zero.
struct ConvPrologue {
  const float *scale = nullptr, *shift = nullptr;  // per source channel, both or neither; at a multiple of 16 bytes
  FusedAct act = FusedAct::None;                   // where channels are a multiple of 4
  const float* mean = nullptr;                     // null: zeros
  explicit operator bool() const { return scale != nullptr; }
  SW_INLINE ConvPrologue from(int64_t channel) const {  // of the channels from this one on
    if (!scale) return {};
    return {scale + channel, shift + channel, act, mean ? mean + channel : nullptr};
  }
};

// With z, the convolution with its bias:
//   mean[k] = mean of z over the batch and all positions,   deviations[k] = sum of (z - mean[k])^2
//   y = act(z * scale[k] + shift[k] + residual)
struct ConvEpilogue {
  double *mean = nullptr, *deviations = nullptr;   // out, per result channel; both or neither
  const float *scale = nullptr, *shift = nullptr;  // per result channel, both or neither
  const void* residual = nullptr;                  // like y, may be null
  FusedAct act = FusedAct::None;
  bool maps() const { return scale || residual || act != FusedAct::None; }
  explicit operator bool() const { return mean || maps(); }
};

// What the data gradient may sum on its way out, for the backward pass of the norm whose result the convolution read.
// With d, the gradient of that result as it is written, and z = (x - mean[c]) * scale[c] + shift[c]:
//   dz = d * act'(z),   sums[0][c] = sum of dz,   sums[1][c] = sum of dz * (x - mean[c])
// Only some kernels do: `done` says whether.
struct ConvGradSums {
  const void* x = nullptr;                                          // like d: what the norm read
  const float *mean = nullptr, *scale = nullptr, *shift = nullptr;  // as of ConvPrologue
  FusedAct act = FusedAct::None;
  double* sums = nullptr;  // out: [2][channels]
  bool* done = nullptr;    // out, on the host
  explicit operator bool() const { return sums != nullptr; }
};

}  // namespace skipway
