// Dropout (Srivastava et al. 2014) and alpha dropout (Klambauer et al. 2017), in one formula:
//   y = x scale + shift where an element is kept, else `dropped`;   dx = dy scale where it is kept, else 0
//   dropout:  scale = 1 / (1 - p), shift = dropped = 0
//   alpha dropout keeps mean 0 and variance 1:  with a' = -1.7580993, scale = ((1 - p) (1 + p a'^2))^(-1/2),
//       shift = -scale a' p, dropped = scale a' + shift
// p = 1 gives 0 everywhere. An element is dropped when its 32 Philox bits are below p 2^32; the bits belong to its
// logical index (row-major), or to its (image, channel) for the variants that drop whole channels, so a mask is the
// same for any memory layout, and backward can draw it again.
#pragma once
#include "core/rng.h"
#include "core/tensor.h"
#include "kernels/dispatch.h"

namespace skipway {

// All return x itself when not training or when p is 0. inplace writes into x's memory.
Tensor dropout(const Tensor& x, double p, bool training, bool inplace);
Tensor dropout1d(const Tensor& x, double p, bool training, bool inplace);  // (C, L) or (N, C, L)
Tensor dropout2d(const Tensor& x, double p, bool training, bool inplace);  // (N, C, ...)
Tensor dropout3d(const Tensor& x, double p, bool training, bool inplace);  // (C, D, H, W) or (N, C, D, H, W)
Tensor alpha_dropout(const Tensor& x, double p, bool training, bool inplace);
Tensor feature_alpha_dropout(const Tensor& x, double p, bool training, bool inplace);  // (N, C, ...)

struct DropoutArgs {
  DType dtype;
  RngKey key;
  uint64_t threshold;  // up to 2^32
  const void* x;
  void* y;                            // may be x
  int64_t images, channels, spatial;  // the logical order of elements
  bool channels_last;                 // memory order: images, spatial, channels
  bool per_channel;                   // one draw for each image and channel
  double scale, shift, dropped;
  // On the CPU, a forward pass whose gradient may be asked for keeps its draws for it: bit i of `mask` (whole 64-bit
  // words, in memory order) is whether element i is kept. With read_mask nothing is drawn. Null on CUDA, where drawing
  // again is faster than reading.
  uint8_t* mask;
  bool read_mask;
};
SW_DECLARE_KERNEL(dropout_kernel, DropoutArgs)

}  // namespace skipway
