#include "ops/reduce_plan.h"

#include "autograd/tape.h"
#include "ops/copy.h"
#include "ops/shape.h"

namespace skipway {
namespace {

// Dimensions with more than one element, from the outermost to the innermost in memory.
Shape memory_order(const Tensor& x) {
  Shape order;
  for (int d = 0; d < x.dim(); ++d) {
    if (x.shape()[d] == 1) continue;
    int at = order.size();
    while (at > 0 && x.strides()[int(order[at - 1])] < x.strides()[d]) --at;
    order.insert(at, d);
  }
  return order;
}

struct Runs {
  bool reduced[kMaxDims];
  int64_t size[kMaxDims];
  int n = 0;
};

Runs find_runs(const Tensor& x, const Shape& order, uint32_t mask) {
  Runs runs;
  for (int64_t d : order) {
    const bool reduced = mask >> d & 1;
    if (runs.n == 0 || runs.reduced[runs.n - 1] != reduced) {
      runs.reduced[runs.n] = reduced;
      runs.size[runs.n++] = 1;
    }
    runs.size[runs.n - 1] *= x.shape()[int(d)];
  }
  return runs;
}

// kept-reduced-kept, each part possibly missing
bool is_canonical(const Runs& runs) {
  int reduced = 0;
  for (int i = 0; i < runs.n; ++i) reduced += runs.reduced[i];
  return reduced <= 1;
}

Shape result_strides(const Tensor& x, const Shape& order, uint32_t mask) {
  Shape strides = Shape::filled(x.dim(), 1);
  int64_t stride = 1;
  for (int i = order.size() - 1; i >= 0; --i) {
    const int d = int(order[i]);
    if (mask >> d & 1) continue;
    strides[d] = stride;
    stride *= x.shape()[d];
  }
  return strides;
}

ReducePlan make_plan(const Tensor& x, const Shape& order, const Runs& runs, uint32_t mask) {
  ReducePlan plan;
  plan.x = x;
  plan.mask = mask;
  plan.keep_shape = reduced_shape(x.shape(), mask, true);
  plan.keep_strides = result_strides(x, order, mask);
  int i = 0;
  if (i < runs.n && !runs.reduced[i]) plan.g.outer = runs.size[i++];
  if (i < runs.n) plan.g.n = runs.size[i++];
  if (i < runs.n) plan.g.inner = runs.size[i];
  return plan;
}

// A copy of x whose reduced dimensions are innermost in memory (row-major order among equals).
Tensor reduced_innermost(const Tensor& x, const Shape& order, uint32_t mask) {
  Shape strides = Shape::filled(x.dim(), 1);
  int64_t stride = 1;
  for (const bool reduced : {true, false}) {
    for (int i = order.size() - 1; i >= 0; --i) {
      const int d = int(order[i]);
      if (bool(mask >> d & 1) != reduced) continue;
      strides[d] = stride;
      stride *= x.shape()[d];
    }
  }
  Tensor copy = empty_strided(x.shape(), strides, x.dtype(), x.device());
  copy_into(copy, x);
  return copy;
}

}  // namespace

uint32_t reduce_mask(const char* op, const Tensor& x, const Dims& dims) {
  check_defined(op, "input", x);
  if (!dims || dims->empty()) return (1u << x.dim()) - 1;
  uint32_t mask = 0;
  for (int64_t dim : *dims) {
    const int d = normalize_dim(dim, x.dim() ? x.dim() : 1, op);
    SW_CHECK_VALUE(!(mask >> d & 1), op, ": dimension ", d, " appears twice in dim ", *dims);
    mask |= 1u << d;
  }
  return x.dim() ? mask : 0;
}

int64_t reduced_count(const Tensor& x, uint32_t mask) {
  int64_t n = 1;
  for (int d = 0; d < x.dim(); ++d) n *= mask >> d & 1 ? x.shape()[d] : 1;
  return n;
}

Shape reduced_shape(const Shape& shape, uint32_t mask, bool keepdim) {
  Shape out;
  for (int d = 0; d < shape.size(); ++d) {
    const bool reduced = mask >> d & 1;
    if (reduced && !keepdim) continue;
    out.push_back(reduced ? 1 : shape[d]);
  }
  return out;
}

Tensor ReducePlan::arrange(const Tensor& t, DType dtype) const {
  if (t.dtype() == dtype && t.is_dense() && t.strides() == keep_strides) return t;
  Tensor out = result(dtype);
  copy_into(out, t);
  return out;
}

ReducePlan plan_reduction(const Tensor& input, uint32_t mask) {
  tape::NoGradGuard no_grad;
  Tensor x = input.alias();
  if (x.numel() == 0) {  // dense in any order; a part of size 0 among the kept ones means no results
    ReducePlan plan = make_plan(contiguous(x), {}, {}, mask);
    plan.keep_strides = contiguous_strides(plan.keep_shape);
    plan.g = {plan.keep_shape.numel(), reduced_count(x, mask), 1};
    return plan;
  }
  if (!x.is_dense()) x = contiguous(x);
  Shape order = memory_order(x);
  Runs runs = find_runs(x, order, mask);
  if (!is_canonical(runs)) {
    x = reduced_innermost(x, order, mask);
    order = memory_order(x);
    runs = find_runs(x, order, mask);
  }
  return make_plan(x, order, runs, mask);
}

Tensor run_planned(const ReducePlan& plan, ReduceOp op, DType out, double divide_by, bool sqrt, const Tensor& center) {
  // The kernel stores its input's dtype or the accumulating one; sums of sums come in float32 when bfloat16 is asked
  // for.
  const DType stored = plan.x.dtype();
  if (is_floating(out) && out != stored && out != accumulate_dtype(stored)) {
    return to(run_planned(plan, op, stored, divide_by, sqrt, center), out);
  }
  Tensor y = plan.result(out);
  if (y.numel() == 0) return y;
  launch(y.device(), reduce_forward,
         ReduceArgs{plan.g, op, plan.x.dtype(), out, plan.x.data(), center.defined() ? center.data() : nullptr,
                    y.data(), divide_by, sqrt, false});
  return y;
}

Tensor refined_mean(const ReducePlan& plan, double n) {
  const DType acc = accumulate_dtype(plan.x.dtype());
  const Tensor center = run_planned(plan, ReduceOp::Sum, acc, n);
  if (center.numel() == 0 || n == 0) return center;
  const Tensor refined = plan.result(acc);
  launch(refined.device(), reduce_forward,
         ReduceArgs{plan.g, ReduceOp::Sum, plan.x.dtype(), acc, plan.x.data(), center.data(), refined.data(), n, false,
                    true});
  return refined;
}

// Where kept and reduced dimensions alternate in memory (per-channel sums of row-major images), the innermost reduced
// ones go first, into the accumulating type, so that nothing is copied.
Tensor run_reduction(const Tensor& input, uint32_t mask, ReduceOp op, DType out, double divide_by, bool sqrt) {
  tape::NoGradGuard no_grad;
  const Tensor x = input.alias();
  if (x.numel() > 0 && x.is_dense()) {
    const Shape order = memory_order(x);
    const Runs runs = find_runs(x, order, mask);
    if (!is_canonical(runs)) {
      uint32_t inner = 0;
      int i = order.size() - 1;
      while (!(mask >> order[i] & 1)) --i;
      for (; mask >> order[i] & 1; --i) inner |= 1u << order[i];
      const bool extreme = op == ReduceOp::Max || op == ReduceOp::Min;
      const DType between = op == ReduceOp::CountNonzero ? DType::Int64
                            : extreme                    ? x.dtype()
                                                         : accumulate_dtype(x.dtype());
      const Tensor part = run_planned(plan_reduction(x, inner), op, between);
      const ReduceOp join = op == ReduceOp::SumSquares || op == ReduceOp::CountNonzero ? ReduceOp::Sum : op;
      return run_reduction(part, mask, join, out, divide_by, sqrt);
    }
  }
  return run_planned(plan_reduction(x, mask), op, out, divide_by, sqrt);
}

}  // namespace skipway
