#include "ops/cross_entropy.h"

#include "autograd/tape.h"
#include "ops/copy.h"

namespace skipway {
namespace {

Tensor classes_last(const Tensor& t) { return t.dim() <= 2 ? contiguous(t) : channels_last(t); }

// (N, C, d1, ...) without C, (C,) without anything.
Shape rows_shape(const Tensor& input) {
  Shape s = input.shape();
  s.erase(input.dim() == 1 ? 0 : 1);
  return s;
}

void check_input(const char* op, const Tensor& input, const Tensor& target) {
  check_defined(op, "input", input);
  check_defined(op, "target", target);
  check_floating(op, "input", input);
  SW_CHECK_SHAPE(input.dim() >= 1 && input.dim() <= 5, op,
                 ": expected input (C,), (N, C) or (N, C, d1, ...) of at most 5 dimensions, got ", input.shape());
  SW_CHECK_AS(DeviceError, target.device() == input.device(), op, ": expected target on ", input.device(),
              " like input ", input.dtype(), " ", input.shape(), ", got ", target.dtype(), " ", target.shape(), " on ",
              target.device());
}

void check_index_target(const char* op, const Tensor& input, const Tensor& target) {
  const DType d = target.dtype();
  SW_CHECK_TYPE(d == DType::Int64 || d == DType::Int32 || d == DType::UInt8, op,
                ": expected target class indices of dtype int64, int32 or uint8, got ", d);
  SW_CHECK_SHAPE(target.shape() == rows_shape(input), op, ": expected target of shape ", rows_shape(input),
                 " for input ", input.shape(), ", got ", target.shape());
}

Tensor class_weights(const char* op, const Tensor& weight, const Tensor& input, int64_t classes) {
  if (!weight.defined()) return {};
  SW_CHECK_SHAPE(weight.shape() == Shape{classes}, op, ": expected weight of shape ", Shape{classes},
                 " (one per class), got ", weight.shape());
  SW_CHECK_TYPE(is_floating(weight.dtype()), op, ": expected weight of a floating dtype, got ", weight.dtype());
  SW_CHECK_AS(DeviceError, weight.device() == input.device(), op, ": expected weight on ", input.device(), ", got ",
              weight.dtype(), " ", weight.shape(), " on ", weight.device());
  return contiguous(to(weight, accumulate_dtype(input.dtype())));
}

[[noreturn]] void throw_bad_class(const char* op, const Tensor& target, int64_t row, int64_t classes) {
  int64_t value = 0;
  dispatch_integer(target.dtype(), [&]<class T>(Type<T>) { value = int64_t(target.data_as<T>()[row]); });
  throw IndexError(concat(op, ": expected target classes in 0 to ", classes - 1, " (", classes, " classes), got ",
                          value, " at row ", row));
}

Tensor entropy(const char* op, bool logits, const Tensor& input, const Tensor& target, const Tensor& weight,
               int64_t ignore_index, Reduction reduction, double label_smoothing) {
  Tensor x, t, w;
  const int64_t classes = input.dim() == 1 ? input.size(0) : input.size(1);
  const bool probabilities = is_floating(target.dtype());
  {
    tape::NoGradGuard off;
    x = classes_last(input);
    t = probabilities ? classes_last(target) : contiguous(target);
    w = class_weights(op, weight, input, classes);
  }
  const Shape per_row = rows_shape(input);
  const int64_t rows = per_row.numel();
  Tensor loss = empty(reduction == Reduction::None ? per_row : Shape{}, x.dtype(), x.device());
  Tensor stats = empty({2, logits ? rows : 0}, DType::Float64, x.device());
  Tensor total_weight = empty({1}, DType::Float64, x.device());
  int64_t bad_row = -1;
  CrossEntropyArgs a{rows,
                     classes,
                     ignore_index,
                     x.dtype(),
                     t.dtype(),
                     logits,
                     reduction,
                     label_smoothing,
                     x.data(),
                     t.data(),
                     w.defined() ? w.data() : nullptr,
                     loss.data(),
                     stats.data_as<double>(),
                     total_weight.data_as<double>(),
                     &bad_row};
  launch(x.device(), cross_entropy_forward, a);
  if (bad_row >= 0) throw_bad_class(op, t, bad_row, classes);

  a.bad_row = nullptr;
  // docs/backward.md, equation (xent).
  tape::record(op, {loss}, {input, target}, {x, t, w, stats, total_weight}, [a](tape::Backward& b) {
    const Tensor x = b.saved(0), t = b.saved(1), w = b.saved(2), stats = b.saved(3), total = b.saved(4);
    const Tensor dloss = contiguous(b.grad());
    CrossEntropyGradArgs g{a, dloss.data(), b.target(0, x), {}};
    g.forward.x = x.data();
    g.forward.target = t.data();
    g.forward.weight = w.defined() ? w.data() : nullptr;
    g.forward.rows_stats = stats.data_as<double>();
    g.forward.total_weight = total.data_as<double>();
    g.forward.loss = nullptr;
    if (b.needs(1)) g.dtarget = b.target(1, t);
    launch(x.device(), cross_entropy_backward, g);
  });
  return loss;
}

}  // namespace

Reduction parse_reduction(const char* op, const std::string& reduction, std::optional<bool> size_average,
                          std::optional<bool> reduce) {
  if (size_average || reduce) {
    if (!reduce.value_or(true)) return Reduction::None;
    return size_average.value_or(true) ? Reduction::Mean : Reduction::Sum;
  }
  if (reduction == "none") return Reduction::None;
  if (reduction == "mean") return Reduction::Mean;
  if (reduction == "sum") return Reduction::Sum;
  throw ValueError(concat(op, ": expected reduction \"none\", \"mean\" or \"sum\", got \"", reduction, "\""));
}

Tensor cross_entropy(const Tensor& input, const Tensor& target, const Tensor& weight, int64_t ignore_index,
                     Reduction reduction, double label_smoothing) {
  const char* op = "cross_entropy";
  check_input(op, input, target);
  SW_CHECK_VALUE(label_smoothing >= 0 && label_smoothing <= 1, op, ": expected label_smoothing in [0, 1], got ",
                 label_smoothing);
  if (is_floating(target.dtype())) {
    SW_CHECK_SHAPE(target.shape() == input.shape(), op, ": expected class probabilities of the input's shape ",
                   input.shape(), ", got target ", target.shape(), "; class indices need an integer dtype");
    SW_CHECK_TYPE(target.dtype() == input.dtype(), op, ": expected class probabilities of the input's dtype ",
                  input.dtype(), ", got ", target.dtype());
    SW_CHECK_VALUE(ignore_index < 0, op, ": ignore_index is not supported with class probabilities, got ",
                   ignore_index);
  } else {
    check_index_target(op, input, target);
  }
  return entropy(op, true, input, target, weight, ignore_index, reduction, label_smoothing);
}

Tensor nll_loss(const Tensor& input, const Tensor& target, const Tensor& weight, int64_t ignore_index,
                Reduction reduction) {
  check_input("nll_loss", input, target);
  check_index_target("nll_loss", input, target);
  return entropy("nll_loss", false, input, target, weight, ignore_index, reduction, 0);
}

}  // namespace skipway
