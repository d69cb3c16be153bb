#include "ops/elementwise_detail.h"

namespace skipway {
using elementwise::float_type;
using elementwise::in_place;

namespace {

void check_all(const char* name, std::initializer_list<Tensor> operands) {
  for (const Tensor& t : operands) check_defined(name, "every operand", t);
}

}  // namespace

Tensor add_(const Tensor& x, const Tensor& b, double alpha) {
  check_all("add_", {x, b});
  return in_place("add_", x, result_type({x, b}),
                  [&](const Tensor& out) { elementwise::add_into("add_", x, b, alpha, out); });
}

Tensor sub_(const Tensor& x, const Tensor& b, double alpha) {
  check_all("sub_", {x, b});
  return in_place("sub_", x, result_type({x, b}),
                  [&](const Tensor& out) { elementwise::sub_into("sub_", x, b, alpha, out); });
}

Tensor mul_(const Tensor& x, const Tensor& b) {
  check_all("mul_", {x, b});
  return in_place("mul_", x, result_type({x, b}), [&](const Tensor& out) { elementwise::mul_into("mul_", x, b, out); });
}

Tensor div_(const Tensor& x, const Tensor& b, Rounding rounding) {
  check_all("div_", {x, b});
  if (rounding != Rounding::None) {
    return assign_("div_", x, [&](const Tensor& t) { return div(t, b, rounding); });
  }
  return in_place("div_", x, float_type(result_type({x, b})),
                  [&](const Tensor& out) { elementwise::div_into("div_", x, b, out); });
}

Tensor addcmul_(const Tensor& x, const Tensor& a, const Tensor& b, double value) {
  check_all("addcmul_", {x, a, b});
  return in_place("addcmul_", x, result_type({x, a, b}),
                  [&](const Tensor& out) { elementwise::addc_into(TernaryOp::Addcmul, x, a, b, value, out); });
}

Tensor addcdiv_(const Tensor& x, const Tensor& a, const Tensor& b, double value) {
  check_all("addcdiv_", {x, a, b});
  return in_place("addcdiv_", x, float_type(result_type({x, a, b})),
                  [&](const Tensor& out) { elementwise::addc_into(TernaryOp::Addcdiv, x, a, b, value, out); });
}

Tensor lerp_(const Tensor& x, const Tensor& end, const Tensor& weight) {
  check_all("lerp_", {x, end, weight});
  return in_place("lerp_", x, result_type({x, end, weight}),
                  [&](const Tensor& out) { elementwise::lerp_into(x, end, weight, out); });
}

Tensor clamp_(const Tensor& x, const Tensor& lo, const Tensor& hi) {
  check_all("clamp_", {x});
  return in_place("clamp_", x, result_type({x, lo, hi}),
                  [&](const Tensor& out) { elementwise::clamp_into(x, lo, hi, out); });
}

Tensor masked_fill_(const Tensor& x, const Tensor& mask, const Tensor& value) {
  check_all("masked_fill_", {x, mask, value});
  return in_place("masked_fill_", x, x.dtype(),
                  [&](const Tensor& out) { elementwise::masked_fill_into(x, mask, value, out); });
}

Tensor assign_(const char* name, const Tensor& x, const std::function<Tensor(const Tensor&)>& f) {
  tape::begin_inplace(name, x);
  // What f saves of x must not be the memory that changes below.
  const Tensor result = f(tape::grad_enabled() && is_floating(x.dtype()) ? clone(x) : x);
  elementwise::check_castable(name, x, result.dtype());
  SW_CHECK_SHAPE(result.shape() == x.shape(), name, ": in place, expected a result of shape ", x.shape(), ", got ",
                 result.shape());
  copy_into(x, result);
  tape::finish_inplace(x, to(result, x.dtype()));
  return x;
}

}  // namespace skipway
