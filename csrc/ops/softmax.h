// softmax: y = exp(x) / sum(exp(x)),  log_softmax: y = x - log(sum(exp(x))), along one dimension; both from x - max(x).
// Backward: dx = y * (dy - sum(dy * y)) and dx = dy - exp(y) * sum(dy). softmin(x) = softmax(-x).
#pragma once
#include <optional>

#include "core/tensor.h"
#include "kernels/dispatch.h"

namespace skipway {

// dim: none means 0 for 0-, 1- and 3-D inputs and 1 for others. dtype: what the input is converted to first.
Tensor softmax(const Tensor& input, std::optional<int64_t> dim, std::optional<DType> dtype = {});
Tensor log_softmax(const Tensor& input, std::optional<int64_t> dim, std::optional<DType> dtype = {});
Tensor softmin(const Tensor& input, std::optional<int64_t> dim, std::optional<DType> dtype = {});

struct SoftmaxArgs {  // x, y: [outer][n][inner], dense
  int64_t outer, n, inner;
  DType dtype;
  bool log;
  double sign;  // -1: of -x
  const void* x;
  void* y;
  float* wide;  // on the CPU, of bfloat16: y before it is rounded, for the gradient; null: not kept
};
struct SoftmaxGradArgs {
  int64_t outer, n, inner;
  DType dtype;
  bool log;
  double sign;
  const void *y, *dy;  // y on the CPU: of accumulate_type(dtype)
  Grad dx;
};
SW_DECLARE_KERNEL(softmax_forward, SoftmaxArgs)
SW_DECLARE_KERNEL(softmax_backward, SoftmaxGradArgs)

}  // namespace skipway
