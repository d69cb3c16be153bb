// One step of an optimizer for a list of parameters, in one kernel call. With g the gradient (negated to maximize; plus
// weight_decay * p where the decay is not decoupled), all element by element:
//   SGD (Sutskever et al. 2013):  v = momentum v + (1 - dampening) g (v = g at first);  p -= lr v,
//       or with Nesterov's momentum  p -= lr (g + momentum v)
//   RMSprop (Tieleman and Hinton 2012; centered: Graves 2013):  s = alpha s + (1 - alpha) g^2;  a = alpha a + (1 -
//   alpha) g;
//       u = g / (sqrt(s - a^2) + eps) (a only when centered);  p -= lr u, or with momentum  v = momentum v + u;  p -=
//       lr v
//   Adam (Kingma and Ba 2015):  m = beta1 m + (1 - beta1) g;  s = beta2 s + (1 - beta2) g^2;
//       p -= lr / (1 - beta1^t) m / (sqrt(s) / sqrt(1 - beta2^t) + eps);  amsgrad (Reddi et al. 2018): the largest s so
//       far; AdamW (Loshchilov and Hutter 2019): weight decay decoupled, p *= 1 - lr weight_decay before the step
//   Adagrad (Duchi et al. 2011):  s += g^2;  p -= lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps)
//   Adadelta (Zeiler 2012):  s = rho s + (1 - rho) g^2;  u = g sqrt(d + eps) / sqrt(s + eps);
//       d = rho d + (1 - rho) u^2;  p -= lr u
#pragma once
#include <vector>

#include "core/tensor.h"
#include "kernels/dispatch.h"

namespace skipway {

using TensorList = std::vector<Tensor>;

// What a step may take from the device, where no host looks at it (a CUDA device's parameters only).
struct StepControl {
  Tensor found_inf;  // float32, one element: the step is left out unless it is 0
  TensorList steps;  // with found_inf, of the optimizers that count: float64, one element, for each parameter the count
                     // of the steps that were taken, which this one raises
};

// Parameters and states change in place; nothing is recorded. A parameter whose gradient is undefined is skipped.
// In a step that is captured as a CUDA graph the options, and what depends on the count of steps, are values of the
// graph (core/cuda_graph.h); while those are refreshed, a call with the same options and counts sets them, does nothing
// else, and looks at no tensor.
// States have the parameter's shape and its accumulate_dtype (float32 for half types), because a moment that keeps
// 0.999 of itself changes by less than half a unit of bfloat16's last place and would stand still. SGD's buffer has the
// parameter's own dtype: it keeps about 0.9. Either is summed in the accumulate_dtype. Layouts may differ.
struct SgdOptions {
  double lr, momentum, dampening, weight_decay;
  bool nesterov, maximize;
};
// Undefined momentum buffers are made; returns the buffers.
TensorList sgd_step(const TensorList& params, const TensorList& grads, TensorList momentum_buffers,
                    const SgdOptions& options, const StepControl& control = {});
struct RmspropOptions {
  double lr, alpha, eps, weight_decay, momentum;
  bool centered, maximize;
};
void rmsprop_step(const TensorList& params, const TensorList& grads, const TensorList& square_avgs,
                  const TensorList& grad_avgs, const TensorList& momentum_buffers, const RmspropOptions& options,
                  const StepControl& control = {});
struct AdamOptions {
  double lr, beta1, beta2, eps, weight_decay;
  bool amsgrad, maximize, decoupled;
};
// steps: t of each parameter, this step included.
void adam_step(const char* op, const TensorList& params, const TensorList& grads, const TensorList& exp_avgs,
               const TensorList& exp_avg_sqs, const TensorList& max_exp_avg_sqs, const std::vector<double>& steps,
               const AdamOptions& options, const StepControl& control = {});
struct AdagradOptions {
  double lr, lr_decay, weight_decay, eps;
  bool maximize;
};
void adagrad_step(const TensorList& params, const TensorList& grads, const TensorList& sums,
                  const std::vector<double>& steps, const AdagradOptions& options, const StepControl& control = {});
struct AdadeltaOptions {
  double lr, rho, eps, weight_decay;
  bool maximize;
};
void adadelta_step(const TensorList& params, const TensorList& grads, const TensorList& square_avgs,
                   const TensorList& acc_deltas, const AdadeltaOptions& options, const StepControl& control = {});

// The norm of all gradients as one vector (0-dim; float64 if one of them is, else float32), and the gradients scaled by
// min(1, max_norm / (norm + 1e-6)).
Tensor grad_norm(const TensorList& grads, double norm_type);
Tensor clip_grad_norm(const TensorList& grads, double max_norm, double norm_type, bool error_if_nonfinite);

// Loss scaling (Micikevicius et al. 2018, "Mixed precision training"), all of it where the gradients are:
// gradients in place to g / scale, and found_inf to 1 where one of them is not finite (float32, one element each).
void unscale_gradients(const TensorList& grads, const Tensor& scale, const Tensor& found_inf);
struct ScaleOptions {
  double growth_factor, backoff_factor;
  int64_t growth_interval;
};
// scale *= backoff_factor after an infinity, or growth_factor after `growth_interval` steps without one, as long as it
// stays finite. growth_tracker: int32, steps since; skipped: int64, steps with an infinity so far; one element each.
void update_loss_scale(const Tensor& scale, const Tensor& growth_tracker, const Tensor& skipped,
                       const Tensor& found_inf, const ScaleOptions& options);

struct StepTensor {
  DType dtype;  // of param and grad
  int64_t numel, first_chunk;
  void* param;
  const void* grad;
  void* state[3];   // null: not there
  double scale[2];  // numbers that depend on the parameter's step count
  double* step;     // StepControl::steps, or null
};
inline constexpr int64_t kStepChunk = 16384;  // elements; chunks of all tensors are numbered through
struct StepList {
  const StepTensor* tensors;
  int64_t count, chunks;
  // For CUDA devices, null elsewhere; in device memory:
  const void* options;     // of a captured step: these options, not those of the arguments
  const double* scales;    // of a captured step: two for each tensor, in the place of StepTensor::scale
  const float* found_inf;  // StepControl::found_inf
};
struct SgdArgs {
  StepList list;  // state: buffer; scale: 1 at a parameter's first step, else 0
  SgdOptions options;
};
struct RmspropArgs {
  StepList list;  // state: square average, gradient average, buffer
  RmspropOptions options;
};
struct AdamArgs {
  StepList
      list;  // state: first moment, second moment, largest second moment; scale: lr / (1 - beta1^t), sqrt(1 - beta2^t)
  AdamOptions options;
};
struct AdagradArgs {
  StepList list;  // state: sum of squares; scale: lr / (1 + (t - 1) lr_decay)
  AdagradOptions options;
};
struct AdadeltaArgs {
  StepList list;  // state: square average, accumulated updates
  AdadeltaOptions options;
};
struct GradNormArgs {
  StepList list;     // grad
  double p;          // sum of |g|^p; infinity: max |g|
  double* partials;  // one for each chunk
};
struct GradNormTotalArgs {
  const double* partials;
  int64_t count;
  double p, max_norm;
  double* result;  // the norm, and min(1, max_norm / (norm + 1e-6))
};
struct GradScaleArgs {
  StepList list;  // param: the gradients
  const double* factor;
};
struct GradUnscaleArgs {
  StepList list;  // param: the gradients
  const float* scale;
  float* found_inf;
};
struct UpdateScaleArgs {
  float* scale;
  int32_t* growth_tracker;
  int64_t* skipped;
  const float* found_inf;
  ScaleOptions options;
};
SW_DECLARE_KERNEL(sgd_kernel, SgdArgs)
SW_DECLARE_KERNEL(rmsprop_kernel, RmspropArgs)
SW_DECLARE_KERNEL(adam_kernel, AdamArgs)
SW_DECLARE_KERNEL(adagrad_kernel, AdagradArgs)
SW_DECLARE_KERNEL(adadelta_kernel, AdadeltaArgs)
SW_DECLARE_KERNEL(grad_norm_kernel, GradNormArgs)
SW_DECLARE_KERNEL(grad_norm_total_kernel, GradNormTotalArgs)
SW_DECLARE_KERNEL(grad_scale_kernel, GradScaleArgs)
SW_DECLARE_KERNEL(grad_unscale_kernel, GradUnscaleArgs)
SW_DECLARE_KERNEL(update_scale_kernel, UpdateScaleArgs)

}  // namespace skipway
