#include "ops/optimizer_step.h"

#include "bindings/bindings.h"

namespace skipway::bindings {

SW_BINDINGS(optimizer_step) {
  using Steps = std::vector<double>;
  const py::none none;
  const py::tuple no_counts;
  function(
      m, "sgd_step",
      [](const TensorList& params, const TensorList& grads, TensorList buffers, double lr, double momentum,
         double dampening, double weight_decay, bool nesterov, bool maximize, const Tensor& found_inf,
         const TensorList& counts) {
        return sgd_step(params, grads, std::move(buffers), {lr, momentum, dampening, weight_decay, nesterov, maximize},
                        {found_inf, counts});
      },
      "params"_a, "grads"_a, "momentum_buffers"_a, py::kw_only(), "lr"_a, "momentum"_a = 0.0, "dampening"_a = 0.0,
      "weight_decay"_a = 0.0, "nesterov"_a = false, "maximize"_a = false, "found_inf"_a = none, "counts"_a = no_counts,
      R"(One step of SGD for a list of parameters, in place; a parameter whose gradient is None is skipped.

momentum_buffers: one tensor or None for each parameter ([] for none yet). With momentum != 0 a buffer that is None is
made, as a copy of the gradient. Returns the list of buffers.

States of every optimizer have the parameter's shape and dtype, except that those of bfloat16 and float16 parameters are
float32. SGD's buffers have the parameter's dtype always; sums are float32 in either case.

For all optimizers: found_inf, float32 with one element on the parameters' CUDA device, leaves the step out unless it is
0; then counts, float64 with one element for each parameter, hold the numbers of steps taken, in the place of `steps`.)");
  function(
      m, "rmsprop_step",
      [](const TensorList& params, const TensorList& grads, const TensorList& square_avgs, const TensorList& grad_avgs,
         const TensorList& buffers, double lr, double alpha, double eps, double weight_decay, double momentum,
         bool centered, bool maximize, const Tensor& found_inf) {
        rmsprop_step(params, grads, square_avgs, grad_avgs, buffers,
                     {lr, alpha, eps, weight_decay, momentum, centered, maximize}, {found_inf, {}});
      },
      "params"_a, "grads"_a, "square_avgs"_a, "grad_avgs"_a, "momentum_buffers"_a, py::kw_only(), "lr"_a,
      "alpha"_a = 0.99, "eps"_a = 1e-8, "weight_decay"_a = 0.0, "momentum"_a = 0.0, "centered"_a = false,
      "maximize"_a = false, "found_inf"_a = none,
      "One step of RMSprop, in place. All states start at zero; grad_avgs is used when centered, momentum_buffers when "
      "momentum != 0 ([] otherwise).");
  const auto adam = [](const char* op, bool decoupled) {
    return [op, decoupled](const TensorList& params, const TensorList& grads, const TensorList& exp_avgs,
                           const TensorList& exp_avg_sqs, const TensorList& max_exp_avg_sqs, const Steps& steps,
                           double lr, double beta1, double beta2, double eps, double weight_decay, bool amsgrad,
                           bool maximize, const Tensor& found_inf, const TensorList& counts) {
      adam_step(op, params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, steps,
                {lr, beta1, beta2, eps, weight_decay, amsgrad, maximize, decoupled}, {found_inf, counts});
    };
  };
  function(
      m, "adam_step", adam("adam_step", false), "params"_a, "grads"_a, "exp_avgs"_a, "exp_avg_sqs"_a,
      "max_exp_avg_sqs"_a, "steps"_a, py::kw_only(), "lr"_a, "beta1"_a = 0.9, "beta2"_a = 0.999, "eps"_a = 1e-8,
      "weight_decay"_a = 0.0, "amsgrad"_a = false, "maximize"_a = false, "found_inf"_a = none, "counts"_a = no_counts,
      "One step of Adam, in place; weight decay is added to the gradient. States start at zero; max_exp_avg_sqs is "
      "used with amsgrad ([] otherwise). steps: for each parameter its number of steps, this one included.");
  function(m, "adamw_step", adam("adamw_step", true), "params"_a, "grads"_a, "exp_avgs"_a, "exp_avg_sqs"_a,
           "max_exp_avg_sqs"_a, "steps"_a, py::kw_only(), "lr"_a, "beta1"_a = 0.9, "beta2"_a = 0.999, "eps"_a = 1e-8,
           "weight_decay"_a = 0.01, "amsgrad"_a = false, "maximize"_a = false, "found_inf"_a = none,
           "counts"_a = no_counts, "One step of AdamW: as adam_step, with decoupled weight decay.");
  function(
      m, "adagrad_step",
      [](const TensorList& params, const TensorList& grads, const TensorList& sums, const Steps& steps, double lr,
         double lr_decay, double weight_decay, double eps, bool maximize, const Tensor& found_inf,
         const TensorList& counts) {
        adagrad_step(params, grads, sums, steps, {lr, lr_decay, weight_decay, eps, maximize}, {found_inf, counts});
      },
      "params"_a, "grads"_a, "state_sums"_a, "steps"_a, py::kw_only(), "lr"_a, "lr_decay"_a = 0.0,
      "weight_decay"_a = 0.0, "eps"_a = 1e-10, "maximize"_a = false, "found_inf"_a = none, "counts"_a = no_counts,
      "One step of Adagrad, in place. state_sums start at initial_accumulator_value.");
  function(
      m, "adadelta_step",
      [](const TensorList& params, const TensorList& grads, const TensorList& square_avgs, const TensorList& acc_deltas,
         double lr, double rho, double eps, double weight_decay, bool maximize, const Tensor& found_inf) {
        adadelta_step(params, grads, square_avgs, acc_deltas, {lr, rho, eps, weight_decay, maximize}, {found_inf, {}});
      },
      "params"_a, "grads"_a, "square_avgs"_a, "acc_deltas"_a, py::kw_only(), "lr"_a = 1.0, "rho"_a = 0.9,
      "eps"_a = 1e-6, "weight_decay"_a = 0.0, "maximize"_a = false, "found_inf"_a = none,
      "One step of Adadelta, in place. States start at zero.");
  function(m, "grad_norm", &grad_norm, "grads"_a, "norm_type"_a = 2.0,
           "The norm of all gradients as one vector, a 0-dim tensor; None gradients are skipped.");
  function(m, "clip_grad_norm", &clip_grad_norm, "grads"_a, "max_norm"_a, "norm_type"_a = 2.0,
           "error_if_nonfinite"_a = false,
           "Scales the gradients in place by min(1, max_norm / (norm + 1e-6)) and returns the norm before.");
  function(m, "unscale_gradients", &unscale_gradients, "grads"_a, "scale"_a, "found_inf"_a,
           "Divides the gradients by scale, in place, and sets found_inf to 1 if one of them is not finite. scale, "
           "found_inf: float32, one element, where the gradients are; None gradients are skipped.");
  function(
      m, "update_loss_scale",
      [](const Tensor& scale, const Tensor& growth_tracker, const Tensor& skipped, const Tensor& found_inf,
         double growth_factor, double backoff_factor, int64_t growth_interval) {
        update_loss_scale(scale, growth_tracker, skipped, found_inf, {growth_factor, backoff_factor, growth_interval});
      },
      "scale"_a, "growth_tracker"_a, "skipped"_a, "found_inf"_a, "growth_factor"_a, "backoff_factor"_a,
      "growth_interval"_a,
      "In place: scale *= backoff_factor and skipped += 1 if found_inf is not 0, else scale *= growth_factor after "
      "every "
      "growth_interval calls. growth_tracker: int32; skipped: int64; one element each.");
}

}  // namespace skipway::bindings
