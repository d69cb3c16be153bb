// Activation functions; formulas and slopes stand in kernels/activations.h.
//   prelu:   x > 0 ? x : w x, one w or one per channel (dimension 1); dw = sum of g x over x <= 0
//   maxout (Goodfellow et al. 2013): the largest of each `pieces` neighbours along dim
//   crelu (Shang et al. 2016): relu(x) and relu(-x), one behind the other along dim
//   glu (Dauphin et al. 2017): a sigmoid(b), a and b the halves of x along dim
#pragma once
#include <string>

#include "core/tensor.h"
#include "kernels/activation_args.h"
#include "kernels/dispatch.h"
#include "kernels/walk_args.h"

namespace skipway {

struct ActivationArgs {
  Activation f;
  ActivationParams params;
  DType compute;
  int64_t numel;
  Walk y, x;
};
SW_DECLARE_KERNEL(activation_forward, ActivationArgs)

struct ActivationGradArgs {
  Activation f;
  ActivationParams params;
  DType compute;
  int64_t numel;
  Walk dx, dy, saved;
  GradMode mode;  // Write or Add
};
SW_DECLARE_KERNEL(activation_backward, ActivationGradArgs)

enum class PreluPass : uint8_t { Forward, GradInput, GradWeight };
struct PreluArgs {
  PreluPass pass;
  DType compute;
  int64_t numel;
  Walk out, g, x, w;  // g: x itself in the forward pass
};
SW_DECLARE_KERNEL(activation_prelu, PreluArgs)

Tensor activation(const char* name, Activation f, const ActivationParams& params, const Tensor& x);
Tensor activation_(const char* name, Activation f, const ActivationParams& params, const Tensor& x);  // in place

Tensor relu(const Tensor& x);
Tensor relu_(const Tensor& x);
Tensor sigmoid(const Tensor& x);
Tensor tanh(const Tensor& x);
Tensor leaky_relu(const Tensor& x, double negative_slope = 0.01);
Tensor prelu(const Tensor& x, const Tensor& weight);
Tensor maxout(const Tensor& x, int64_t pieces, int64_t dim = 1);
Tensor crelu(const Tensor& x, int64_t dim = 1);
Tensor glu(const Tensor& x, int64_t dim = -1);
// "relu", "gelu" and the like without numbers of their own, for ops that fuse an activation; nullptr: identity.
bool parse_activation(const std::string& name, Activation& f, ActivationParams& params);

}  // namespace skipway
