#include "ops/elementwise_detail.h"

namespace skipway {
namespace {

constexpr const char* kNames[] = {
    "neg",      "abs",         "sign",        "exp",   "exp2",  "expm1", "log",   "log2",  "log10", "log1p", "sqrt",
    "rsqrt",    "square",      "reciprocal",  "sin",   "cos",   "tan",   "asin",  "acos",  "atan",  "sinh",  "cosh",
    "tanh",     "sigmoid",     "erf",         "erfc",  "floor", "ceil",  "round", "trunc", "frac",  "isnan", "isinf",
    "isfinite", "logical_not", "bitwise_not", "logit", "asinh", "acosh", "atanh", "erfinv"};
static_assert(sizeof kNames / sizeof *kNames == size_t(UnaryOp::Erfinv) + 1);

bool is_predicate(UnaryOp op) { return op >= UnaryOp::IsNan && op <= UnaryOp::LogicalNot; }
// Ops that stay in the integers.
bool keeps_integers(UnaryOp op) {
  return op <= UnaryOp::Sign || op == UnaryOp::Square || (op >= UnaryOp::Floor && op <= UnaryOp::Trunc) ||
         op == UnaryOp::BitNot;
}
bool is_constant(UnaryOp op) { return op == UnaryOp::Sign || (op >= UnaryOp::Floor && op <= UnaryOp::Trunc); }

DType unary_result(UnaryOp op, const Tensor& x) {
  const DType d = x.dtype();
  if (is_predicate(op)) return DType::Bool;
  if (op == UnaryOp::BitNot) {
    SW_CHECK_TYPE(!is_floating(d), "bitwise_not: expected an integer or bool tensor, got ", d);
  }
  if (op == UnaryOp::Neg) SW_CHECK_TYPE(d != DType::Bool, "neg: bool tensors have no negative; use logical_not");
  if (op == UnaryOp::Square && d == DType::Bool) return DType::Int64;
  return is_floating(d) || keeps_integers(op) ? d : DType::Float32;
}

}  // namespace

const char* name_of(UnaryOp op) { return kNames[int(op)]; }

bool unary_saves_output(UnaryOp op) {
  switch (op) {
    case UnaryOp::Exp:
    case UnaryOp::Exp2:
    case UnaryOp::Expm1:
    case UnaryOp::Sqrt:
    case UnaryOp::Rsqrt:
    case UnaryOp::Reciprocal:
    case UnaryOp::Tan:
    case UnaryOp::Tanh:
    case UnaryOp::Sigmoid:
    case UnaryOp::Erfinv:
      return true;
    default:
      return false;
  }
}

namespace elementwise {

Tensor unary_into(UnaryOp op, const Tensor& x, const Tensor& out) {
  const char* name = name_of(op);
  check_defined(name, "input", x);
  const DType result = out.defined() ? out.dtype() : unary_result(op, x);
  // On bool, not is logical; integers go to float where the op is not one of integers.
  const UnaryOp run = op == UnaryOp::BitNot && x.dtype() == DType::Bool ? UnaryOp::LogicalNot : op;
  const DType common = is_predicate(run) ? x.dtype() : result;
  const bool recording = is_floating(result) && tape::should_record({x});
  const bool saves_output = unary_saves_output(op);
  Tensor saved = keep(x, recording && !is_constant(op) && !saves_output, out), y;
  if (recording && saves_output && is_half(result)) {
    saved = run_unary(name, run, x, common, DType::Float32);  // 1 - y and the like need more digits than y has
    y = out.defined() ? out : empty_like(saved, result);
    copy_into(y, saved);
  } else {
    y = run_unary(name, run, x, common, result, out);
    if (saves_output) saved = y;
  }
  if (!recording) return y;
  tape::record(name, {y}, {x}, {saved}, [op, constant = is_constant(op)](tape::Backward& b) {
    const Tensor& g = b.grad();
    if (constant) return b.give(0, zeros_like(g));
    const Tensor saved = b.saved(0);
    Tensor dx = empty_like(saved, g.dtype());
    if (dx.numel() > 0) {
      const ElementLoop loop(dx);
      launch(dx.device(), elementwise_unary_grad,
             UnaryGradArgs{op, compute_dtype(dx.dtype()), loop.numel(), loop.walk(dx), loop.walk(g), loop.walk(saved)});
    }
    b.give(0, dx);
  });
  return y;
}

}  // namespace elementwise

Tensor unary(UnaryOp op, const Tensor& x) { return elementwise::unary_into(op, x, {}); }

Tensor unary_(UnaryOp op, const Tensor& x) {
  const std::string name = std::string(name_of(op)) + "_";
  check_defined(name.c_str(), "input", x);
  const DType result = is_predicate(op) ? x.dtype() : unary_result(op, x);
  return elementwise::in_place(name.c_str(), x, result,
                               [&](const Tensor& out) { elementwise::unary_into(op, x, out); });
}

Tensor nan_to_num(const Tensor& x, double nan, const Tensor& posinf, const Tensor& neginf) {
  check_defined("nan_to_num", "input", x);
  if (!is_floating(x.dtype())) return clone(x);
  const double largest = x.dtype() == DType::Float64   ? 0x1.fffffffffffffp+1023
                         : x.dtype() == DType::Float32 ? 0x1.fffffep+127
                         : x.dtype() == DType::Float16 ? 65504
                                                       : 0x1.fep+127;
  const double inf = __builtin_inf();
  const auto replace = [&](const Tensor& y, const Tensor& at, const Tensor& value) { return where(at, value, y); };
  const auto equal = [&](double v) { return compare(BinaryOp::Eq, x, number(v, DType::Float64)); };
  Tensor y = replace(x, unary(UnaryOp::IsNan, x), number(nan, DType::Float64));
  y = replace(y, equal(inf), posinf.defined() ? posinf : number(largest, DType::Float64));
  return replace(y, equal(-inf), neginf.defined() ? neginf : number(-largest, DType::Float64));
}

}  // namespace skipway
