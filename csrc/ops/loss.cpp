#include "ops/loss.h"

#include "autograd/tape.h"
#include "ops/copy.h"
#include "ops/reduce.h"
#include "ops/residual.h"

namespace skipway {
namespace {

struct Options {
  double parameter = 0;
  double divisor = 1;
  bool full = false;
};

// Whether a tensor of shape `from` broadcasts to shape `to`.
bool fits(const Shape& from, const Shape& to) {
  if (from.size() > to.size()) return false;
  for (int d = 1; d <= from.size(); ++d) {
    const int64_t size = from[from.size() - d];
    if (size != 1 && size != to[to.size() - d]) return false;
  }
  return true;
}

// weight broadcast to x's shape, in x's layout and dtype.
Tensor broadcast_weight(const char* op, const char* arg, const Tensor& weight, const Tensor& x) {
  if (!weight.defined()) return {};
  SW_CHECK_TYPE(!weight.requires_grad(), op, ": ", arg, " cannot require grad");
  SW_CHECK_SHAPE(fits(weight.shape(), x.shape()), op, ": expected ", arg, " that broadcasts to the input's shape ",
                 x.shape(), ", got ", weight.shape());
  SW_CHECK_AS(DeviceError, weight.device() == x.device() || weight.dim() == 0, op, ": expected ", arg, " on ",
              x.device(), ", got ", weight.dtype(), " ", weight.shape(), " on ", weight.device());
  Tensor full = empty_like(x);
  copy_into(full, weight);
  return full;
}

Tensor pointwise(const char* op, LossKind kind, const Tensor& input, const Tensor& target, const Tensor& weight,
                 const Tensor& pos_weight, Reduction reduction, Options options) {
  check_defined(op, "input", input);
  check_defined(op, "target", target);
  SW_CHECK_SHAPE(input.shape() == target.shape(), op, ": expected input and target of one shape, got input ",
                 input.shape(), " and target ", target.shape(), "; shapes are not broadcast in a loss");
  SW_CHECK_AS(DeviceError, target.device() == input.device(), op, ": expected target on ", input.device(),
              " like input ", input.dtype(), " ", input.shape(), ", got ", target.dtype(), " ", target.shape(), " on ",
              target.device());
  if (input.dtype() != target.dtype()) {
    const DType common = promote(input.dtype(), target.dtype());
    return pointwise(op, kind, to(input, common), to(target, common), weight, pos_weight, reduction, options);
  }
  check_floating(op, "input", input);

  Tensor x, t, w, p, weight_sum;
  {
    tape::NoGradGuard off;
    x = input.is_dense() ? input : contiguous(input);
    t = in_layout_of(target, x);
    w = broadcast_weight(op, "weight", weight, x);
    p = broadcast_weight(op, "pos_weight", pos_weight, x);
  }
  const bool reduced = reduction != Reduction::None;
  if (reduction == Reduction::Mean) {  // a weighted mean of mse and l1 divides by the weights' sum
    options.divisor = double(x.numel());
    if (w.defined() && (kind == LossKind::Mse || kind == LossKind::L1)) weight_sum = sum(to(w, DType::Float64));
  }
  Tensor loss = reduced ? empty({}, x.dtype(), x.device()) : empty_like(x);
  int64_t bad = -1;
  LossArgs a{kind,
             x.numel(),
             x.dtype(),
             reduced,
             options.full,
             options.parameter,
             options.divisor,
             x.data(),
             t.data(),
             w.defined() ? w.data() : nullptr,
             p.defined() ? p.data() : nullptr,
             loss.data(),
             weight_sum.defined() ? weight_sum.data_as<double>() : nullptr,
             &bad};
  launch(x.device(), loss_forward, a);
  SW_CHECK_VALUE(bad < 0, op, ": expected input values in [0, 1] (probabilities), got ",
                 *to(x.as_strided({1}, {1}, x.offset() + bad), DType::Float64).data_as<double>(), " (number ", bad,
                 " in memory); apply a sigmoid, or use binary_cross_entropy_with_logits");

  a.bad = nullptr;
  tape::record(op, {loss}, {input, target}, {x, t, w, p, weight_sum}, [a](tape::Backward& b) {
    const Tensor x = b.saved(0), t = b.saved(1), w = b.saved(2), p = b.saved(3), weight_sum = b.saved(4);
    const Tensor dloss = a.reduced ? b.grad() : in_layout_of(b.grad(), x);
    LossGradArgs g{a, dloss.data(), b.target(0, x), b.target(1, x)};
    g.forward.x = x.data();
    g.forward.target = t.data();
    g.forward.weight = w.defined() ? w.data() : nullptr;
    g.forward.pos_weight = p.defined() ? p.data() : nullptr;
    g.forward.weight_sum = weight_sum.defined() ? weight_sum.data_as<double>() : nullptr;
    g.forward.loss = nullptr;
    launch(x.device(), loss_backward, g);
  });
  return loss;
}

}  // namespace

Tensor mse_loss(const Tensor& input, const Tensor& target, Reduction reduction, const Tensor& weight) {
  return pointwise("mse_loss", LossKind::Mse, input, target, weight, {}, reduction, {});
}
Tensor l1_loss(const Tensor& input, const Tensor& target, Reduction reduction, const Tensor& weight) {
  return pointwise("l1_loss", LossKind::L1, input, target, weight, {}, reduction, {});
}
Tensor smooth_l1_loss(const Tensor& input, const Tensor& target, Reduction reduction, double beta) {
  SW_CHECK_VALUE(beta >= 0, "smooth_l1_loss: expected beta >= 0, got ", beta);
  return pointwise("smooth_l1_loss", beta == 0 ? LossKind::L1 : LossKind::SmoothL1, input, target, {}, {}, reduction,
                   {.parameter = beta});
}
Tensor huber_loss(const Tensor& input, const Tensor& target, Reduction reduction, double delta, const Tensor& weight) {
  SW_CHECK_VALUE(delta > 0, "huber_loss: expected delta > 0, got ", delta);
  return pointwise("huber_loss", LossKind::Huber, input, target, weight, {}, reduction, {.parameter = delta});
}
Tensor binary_cross_entropy(const Tensor& input, const Tensor& target, const Tensor& weight, Reduction reduction) {
  return pointwise("binary_cross_entropy", LossKind::Bce, input, target, weight, {}, reduction, {});
}
Tensor binary_cross_entropy_with_logits(const Tensor& input, const Tensor& target, const Tensor& weight,
                                        Reduction reduction, const Tensor& pos_weight) {
  return pointwise("binary_cross_entropy_with_logits", LossKind::BceLogits, input, target, weight, pos_weight,
                   reduction, {});
}
Tensor kl_div(const Tensor& input, const Tensor& target, const std::string& reduction, bool log_target) {
  const LossKind kind = log_target ? LossKind::KlDivLog : LossKind::KlDiv;
  if (reduction != "batchmean") {
    return pointwise("kl_div", kind, input, target, {}, {}, parse_reduction("kl_div", reduction), {});
  }
  check_defined("kl_div", "input", input);
  const double batch = input.dim() > 0 ? double(input.size(0)) : 1;
  return pointwise("kl_div", kind, input, target, {}, {}, Reduction::Sum, {.divisor = batch});
}
Tensor soft_margin_loss(const Tensor& input, const Tensor& target, Reduction reduction) {
  return pointwise("soft_margin_loss", LossKind::SoftMargin, input, target, {}, {}, reduction, {});
}
Tensor hinge_embedding_loss(const Tensor& input, const Tensor& target, double margin, Reduction reduction) {
  return pointwise("hinge_embedding_loss", LossKind::HingeEmbedding, input, target, {}, {}, reduction,
                   {.parameter = margin});
}
Tensor poisson_nll_loss(const Tensor& input, const Tensor& target, bool log_input, bool full, double eps,
                        Reduction reduction) {
  return pointwise("poisson_nll_loss", log_input ? LossKind::PoissonLog : LossKind::Poisson, input, target, {}, {},
                   reduction, {.parameter = eps, .full = full});
}

}  // namespace skipway
