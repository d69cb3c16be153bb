// Variance, norms, and reductions composed of other ops.
#include <cmath>

#include "autograd/tape.h"
#include "ops/copy.h"
#include "ops/elementwise.h"
#include "ops/reduce.h"
#include "ops/reduce_plan.h"
#include "ops/shape.h"

namespace skipway {
namespace {

// dx = factor * dy / stat * (x - center)
Tensor centered_gradient(const ReducePlan& plan, const Tensor& dy, const Tensor& stat, const Tensor& center,
                         double factor) {
  Tensor dx = empty_like(plan.x);
  if (dx.numel() == 0) return dx;
  const DType acc = accumulate_dtype(dx.dtype());
  const Tensor g = plan.arrange(reshape(dy, plan.keep_shape), acc);
  const Tensor s = stat.defined() ? plan.arrange(reshape(stat, plan.keep_shape), acc) : stat;
  launch(dx.device(), centered_backward,
         CenteredGradArgs{plan.g, dx.dtype(), plan.x.data(), g.data(), s.defined() ? s.data() : nullptr,
                          center.defined() ? center.data() : nullptr, factor, dx.data()});
  return dx;
}

Tensor variance(const char* name, const Tensor& x, const Dims& dims, bool keepdim, double correction, bool root) {
  check_floating(name, "input", x);
  const uint32_t mask = reduce_mask(name, x, dims);
  const ReducePlan plan = plan_reduction(x, mask);
  const double n = double(reduced_count(x, mask)), degrees = n - correction > 0 ? n - correction : 0;
  Tensor y, center = refined_mean(plan, n);
  {
    tape::NoGradGuard no_grad;
    y = reshape(run_planned(plan, ReduceOp::SumSquares, x.dtype(), degrees, root, center),
                reduced_shape(x.shape(), mask, keepdim))
            .alias();
  }
  const Tensor stat = root ? y : Tensor();
  // docs/backward.md, equation (var).
  tape::record(name, {y}, {x}, {x, stat}, [mask, n, degrees, root](tape::Backward& b) {
    const ReducePlan plan = plan_reduction(b.saved(0), mask);
    b.give(0, centered_gradient(plan, b.grad(), b.saved(1), refined_mean(plan, n), (root ? 1 : 2) / degrees));
  });
  return y;
}

Tensor scalar(double value, const Tensor& like) { return number(value, like.dtype()); }

}  // namespace

Tensor var(const Tensor& x, const Dims& dims, bool keepdim, double correction) {
  return variance("var", x, dims, keepdim, correction, false);
}
Tensor std(const Tensor& x, const Dims& dims, bool keepdim, double correction) {
  return variance("std", x, dims, keepdim, correction, true);
}

namespace {
// Both gradients are added before they are rounded to bfloat16.
std::pair<Tensor, Tensor> spread_mean(const char* name, const Tensor& input, const Dims& dims, bool keepdim,
                                      double correction, bool root) {
  check_floating(name, "input", input);
  const DType dtype = input.dtype();
  const Tensor x = tape::should_record({input}) ? to(input, accumulate_dtype(dtype)) : input;
  return {to(variance(name, x, dims, keepdim, correction, root), dtype), to(mean(x, dims, keepdim), dtype)};
}
}  // namespace

std::pair<Tensor, Tensor> var_mean(const Tensor& x, const Dims& dims, bool keepdim, double correction) {
  return spread_mean("var_mean", x, dims, keepdim, correction, false);
}
std::pair<Tensor, Tensor> std_mean(const Tensor& x, const Dims& dims, bool keepdim, double correction) {
  return spread_mean("std_mean", x, dims, keepdim, correction, true);
}

namespace {
Tensor norm2(const Tensor& x, const Dims& dims, bool keepdim) {
  const uint32_t mask = reduce_mask("norm", x, dims);
  Tensor y = run_reduction(x, mask, ReduceOp::SumSquares, x.dtype(), 1, true);
  {
    tape::NoGradGuard no_grad;
    y = reshape(y, reduced_shape(x.shape(), mask, keepdim)).alias();
  }
  tape::record("norm", {y}, {x}, {x, y}, [mask](tape::Backward& b) {
    b.give(0, centered_gradient(plan_reduction(b.saved(0), mask), b.grad(), b.saved(1), {}, 1));
  });
  return y;
}
}  // namespace

Tensor norm(const Tensor& input, double p, const Dims& dims, bool keepdim, OptionalDType dtype) {
  check_defined("norm", "input", input);
  const Tensor x = dtype ? to(input, *dtype) : input;
  check_floating("norm", "input", x);
  SW_CHECK_VALUE(!std::isnan(p), "norm: p must be a number, got nan");
  if (p == 2) return norm2(x, dims, keepdim);
  const Tensor size = unary(UnaryOp::Abs, x);
  if (p == 1) return sum(size, dims, keepdim);
  if (std::isinf(p)) return p > 0 ? amax(size, dims, keepdim) : amin(size, dims, keepdim);
  if (p == 0) return sum(to(compare(BinaryOp::Ne, x, scalar(0, x)), x.dtype()), dims, keepdim);
  if (is_half(x.dtype())) return to(norm(to(x, DType::Float32), p, dims, keepdim, {}), x.dtype());
  return pow(sum(pow(size, scalar(p, x)), dims, keepdim), scalar(1 / p, x));
}

namespace {
// exp(x - m) with m = max(x), or 0 where that is infinite.
std::pair<Tensor, Tensor> shifted_exp(const Tensor& x, const Dims& dims) {
  const Tensor m = amax(x, dims, true);
  const Tensor shift = where(unary(UnaryOp::IsInf, m), scalar(0, x), m);
  return {unary(UnaryOp::Exp, sub(x, shift)), shift};
}
}  // namespace

// log(sum(exp(x))) = m + log(sum(exp(x - m))).  dx = dy * exp(x - m) / sum(exp(x - m)), which unlike exp(x - y) does
// not suffer from the rounding of a large y.
Tensor logsumexp(const Tensor& x, const Dims& dims, bool keepdim) {
  check_floating("logsumexp", "input", x);
  const uint32_t mask = reduce_mask("logsumexp", x, dims);
  const Shape keep = reduced_shape(x.shape(), mask, true);
  const DType wide = accumulate_dtype(x.dtype());  // 16 bits: every step in float32
  Tensor y, result;
  {
    tape::NoGradGuard no_grad;
    if (reduced_count(x, mask) == 0) {
      y = full(keep, -INFINITY, wide, x.device());
    } else {
      const auto [e, shift] = shifted_exp(to(x, wide), dims);
      y = add(unary(UnaryOp::Log, sum(e, dims, true)), shift);
    }
    result = to(y, x.dtype()).alias();
    if (!keepdim) result = reshape(result, reduced_shape(x.shape(), mask, false)).alias();
  }
  tape::record("logsumexp", {result}, {x}, {x}, [keep, dims, wide](tape::Backward& b) {
    const Tensor x = b.saved(0);
    if (x.numel() == 0) return b.give(0, zeros_like(x));
    const Tensor e = shifted_exp(to(x, wide), dims).first;
    b.give(0, to(mul(div(e, sum(e, dims, true)), reshape(to(b.grad(), wide), keep)), x.dtype()));
  });
  return result;
}

Tensor nansum(const Tensor& input, const Dims& dims, bool keepdim, OptionalDType dtype) {
  check_defined("nansum", "input", input);
  if (!is_floating(input.dtype())) return sum(input, dims, keepdim, dtype);
  return sum(where(unary(UnaryOp::IsNan, input), scalar(0, input), input), dims, keepdim, dtype);
}

Tensor nanmean(const Tensor& input, const Dims& dims, bool keepdim, OptionalDType dtype) {
  check_floating("nanmean", "input", input);
  const Tensor numbers = sum(unary(UnaryOp::LogicalNot, unary(UnaryOp::IsNan, input)), dims, keepdim);
  const DType stored = dtype.value_or(input.dtype());  // 16 bits: rounded after the division
  return to(div(nansum(input, dims, keepdim, accumulate_dtype(stored)), numbers), stored);
}

}  // namespace skipway
