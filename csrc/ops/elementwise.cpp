// Running the kernels, and in-place bookkeeping.
#include "ops/elementwise.h"

#include "ops/elementwise_detail.h"

namespace skipway {
namespace elementwise {
namespace {

void check_operands(const char* name, std::initializer_list<Tensor> operands) {
  const char* names[] = {"input", "other", "third operand"};
  int i = 0;
  for (const Tensor& t : operands) check_defined(name, names[i++], t);
}

// The output: `out` if it has the shape, else a new tensor.
Tensor output(const char* name, const Shape& shape, DType dtype, const Tensor& out,
              std::initializer_list<Tensor> operands) {
  const Device device = output_device(name, operands);
  if (!out.defined()) return elementwise_output(shape, dtype, operands);
  SW_CHECK_AS(DeviceError, out.device() == device || device.is_cpu(), name, ": in place on a tensor on ", out.device(),
              ", expected operands there, got one on ", device);
  SW_CHECK_SHAPE(out.shape() == shape, name, ": in place, expected operands that broadcast to ", out.shape(),
                 ", got a result of shape ", shape);
  return out;
}

}  // namespace

Tensor run_unary(const char* name, UnaryOp op, const Tensor& x, DType common, DType result, const Tensor& out) {
  check_operands(name, {x});
  const Tensor y = output(name, x.shape(), result, out, {x});
  if (y.numel() == 0) return y;
  const ElementLoop loop(y);
  launch(y.device(), elementwise_unary, UnaryArgs{op, compute_dtype(common), loop.numel(), loop.walk(y), loop.walk(x)});
  return y;
}

Tensor run_binary(const char* name, BinaryOp op, const Tensor& a, const Tensor& b, DType common, DType result,
                  const Tensor& out, double alpha) {
  check_operands(name, {a, b});
  const Tensor y = output(name, broadcast_shapes(a.shape(), b.shape(), name), result, out, {a, b});
  if (y.numel() == 0) return y;
  const ElementLoop loop(y);
  int32_t div_zero = 0;
  const Tensor left = without_overlap(a, y), right = without_overlap(b, y);
  launch(y.device(), elementwise_binary,
         BinaryArgs{op, compute_dtype(common), loop.numel(), loop.walk(y), loop.walk(left), loop.walk(right), alpha,
                    &div_zero});
  SW_CHECK(div_zero == 0, name, ": an integer was divided by zero");
  return y;
}

Tensor run_ternary(const char* name, TernaryOp op, const Tensor& a, const Tensor& b, const Tensor& c, DType common,
                   const Tensor& out, double value) {
  check_operands(name, {a, b, c});
  const Shape shape = broadcast_shapes(broadcast_shapes(a.shape(), b.shape(), name), c.shape(), name);
  const Tensor y = op == TernaryOp::Where ? output(name, shape, common, out, {b, c, a})
                                          : output(name, shape, common, out, {a, b, c});
  if (y.numel() == 0) return y;
  const ElementLoop loop(y);
  const Tensor first = without_overlap(a, y), second = without_overlap(b, y), third = without_overlap(c, y);
  launch(y.device(), elementwise_ternary,
         TernaryArgs{op, compute_dtype(common), loop.numel(), loop.walk(y), loop.walk(first), loop.walk(second),
                     loop.walk(third), value});
  return y;
}

Tensor Operand::reduce(const Tensor& g, double factor) const {
  if (factor == 1) return reduce(g);
  const DType wide = accumulate_dtype(g.dtype());
  const Tensor total = g.shape() == shape ? g : sum_to(g, shape, wide), by = number(factor, DType::Float64);
  return to(to(run_binary("mul", BinaryOp::Mul, total, by, wide, g.dtype()), dtype), device);
}

Tensor keep(const Tensor& t, bool needed, const Tensor& out) {
  if (!needed) return Tensor();
  if (!out.defined() || t.storage() != out.storage()) return t;
  tape::NoGradGuard guard;
  return clone(t);
}

void check_castable(const char* name, const Tensor& x, DType result) {
  const auto kind = [](DType d) { return is_floating(d) ? 2 : d == DType::Bool ? 0 : 1; };
  SW_CHECK_TYPE(kind(result) <= kind(x.dtype()), name, ": the result is ", result, ", which a tensor of ", x.dtype(),
                " cannot hold in place");
}

void finish(const Tensor& x, const Tensor& out) {
  // An op that saved its output saved it as it is after this change.
  if (tape::grad_enabled() && out.requires_grad()) {
    for (auto& [saved, version] : tape::edge_of(out).node->saved)
      if (saved.defined() && saved.storage() == x.storage()) ++version;
  }
  tape::finish_inplace(x, out);
}

}  // namespace elementwise

namespace tape {

Tensor accumulate(Tensor into, const Tensor& g, bool in_place) {
  NoGradGuard guard;
  return elementwise::run_binary("accumulate", BinaryOp::Add, into, g, into.dtype(), into.dtype(),
                                 in_place ? into : Tensor());
}

}  // namespace tape
}  // namespace skipway
