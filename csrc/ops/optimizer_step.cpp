#include "ops/optimizer_step.h"

#include <array>
#include <cmath>
#include <cstring>
#include <utility>

#include "core/cuda_graph.h"
#include "core/deferred.h"
#include "ops/copy.h"

namespace skipway {
namespace {

bool same_order(const Tensor& a, const Shape& strides) {
  for (int d = 0; d < a.dim(); ++d) {
    if (a.shape()[d] > 1 && a.strides()[d] != strides[d]) return false;
  }
  return true;
}

// Collects the tensors of a step in the form that kernels take: dense, of one layout for each parameter. What had to be
// copied for that is copied back by finish().
class StepBuilder {
 public:
  // wide_states: states of parameters of a half type are float32.
  explicit StepBuilder(const char* op, const StepControl& control = {}, bool wide_states = true)
      : op_(op), control_(control), wide_states_(wide_states) {}

  // Starts a parameter; false when it has no gradient.
  bool add(const Tensor& param, const Tensor& grad) {
    check_floating(op_, "params", param);
    if (!grad.defined()) return false;
    check_same(op_, "params", param, "grads", grad);
    SW_CHECK_SHAPE(param.shape() == grad.shape(), op_, ": expected a gradient of the parameter's shape ", param.shape(),
                   ", got ", grad.shape());
    strides_ = param.is_dense() ? param.strides() : contiguous_strides(param.shape());
    shape_ = param.shape();
    state_dtype_ = wide_states_ ? accumulate_dtype(param.dtype()) : param.dtype();
    tensors_.push_back({param.dtype(), param.numel(), chunks_, changed(param), read(grad), {}, {}, nullptr});
    chunks_ += (param.numel() + kStepChunk - 1) / kStepChunk;
    SW_CHECK_AS(DeviceError, tensors_.size() == 1 || device_ == param.device(), op_,
                ": expected parameters on one device, got ", device_, " and ", param.dtype(), " ", param.shape(),
                " on ", param.device());
    device_ = param.device();
    return true;
  }

  void state(int k, const char* name, const Tensor& t) {
    check_defined(op_, name, t);
    SW_CHECK_TYPE(t.dtype() == state_dtype_, op_, ": expected ", name, " of dtype ", state_dtype_, ", got ", t.dtype());
    SW_CHECK_SHAPE(t.shape() == shape_, op_, ": expected ", name, " of the parameter's shape ", shape_, ", got ",
                   t.shape());
    tensors_.back().state[k] = changed(t);
  }
  Tensor new_state() const { return empty_strided(shape_, strides_, state_dtype_, device_); }
  void scale(double a, double b = 0) {
    tensors_.back().scale[0] = a;
    tensors_.back().scale[1] = b;
  }

  // Parameter i counts its steps on the device, if control says so.
  void count(size_t i) {
    if (control_.steps.empty()) return;
    const Tensor& step = control_.steps[i];
    check_control("steps", step, DType::Float64);
    tensors_.back().step = step.data_as<double>();
    changed_.push_back(step);
  }

  StepList list() const {
    const Tensor& found = control_.found_inf;
    if (found.defined()) check_control("found_inf", found, DType::Float32);
    return {tensors_.data(), int64_t(tensors_.size()),
            chunks_,         nullptr,
            nullptr,         found.defined() ? found.data_as<float>() : nullptr};
  }
  Device device() const { return device_; }
  const char* op() const { return op_; }
  void finish() {
    for (const auto& [to, from] : copies_) copy_into(to, from);
    for (const Tensor& t : changed_) ++t.storage()->version;
  }

 private:
  void check_control(const char* name, const Tensor& t, DType dtype) const {
    check_defined(op_, name, t);
    SW_CHECK_AS(DeviceError, !device_.is_cpu() && t.device() == device_, op_, ": expected ", name,
                " and the parameters on one CUDA device, got ", t.device(), " and ", device_);
    SW_CHECK_TYPE(t.dtype() == dtype, op_, ": expected ", name, " of dtype ", dtype, ", got ", t.dtype());
    SW_CHECK_SHAPE(t.numel() == 1, op_, ": expected ", name, " with one element, got ", t.shape());
  }
  Tensor in_layout(const Tensor& t) {
    if (same_order(t, strides_)) return t;
    Tensor copy = empty_strided(shape_, strides_, t.dtype(), t.device());
    copy_into(copy, t);
    kept_.push_back(copy);
    return copy;
  }
  const void* read(const Tensor& t) { return in_layout(t).data(); }
  void* changed(const Tensor& t) {
    settle_readers(t.storage());
    const Tensor work = in_layout(t);
    if (work.ptr() != t.ptr()) copies_.emplace_back(t.alias(), work);
    changed_.push_back(t);
    return work.data();
  }

  const char* op_;
  const StepControl control_;
  const bool wide_states_;
  std::vector<StepTensor> tensors_;
  std::vector<std::pair<Tensor, Tensor>> copies_;
  TensorList kept_, changed_;
  Shape shape_, strides_;
  DType state_dtype_ = DType::Float32;
  int64_t chunks_ = 0;
  Device device_;
};

template <class List>
void check_length(const char* op, const char* name, const List& list, const TensorList& params) {
  SW_CHECK_VALUE(list.size() == params.size(), op, ": expected ", params.size(), " ", name,
                 ", one for each parameter, got ", list.size());
}

// Two numbers for each parameter.
using Scales = std::vector<std::array<double, 2>>;

// The options and scales of a captured step, as they lie in device memory.
template <class Options>
std::vector<char> values_of(const Options& options, const Scales& scales) {
  static_assert(sizeof(Options) % alignof(double) == 0);
  std::vector<char> bytes(sizeof options + scales.size() * sizeof scales[0]);
  std::memcpy(bytes.data(), &options, sizeof options);
  if (!scales.empty()) std::memcpy(bytes.data() + sizeof options, scales.data(), bytes.size() - sizeof options);
  return bytes;
}

// Is a captured step's replay being prepared? Then its values are set, and there is nothing else to do.
template <class Options>
bool refreshed(const char* op, const Options& options, const Scales& scales = {}) {
  cuda::Graph* const graph = cuda::refreshing();
  if (!graph) return false;
  const std::vector<char> bytes = values_of(options, scales);
  graph->write(op, bytes.data(), bytes.size());
  return true;
}

// scales: those of StepTensor, if they are not always the same.
template <class Args, class Options>
void run(StepBuilder& builder, const Kernel<Args>& kernel, const Options& options, const Scales& scales = {}) {
  StepList list = builder.list();
  if (cuda::Graph* const graph = cuda::capturing()) {
    if (builder.device().is_cpu()) cuda::not_in_capture("an optimizer's step on the CPU");
    const std::vector<char> bytes = values_of(options, scales);
    list.options = graph->add_values(builder.op(), bytes.data(), bytes.size());
    if (!scales.empty())
      list.scales = reinterpret_cast<const double*>(static_cast<const char*>(list.options) + sizeof options);
  }
  launch(builder.device(), kernel, {list, options});
  builder.finish();
}

void check_step(const char* op, double t) { SW_CHECK_VALUE(t >= 1, op, ": expected steps from 1 on, got ", t); }

}  // namespace

TensorList sgd_step(const TensorList& params, const TensorList& grads, TensorList momentum_buffers,
                    const SgdOptions& options, const StepControl& control) {
  if (refreshed("sgd_step", options)) return momentum_buffers;
  const bool has_buffer = options.momentum != 0;
  check_length("sgd_step", "grads", grads, params);
  if (momentum_buffers.empty()) momentum_buffers.resize(params.size());
  check_length("sgd_step", "momentum_buffers", momentum_buffers, params);
  if (!control.steps.empty()) check_length("sgd_step", "counts", control.steps, params);
  StepBuilder builder("sgd_step", control, false);
  for (size_t i = 0; i < params.size(); ++i) {
    if (!builder.add(params[i], grads[i]) || !has_buffer) continue;
    builder.count(i);
    const bool first = !momentum_buffers[i].defined();
    SW_CHECK(!first || !cuda::capturing(),
             "sgd_step: momentum buffers cannot be made in a step that is captured: take one step before");
    if (first) momentum_buffers[i] = builder.new_state();
    builder.state(0, "momentum_buffers", momentum_buffers[i]);
    builder.scale(first);
  }
  run(builder, sgd_kernel, options);
  return momentum_buffers;
}

void rmsprop_step(const TensorList& params, const TensorList& grads, const TensorList& square_avgs,
                  const TensorList& grad_avgs, const TensorList& momentum_buffers, const RmspropOptions& options,
                  const StepControl& control) {
  const char* op = "rmsprop_step";
  if (refreshed(op, options)) return;
  check_length(op, "grads", grads, params);
  check_length(op, "square_avgs", square_avgs, params);
  if (options.centered) check_length(op, "grad_avgs", grad_avgs, params);
  if (options.momentum != 0) check_length(op, "momentum_buffers", momentum_buffers, params);
  StepBuilder builder(op, control);
  for (size_t i = 0; i < params.size(); ++i) {
    if (!builder.add(params[i], grads[i])) continue;
    builder.state(0, "square_avgs", square_avgs[i]);
    if (options.centered) builder.state(1, "grad_avgs", grad_avgs[i]);
    if (options.momentum != 0) builder.state(2, "momentum_buffers", momentum_buffers[i]);
  }
  run(builder, rmsprop_kernel, options);
}

namespace {

// scales[i] of the steps of each parameter, by formula(t): two numbers. None where the device counts.
template <class Formula>
Scales scales_of(const char* op, const std::vector<double>& steps, const StepControl& control, const Formula& formula) {
  Scales scales;
  if (!control.steps.empty()) return scales;
  for (double t : steps) {
    check_step(op, t);
    scales.push_back(formula(t));
  }
  return scales;
}

void check_counts(const char* op, const std::vector<double>& steps, const StepControl& control,
                  const TensorList& params) {
  if (control.steps.empty()) {
    check_length(op, "steps", steps, params);
  } else {
    check_length(op, "counts", control.steps, params);
  }
}

}  // namespace

void adam_step(const char* op, const TensorList& params, const TensorList& grads, const TensorList& exp_avgs,
               const TensorList& exp_avg_sqs, const TensorList& max_exp_avg_sqs, const std::vector<double>& steps,
               const AdamOptions& options, const StepControl& control) {
  const Scales scales = scales_of(op, steps, control, [&](double t) {
    return std::array<double, 2>{options.lr / (1 - std::pow(options.beta1, t)),
                                 std::sqrt(1 - std::pow(options.beta2, t))};
  });
  if (refreshed(op, options, scales)) return;
  check_length(op, "grads", grads, params);
  check_length(op, "exp_avgs", exp_avgs, params);
  check_length(op, "exp_avg_sqs", exp_avg_sqs, params);
  check_counts(op, steps, control, params);
  if (options.amsgrad) check_length(op, "max_exp_avg_sqs", max_exp_avg_sqs, params);
  StepBuilder builder(op, control);
  Scales used;
  for (size_t i = 0; i < params.size(); ++i) {
    if (!builder.add(params[i], grads[i])) continue;
    builder.state(0, "exp_avgs", exp_avgs[i]);
    builder.state(1, "exp_avg_sqs", exp_avg_sqs[i]);
    if (options.amsgrad) builder.state(2, "max_exp_avg_sqs", max_exp_avg_sqs[i]);
    builder.count(i);
    if (scales.empty()) continue;
    builder.scale(scales[i][0], scales[i][1]);
    used.push_back(scales[i]);
  }
  run(builder, adam_kernel, options, used);
}

void adagrad_step(const TensorList& params, const TensorList& grads, const TensorList& sums,
                  const std::vector<double>& steps, const AdagradOptions& options, const StepControl& control) {
  const char* op = "adagrad_step";
  const Scales scales = scales_of(op, steps, control, [&](double t) {
    return std::array<double, 2>{options.lr / (1 + (t - 1) * options.lr_decay), 0};
  });
  if (refreshed(op, options, scales)) return;
  check_length(op, "grads", grads, params);
  check_length(op, "state_sums", sums, params);
  check_counts(op, steps, control, params);
  StepBuilder builder(op, control);
  Scales used;
  for (size_t i = 0; i < params.size(); ++i) {
    if (!builder.add(params[i], grads[i])) continue;
    builder.state(0, "state_sums", sums[i]);
    builder.count(i);
    if (scales.empty()) continue;
    builder.scale(scales[i][0]);
    used.push_back(scales[i]);
  }
  run(builder, adagrad_kernel, options, used);
}

void adadelta_step(const TensorList& params, const TensorList& grads, const TensorList& square_avgs,
                   const TensorList& acc_deltas, const AdadeltaOptions& options, const StepControl& control) {
  if (refreshed("adadelta_step", options)) return;
  check_length("adadelta_step", "grads", grads, params);
  check_length("adadelta_step", "square_avgs", square_avgs, params);
  check_length("adadelta_step", "acc_deltas", acc_deltas, params);
  StepBuilder builder("adadelta_step", control);
  for (size_t i = 0; i < params.size(); ++i) {
    if (!builder.add(params[i], grads[i])) continue;
    builder.state(0, "square_avgs", square_avgs[i]);
    builder.state(1, "acc_deltas", acc_deltas[i]);
  }
  run(builder, adadelta_kernel, options);
}

namespace {

// The norm of all gradients, and min(1, max_norm / (norm + 1e-6)); float64.
Tensor norm_and_factor(const StepBuilder& builder, double p, double max_norm) {
  const StepList list = builder.list();
  const Tensor sums = empty({list.chunks}, DType::Float64, builder.device());
  const Tensor result = empty({2}, DType::Float64, builder.device());
  launch(builder.device(), grad_norm_kernel, {list, p, sums.data_as<double>()});
  launch(builder.device(), grad_norm_total_kernel,
         {sums.data_as<double>(), list.chunks, p, max_norm, result.data_as<double>()});
  return result;
}

// 0-dim; float64 if one of the gradients is, else float32.
Tensor norm_tensor(const TensorList& grads, const Tensor& result) {
  DType dtype = DType::Float32;
  for (const Tensor& g : grads)
    if (g.defined() && g.dtype() == DType::Float64) dtype = DType::Float64;
  return to(result.as_strided({}, {}, 0), dtype);
}

StepBuilder collect(const char* op, const TensorList& grads, double norm_type) {
  SW_CHECK_VALUE(norm_type > 0, op, ": expected norm_type > 0, got ", norm_type);
  StepBuilder builder(op);
  for (const Tensor& g : grads) {
    if (g.defined()) builder.add(g, g);
  }
  return builder;
}

}  // namespace

Tensor grad_norm(const TensorList& grads, double norm_type) {
  return norm_tensor(grads, norm_and_factor(collect("grad_norm", grads, norm_type), norm_type, 1));
}

Tensor clip_grad_norm(const TensorList& grads, double max_norm, double norm_type, bool error_if_nonfinite) {
  StepBuilder builder = collect("clip_grad_norm", grads, norm_type);
  const Tensor result = norm_and_factor(builder, norm_type, max_norm);
  if (error_if_nonfinite) {
    const Tensor host = on_cpu(result);
    const double norm = *host.data_as<double>();
    SW_CHECK(std::isfinite(norm), "clip_grad_norm: the norm of the gradients is ", norm);
  }
  launch(builder.device(), grad_scale_kernel, {builder.list(), result.data_as<double>() + 1});
  builder.finish();
  return norm_tensor(grads, result);
}

namespace {

// One element of the dtype, where the others are.
void check_single(const char* op, const char* name, const Tensor& t, DType dtype, Device device) {
  check_defined(op, name, t);
  SW_CHECK_TYPE(t.dtype() == dtype, op, ": expected ", name, " of dtype ", dtype, ", got ", t.dtype());
  SW_CHECK_SHAPE(t.numel() == 1, op, ": expected ", name, " with one element, got ", t.shape());
  SW_CHECK_AS(DeviceError, t.device() == device, op, ": expected ", name, " on ", device, ", got ", t.device());
}

}  // namespace

void unscale_gradients(const TensorList& grads, const Tensor& scale, const Tensor& found_inf) {
  const char* op = "unscale_gradients";
  StepBuilder builder = collect(op, grads, 1);
  if (builder.list().count == 0) return;
  check_single(op, "scale", scale, DType::Float32, builder.device());
  check_single(op, "found_inf", found_inf, DType::Float32, builder.device());
  launch(builder.device(), grad_unscale_kernel, {builder.list(), scale.data_as<float>(), found_inf.data_as<float>()});
  builder.finish();
  ++found_inf.storage()->version;
}

void update_loss_scale(const Tensor& scale, const Tensor& growth_tracker, const Tensor& skipped,
                       const Tensor& found_inf, const ScaleOptions& options) {
  const char* op = "update_loss_scale";
  check_defined(op, "scale", scale);
  const Device device = scale.device();
  check_single(op, "scale", scale, DType::Float32, device);
  check_single(op, "growth_tracker", growth_tracker, DType::Int32, device);
  check_single(op, "skipped", skipped, DType::Int64, device);
  check_single(op, "found_inf", found_inf, DType::Float32, device);
  launch(device, update_scale_kernel,
         {scale.data_as<float>(), growth_tracker.data_as<int32_t>(), skipped.data_as<int64_t>(),
          found_inf.data_as<float>(), options});
  for (const Tensor& t : {scale, growth_tracker, skipped}) ++t.storage()->version;
}

}  // namespace skipway
