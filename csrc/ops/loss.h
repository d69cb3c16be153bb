// Losses that compare a prediction x with a target t element by element; reduced to their mean or sum in float64, or
// not.
//   mse            (x - t)^2
//   l1             |x - t|
//   smooth_l1      d^2 / (2 beta) where |d| < beta, else |d| - beta / 2        (d = x - t; Girshick 2015)
//   huber          d^2 / 2 where |d| <= delta, else delta * (|d| - delta / 2)
//   bce            -(t log(x) + (1 - t) log(1 - x)), logarithms not below -100
//   bce_logits     (1 - t) x + (1 + (pos_weight - 1) t) log(1 + exp(-x))
//   kl_div         t (log(t) - x), or exp(t) (t - x) for a target of logarithms
//   soft_margin    log(1 + exp(-t x))
//   hinge_embed    x where t = 1, max(0, margin - x) where t = -1
//   poisson_nll    exp(x) - t x, or x - t log(x + eps) for inputs that are no logarithms; with Stirling's term if
//   `full`
#pragma once
#include <optional>
#include <string>

#include "core/tensor.h"
#include "kernels/dispatch.h"
#include "ops/cross_entropy.h"

namespace skipway {

// input and target must have one shape: nothing is broadcast, a frequent source of silent errors. weight and pos_weight
// are broadcast to the input's shape.
Tensor mse_loss(const Tensor& input, const Tensor& target, Reduction reduction, const Tensor& weight = {});
Tensor l1_loss(const Tensor& input, const Tensor& target, Reduction reduction, const Tensor& weight = {});
Tensor smooth_l1_loss(const Tensor& input, const Tensor& target, Reduction reduction, double beta);
Tensor huber_loss(const Tensor& input, const Tensor& target, Reduction reduction, double delta,
                  const Tensor& weight = {});
Tensor binary_cross_entropy(const Tensor& input, const Tensor& target, const Tensor& weight, Reduction reduction);
Tensor binary_cross_entropy_with_logits(const Tensor& input, const Tensor& target, const Tensor& weight,
                                        Reduction reduction, const Tensor& pos_weight);
Tensor kl_div(const Tensor& input, const Tensor& target, const std::string& reduction, bool log_target);
Tensor soft_margin_loss(const Tensor& input, const Tensor& target, Reduction reduction);
Tensor hinge_embedding_loss(const Tensor& input, const Tensor& target, double margin, Reduction reduction);
Tensor poisson_nll_loss(const Tensor& input, const Tensor& target, bool log_input, bool full, double eps,
                        Reduction reduction);

enum class LossKind : uint8_t {
  Mse,
  L1,
  SmoothL1,
  Huber,
  Bce,
  BceLogits,
  KlDiv,
  KlDivLog,
  SoftMargin,
  HingeEmbedding,
  PoissonLog,
  Poisson
};
struct LossArgs {
  LossKind kind;
  int64_t n;
  DType dtype;
  bool reduced;      // to sum(weight * loss) / divisor, or by weight_sum where it is not null
  bool full;         // poisson_nll's last term
  double parameter;  // beta, delta, margin, eps
  double divisor;
  const void *x, *target, *weight, *pos_weight;  // n elements each; the last two may be null
  void* loss;                                    // dtype: n, or one
  const double* weight_sum;
  int64_t* bad;  // out: bce: the first element outside of [0, 1], or -1; CUDA kernels raise a fault
};
struct LossGradArgs {
  LossArgs forward;
  const void* dloss;  // n, or one
  Grad dx, dtarget;
};
SW_DECLARE_KERNEL(loss_forward, LossArgs)
SW_DECLARE_KERNEL(loss_backward, LossGradArgs)

}  // namespace skipway
