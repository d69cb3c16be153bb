#include "ops/elementwise_detail.h"

namespace skipway {
using elementwise::float_type;
using elementwise::keep;
using elementwise::Operand;
using elementwise::run_binary;
using elementwise::run_ternary;
using tape::Backward;

namespace {

void check_condition(const char* name, const char* arg, const Tensor& t) {
  check_defined(name, arg, t);
  SW_CHECK_TYPE(!is_floating(t.dtype()), name, ": expected ", arg, " to be a bool tensor, got ", t.dtype());
}

Tensor zero() { return number(0, DType::Int64); }

// g where the condition holds, else 0; or the other way round.
Tensor masked(const Tensor& condition, const Tensor& g, bool keep_where_true) {
  return keep_where_true ? run_ternary("where", TernaryOp::Where, condition, g, zero(), g.dtype())
                         : run_ternary("where", TernaryOp::Where, condition, zero(), g, g.dtype());
}

}  // namespace

Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) {
  check_condition("where", "condition", condition);
  check_defined("where", "input", a);
  check_defined("where", "other", b);
  const DType dtype = result_type({a, b});
  const Tensor y = run_ternary("where", TernaryOp::Where, condition, a, b, dtype);
  if (!is_floating(dtype)) return y;
  tape::record("where", {y}, {a, b}, {condition}, [oa = Operand(a), ob = Operand(b)](Backward& k) {
    if (k.needs(0)) k.give(0, oa.reduce(masked(k.saved(0), k.grad(), true)));
    if (k.needs(1)) k.give(1, ob.reduce(masked(k.saved(0), k.grad(), false)));
  });
  return y;
}

namespace elementwise {

Tensor masked_fill_into(const Tensor& x, const Tensor& mask, const Tensor& value, const Tensor& out) {
  check_defined("masked_fill", "input", x);
  check_condition("masked_fill", "mask", mask);
  check_defined("masked_fill", "value", value);
  SW_CHECK_SHAPE(value.dim() == 0, "masked_fill: expected value to be a number or a 0-dim tensor, got shape ",
                 value.shape());
  const Tensor y = run_ternary("masked_fill", TernaryOp::Where, mask, value, x, x.dtype(), out);
  if (!is_floating(x.dtype())) return y;
  tape::record("masked_fill", {y}, {x, value}, {mask}, [ox = Operand(x), ov = Operand(value)](Backward& k) {
    if (k.needs(0)) k.give(0, ox.reduce(masked(k.saved(0), k.grad(), false)));
    if (k.needs(1)) k.give(1, ov.reduce(masked(k.saved(0), k.grad(), true)));
  });
  return y;
}

// min(max(x, lo), hi). dx = g where lo <= x <= hi; dlo = g where x < lo < hi; dhi = g where x > hi or lo > hi.
Tensor clamp_into(const Tensor& x, const Tensor& lo, const Tensor& hi, const Tensor& out) {
  check_defined("clamp", "input", x);
  SW_CHECK_VALUE(lo.defined() || hi.defined(), "clamp: expected min or max (or both) to be given");
  const DType dtype = out.defined() ? out.dtype() : result_type({x, lo, hi});
  const Tensor input = keep(x, tape::should_record({x, lo, hi}), out);
  const Tensor y = !hi.defined()   ? run_binary("clamp", BinaryOp::Max, x, lo, dtype, dtype, out)
                   : !lo.defined() ? run_binary("clamp", BinaryOp::Min, x, hi, dtype, dtype, out)
                                   : run_ternary("clamp", TernaryOp::Clamp, x, lo, hi, dtype, out);
  if (!is_floating(dtype)) return y;
  const Operand ox(x), ol(lo.defined() ? lo : x), oh(hi.defined() ? hi : x);
  tape::record("clamp", {y}, {x, lo, hi}, {input, lo, hi}, [ox, ol, oh](Backward& k) {
    const Tensor x = k.saved(0), lo = k.saved(1), hi = k.saved(2), g = k.grad();
    const Tensor below = lo.defined() ? compare(BinaryOp::Lt, x, lo) : Tensor();
    const Tensor above = hi.defined() ? compare(BinaryOp::Gt, x, hi) : Tensor();
    const Tensor crossed = lo.defined() && hi.defined() ? compare(BinaryOp::Gt, lo, hi) : Tensor();
    if (k.needs(0)) {
      Tensor dx = below.defined() ? masked(below, g, false) : g;
      k.give(0, ox.reduce(above.defined() ? masked(above, dx, false) : dx));
    }
    if (lo.defined() && k.needs(1)) {
      Tensor dlo = masked(below, g, true);
      k.give(1, ol.reduce(crossed.defined() ? masked(crossed, dlo, false) : dlo));
    }
    if (hi.defined() && k.needs(2)) {
      k.give(2, oh.reduce(masked(crossed.defined() ? logical(BinaryOp::LogicalOr, above, crossed) : above, g, true)));
    }
  });
  return y;
}

// start + weight (end - start)
Tensor lerp_into(const Tensor& start, const Tensor& end, const Tensor& weight, const Tensor& out) {
  check_defined("lerp", "input", start);
  check_defined("lerp", "end", end);
  check_defined("lerp", "weight", weight);
  const DType dtype = out.defined() ? out.dtype() : result_type({start, end, weight});
  SW_CHECK_TYPE(is_floating(dtype), "lerp: expected floating tensors, got ", start.dtype(), " and ", end.dtype());
  const bool recording = tape::should_record({start, end, weight});
  const Tensor from = keep(start, recording && weight.requires_grad(), out);
  const Tensor till = keep(end, recording && weight.requires_grad(), out), w = keep(weight, recording, out);
  const Tensor y = run_ternary("lerp", TernaryOp::Lerp, start, end, weight, dtype, out);
  tape::record("lerp", {y}, {start, end, weight}, {from, till, w},
               [os = Operand(start), oe = Operand(end), ow = Operand(weight)](Backward& k) {
                 const DType wide = accumulate_dtype(k.grad().dtype());
                 const Tensor g = to(k.grad(), wide), w = to(k.saved(2), wide);
                 if (k.needs(0)) k.give(0, os.reduce(mul(g, rsub(w, number(1, DType::Float64)))));
                 if (k.needs(1)) k.give(1, oe.reduce(mul(g, w)));
                 if (k.needs(2)) k.give(2, ow.reduce(mul(g, sub(to(k.saved(1), wide), k.saved(0)))));
               });
  return y;
}

// x + value a b, or x + value a / b
Tensor addc_into(TernaryOp op, const Tensor& x, const Tensor& a, const Tensor& b, double value, const Tensor& out) {
  const bool divides = op == TernaryOp::Addcdiv;
  const char* name = divides ? "addcdiv" : "addcmul";
  check_defined(name, "input", x);
  check_defined(name, "tensor1", a);
  check_defined(name, "tensor2", b);
  DType dtype = out.defined() ? out.dtype() : result_type({x, a, b});
  SW_CHECK_TYPE(!divides || is_floating(dtype), "addcdiv: expected floating tensors, got ", dtype);
  const bool recording = tape::should_record({x, a, b});
  const Tensor left = keep(a, recording, out), right = keep(b, recording, out);
  const Tensor y = run_ternary(name, op, x, a, b, dtype, out, value);
  if (!is_floating(dtype)) return y;
  tape::record(name, {y}, {x, a, b}, {left, right},
               [divides, value, ox = Operand(x), oa = Operand(a), ob = Operand(b)](Backward& k) {
                 if (k.needs(0)) k.give(0, ox.reduce(k.grad()));
                 if (!k.needs(1) && !k.needs(2)) return;
                 const DType d = accumulate_dtype(k.grad().dtype());
                 const Tensor g = mul(to(k.grad(), d), number(value, DType::Float64));
                 const Tensor a = to(k.saved(0), d), b = to(k.saved(1), d);
                 if (k.needs(1)) k.give(1, oa.reduce(divides ? div(g, b) : mul(g, b)));
                 if (k.needs(2)) {
                   k.give(2, ob.reduce(divides ? run_ternary("addcdiv", TernaryOp::DivGradDivisor, g, div(a, b), b, d)
                                               : mul(g, a)));
                 }
               });
  return y;
}

}  // namespace elementwise

Tensor masked_fill(const Tensor& x, const Tensor& mask, const Tensor& value) {
  return elementwise::masked_fill_into(x, mask, value, {});
}
Tensor clamp(const Tensor& x, const Tensor& lo, const Tensor& hi) { return elementwise::clamp_into(x, lo, hi, {}); }
Tensor lerp(const Tensor& start, const Tensor& end, const Tensor& weight) {
  return elementwise::lerp_into(start, end, weight, {});
}
Tensor addcmul(const Tensor& x, const Tensor& a, const Tensor& b, double value) {
  return elementwise::addc_into(TernaryOp::Addcmul, x, a, b, value, {});
}
Tensor addcdiv(const Tensor& x, const Tensor& a, const Tensor& b, double value) {
  return elementwise::addc_into(TernaryOp::Addcdiv, x, a, b, value, {});
}

}  // namespace skipway
