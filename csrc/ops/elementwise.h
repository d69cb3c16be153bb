// Elementwise arithmetic, comparison and mathematics with broadcasting and PyTorch's type promotion; Python numbers
// come as 0-dim tensors with weak(). Each op keeps the memory layout of its first operand of full shape. The formula of
// an op stands in its kernel (elementwise_*_cpu.cpp), that of its gradient beside it in elementwise_*.cpp.
#pragma once
#include <functional>
#include <string>

#include "core/tensor.h"
#include "kernels/dispatch.h"
#include "kernels/walk_args.h"

namespace skipway {

// ---- kernels --------------------------------------------------------------------------------------------------------
// out = op(a, b), computed in `compute` (Float32, Float64 or Int64), read from and written to any dtype.
enum class BinaryOp : uint8_t {
  Add,
  Sub,
  RSub,
  Mul,
  Div,
  FloorDiv,
  TruncDiv,
  Remainder,
  Fmod,
  Pow,
  Max,
  Min,
  Atan2,
  Eq,
  Ne,
  Lt,
  Le,
  Gt,
  Ge,
  LogicalAnd,
  LogicalOr,
  LogicalXor,
  BitAnd,
  BitOr,
  BitXor,
  LeftShift,
  RightShift,
  Xlogy,
  Hypot,
  CopySign,
};
struct BinaryArgs {
  BinaryOp op;
  DType compute;
  int64_t numel;
  Walk out, a, b;
  double alpha;       // Add: a + alpha b, Sub: a - alpha b
  int32_t* div_zero;  // set to 1 when an integer was divided by 0; CUDA kernels raise a fault
};
SW_DECLARE_KERNEL(elementwise_binary, BinaryArgs)

// out = op(x). The grad ops take (dy, x) or (dy, y) through elementwise_unary_grad: dx = dy * f'(x).
enum class UnaryOp : uint8_t {
  Neg,
  Abs,
  Sign,
  Exp,
  Exp2,
  Expm1,
  Log,
  Log2,
  Log10,
  Log1p,
  Sqrt,
  Rsqrt,
  Square,
  Reciprocal,
  Sin,
  Cos,
  Tan,
  Asin,
  Acos,
  Atan,
  Sinh,
  Cosh,
  Tanh,
  Sigmoid,
  Erf,
  Erfc,
  Floor,
  Ceil,
  Round,
  Trunc,
  Frac,
  IsNan,
  IsInf,
  IsFinite,
  LogicalNot,
  BitNot,
  Logit,
  Asinh,
  Acosh,
  Atanh,
  Erfinv,
};
struct UnaryArgs {
  UnaryOp op;
  DType compute;
  int64_t numel;
  Walk out, x;
};
SW_DECLARE_KERNEL(elementwise_unary, UnaryArgs)
struct UnaryGradArgs {
  UnaryOp op;
  DType compute;
  int64_t numel;
  Walk dx, dy, saved;  // saved: y for the ops of unary_saves_output, x for the others
};
SW_DECLARE_KERNEL(elementwise_unary_grad, UnaryGradArgs)
bool unary_saves_output(UnaryOp op);

// Where: a ? b : c. MaxGrad(g, a, b): g where a > b, g / 2 where a == b, else 0; MinGrad with a < b.
// PowGradBase(g, a, b) = g b a^(b - 1), PowGradExponent(g, a, y) = g y log(a), DivGradDivisor(g, y, b) = -g y / b.
enum class TernaryOp : uint8_t {
  Where,
  Clamp,
  Lerp,
  Addcmul,
  Addcdiv,
  MaxGrad,
  MinGrad,
  PowGradBase,
  PowGradExponent,
  DivGradDivisor,
};
struct TernaryArgs {
  TernaryOp op;
  DType compute;
  int64_t numel;
  Walk out, a, b, c;
  double value;  // Addcmul, Addcdiv: a + value * (b * c), a + value * (b / c)
};
SW_DECLARE_KERNEL(elementwise_ternary, TernaryArgs)

// ---- binary ---------------------------------------------------------------------------------------------------------
Tensor add(const Tensor& a, const Tensor& b, double alpha = 1);
Tensor sub(const Tensor& a, const Tensor& b, double alpha = 1);
Tensor rsub(const Tensor& a, const Tensor& b, double alpha = 1);  // b - alpha a
Tensor mul(const Tensor& a, const Tensor& b);
enum class Rounding : uint8_t { None, Floor, Trunc };
Rounding parse_rounding(const std::string& mode);  // "floor", "trunc"; "" is None
Tensor div(const Tensor& a, const Tensor& b, Rounding rounding = Rounding::None);
Tensor floor_divide(const Tensor& a, const Tensor& b);
Tensor remainder(const Tensor& a, const Tensor& b);  // has the divisor's sign
Tensor fmod(const Tensor& a, const Tensor& b);       // has the dividend's sign
Tensor pow(const Tensor& a, const Tensor& b);
Tensor maximum(const Tensor& a, const Tensor& b);  // NaN where either is NaN
Tensor minimum(const Tensor& a, const Tensor& b);
Tensor atan2(const Tensor& a, const Tensor& b);
Tensor xlogy(const Tensor& a, const Tensor& b);  // a log(b), 0 where a is 0
Tensor hypot(const Tensor& a, const Tensor& b);
Tensor copysign(const Tensor& a, const Tensor& b);
Tensor compare(BinaryOp op, const Tensor& a, const Tensor& b);  // Eq to Ge: bool
Tensor logical(BinaryOp op, const Tensor& a, const Tensor& b);  // LogicalAnd, LogicalOr, LogicalXor: bool
Tensor bitwise(BinaryOp op, const Tensor& a, const Tensor& b);  // BitAnd to RightShift: integers and bool

// ---- ternary --------------------------------------------------------------------------------------------------------
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);
Tensor masked_fill(const Tensor& x, const Tensor& mask, const Tensor& value);
Tensor clamp(const Tensor& x, const Tensor& lo, const Tensor& hi);  // either may be undefined
Tensor lerp(const Tensor& start, const Tensor& end, const Tensor& weight);
Tensor addcmul(const Tensor& x, const Tensor& a, const Tensor& b, double value = 1);
Tensor addcdiv(const Tensor& x, const Tensor& a, const Tensor& b, double value = 1);

// ---- unary ----------------------------------------------------------------------------------------------------------
Tensor unary(UnaryOp op, const Tensor& x);
const char* name_of(UnaryOp op);
Tensor nan_to_num(const Tensor& x, double nan, const Tensor& posinf, const Tensor& neginf);

// ---- in place: x becomes op(x, ...); x's dtype and shape stay
// --------------------------------------------------------
Tensor add_(const Tensor& x, const Tensor& b, double alpha = 1);
Tensor sub_(const Tensor& x, const Tensor& b, double alpha = 1);
Tensor mul_(const Tensor& x, const Tensor& b);
Tensor div_(const Tensor& x, const Tensor& b, Rounding rounding = Rounding::None);
Tensor addcmul_(const Tensor& x, const Tensor& a, const Tensor& b, double value = 1);
Tensor addcdiv_(const Tensor& x, const Tensor& a, const Tensor& b, double value = 1);
Tensor lerp_(const Tensor& x, const Tensor& end, const Tensor& weight);
Tensor clamp_(const Tensor& x, const Tensor& lo, const Tensor& hi);
Tensor masked_fill_(const Tensor& x, const Tensor& mask, const Tensor& value);
Tensor unary_(UnaryOp op, const Tensor& x);
// Any out-of-place op as an in-place one: computes f(x), then copies the values into x.
Tensor assign_(const char* name, const Tensor& x, const std::function<Tensor(const Tensor&)>& f);

}  // namespace skipway
