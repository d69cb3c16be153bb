// Running the kernels, sums over broadcast dimensions, and in-place bookkeeping.
#include "ops/elementwise.h"

#include <algorithm>
#include <vector>

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
  if (!out.defined()) return elementwise_output(shape, dtype, operands);
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

namespace {

struct Middle {
  int64_t outer = 1, middle = 1, inner = 1;
};

// The sums of x, dense and seen as (outer, middle, inner), over its middle.
Tensor sum_run(const Tensor& x, Middle m) {
  Tensor in = x;
  while (true) {
    const int64_t slice = m.inner == 1 ? 8192 : std::clamp<int64_t>(32768 / std::max<int64_t>(m.inner, 1), 16, 512);
    const int64_t slices = (m.middle + slice - 1) / slice;
    const DType dtype = accumulate_dtype(x.dtype());
    Tensor out = empty({m.outer, slices, m.inner}, dtype, x.device());
    launch(x.device(), elementwise_sum_middle,
           SumMiddleArgs{m.outer, m.middle, m.inner, slice, in.dtype(), dtype, in.data(), out.data()});
    in = out;
    m.middle = slices;
    if (slices == 1) return in;
  }
}

// The dimensions of g from slowest to fastest in memory, adjacent ones of the same fate merged.
struct Group {
  int64_t size;
  bool summed;
};

}  // namespace

Tensor sum_to(const Tensor& grad, const Shape& shape) {
  if (grad.shape() == shape) return grad;
  tape::NoGradGuard guard;
  const int missing = grad.dim() - shape.size();
  if (shape.numel() == grad.numel()) {
    const Tensor rows = contiguous(grad);
    return rows.as_strided(shape, contiguous_strides(shape), rows.offset());
  }
  if (shape.numel() == 0 || grad.numel() == 0) return zeros(shape, grad.dtype(), grad.device());
  const Tensor g = grad.is_dense() ? grad : contiguous(grad);

  int order[kMaxDims];
  for (int d = 0; d < g.dim(); ++d) order[d] = d;
  std::stable_sort(order, order + g.dim(), [&](int a, int b) { return g.strides()[a] > g.strides()[b]; });
  const auto is_summed = [&](int d) { return d < missing || (shape[d - missing] == 1 && g.shape()[d] > 1); };
  std::vector<Group> groups;
  Shape kept_strides = contiguous_strides(shape);  // of the result, in g's memory order
  int64_t step = 1;
  for (int i = g.dim() - 1; i >= 0; --i) {
    const int d = order[i];
    if (d >= missing && !is_summed(d)) {
      kept_strides[d - missing] = step;
      step *= g.shape()[d];
    }
  }
  for (int d = 0; d < shape.size(); ++d)
    if (shape[d] == 1) kept_strides[d] = 1;
  for (int i = 0; i < g.dim(); ++i) {
    const int64_t size = g.shape()[order[i]];
    if (size == 1) continue;
    const bool summed = is_summed(order[i]);
    if (!groups.empty() && groups.back().summed == summed) {
      groups.back().size *= size;
    } else {
      groups.push_back({size, summed});
    }
  }

  Tensor sum = g;
  while (true) {  // the longest run first: it shrinks the data most
    int longest = -1;
    for (int i = 0; i < int(groups.size()); ++i)
      if (groups[size_t(i)].summed && (longest < 0 || groups[size_t(i)].size > groups[size_t(longest)].size))
        longest = i;
    if (longest < 0) break;
    Middle m;
    for (int i = 0; i < int(groups.size()); ++i)
      (i < longest ? m.outer : i == longest ? m.middle : m.inner) *= groups[size_t(i)].size;
    sum = sum_run(sum, m);
    groups.erase(groups.begin() + longest);
  }
  const Tensor result = to(sum, grad.dtype());
  return result.as_strided(shape, kept_strides, result.offset());
}

namespace tape {

Tensor accumulate(Tensor into, const Tensor& g, bool in_place) {
  NoGradGuard guard;
  return elementwise::run_binary("accumulate", BinaryOp::Add, into, g, into.dtype(), into.dtype(),
                                 in_place ? into : Tensor());
}

}  // namespace tape
}  // namespace skipway
