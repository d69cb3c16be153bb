#include "ops/optimizer_step.h"

#include <cmath>
#include <utility>

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
  explicit StepBuilder(const char* op) : op_(op) {}

  // Starts a parameter; false when it has no gradient.
  bool add(const Tensor& param, const Tensor& grad) {
    check_floating(op_, "params", param);
    if (!grad.defined()) return false;
    check_same(op_, "params", param, "grads", grad);
    SW_CHECK_SHAPE(param.shape() == grad.shape(), op_, ": expected a gradient of the parameter's shape ", param.shape(),
                   ", got ", grad.shape());
    strides_ = param.is_dense() ? param.strides() : contiguous_strides(param.shape());
    shape_ = param.shape();
    state_dtype_ = accumulate_dtype(param.dtype());
    tensors_.push_back({param.dtype(), param.numel(), chunks_, changed(param), read(grad), {}, {}});
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

  StepList list() const { return {tensors_.data(), int64_t(tensors_.size()), chunks_}; }
  Device device() const { return device_; }
  void finish() {
    for (const auto& [to, from] : copies_) copy_into(to, from);
    for (const Tensor& t : changed_) ++t.storage()->version;
  }

 private:
  Tensor in_layout(const Tensor& t) {
    if (same_order(t, strides_)) return t;
    Tensor copy = empty_strided(shape_, strides_, t.dtype(), t.device());
    copy_into(copy, t);
    kept_.push_back(copy);
    return copy;
  }
  const void* read(const Tensor& t) { return in_layout(t).data(); }
  void* changed(const Tensor& t) {
    const Tensor work = in_layout(t);
    if (work.ptr() != t.ptr()) copies_.emplace_back(t.alias(), work);
    changed_.push_back(t);
    return work.data();
  }

  const char* op_;
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

void check_step(const char* op, double t) { SW_CHECK_VALUE(t >= 1, op, ": expected steps from 1 on, got ", t); }

}  // namespace

TensorList sgd_step(const TensorList& params, const TensorList& grads, TensorList momentum_buffers,
                    const SgdOptions& options) {
  const bool has_buffer = options.momentum != 0;
  check_length("sgd_step", "grads", grads, params);
  if (momentum_buffers.empty()) momentum_buffers.resize(params.size());
  check_length("sgd_step", "momentum_buffers", momentum_buffers, params);
  StepBuilder builder("sgd_step");
  for (size_t i = 0; i < params.size(); ++i) {
    if (!builder.add(params[i], grads[i]) || !has_buffer) continue;
    const bool first = !momentum_buffers[i].defined();
    if (first) momentum_buffers[i] = builder.new_state();
    builder.state(0, "momentum_buffers", momentum_buffers[i]);
    builder.scale(first);
  }
  launch(builder.device(), sgd_kernel, {builder.list(), options});
  builder.finish();
  return momentum_buffers;
}

void rmsprop_step(const TensorList& params, const TensorList& grads, const TensorList& square_avgs,
                  const TensorList& grad_avgs, const TensorList& momentum_buffers, const RmspropOptions& options) {
  const char* op = "rmsprop_step";
  check_length(op, "grads", grads, params);
  check_length(op, "square_avgs", square_avgs, params);
  if (options.centered) check_length(op, "grad_avgs", grad_avgs, params);
  if (options.momentum != 0) check_length(op, "momentum_buffers", momentum_buffers, params);
  StepBuilder builder(op);
  for (size_t i = 0; i < params.size(); ++i) {
    if (!builder.add(params[i], grads[i])) continue;
    builder.state(0, "square_avgs", square_avgs[i]);
    if (options.centered) builder.state(1, "grad_avgs", grad_avgs[i]);
    if (options.momentum != 0) builder.state(2, "momentum_buffers", momentum_buffers[i]);
  }
  launch(builder.device(), rmsprop_kernel, {builder.list(), options});
  builder.finish();
}

void adam_step(const char* op, const TensorList& params, const TensorList& grads, const TensorList& exp_avgs,
               const TensorList& exp_avg_sqs, const TensorList& max_exp_avg_sqs, const std::vector<double>& steps,
               const AdamOptions& options) {
  check_length(op, "grads", grads, params);
  check_length(op, "exp_avgs", exp_avgs, params);
  check_length(op, "exp_avg_sqs", exp_avg_sqs, params);
  check_length(op, "steps", steps, params);
  if (options.amsgrad) check_length(op, "max_exp_avg_sqs", max_exp_avg_sqs, params);
  StepBuilder builder(op);
  for (size_t i = 0; i < params.size(); ++i) {
    if (!builder.add(params[i], grads[i])) continue;
    check_step(op, steps[i]);
    builder.state(0, "exp_avgs", exp_avgs[i]);
    builder.state(1, "exp_avg_sqs", exp_avg_sqs[i]);
    if (options.amsgrad) builder.state(2, "max_exp_avg_sqs", max_exp_avg_sqs[i]);
    builder.scale(options.lr / (1 - std::pow(options.beta1, steps[i])),
                  std::sqrt(1 - std::pow(options.beta2, steps[i])));
  }
  launch(builder.device(), adam_kernel, {builder.list(), options});
  builder.finish();
}

void adagrad_step(const TensorList& params, const TensorList& grads, const TensorList& sums,
                  const std::vector<double>& steps, const AdagradOptions& options) {
  check_length("adagrad_step", "grads", grads, params);
  check_length("adagrad_step", "state_sums", sums, params);
  check_length("adagrad_step", "steps", steps, params);
  StepBuilder builder("adagrad_step");
  for (size_t i = 0; i < params.size(); ++i) {
    if (!builder.add(params[i], grads[i])) continue;
    check_step("adagrad_step", steps[i]);
    builder.state(0, "state_sums", sums[i]);
    builder.scale(options.lr / (1 + (steps[i] - 1) * options.lr_decay));
  }
  launch(builder.device(), adagrad_kernel, {builder.list(), options});
  builder.finish();
}

void adadelta_step(const TensorList& params, const TensorList& grads, const TensorList& square_avgs,
                   const TensorList& acc_deltas, const AdadeltaOptions& options) {
  check_length("adadelta_step", "grads", grads, params);
  check_length("adadelta_step", "square_avgs", square_avgs, params);
  check_length("adadelta_step", "acc_deltas", acc_deltas, params);
  StepBuilder builder("adadelta_step");
  for (size_t i = 0; i < params.size(); ++i) {
    if (!builder.add(params[i], grads[i])) continue;
    builder.state(0, "square_avgs", square_avgs[i]);
    builder.state(1, "acc_deltas", acc_deltas[i]);
  }
  launch(builder.device(), adadelta_kernel, {builder.list(), options});
  builder.finish();
}

namespace {

double norm_of(const StepBuilder& builder, double p) {
  const StepList list = builder.list();
  const Tensor sums = empty({list.chunks}, DType::Float64, builder.device());
  launch(builder.device(), grad_norm_kernel, {list, p, sums.data_as<double>()});
  const Tensor partials = on_cpu(sums);
  double total = 0;
  for (int64_t i = 0; i < list.chunks; ++i) {
    const double part = partials.data_as<double>()[i];
    total = std::isinf(p) ? (part > total || part != part ? part : total) : total + part;
  }
  return std::isinf(p) ? total : p == 2 ? std::sqrt(total) : p == 1 ? total : std::pow(total, 1 / p);
}

Tensor norm_tensor(const TensorList& grads, double norm) {
  DType dtype = DType::Float32;
  Device device;
  for (const Tensor& g : grads) {
    if (!g.defined()) continue;
    device = g.device();
    if (g.dtype() == DType::Float64) dtype = DType::Float64;
  }
  return full({}, norm, dtype, device);
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
  return norm_tensor(grads, norm_of(collect("grad_norm", grads, norm_type), norm_type));
}

Tensor clip_grad_norm(const TensorList& grads, double max_norm, double norm_type, bool error_if_nonfinite) {
  StepBuilder builder = collect("clip_grad_norm", grads, norm_type);
  const double norm = norm_of(builder, norm_type);
  SW_CHECK(!error_if_nonfinite || std::isfinite(norm), "clip_grad_norm: the norm of the gradients is ", norm);
  const double factor = max_norm / (norm + 1e-6);
  if (!(factor >= 1)) {  // scales by NaN too: a gradient that is not finite stays visible
    launch(builder.device(), grad_scale_kernel, {builder.list(), factor});
    builder.finish();
  }
  return norm_tensor(grads, norm);
}

}  // namespace skipway
