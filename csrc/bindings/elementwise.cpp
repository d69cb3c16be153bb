#include "ops/elementwise.h"

#include <optional>
#include <string>
#include <utility>

#include "bindings/bindings.h"
#include "bindings/elementwise_docs.h"
#include "ops/copy.h"
#include "ops/iterator.h"

namespace skipway::bindings {
namespace {

Rounding rounding_of(const std::optional<std::string>& mode) { return parse_rounding(mode.value_or("")); }
Tensor div_mode(const Tensor& a, const Tensor& b, const std::optional<std::string>& mode) {
  return div(a, b, rounding_of(mode));
}
Tensor div_mode_(const Tensor& x, const Tensor& b, const std::optional<std::string>& mode) {
  return div_(x, b, rounding_of(mode));
}

Tensor round_to(const Tensor& x, int decimals) {
  if (decimals == 0) return unary(UnaryOp::Round, x);
  double scale = 1;
  for (int i = 0; i < (decimals < 0 ? -decimals : decimals); ++i) scale *= 10;
  const Tensor factor = number(scale, DType::Float64);
  return decimals > 0 ? div(unary(UnaryOp::Round, mul(x, factor)), factor)
                      : mul(unary(UnaryOp::Round, div(x, factor)), factor);
}

Tensor logit_clamped(const Tensor& x, std::optional<double> eps) {
  if (!eps) return unary(UnaryOp::Logit, x);
  return unary(UnaryOp::Logit, clamp(x, number(*eps, DType::Float64), number(1 - *eps, DType::Float64)));
}

Tensor isclose(const Tensor& a, const Tensor& b, double rtol, double atol, bool equal_nan) {
  const Tensor gap = unary(UnaryOp::Abs, sub(a, b));
  const Tensor limit = add(mul(unary(UnaryOp::Abs, b), number(rtol, DType::Float64)), number(atol, DType::Float64));
  const Tensor near = logical(BinaryOp::LogicalAnd, compare(BinaryOp::Le, gap, limit), unary(UnaryOp::IsFinite, b));
  const Tensor close = logical(BinaryOp::LogicalOr, near, compare(BinaryOp::Eq, a, b));
  if (!equal_nan) return close;
  const Tensor both = logical(BinaryOp::LogicalAnd, unary(UnaryOp::IsNan, a), unary(UnaryOp::IsNan, b));
  return logical(BinaryOp::LogicalOr, close, both);
}

// The larger and the smaller of two, the other one where one is NaN. Of equals the first, with all of the gradient.
Tensor first_unless_nan(const Tensor& a, const Tensor& b, BinaryOp wins) {
  return where(logical(BinaryOp::LogicalOr, compare(wins, a, b), unary(UnaryOp::IsNan, b)), a, b);
}
Tensor fmax(const Tensor& a, const Tensor& b) { return first_unless_nan(a, b, BinaryOp::Ge); }
Tensor fmin(const Tensor& a, const Tensor& b) { return first_unless_nan(a, b, BinaryOp::Le); }

// log(e^a + e^b) = max + log1p(e^-|a - b|); of two equal infinities, that infinity.
Tensor logaddexp(const Tensor& a, const Tensor& b) {
  const Tensor gap = unary(UnaryOp::Neg, unary(UnaryOp::Abs, sub(a, b)));
  const Tensor sum = add(maximum(a, b), unary(UnaryOp::Log1p, unary(UnaryOp::Exp, gap)));
  const Tensor same = logical(BinaryOp::LogicalAnd, compare(BinaryOp::Eq, a, b), unary(UnaryOp::IsInf, a));
  return where(same, a, sum);
}

Tensor float_power(const Tensor& a, const Tensor& b) {
  const auto wide = [](const Tensor& t) { return t.weak() ? t : to(t, DType::Float64); };
  return pow(wide(a), wide(b));
}

constexpr double kDegree = 0.017453292519943295769;

template <class F, class... Extra>
void put(py::module_& m, const char* name, F f, const Extra&... extra) {
  both(m, name, f, extra..., elementwise_doc(name).c_str());
}
template <class F, class... Extra>
void put_method(py::module_& m, const char* name, F f, const Extra&... extra) {
  method(m, name, f, extra..., elementwise_doc(name).c_str());
}
template <class F, class... Extra>
void both_names(py::module_& m, std::initializer_list<const char*> names, F f, const Extra&... extra) {
  for (const char* name : names) put(m, name, f, extra...);
}
template <class F, class... Extra>
void methods(py::module_& m, std::initializer_list<const char*> names, F f, const Extra&... extra) {
  for (const char* name : names) put_method(m, name, f, extra...);
}

// An operator: an operand of an unknown type gives NotImplemented, so that Python asks the other operand.
template <class F>
void op(py::module_& m, const char* name, F f) {
  method(m, name, f, "self"_a, "other"_a.none(false), py::is_operator());
}

// Tensor.name(other): x becomes f(x, other).
template <class F>
void bind_assigning(py::module_& m, const std::string& name, F f) {
  put_method(
      m, name.c_str(),
      [name, f](const Tensor& x, const Tensor& b) {
        return assign_(name.c_str(), x, [&](const Tensor& t) { return f(t, b); });
      },
      "self"_a, "other"_a);
}

using Binary = Tensor (*)(const Tensor&, const Tensor&);

void bind_arithmetic(py::module_& m) {
  both_names(m, {"add"}, &add, "input"_a, "other"_a, py::kw_only(), "alpha"_a = 1);
  both_names(m, {"sub", "subtract"}, &sub, "input"_a, "other"_a, py::kw_only(), "alpha"_a = 1);
  both_names(m, {"rsub"}, &rsub, "input"_a, "other"_a, py::kw_only(), "alpha"_a = 1);
  both_names(m, {"mul", "multiply"}, &mul, "input"_a, "other"_a);
  both_names(m, {"div", "divide"}, &div_mode, "input"_a, "other"_a, py::kw_only(), "rounding_mode"_a = py::none());
  both_names(m, {"true_divide"}, [](const Tensor& a, const Tensor& b) { return div(a, b); }, "input"_a, "other"_a);
  both_names(m, {"pow"}, &pow, "input"_a, "exponent"_a);
  const std::pair<const char*, Binary> others[] = {{"floor_divide", &floor_divide},
                                                   {"remainder", &remainder},
                                                   {"fmod", &fmod},
                                                   {"maximum", &maximum},
                                                   {"minimum", &minimum},
                                                   {"atan2", &atan2},
                                                   {"arctan2", &atan2},
                                                   {"xlogy", &xlogy},
                                                   {"hypot", &hypot},
                                                   {"copysign", &copysign},
                                                   {"fmax", &fmax},
                                                   {"fmin", &fmin},
                                                   {"logaddexp", &logaddexp},
                                                   {"float_power", &float_power}};
  for (const auto& [name, f] : others) put(m, name, f, "input"_a, "other"_a);

  methods(m, {"add_"}, &add_, "self"_a, "other"_a, py::kw_only(), "alpha"_a = 1);
  methods(m, {"sub_", "subtract_"}, &sub_, "self"_a, "other"_a, py::kw_only(), "alpha"_a = 1);
  methods(m, {"mul_", "multiply_"}, &mul_, "self"_a, "other"_a);
  methods(m, {"div_", "divide_"}, &div_mode_, "self"_a, "other"_a, py::kw_only(), "rounding_mode"_a = py::none());
  methods(m, {"true_divide_"}, [](const Tensor& x, const Tensor& b) { return div_(x, b); }, "self"_a, "other"_a);
  const std::pair<const char*, Binary> in_place[] = {{"pow_", &pow},
                                                     {"floor_divide_", &floor_divide},
                                                     {"remainder_", &remainder},
                                                     {"fmod_", &fmod},
                                                     {"atan2_", &atan2},
                                                     {"hypot_", &hypot},
                                                     {"xlogy_", &xlogy},
                                                     {"copysign_", &copysign}};
  for (const auto& [name, f] : in_place) bind_assigning(m, name, f);
}

void bind_operators(py::module_& m) {
  op(m, "__add__", [](const Tensor& a, const Tensor& b) { return add(a, b); });
  op(m, "__radd__", [](const Tensor& a, const Tensor& b) { return add(b, a); });
  op(m, "__sub__", [](const Tensor& a, const Tensor& b) { return sub(a, b); });
  op(m, "__rsub__", [](const Tensor& a, const Tensor& b) { return sub(b, a); });
  op(m, "__mul__", &mul);
  op(m, "__rmul__", [](const Tensor& a, const Tensor& b) { return mul(b, a); });
  op(m, "__truediv__", [](const Tensor& a, const Tensor& b) { return div(a, b); });
  op(m, "__rtruediv__", [](const Tensor& a, const Tensor& b) { return div(b, a); });
  op(m, "__floordiv__", &floor_divide);
  op(m, "__rfloordiv__", [](const Tensor& a, const Tensor& b) { return floor_divide(b, a); });
  op(m, "__mod__", &remainder);
  op(m, "__rmod__", [](const Tensor& a, const Tensor& b) { return remainder(b, a); });
  op(m, "__rpow__", [](const Tensor& a, const Tensor& b) { return pow(b, a); });
  method(
      m, "__pow__", [](const Tensor& a, const Tensor& b, const py::object&) { return pow(a, b); }, "self"_a,
      "other"_a.none(false), "modulo"_a = py::none(), py::is_operator());
  op(m, "__iadd__", [](const Tensor& a, const Tensor& b) { return add_(a, b); });
  op(m, "__isub__", [](const Tensor& a, const Tensor& b) { return sub_(a, b); });
  op(m, "__imul__", &mul_);
  op(m, "__itruediv__", [](const Tensor& a, const Tensor& b) { return div_(a, b); });
  const std::pair<const char*, Binary> in_place[] = {
      {"__ipow__", &pow}, {"__ifloordiv__", &floor_divide}, {"__imod__", &remainder}};
  for (const auto& [name, f] : in_place) {
    op(m, name, [name = name, f = f](const Tensor& x, const Tensor& b) {
      return assign_(name, x, [&](const Tensor& t) { return f(t, b); });
    });
  }
  method(m, "__neg__", [](const Tensor& x) { return unary(UnaryOp::Neg, x); });
  plain_method(m, "__pos__", [](const Tensor& x) { return x; });
  method(m, "__abs__", [](const Tensor& x) { return unary(UnaryOp::Abs, x); });
  method(m, "__invert__", [](const Tensor& x) { return unary(UnaryOp::BitNot, x); });
}

void bind_comparisons(py::module_& m) {
  const struct {
    std::initializer_list<const char*> names;
    const char* dunder;
    BinaryOp op;
  } comparisons[] = {{{"eq"}, "__eq__", BinaryOp::Eq},
                     {{"ne", "not_equal"}, "__ne__", BinaryOp::Ne},
                     {{"lt", "less"}, "__lt__", BinaryOp::Lt},
                     {{"le", "less_equal"}, "__le__", BinaryOp::Le},
                     {{"gt", "greater"}, "__gt__", BinaryOp::Gt},
                     {{"ge", "greater_equal"}, "__ge__", BinaryOp::Ge}};
  for (const auto& c : comparisons) {
    const auto f = [op = c.op](const Tensor& a, const Tensor& b) { return compare(op, a, b); };
    both_names(m, c.names, f, "input"_a, "other"_a);
    bind_assigning(m, std::string(*c.names.begin()) + "_", f);
    op(m, c.dunder, f);
  }
  const struct {
    const char* name;
    BinaryOp op;
  } logicals[] = {{"logical_and", BinaryOp::LogicalAnd},
                  {"logical_or", BinaryOp::LogicalOr},
                  {"logical_xor", BinaryOp::LogicalXor}};
  for (const auto& c : logicals) {
    const auto f = [op = c.op](const Tensor& a, const Tensor& b) { return logical(op, a, b); };
    put(m, c.name, f, "input"_a, "other"_a);
    bind_assigning(m, std::string(c.name) + "_", f);
  }
  const struct {
    const char *name, *dunder, *reflected, *in_place;
    BinaryOp op;
  } bits[] = {{"bitwise_and", "__and__", "__rand__", "__iand__", BinaryOp::BitAnd},
              {"bitwise_or", "__or__", "__ror__", "__ior__", BinaryOp::BitOr},
              {"bitwise_xor", "__xor__", "__rxor__", "__ixor__", BinaryOp::BitXor},
              {"bitwise_left_shift", "__lshift__", "__rlshift__", "__ilshift__", BinaryOp::LeftShift},
              {"bitwise_right_shift", "__rshift__", "__rrshift__", "__irshift__", BinaryOp::RightShift}};
  for (const auto& c : bits) {
    const auto f = [op = c.op](const Tensor& a, const Tensor& b) { return bitwise(op, a, b); };
    put(m, c.name, f, "input"_a, "other"_a);
    bind_assigning(m, std::string(c.name) + "_", f);
    op(m, c.dunder, f);
    op(m, c.reflected, [f](const Tensor& a, const Tensor& b) { return f(b, a); });
    op(m, c.in_place, [f, name = c.in_place](const Tensor& x, const Tensor& b) {
      return assign_(name, x, [&](const Tensor& t) { return f(t, b); });
    });
  }
  put(m, "isclose", &isclose, "input"_a, "other"_a, "rtol"_a = 1e-5, "atol"_a = 1e-8, "equal_nan"_a = false);
}

void bind_unary(py::module_& m) {
  const struct {
    const char* alias;
    UnaryOp op;
  } aliases[] = {{"negative", UnaryOp::Neg},  {"absolute", UnaryOp::Abs},  {"sgn", UnaryOp::Sign},
                 {"arcsin", UnaryOp::Asin},   {"arccos", UnaryOp::Acos},   {"arctan", UnaryOp::Atan},
                 {"arcsinh", UnaryOp::Asinh}, {"arccosh", UnaryOp::Acosh}, {"arctanh", UnaryOp::Atanh},
                 {"fix", UnaryOp::Trunc}};
  const auto bind = [&](const char* name, UnaryOp op) {
    put(m, name, [op](const Tensor& x) { return unary(op, x); }, "input"_a);
    if (op < UnaryOp::IsNan || op > UnaryOp::IsFinite) {
      const std::string changing = std::string(name) + "_";
      put(m, changing.c_str(), [op](const Tensor& x) { return unary_(op, x); }, "input"_a);
    }
  };
  for (int i = 0; i <= int(UnaryOp::Erfinv); ++i) {
    const UnaryOp op = UnaryOp(i);
    if (op != UnaryOp::Round && op != UnaryOp::Logit) bind(name_of(op), op);
  }
  for (const auto& a : aliases) bind(a.alias, a.op);
  put(m, "positive", [](const Tensor& x) { return x; }, "input"_a);
  put(m, "deg2rad", [](const Tensor& x) { return mul(x, number(kDegree, DType::Float64)); }, "input"_a);
  put(m, "rad2deg", [](const Tensor& x) { return mul(x, number(1 / kDegree, DType::Float64)); }, "input"_a);
  put(m, "round", &round_to, "input"_a, py::kw_only(), "decimals"_a = 0);
  put_method(
      m, "round_",
      [](const Tensor& x, int decimals) {
        return assign_("round_", x, [&](const Tensor& t) { return round_to(t, decimals); });
      },
      "self"_a, py::kw_only(), "decimals"_a = 0);
  put(m, "logit", &logit_clamped, "input"_a, "eps"_a = py::none());
  put(m, "nan_to_num", &nan_to_num, "input"_a, "nan"_a = 0.0, "posinf"_a = py::none(), "neginf"_a = py::none());
  put_method(
      m, "nan_to_num_",
      [](const Tensor& x, double nan, const Tensor& posinf, const Tensor& neginf) {
        return assign_("nan_to_num_", x, [&](const Tensor& t) { return nan_to_num(t, nan, posinf, neginf); });
      },
      "self"_a, "nan"_a = 0.0, "posinf"_a = py::none(), "neginf"_a = py::none());
}

void bind_ternary(py::module_& m) {
  function(m, "where", &where, "condition"_a, "input"_a, "other"_a, elementwise_doc("where").c_str());
  put_method(
      m, "where",
      [](const Tensor& x, const Tensor& condition, const Tensor& other) { return where(condition, x, other); },
      "self"_a, "condition"_a, "other"_a);
  put(m, "masked_fill", &masked_fill, "input"_a, "mask"_a, "value"_a);
  both_names(m, {"clamp", "clip"}, &clamp, "input"_a, "min"_a = py::none(), "max"_a = py::none());
  const auto clamp_min = [](const Tensor& x, const Tensor& min) { return clamp(x, min, {}); };
  const auto clamp_max = [](const Tensor& x, const Tensor& max) { return clamp(x, {}, max); };
  put(m, "clamp_min", clamp_min, "input"_a, "min"_a);
  put(m, "clamp_max", clamp_max, "input"_a, "max"_a);
  put(m, "lerp", &lerp, "input"_a, "end"_a, "weight"_a);
  put(m, "addcmul", &addcmul, "input"_a, "tensor1"_a, "tensor2"_a, py::kw_only(), "value"_a = 1);
  put(m, "addcdiv", &addcdiv, "input"_a, "tensor1"_a, "tensor2"_a, py::kw_only(), "value"_a = 1);
  put_method(m, "masked_fill_", &masked_fill_, "self"_a, "mask"_a, "value"_a);
  both_names(m, {"clamp_", "clip_"}, &clamp_, "input"_a, "min"_a = py::none(), "max"_a = py::none());
  put_method(m, "clamp_min_", [](const Tensor& x, const Tensor& min) { return clamp_(x, min, {}); }, "self"_a, "min"_a);
  put_method(m, "clamp_max_", [](const Tensor& x, const Tensor& max) { return clamp_(x, {}, max); }, "self"_a, "max"_a);
  put_method(m, "lerp_", &lerp_, "self"_a, "end"_a, "weight"_a);
  put_method(m, "addcmul_", &addcmul_, "self"_a, "tensor1"_a, "tensor2"_a, py::kw_only(), "value"_a = 1);
  put_method(m, "addcdiv_", &addcdiv_, "self"_a, "tensor1"_a, "tensor2"_a, py::kw_only(), "value"_a = 1);
}

}  // namespace

SW_BINDINGS(elementwise) {
  bind_arithmetic(m);
  bind_operators(m);
  bind_comparisons(m);
  bind_unary(m);
  bind_ternary(m);
  m.def(
      "result_type", [](const Tensor& a, const Tensor& b) { return result_type({a, b}); }, "tensor1"_a, "tensor2"_a,
      "The dtype that an op of the two computes in: the wider one of the higher kind (bool, integer, floating). A "
      "0-dim "
      "tensor and a Python number count only where their kind is the higher one.");
}

}  // namespace skipway::bindings
