// Brings a tensor and the dimensions to reduce to the form of the kernels, (outer, n, inner) dense in memory.
#pragma once
#include "ops/reduce.h"

namespace skipway {

uint32_t reduce_mask(const char* op, const Tensor& x, const Dims& dims);  // bit d: dimension d is reduced
int64_t reduced_count(const Tensor& x, uint32_t mask);
Shape reduced_shape(const Shape& shape, uint32_t mask, bool keepdim);

struct ReducePlan {
  Tensor x;  // dense; may be a copy with its dimensions in another order in memory
  uint32_t mask = 0;
  ReduceGeometry g{1, 1, 1};
  Shape keep_shape;    // with size 1 in reduced dimensions
  Shape keep_strides;  // of the result, in the memory order of x

  Tensor result(DType dtype) const { return empty_strided(keep_shape, keep_strides, dtype, x.device()); }
  // The values of `t` (of keep_shape) in the result's memory layout and another dtype.
  Tensor arrange(const Tensor& t, DType dtype) const;
};
ReducePlan plan_reduction(const Tensor& x, uint32_t mask);

// The result has keep_shape. Recording is up to the caller.
Tensor run_reduction(const Tensor& x, uint32_t mask, ReduceOp op, DType out, double divide_by = 1, bool sqrt = false);
Tensor run_planned(const ReducePlan& plan, ReduceOp op, DType out, double divide_by = 1, bool sqrt = false,
                   const Tensor& center = {});
// The mean of each line in the accumulating type, corrected once by the mean of what is left.
Tensor refined_mean(const ReducePlan& plan, double n);

}  // namespace skipway
