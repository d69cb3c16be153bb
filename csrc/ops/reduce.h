// Reductions over any set of dimensions.
//   sum, mean, prod, amax, amin, var, std, norm: y[o, i] = f(x[o, 0, i], ..., x[o, n-1, i])
// The op layer brings x to that form, (outer, n, inner) dense in memory; `dims` absent or empty means all dimensions.
// Floating sums are pairwise over short blocks, in float32 for bfloat16 and in the input's own type else: the error
// grows with log n. Work is cut by shape alone, so the bits do not depend on the number of threads.
#pragma once
#include <optional>
#include <utility>

#include "core/tensor.h"
#include "kernels/dispatch.h"

namespace skipway {

using Dims = std::optional<Shape>;
using OptionalDType = std::optional<DType>;

Tensor sum(const Tensor& x, const Dims& dims = {}, bool keepdim = false, OptionalDType dtype = {});
Tensor mean(const Tensor& x, const Dims& dims = {}, bool keepdim = false, OptionalDType dtype = {});
// The gradient of a broadcast: sums x over the dimensions in which `shape` was expanded to x's, into x's dtype or its
// accumulate_dtype. Not on the tape.
Tensor sum_to(const Tensor& x, const Shape& shape, OptionalDType dtype = {});
Tensor prod(const Tensor& x, const Dims& dims = {}, bool keepdim = false, OptionalDType dtype = {});
// Largest and smallest elements; NaN wins. Equal elements share the gradient.
Tensor amax(const Tensor& x, const Dims& dims = {}, bool keepdim = false);
Tensor amin(const Tensor& x, const Dims& dims = {}, bool keepdim = false);
Tensor count_nonzero(const Tensor& x, const Dims& dims = {});
Tensor all(const Tensor& x, const Dims& dims = {}, bool keepdim = false);
Tensor any(const Tensor& x, const Dims& dims = {}, bool keepdim = false);

// Two passes: sum((x - mean)^2) / max(n - correction, 0); the mean itself is refined once, so that constants have
// variance 0.
Tensor var(const Tensor& x, const Dims& dims = {}, bool keepdim = false, double correction = 1);
Tensor std(const Tensor& x, const Dims& dims = {}, bool keepdim = false, double correction = 1);
std::pair<Tensor, Tensor> var_mean(const Tensor& x, const Dims& dims = {}, bool keepdim = false, double correction = 1);
std::pair<Tensor, Tensor> std_mean(const Tensor& x, const Dims& dims = {}, bool keepdim = false, double correction = 1);
// sum(|x|^p)^(1/p); p = 0 counts nonzeros, p = inf and -inf are the largest and the smallest |x|.
Tensor norm(const Tensor& x, double p, const Dims& dims = {}, bool keepdim = false, OptionalDType dtype = {});
Tensor logsumexp(const Tensor& x, const Dims& dims, bool keepdim);
Tensor nansum(const Tensor& x, const Dims& dims = {}, bool keepdim = false, OptionalDType dtype = {});
Tensor nanmean(const Tensor& x, const Dims& dims = {}, bool keepdim = false, OptionalDType dtype = {});

// Values and the index of the first of them (int64) along one dimension. NaN wins.
std::pair<Tensor, Tensor> max(const Tensor& x, int64_t dim, bool keepdim);
std::pair<Tensor, Tensor> min(const Tensor& x, int64_t dim, bool keepdim);
Tensor argmax(const Tensor& x, std::optional<int64_t> dim, bool keepdim);
Tensor argmin(const Tensor& x, std::optional<int64_t> dim, bool keepdim);
// The lower of the two middle elements; NaN if there is one.
std::pair<Tensor, Tensor> median(const Tensor& x, int64_t dim, bool keepdim);
Tensor median(const Tensor& x);

Tensor cumsum(const Tensor& x, int64_t dim, OptionalDType dtype = {});
Tensor cumprod(const Tensor& x, int64_t dim, OptionalDType dtype = {});

// ---- kernels --------------------------------------------------------------------------------------------------------
// Everywhere below: x[outer][n][inner] dense; "acc" is accumulate_dtype(dtype).
struct ReduceGeometry {
  int64_t outer, n, inner;
};

enum class ReduceOp : uint8_t { Sum, SumSquares, Prod, Max, Min, CountNonzero };
struct ReduceArgs {
  ReduceGeometry g;
  ReduceOp op;
  DType dtype, out;  // out: dtype or acc; int64 for CountNonzero
  const void* x;
  const void* center;  // null, or acc [outer][inner]: subtracted from each element (floating Sum and SumSquares)
  void* y;             // [outer][inner]
  double divide_by;    // floating: y = result / divide_by, then its square root if asked
  bool sqrt;
  bool refine;  // y = center + result where that is finite, else center
};
// First largest (smallest) element of each line, and where it is.
struct ArgReduceArgs {
  ReduceGeometry g;
  bool max;
  DType dtype;
  const void* x;
  void* values;      // dtype [outer][inner], or null
  int64_t* indices;  // [outer][inner]
};
// dx = factor * dy / stat * (x - center); 0 where stat is 0. dy, stat, center: acc [outer][inner]; the last two may be
// null.
struct CenteredGradArgs {
  ReduceGeometry g;
  DType dtype;
  const void *x, *dy, *stat, *center;
  double factor;
  void* dx;
};
// Largest and smallest: dx = dy / (number of elements equal to y) at those elements. Product: dx = dy * (product of the
// others). dy and y: dtype [outer][inner].
struct SharedGradArgs {
  ReduceGeometry g;
  DType dtype;
  const void *x, *y, *dy;
  void* dx;
};
// Running sums and products, in float64 for floating types. dy is null, or this is cumprod's gradient and y is dx.
struct ScanArgs {
  ReduceGeometry g;
  DType dtype;
  bool product, reverse;
  const void *x, *dy;
  void* y;
};
SW_DECLARE_KERNEL(reduce_forward, ReduceArgs)
SW_DECLARE_KERNEL(arg_reduce_forward, ArgReduceArgs)
SW_DECLARE_KERNEL(centered_backward, CenteredGradArgs)
SW_DECLARE_KERNEL(extreme_backward, SharedGradArgs)
SW_DECLARE_KERNEL(prod_backward, SharedGradArgs)
SW_DECLARE_KERNEL(scan_forward, ScanArgs)
SW_DECLARE_KERNEL(cumprod_backward, ScanArgs)

}  // namespace skipway
