#include "ops/reduce.h"

#include "autograd/tape.h"
#include "ops/copy.h"
#include "ops/elementwise.h"
#include "ops/reduce_plan.h"
#include "ops/shape.h"

namespace skipway {
namespace {

// A result of keep_shape in the shape the caller wants.
Tensor drop_dims(const Tensor& y, uint32_t mask, bool keepdim) {
  if (keepdim) return y;
  Shape shape, strides;
  for (int d = 0; d < y.dim(); ++d) {
    if (mask >> d & 1) continue;
    shape.push_back(y.shape()[d]);
    strides.push_back(y.strides()[d]);
  }
  return y.as_strided(shape, strides, y.offset());
}

void check_not_empty(const char* op, const Tensor& x, uint32_t mask) {
  SW_CHECK_VALUE(reduced_count(x, mask) > 0, op, ": no elements to reduce in input of shape ", x.shape());
}

Tensor converted(const Tensor& x, OptionalDType dtype) { return dtype ? to(x, *dtype) : x; }

Tensor extreme(const char* name, ReduceOp op, const Tensor& x, const Dims& dims, bool keepdim) {
  const uint32_t mask = reduce_mask(name, x, dims);
  if (reduced_shape(x.shape(), mask, true).numel() > 0) check_not_empty(name, x, mask);
  const Tensor keep = run_reduction(x, mask, op, x.dtype());
  Tensor y = drop_dims(keep, mask, keepdim);
  if (!is_floating(x.dtype())) return y;
  tape::record(name, {y}, {x}, {x, keep}, [mask](tape::Backward& b) {
    const ReducePlan plan = plan_reduction(b.saved(0), mask);
    Tensor dx = empty_like(plan.x);
    if (dx.numel() > 0) {
      const Tensor y = plan.arrange(b.saved(1), dx.dtype());
      const Tensor dy = plan.arrange(reshape(b.grad(), plan.keep_shape), dx.dtype());
      launch(dx.device(), extreme_backward,
             SharedGradArgs{plan.g, dx.dtype(), plan.x.data(), y.data(), dy.data(), dx.data()});
    }
    b.give(0, dx);
  });
  return y;
}

Tensor truth(const char* name, bool wants_all, const Tensor& x, const Dims& dims, bool keepdim) {
  const uint32_t mask = reduce_mask(name, x, dims);
  const Tensor count = run_reduction(x, mask, ReduceOp::CountNonzero, DType::Int64);
  const Tensor y = wants_all ? compare(BinaryOp::Eq, count, number(double(reduced_count(x, mask)), DType::Int64))
                             : to(count, DType::Bool);
  return drop_dims(y, mask, keepdim);
}

}  // namespace

Tensor sum(const Tensor& input, const Dims& dims, bool keepdim, OptionalDType dtype) {
  const uint32_t mask = reduce_mask("sum", input, dims);
  const Tensor x = converted(input, dtype);
  const DType out = is_floating(x.dtype()) ? x.dtype() : DType::Int64;
  Tensor y = drop_dims(run_reduction(x, mask, ReduceOp::Sum, out), mask, keepdim);
  if (dtype) y = to(y, *dtype);
  if (!is_floating(x.dtype())) return y;
  tape::record("sum", {y}, {x}, {}, [shape = x.shape(), mask](tape::Backward& b) {
    b.give(0, expand(reshape(b.grad(), reduced_shape(shape, mask, true)), shape));
  });
  return y;
}

Tensor mean(const Tensor& input, const Dims& dims, bool keepdim, OptionalDType dtype) {
  const uint32_t mask = reduce_mask("mean", input, dims);
  const Tensor x = converted(input, dtype);
  SW_CHECK_TYPE(is_floating(x.dtype()), "mean: expected input of a floating dtype, or a floating dtype argument; got ",
                x.dtype());
  const double n = double(reduced_count(x, mask));
  Tensor y = drop_dims(run_reduction(x, mask, ReduceOp::Sum, x.dtype(), n), mask, keepdim);
  tape::record("mean", {y}, {x}, {}, [shape = x.shape(), mask, n](tape::Backward& b) {
    // The sum of one element divided by n, which keeps the division in the accumulating type.
    const Tensor share = run_reduction(b.grad(), 0, ReduceOp::Sum, b.grad().dtype(), n);
    b.give(0, expand(reshape(share, reduced_shape(shape, mask, true)), shape));
  });
  return y;
}

Tensor sum_to(const Tensor& x, const Shape& shape, OptionalDType dtype) {
  check_defined("sum_to", "input", x);
  tape::NoGradGuard no_grad;
  if (x.shape() == shape) return converted(x, dtype);
  const int lead = x.dim() - shape.size();
  SW_CHECK_SHAPE(lead >= 0, "sum_to: input of shape ", x.shape(), " is not a broadcast of ", shape);
  uint32_t mask = 0;
  for (int d = 0; d < x.dim(); ++d) {
    const bool summed = d < lead || shape[d - lead] != x.shape()[d];
    SW_CHECK_SHAPE(d < lead || !summed || shape[d - lead] == 1, "sum_to: input of shape ", x.shape(),
                   " is not a broadcast of ", shape);
    mask |= uint32_t(summed) << d;
  }
  const DType stored = dtype.value_or(x.dtype()), out = is_floating(x.dtype()) ? stored : DType::Int64;
  return reshape(to(run_reduction(x, mask, ReduceOp::Sum, out), stored), shape).alias();
}

Tensor prod(const Tensor& input, const Dims& dims, bool keepdim, OptionalDType dtype) {
  const uint32_t mask = reduce_mask("prod", input, dims);
  const Tensor x = converted(input, dtype);
  const DType out = is_floating(x.dtype()) ? x.dtype() : DType::Int64;
  Tensor y = drop_dims(run_reduction(x, mask, ReduceOp::Prod, out), mask, keepdim);
  if (dtype) y = to(y, *dtype);
  if (!is_floating(x.dtype())) return y;
  tape::record("prod", {y}, {x}, {x}, [mask](tape::Backward& b) {
    const ReducePlan plan = plan_reduction(b.saved(0), mask);
    Tensor dx = empty_like(plan.x);
    if (dx.numel() > 0) {
      const Tensor dy = plan.arrange(reshape(b.grad(), plan.keep_shape), dx.dtype());
      launch(dx.device(), prod_backward,
             SharedGradArgs{plan.g, dx.dtype(), plan.x.data(), nullptr, dy.data(), dx.data()});
    }
    b.give(0, dx);
  });
  return y;
}

Tensor amax(const Tensor& x, const Dims& dims, bool keepdim) {
  return extreme("amax", ReduceOp::Max, x, dims, keepdim);
}
Tensor amin(const Tensor& x, const Dims& dims, bool keepdim) {
  return extreme("amin", ReduceOp::Min, x, dims, keepdim);
}

Tensor count_nonzero(const Tensor& x, const Dims& dims) {
  const uint32_t mask = reduce_mask("count_nonzero", x, dims);
  return drop_dims(run_reduction(x, mask, ReduceOp::CountNonzero, DType::Int64), mask, false);
}
Tensor all(const Tensor& x, const Dims& dims, bool keepdim) { return truth("all", true, x, dims, keepdim); }
Tensor any(const Tensor& x, const Dims& dims, bool keepdim) { return truth("any", false, x, dims, keepdim); }

}  // namespace skipway
