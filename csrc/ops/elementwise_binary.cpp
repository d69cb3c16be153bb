#include "ops/deferred_norm.h"
#include "ops/elementwise_detail.h"

namespace skipway {
using elementwise::float_type;
using elementwise::keep;
using elementwise::Operand;
using elementwise::run_binary;
using elementwise::run_ternary;
using tape::Backward;

namespace {

bool wants(const Tensor& t) { return t.defined() && t.requires_grad(); }

void check_two(const char* name, const Tensor& a, const Tensor& b) {
  check_defined(name, "input", a);
  check_defined(name, "other", b);
}

DType result_dtype(const Tensor& a, const Tensor& b, const Tensor& out) {
  return out.defined() ? out.dtype() : result_type({a, b});
}

// d max(a, b) or d min(a, b): to the one taken, halved where they are equal.
Tensor extremum(const char* name, BinaryOp op, TernaryOp grad, const Tensor& a, const Tensor& b) {
  check_two(name, a, b);
  const DType dtype = result_type({a, b});
  const Tensor y = run_binary(name, op, a, b, dtype, dtype);
  tape::record(name, {y}, {a, b}, {a, b}, [=, oa = Operand(a), ob = Operand(b)](Backward& k) {
    const Tensor& g = k.grad();
    if (k.needs(0)) k.give(0, oa.reduce(run_ternary(name, grad, g, k.saved(0), k.saved(1), oa.terms(g))));
    if (k.needs(1)) k.give(1, ob.reduce(run_ternary(name, grad, g, k.saved(1), k.saved(0), ob.terms(g))));
  });
  return y;
}

}  // namespace

namespace elementwise {

Tensor add_into(const char* name, const Tensor& a, const Tensor& b, double alpha, const Tensor& out) {
  check_two(name, a, b);
  const DType dtype = result_dtype(a, b, out);
  Tensor y = alpha == 1 ? deferred_sum(a, b, out) : Tensor();
  if (!y.defined()) y = run_binary(name, BinaryOp::Add, a, b, dtype, dtype, out, alpha);
  tape::record(name, {y}, {a, b}, {}, [alpha, oa = Operand(a), ob = Operand(b)](Backward& k) {
    if (k.needs(0)) k.give(0, oa.reduce(k.grad()));
    if (k.needs(1)) k.give(1, ob.reduce(k.grad(), alpha));
  });
  return y;
}

Tensor sub_into(const char* name, const Tensor& a, const Tensor& b, double alpha, const Tensor& out) {
  check_two(name, a, b);
  const DType dtype = result_dtype(a, b, out);
  SW_CHECK_TYPE(a.dtype() != DType::Bool && b.dtype() != DType::Bool, name,
                ": bool tensors cannot be subtracted; use ~ or logical_xor");
  const Tensor y = run_binary(name, BinaryOp::Sub, a, b, dtype, dtype, out, alpha);
  tape::record(name, {y}, {a, b}, {}, [alpha, oa = Operand(a), ob = Operand(b)](Backward& k) {
    if (k.needs(0)) k.give(0, oa.reduce(k.grad()));
    if (k.needs(1)) k.give(1, ob.reduce(k.grad(), -alpha));
  });
  return y;
}

Tensor mul_into(const char* name, const Tensor& a, const Tensor& b, const Tensor& out) {
  check_two(name, a, b);
  const DType dtype = result_dtype(a, b, out);
  const bool recording = tape::should_record({a, b});
  const Tensor left = keep(a, recording && wants(b), out), right = keep(b, recording && wants(a), out);
  const Tensor y = run_binary(name, BinaryOp::Mul, a, b, dtype, dtype, out);
  tape::record(name, {y}, {a, b}, {left, right}, [oa = Operand(a), ob = Operand(b)](Backward& k) {
    const Tensor& g = k.grad();
    const DType d = g.dtype();
    if (k.needs(0)) k.give(0, oa.reduce(run_binary("mul", BinaryOp::Mul, g, k.saved(1), d, oa.terms(g))));
    if (k.needs(1)) k.give(1, ob.reduce(run_binary("mul", BinaryOp::Mul, g, k.saved(0), d, ob.terms(g))));
  });
  return y;
}

// da = g / b, db = -g y / b; y is what was stored, unless that has 16 bits: then it is computed again.
Tensor div_into(const char* name, const Tensor& a, const Tensor& b, const Tensor& out) {
  check_two(name, a, b);
  const DType dtype = out.defined() ? out.dtype() : float_type(result_type({a, b}));
  const bool recording = tape::should_record({a, b});
  const bool again = is_half(dtype);
  const Tensor left = keep(a, recording && again && wants(b), out), right = keep(b, recording, out);
  const Tensor y = run_binary(name, BinaryOp::Div, a, b, dtype, dtype, out);
  const Tensor quotient = !recording || !wants(b) ? Tensor() : again ? left : y;
  tape::record(name, {y}, {a, b}, {quotient, right}, [again, oa = Operand(a), ob = Operand(b)](Backward& k) {
    const Tensor &g = k.grad(), b = k.saved(1);
    if (k.needs(0)) k.give(0, oa.reduce(run_binary("div", BinaryOp::Div, g, b, g.dtype(), oa.terms(g))));
    if (k.needs(1)) {
      const DType wide = accumulate_dtype(g.dtype());
      const Tensor q = again ? run_binary("div", BinaryOp::Div, k.saved(0), b, wide, wide) : k.saved(0);
      k.give(1, ob.reduce(run_ternary("div", TernaryOp::DivGradDivisor, g, q, b, ob.terms(g))));
    }
  });
  return y;
}

}  // namespace elementwise

Tensor add(const Tensor& a, const Tensor& b, double alpha) { return elementwise::add_into("add", a, b, alpha, {}); }
Tensor sub(const Tensor& a, const Tensor& b, double alpha) { return elementwise::sub_into("sub", a, b, alpha, {}); }
Tensor rsub(const Tensor& a, const Tensor& b, double alpha) { return elementwise::sub_into("rsub", b, a, alpha, {}); }
Tensor mul(const Tensor& a, const Tensor& b) { return elementwise::mul_into("mul", a, b, {}); }

Rounding parse_rounding(const std::string& mode) {
  SW_CHECK_VALUE(mode.empty() || mode == "floor" || mode == "trunc",
                 "div: expected rounding_mode to be None, 'floor' or 'trunc', got '", mode, "'");
  return mode == "floor" ? Rounding::Floor : mode == "trunc" ? Rounding::Trunc : Rounding::None;
}

namespace {

// Piecewise constant in both operands: the gradients are 0.
Tensor rounded_div(const char* name, BinaryOp op, const Tensor& a, const Tensor& b) {
  check_two(name, a, b);
  const DType dtype = result_type({a, b});
  const Tensor y = run_binary(name, op, a, b, dtype, dtype);
  if (!is_floating(dtype)) return y;
  tape::record(name, {y}, {a, b}, {}, [oa = Operand(a), ob = Operand(b)](Backward& k) {
    if (k.needs(0)) k.give(0, zeros(oa.shape, oa.dtype, k.grad().device()));
    if (k.needs(1)) k.give(1, zeros(ob.shape, ob.dtype, k.grad().device()));
  });
  return y;
}

// a - b * q, q the quotient rounded down or towards zero: da = g, db = -g q.
Tensor modulo(const char* name, BinaryOp op, BinaryOp quotient, const Tensor& a, const Tensor& b) {
  check_two(name, a, b);
  const DType dtype = result_type({a, b});
  const Tensor y = run_binary(name, op, a, b, dtype, dtype);
  if (!is_floating(dtype)) return y;
  tape::record(name, {y}, {a, b}, {a, b}, [=, oa = Operand(a), ob = Operand(b)](Backward& k) {
    if (k.needs(0)) k.give(0, oa.reduce(k.grad()));
    if (k.needs(1)) {
      const DType d = k.grad().dtype(), wide = accumulate_dtype(d);
      const Tensor q = run_binary(name, quotient, k.saved(0), k.saved(1), wide, wide);
      k.give(1, ob.reduce(run_binary(name, BinaryOp::Mul, k.grad(), q, wide, ob.terms(k.grad())), -1));
    }
  });
  return y;
}

}  // namespace

Tensor div(const Tensor& a, const Tensor& b, Rounding rounding) {
  if (rounding == Rounding::None) return elementwise::div_into("div", a, b, {});
  return rounded_div("div", rounding == Rounding::Floor ? BinaryOp::FloorDiv : BinaryOp::TruncDiv, a, b);
}
Tensor floor_divide(const Tensor& a, const Tensor& b) { return rounded_div("floor_divide", BinaryOp::FloorDiv, a, b); }
Tensor remainder(const Tensor& a, const Tensor& b) {
  return modulo("remainder", BinaryOp::Remainder, BinaryOp::FloorDiv, a, b);
}
Tensor fmod(const Tensor& a, const Tensor& b) { return modulo("fmod", BinaryOp::Fmod, BinaryOp::TruncDiv, a, b); }

namespace {

// Numbers with a cheaper op: true when `op` is it.
bool simple_power(double exponent, UnaryOp& op, bool floating) {
  if (exponent == 2) return op = UnaryOp::Square, true;
  if (!floating) return false;
  if (exponent == 0.5) return op = UnaryOp::Sqrt, true;
  if (exponent == -0.5) return op = UnaryOp::Rsqrt, true;
  if (exponent == -1) return op = UnaryOp::Reciprocal, true;
  return false;
}

double value_of(const Tensor& weak) {
  double v = 0;
  dispatch_all(weak.dtype(), [&]<class T>(Type<T>) { v = double(*weak.data_as<T>()); });
  return v;
}

}  // namespace

Tensor pow(const Tensor& a, const Tensor& b) {
  check_two("pow", a, b);
  const DType dtype = result_type({a, b});
  if (b.weak()) {
    UnaryOp op;
    if (a.dtype() == dtype && simple_power(value_of(b), op, is_floating(dtype))) return unary(op, a);
    SW_CHECK_VALUE(is_floating(dtype) || value_of(b) >= 0, "pow: integers cannot be raised to the negative power ",
                   value_of(b), "; use a float");
  }
  const Tensor y = run_binary("pow", BinaryOp::Pow, a, b, dtype, dtype);
  if (!is_floating(dtype)) return y;
  const bool again = is_half(dtype);  // its y is too coarse for the gradient
  const Tensor power = wants(b) && !again ? y : Tensor();
  tape::record("pow", {y}, {a, b}, {a, b, power}, [again, oa = Operand(a), ob = Operand(b)](Backward& k) {
    const Tensor &g = k.grad(), a = k.saved(0), b = k.saved(1);
    if (k.needs(0)) k.give(0, oa.reduce(run_ternary("pow", TernaryOp::PowGradBase, g, a, b, oa.terms(g))));
    if (k.needs(1)) {
      const DType wide = accumulate_dtype(g.dtype());
      const Tensor y = again ? run_binary("pow", BinaryOp::Pow, a, b, wide, wide) : k.saved(2);
      k.give(1, ob.reduce(run_ternary("pow", TernaryOp::PowGradExponent, g, a, y, ob.terms(g))));
    }
  });
  return y;
}

Tensor maximum(const Tensor& a, const Tensor& b) {
  return extremum("maximum", BinaryOp::Max, TernaryOp::MaxGrad, a, b);
}
Tensor minimum(const Tensor& a, const Tensor& b) {
  return extremum("minimum", BinaryOp::Min, TernaryOp::MinGrad, a, b);
}

namespace {

// A floating op of two tensors; grad(g, a, b, y, i) is the gradient of operand i at the result's shape, all of them in
// float32 where the op is in bfloat16: each is composed of several steps.
template <class F>
Tensor floating(const char* name, BinaryOp op, const Tensor& a, const Tensor& b, F grad) {
  check_two(name, a, b);
  const DType dtype = float_type(result_type({a, b}));
  const Tensor y = run_binary(name, op, a, b, dtype, dtype);
  tape::record(name, {y}, {a, b}, {a, b, y}, [grad, oa = Operand(a), ob = Operand(b)](Backward& k) {
    const DType wide = accumulate_dtype(k.grad().dtype());
    const Tensor g = to(k.grad(), wide), left = to(k.saved(0), wide), right = to(k.saved(1), wide);
    if (k.needs(0)) k.give(0, oa.reduce(to(grad(g, left, right, k.saved(2), 0), wide)));
    if (k.needs(1)) k.give(1, ob.reduce(to(grad(g, left, right, k.saved(2), 1), wide)));
  });
  return y;
}

}  // namespace

Tensor atan2(const Tensor& a, const Tensor& b) {
  return floating("atan2", BinaryOp::Atan2, a, b,
                  [](const Tensor& g, const Tensor& x, const Tensor& z, const Tensor&, int i) {
                    const Tensor length = add(mul(x, x), mul(z, z));
                    return i == 0 ? mul(g, div(z, length)) : mul(g, div(unary(UnaryOp::Neg, x), length));
                  });
}

namespace {
// The length that was stored, or a better one where that has 16 bits.
Tensor hypot_of(const Tensor& x, const Tensor& z, const Tensor& y) {
  return is_half(y.dtype()) ? run_binary("hypot", BinaryOp::Hypot, x, z, x.dtype(), x.dtype()) : y;
}
}  // namespace

Tensor hypot(const Tensor& a, const Tensor& b) {
  return floating("hypot", BinaryOp::Hypot, a, b,
                  [](const Tensor& g, const Tensor& x, const Tensor& z, const Tensor& y, int i) {
                    return mul(g, div(i == 0 ? x : z, hypot_of(x, z, y)));
                  });
}

Tensor xlogy(const Tensor& a, const Tensor& b) {
  return floating("xlogy", BinaryOp::Xlogy, a, b,
                  [](const Tensor& g, const Tensor& x, const Tensor& z, const Tensor&, int i) {
                    return mul(g, i == 0 ? unary(UnaryOp::Log, z) : div(x, z));
                  });
}

Tensor copysign(const Tensor& a, const Tensor& b) {
  return floating("copysign", BinaryOp::CopySign, a, b,
                  [](const Tensor& g, const Tensor& x, const Tensor& z, const Tensor& y, int i) {
                    if (i == 1) return mul(g, zeros_like(z));
                    return mul(g, mul(unary(UnaryOp::Sign, x), unary(UnaryOp::Sign, y)));
                  });
}

Tensor compare(BinaryOp op, const Tensor& a, const Tensor& b) {
  const char* names[] = {"eq", "ne", "lt", "le", "gt", "ge"};
  const char* name = names[int(op) - int(BinaryOp::Eq)];
  check_two(name, a, b);
  return run_binary(name, op, a, b, result_type({a, b}), DType::Bool);
}

Tensor logical(BinaryOp op, const Tensor& a, const Tensor& b) {
  const char* names[] = {"logical_and", "logical_or", "logical_xor"};
  const char* name = names[int(op) - int(BinaryOp::LogicalAnd)];
  check_two(name, a, b);
  return run_binary(name, op, a, b, promote(a.dtype(), b.dtype()), DType::Bool);
}

Tensor bitwise(BinaryOp op, const Tensor& a, const Tensor& b) {
  const char* names[] = {"bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift"};
  const char* name = names[int(op) - int(BinaryOp::BitAnd)];
  check_two(name, a, b);
  const DType dtype = result_type({a, b});
  SW_CHECK_TYPE(!is_floating(dtype), name, ": expected integer or bool tensors, got ", a.dtype(), " and ", b.dtype());
  return run_binary(name, op, a, b, dtype, dtype);
}

}  // namespace skipway
