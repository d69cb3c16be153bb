// PyTorch's losses. Each takes the old size_average and reduce too, which win over `reduction` where they are given.
#include "ops/loss.h"

#include "bindings/bindings.h"
#include "ops/cross_entropy.h"

namespace skipway::bindings {
namespace {

using Flag = std::optional<bool>;
using Name = std::string;

// A loss of input and target alone, with the tail of arguments that all share.
template <Tensor (*loss)(const Tensor&, const Tensor&, Reduction)>
auto plain(const char* op) {
  return [op](const Tensor& input, const Tensor& target, Flag size_average, Flag reduce, const Name& reduction) {
    return loss(input, target, parse_reduction(op, reduction, size_average, reduce));
  };
}
template <Tensor (*loss)(const Tensor&, const Tensor&, Reduction, const Tensor&)>
auto weighted(const char* op) {
  return [op](const Tensor& input, const Tensor& target, Flag size_average, Flag reduce, const Name& reduction,
              const Tensor& weight) {
    return loss(input, target, parse_reduction(op, reduction, size_average, reduce), weight);
  };
}

std::string kl_reduction(Flag size_average, Flag reduce, const Name& reduction) {
  if (!size_average && !reduce) return reduction;
  const Reduction r = parse_reduction("kl_div", reduction, size_average, reduce);
  return r == Reduction::None ? "none" : r == Reduction::Mean ? "mean" : "sum";
}

void bind_class_losses(py::module_& m) {
  function(
      m, "cross_entropy",
      [](const Tensor& input, const Tensor& target, const Tensor& weight, Flag size_average, int64_t ignore_index,
         Flag reduce, const Name& reduction, double label_smoothing) {
        return cross_entropy(input, target, weight, ignore_index,
                             parse_reduction("cross_entropy", reduction, size_average, reduce), label_smoothing);
      },
      "input"_a, "target"_a, "weight"_a = py::none(), "size_average"_a = py::none(), "ignore_index"_a = -100,
      "reduce"_a = py::none(), "reduction"_a = "mean", "label_smoothing"_a = 0.0,
      "Cross entropy of logits (C,), (N, C) or (N, C, d1, ...) against class indices (integers, without C) or class\n"
      "probabilities (the input's shape). IndexError names a class that is out of range, and its row.");
  function(
      m, "nll_loss",
      [](const Tensor& input, const Tensor& target, const Tensor& weight, Flag size_average, int64_t ignore_index,
         Flag reduce, const Name& reduction) {
        return nll_loss(input, target, weight, ignore_index,
                        parse_reduction("nll_loss", reduction, size_average, reduce));
      },
      "input"_a, "target"_a, "weight"_a = py::none(), "size_average"_a = py::none(), "ignore_index"_a = -100,
      "reduce"_a = py::none(), "reduction"_a = "mean",
      "-weight[target] * input[target] of log-probabilities (C,), (N, C) or (N, C, d1, ...).");
  function(
      m, "kl_div",
      [](const Tensor& input, const Tensor& target, Flag size_average, Flag reduce, const Name& reduction,
         bool log_target) { return kl_div(input, target, kl_reduction(size_average, reduce, reduction), log_target); },
      "input"_a, "target"_a, "size_average"_a = py::none(), "reduce"_a = py::none(), "reduction"_a = "mean",
      "log_target"_a = false,
      "target * (log(target) - input), input being log-probabilities; reduction \"batchmean\" divides by N.");
}

void bind_probability_losses(py::module_& m) {
  function(
      m, "binary_cross_entropy",
      [](const Tensor& input, const Tensor& target, const Tensor& weight, Flag size_average, Flag reduce,
         const Name& reduction) {
        return binary_cross_entropy(input, target, weight,
                                    parse_reduction("binary_cross_entropy", reduction, size_average, reduce));
      },
      "input"_a, "target"_a, "weight"_a = py::none(), "size_average"_a = py::none(), "reduce"_a = py::none(),
      "reduction"_a = "mean", "-(t log(x) + (1 - t) log(1 - x)) of probabilities; logarithms stop at -100.");
  function(
      m, "binary_cross_entropy_with_logits",
      [](const Tensor& input, const Tensor& target, const Tensor& weight, Flag size_average, Flag reduce,
         const Name& reduction, const Tensor& pos_weight) {
        const char* op = "binary_cross_entropy_with_logits";
        return binary_cross_entropy_with_logits(input, target, weight,
                                                parse_reduction(op, reduction, size_average, reduce), pos_weight);
      },
      "input"_a, "target"_a, "weight"_a = py::none(), "size_average"_a = py::none(), "reduce"_a = py::none(),
      "reduction"_a = "mean", "pos_weight"_a = py::none(),
      "binary_cross_entropy(sigmoid(input), target) without overflow; pos_weight weighs positive targets.");
  function(
      m, "poisson_nll_loss",
      [](const Tensor& input, const Tensor& target, bool log_input, bool full, Flag size_average, double eps,
         Flag reduce, const Name& reduction) {
        return poisson_nll_loss(input, target, log_input, full, eps,
                                parse_reduction("poisson_nll_loss", reduction, size_average, reduce));
      },
      "input"_a, "target"_a, "log_input"_a = true, "full"_a = false, "size_average"_a = py::none(), "eps"_a = 1e-8,
      "reduce"_a = py::none(), "reduction"_a = "mean", "Negative log-likelihood of a Poisson distribution.");
}

void bind_regression_losses(py::module_& m) {
  function(
      m, "mse_loss", weighted<&mse_loss>("mse_loss"), "input"_a, "target"_a, "size_average"_a = py::none(),
      "reduce"_a = py::none(), "reduction"_a = "mean", "weight"_a = py::none(),
      "(input - target)^2. Shapes must be equal (ShapeError): nothing is broadcast. A weighted mean divides by the\n"
      "weights' sum.");
  function(m, "l1_loss", weighted<&l1_loss>("l1_loss"), "input"_a, "target"_a, "size_average"_a = py::none(),
           "reduce"_a = py::none(), "reduction"_a = "mean", "weight"_a = py::none(),
           "|input - target|. Shapes must be equal. A weighted mean divides by the weights' sum.");
  function(
      m, "smooth_l1_loss",
      [](const Tensor& input, const Tensor& target, Flag size_average, Flag reduce, const Name& reduction,
         double beta) {
        return smooth_l1_loss(input, target, parse_reduction("smooth_l1_loss", reduction, size_average, reduce), beta);
      },
      "input"_a, "target"_a, "size_average"_a = py::none(), "reduce"_a = py::none(), "reduction"_a = "mean",
      "beta"_a = 1.0, "d^2 / (2 beta) where |d| < beta, else |d| - beta / 2; d = input - target.");
  function(
      m, "huber_loss",
      [](const Tensor& input, const Tensor& target, const Name& reduction, double delta, const Tensor& weight) {
        return huber_loss(input, target, parse_reduction("huber_loss", reduction), delta, weight);
      },
      "input"_a, "target"_a, "reduction"_a = "mean", "delta"_a = 1.0, "weight"_a = py::none(),
      "d^2 / 2 where |d| <= delta, else delta * (|d| - delta / 2); d = input - target.");
  function(m, "soft_margin_loss", plain<&soft_margin_loss>("soft_margin_loss"), "input"_a, "target"_a,
           "size_average"_a = py::none(), "reduce"_a = py::none(), "reduction"_a = "mean",
           "log(1 + exp(-target * input)), target in {-1, 1}.");
  function(
      m, "hinge_embedding_loss",
      [](const Tensor& input, const Tensor& target, double margin, Flag size_average, Flag reduce,
         const Name& reduction) {
        return hinge_embedding_loss(input, target, margin,
                                    parse_reduction("hinge_embedding_loss", reduction, size_average, reduce));
      },
      "input"_a, "target"_a, "margin"_a = 1.0, "size_average"_a = py::none(), "reduce"_a = py::none(),
      "reduction"_a = "mean", "input where target is 1, max(0, margin - input) where it is -1.");
}

}  // namespace

SW_BINDINGS(loss) {
  bind_class_losses(m);
  bind_probability_losses(m);
  bind_regression_losses(m);
}

}  // namespace skipway::bindings
