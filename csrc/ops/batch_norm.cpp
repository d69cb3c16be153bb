#include "ops/batch_norm.h"

#include "autograd/tape.h"
#include "ops/activation.h"
#include "ops/copy.h"
#include "ops/deferred_norm.h"
#include "ops/left_sums.h"

namespace skipway {
namespace {

Tensor channels_dense(const Tensor& t) { return t.dim() <= 2 ? contiguous(t) : channels_last(t); }

Tensor empty_channels(const Tensor& like) {
  return like.dim() <= 2 ? empty(like.shape(), like.dtype(), like.device())
                         : empty_channels_last(like.shape(), like.dtype(), like.device());
}

void* data_or_null(const Tensor& t) { return t.defined() ? t.data() : nullptr; }
DType dtype_or(const Tensor& t, DType other) { return t.defined() ? t.dtype() : other; }

// The running statistics change in place: who is still to read them reads them now, a closure that saved them notices.
void before_change(const Tensor& t) {
  if (t.defined()) settle_readers(t.storage());
}
void count_change(const Tensor& t) {
  if (t.defined()) ++t.storage()->version;
}

ChannelNormArgs sizes_of(const ChannelNormSpec& spec, const Tensor& x) {
  ChannelNormArgs a{};
  const int64_t n = x.size(0), c = x.size(1);
  int64_t spatial = 1;
  for (int i = 2; i < x.dim(); ++i) spatial *= x.size(i);
  a.samples = spec.per_sample ? n : 1;
  a.rows = spec.per_sample ? spatial : n * spatial;
  a.channels = c;
  a.groups = spec.groups;
  a.dtype = x.dtype();
  a.activation = spec.activation;
  a.batch_stats = spec.batch_stats;
  a.eps = spec.eps;
  a.momentum = spec.momentum;
  return a;
}

struct BackwardPlan {  // what the closure needs beside the saved tensors
  ChannelNormGradArgs args{};
  Shape weight_shape;
};

// What arrives at a node: dy, and the activation through which it is still to go where that has been deferred.
struct Arriving {
  std::shared_ptr<const MaskRecipe> mask;
  Tensor dy, own;       // own: dy where it may be overwritten
  bool from_x = false;  // the mask is act's of this very norm
  bool copy = false;    // somebody else waits for what the mask makes of dy
};
Arriving arriving(tape::Backward& b, const ChannelNormGradArgs& a, const Tensor& x, const Tensor& coefficients) {
  const Tensor& g = b.grad();
  auto mask = a.activation == FusedAct::None ? mask_recipe(g) : nullptr;
  if (!mask || mask->dz.strides() != x.strides()) return {nullptr, channels_dense(g), b.own_grad()};
  const bool copy = g.ptr().use_count() > 1 || g.storage().use_count() > 1 || b.needs(3);
  const bool from_x = mask->coefficients.defined() && mask->coefficients.storage() == coefficients.storage();
  if (copy && from_x) return {nullptr, channels_dense(g), b.own_grad()};
  // Held by the recipe alone, as its tensor and as its source.
  const bool sole = mask.use_count() == 2 && mask->dz.storage().use_count() == 2 && mask->dz.offset() == 0 &&
                    mask->dz.storage()->bytes == g.storage()->bytes;
  return {mask, mask->dz, sole ? mask->dz : Tensor(), from_x, copy};
}

// docs/backward.md, equations (norm) and (affine).
void channel_norm_grad(const BackwardPlan& plan, tape::Backward& b) {
  const Tensor x = b.saved(0), coefficients = b.saved(2), mask = b.saved(3);
  Tensor y = b.saved(1);
  ChannelNormGradArgs a = plan.args;
  const Arriving in = arriving(b, a, x, coefficients);
  if (in.mask) {
    a.activation = in.mask->activation;
    y = in.from_x ? Tensor() : in.mask->z;
  }
  const Tensor& dy = in.dy;
  a.x = x.data();
  a.y = data_or_null(y);
  a.dy = dy.data();
  a.coefficients = coefficients.data_as<double>();
  a.mask = static_cast<const uint8_t*>(data_or_null(mask));
  Tensor dweight, dbias;
  if (b.needs(1)) {
    dweight = empty(plan.weight_shape, a.weight_dtype, x.device());
    a.dweight = {dweight.data(), GradMode::Write};
  }
  if (b.needs(2)) {
    dbias = empty(plan.weight_shape, a.bias_dtype, x.device());
    a.dbias = {dbias.data(), GradMode::Write};
  }
  // A gradient that nobody else holds is overwritten: with dz where a residual wants that, with dx otherwise.
  const Tensor& own = in.own;
  const bool in_place = own.defined() && own.strides() == x.strides();
  const bool dz_wanted = b.needs(3) && a.activation != FusedAct::None;
  const bool dx_in_place = in_place && b.needs(0) && !b.needs(3) && !in.copy;
  a.dx = dx_in_place ? Grad{own.data(), GradMode::Write} : b.target(0, x);
  if (dz_wanted && !in.mask) a.dresidual = in_place ? Grad{own.data(), GradMode::Write} : b.target(3, x);
  Tensor masked;
  if (in.copy) {
    masked = in_place ? own : empty_like(dy);
    a.dresidual = {masked.data(), GradMode::Write};
  }
  const bool from_x = !a.y && !a.mask && a.dresidual.mode == GradMode::Skip && dy.strides() == x.strides();
  const Tensor sums = from_x ? take_grad_sums(dy, coefficients, a.activation) : Tensor();
  if (sums.defined()) a.sums = sums.data_as<double>();
  launch(x.device(), channel_norm_backward, a);
  if (in.copy) fulfil(b.grad().storage(), masked.storage());
  if (dx_in_place) b.give(0, own);
  if (b.needs(3)) {
    if (!dz_wanted || in.mask) {
      b.give(3, b.grad());
    } else if (in_place) {
      b.give(3, own);
    }
  }
  if (dweight.defined()) b.give(1, dweight);
  if (dbias.defined()) b.give(2, dbias);
}

}  // namespace

OutputActivation parse_output_activation(const char* op, const std::optional<std::string>& name) {
  if (!name || name->empty()) return {};
  if (*name == "relu") return {FusedAct::Relu, {}};
  if (*name == "leaky_relu") return {FusedAct::LeakyRelu, {}};
  if (*name == "relu6") return {FusedAct::Relu6, {}};
  Activation f;
  ActivationParams params;
  SW_CHECK_VALUE(parse_activation(*name, f, params), op,
                 ": expected activation None, \"relu\", \"leaky_relu\", \"relu6\", ",
                 "\"gelu\", \"silu\", \"mish\" or \"hardswish\", got \"", *name, "\"");
  return {FusedAct::None, *name};
}

Tensor OutputActivation::finish(const Tensor& y) const {
  Activation f;
  ActivationParams params;
  return !after.empty() && parse_activation(after, f, params) ? activation("activation", f, params, y) : y;
}

void check_channel_vector(const char* op, const char* arg, const Tensor& t, const Tensor& input) {
  if (!t.defined()) return;
  const Shape expected{input.size(1)};
  SW_CHECK_SHAPE(t.shape() == expected, op, ": expected ", arg, " of shape ", expected,
                 " (one value per channel of input ", input.shape(), "), got ", t.shape());
  const bool mixed = is_half(input.dtype()) && t.dtype() == DType::Float32;
  SW_CHECK_TYPE(t.dtype() == input.dtype() || mixed, op, ": expected ", arg, " of dtype ", input.dtype(),
                is_half(input.dtype()) ? " or float32" : "", ", as input has, got ", t.dtype());
  SW_CHECK_AS(DeviceError, t.device() == input.device(), op, ": expected ", arg, " on the device of input ",
              input.dtype(), " ", input.shape(), " on ", input.device(), ", got ", t.dtype(), " ", t.shape(), " on ",
              t.device());
}

Tensor channel_norm(const ChannelNormSpec& spec, const Tensor& input, const Tensor& running_mean,
                    const Tensor& running_var, const Tensor& weight, const Tensor& bias, const Tensor& residual) {
  const char* op = spec.name;
  check_channel_vector(op, "weight", weight, input);
  check_channel_vector(op, "bias", bias, input);
  check_channel_vector(op, "running_mean", running_mean, input);
  check_channel_vector(op, "running_var", running_var, input);
  SW_CHECK_VALUE(running_mean.defined() == running_var.defined(), op,
                 ": expected running_mean and running_var both or neither, got only one of them");
  SW_CHECK_TYPE(!running_mean.defined() || running_mean.dtype() == running_var.dtype(), op,
                ": expected running_mean and running_var of one dtype, got ", dtype_or(running_mean, DType::Bool),
                " and ", dtype_or(running_var, DType::Bool));
  SW_CHECK_VALUE(!running_mean.defined() || (running_mean.is_contiguous() && running_var.is_contiguous()), op,
                 ": expected contiguous running statistics");
  SW_CHECK_VALUE(spec.batch_stats || running_mean.defined(), op,
                 ": running_mean and running_var are needed where statistics do not come from the batch");
  SW_CHECK_VALUE(spec.eps >= 0, op, ": expected eps >= 0, got ", spec.eps);
  if (residual.defined()) {
    SW_CHECK_SHAPE(residual.shape() == input.shape(), op, ": expected residual of the input's shape ", input.shape(),
                   ", got ", residual.shape());
    check_same(op, "input", input, "residual", residual);
  }

  Tensor x, r, w, v;
  {
    tape::NoGradGuard off;  // layout changes are this op's own business: its backward maps gradients itself
    x = channels_dense(input);
    if (residual.defined()) r = channels_dense(residual);
    if (weight.defined()) w = contiguous(weight);
    if (bias.defined()) v = contiguous(bias);
  }
  const bool waits = !spec.per_sample && !residual.defined() && norm_can_wait(x);
  Tensor y = waits ? Tensor() : empty_channels(x), apply;
  ChannelNormArgs a = sizes_of(spec, x);
  Tensor coefficients = empty({4, a.samples, a.channels}, DType::Float64, x.device());
  a.weight_dtype = dtype_or(weight, x.dtype());
  a.bias_dtype = dtype_or(bias, x.dtype());
  a.running_dtype = dtype_or(running_mean, x.dtype());
  a.x = x.data();
  a.residual = data_or_null(r);
  a.weight = data_or_null(w);
  a.bias = data_or_null(v);
  a.running_mean = data_or_null(running_mean);
  a.running_var = data_or_null(running_var);
  if (waits) {
    apply = empty({3, a.channels}, DType::Float32, x.device());
    a.apply = apply.data_as<float>();
  } else {
    a.y = y.data();
  }
  a.coefficients = coefficients.data_as<double>();
  const bool may_be_left = spec.batch_stats && !spec.per_sample && moments_enabled();
  const Tensor moments = may_be_left ? moments_left(x) : Tensor();
  if (moments.defined()) a.moments = moments.data_as<double>();
  const bool recorded = tape::should_record({input, weight, bias, residual});
  // relu's mask without a residual comes from x again: one stream less to read. On CUDA the others are kept as bits,
  // or come from x as well when there is no result yet.
  const bool from_x = spec.activation == FusedAct::None || (spec.activation == FusedAct::Relu && !residual.defined()) ||
                      (waits && !x.device().is_cpu());
  Tensor mask;
  if (recorded && !from_x && !x.device().is_cpu()) {
    mask = empty({x.numel() / channel_pack(a)}, DType::UInt8, x.device());
    a.mask = mask.data_as<uint8_t>();
  }
  if (spec.batch_stats) {
    before_change(running_mean);
    before_change(running_var);
  }
  launch(x.device(), channel_norm_forward, a);
  if (waits) y = deferred_norm(x, coefficients, apply, spec.activation);
  if (spec.batch_stats) {
    count_change(running_mean);
    count_change(running_var);
  }
  if (!recorded) return y;

  BackwardPlan plan;
  plan.weight_shape = Shape{a.channels};
  plan.args = {a.samples,
               a.rows,
               a.channels,
               a.groups,
               a.dtype,
               a.weight_dtype,
               a.bias_dtype,
               a.activation,
               a.batch_stats,
               nullptr,
               nullptr,
               nullptr,
               nullptr,
               {},
               {},
               {},
               {},
               nullptr,
               channel_pack(a)};
  tape::record(op, {y}, {input, weight, bias, residual},
               {x, from_x || mask.defined() ? Tensor() : y, coefficients, mask},
               [plan](tape::Backward& b) { channel_norm_grad(plan, b); });
  return y;
}

Tensor batch_norm(const Tensor& input, const Tensor& running_mean, const Tensor& running_var, const Tensor& weight,
                  const Tensor& bias, bool training, double momentum, double eps, const Tensor& residual,
                  const std::optional<std::string>& activation) {
  check_defined("batch_norm", "input", input);
  check_floating("batch_norm", "input", input);
  SW_CHECK_SHAPE(input.dim() >= 2 && input.dim() <= 5,
                 "batch_norm: expected input (N, C) or (N, C, spatial...) of 2 to 5 dimensions, got ", input.shape());
  const int64_t values = input.size(1) > 0 ? input.numel() / input.size(1) : 0;
  SW_CHECK_VALUE(!training || values != 1, "batch_norm: expected more than 1 value per channel in training, got input ",
                 input.shape(), "; use drop_last=True in the DataLoader or model.eval()");
  ChannelNormSpec spec;
  spec.name = "batch_norm";
  spec.groups = input.size(1);
  spec.batch_stats = training;
  spec.momentum = momentum;
  spec.eps = eps;
  const OutputActivation act = parse_output_activation("batch_norm", activation);
  spec.activation = act.fused;
  return act.finish(channel_norm(spec, input, running_mean, running_var, weight, bias, residual));
}

}  // namespace skipway
