// Local response normalisation across channels (Krizhevsky et al. 2012, section 3.3):
//   y_c = x_c * s_c^-beta,   s_c = k + alpha / size * sum(x_j^2),   j = c - size / 2 ... c + (size - 1) / 2, inside [0,
//   C)
// Backward: dx_c = dy_c * s_c^-beta - 2 alpha beta / size * x_c * sum(dy_i * x_i * s_i^(-beta - 1)), i: c is in i's
// window.
#pragma once
#include "core/tensor.h"
#include "kernels/dispatch.h"

namespace skipway {

Tensor local_response_norm(const Tensor& input, int64_t size, double alpha, double beta, double k);  // (N, C, d1, ...)

struct LocalResponseArgs {  // [rows][channels], dense
  int64_t rows, channels, size;
  DType dtype;
  double alpha, beta, k;
  const void* x;
  void* y;         // forward
  const void* dy;  // backward
  Grad dx;
};
SW_DECLARE_KERNEL(local_response_forward, LocalResponseArgs)
SW_DECLARE_KERNEL(local_response_backward, LocalResponseArgs)

}  // namespace skipway
