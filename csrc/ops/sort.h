// Sorting along one dimension. NaN counts as the largest value, so it comes last in ascending and first in descending
// order. Gradients flow to the values.
#pragma once
#include <utility>

#include "core/tensor.h"
#include "kernels/dispatch.h"

namespace skipway {

// Values and their positions (int64); equal values keep their order.
std::pair<Tensor, Tensor> sort(const Tensor& x, int64_t dim, bool descending);
Tensor argsort(const Tensor& x, int64_t dim, bool descending);
// The k largest (smallest) in order, the earlier of equal ones first.
std::pair<Tensor, Tensor> topk(const Tensor& x, int64_t k, int64_t dim, bool largest);
std::pair<Tensor, Tensor> kthvalue(const Tensor& x, int64_t k, int64_t dim, bool keepdim);

// Distinct values in ascending order (all NaN are one), where each element's value stands among them, and how often
// each occurs.
struct Unique {
  Tensor values, inverse, counts;
};
Unique unique(const Tensor& x);

// positions[o][j][i] of the first `k` of the ordered elements of x[o][:][i].
struct SortArgs {
  DType dtype;
  int64_t outer, n, inner, k;
  bool descending;
  const void* x;
  int64_t* positions;
};
SW_DECLARE_KERNEL(sort_positions, SortArgs)

}  // namespace skipway
