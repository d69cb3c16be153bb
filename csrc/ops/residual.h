// The junction of a residual network (He et al. 2016): y = act(x + scale * branch), in one pass.
// Backward: dx = dy * act'(z), dbranch = scale * dx; act' follows from y.
#pragma once
#include <optional>
#include <string>

#include "core/tensor.h"
#include "kernels/dispatch.h"
#include "kernels/fused_args.h"

namespace skipway {

// x and branch: same shape and dtype. activation: none, or a name; "relu", "leaky_relu" (slope 0.01) and
// "relu6" are part of the same pass, the others an op of their own.
Tensor residual_add(const Tensor& x, const Tensor& branch, double scale, const std::optional<std::string>& activation);

// t in the memory order of `like` (dense, of t's shape): t itself where it has it. Not on the tape.
Tensor in_layout_of(const Tensor& t, const Tensor& like);

struct ResidualAddArgs {  // arrays of n elements in one memory order
  int64_t n;
  DType dtype;
  FusedAct activation;
  double scale;
  const void *x, *branch;
  void* y;
};
struct ResidualAddGradArgs {
  int64_t n;
  DType dtype;
  FusedAct activation;
  double scale;
  const void *dy, *y;  // y: null without an activation
  Grad dx, dbranch;
};
SW_DECLARE_KERNEL(residual_add_forward, ResidualAddArgs)
SW_DECLARE_KERNEL(residual_add_backward, ResidualAddGradArgs)

}  // namespace skipway
