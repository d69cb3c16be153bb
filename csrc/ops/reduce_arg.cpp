// Extremes along one dimension with their positions, and running sums and products.
#include "autograd/tape.h"
#include "ops/copy.h"
#include "ops/elementwise.h"
#include "ops/index.h"
#include "ops/reduce.h"
#include "ops/reduce_plan.h"
#include "ops/shape.h"
#include "ops/sort.h"

namespace skipway {
namespace {

std::pair<Tensor, Tensor> arg_extreme(const char* name, bool largest, const Tensor& x, int64_t dim, bool keepdim,
                                      bool want_values) {
  const uint32_t mask = reduce_mask(name, x, Shape{dim});
  const int d = normalize_dim(dim, x.dim() ? x.dim() : 1, name);
  SW_CHECK_INDEX(reduced_count(x, mask) > 0, name, ": dimension ", d, " of input of shape ", x.shape(),
                 " has no elements");
  const ReducePlan plan = plan_reduction(x, mask);
  Tensor indices = plan.result(DType::Int64), values = want_values ? plan.result(x.dtype()) : Tensor();
  if (indices.numel() > 0) {
    launch(x.device(), arg_reduce_forward,
           ArgReduceArgs{plan.g, largest, x.dtype(), plan.x.data(), want_values ? values.data() : nullptr,
                         indices.data_as<int64_t>()});
  }
  const Tensor where = indices;
  if (!keepdim && x.dim() > 0) {
    tape::NoGradGuard no_grad;
    indices = squeeze(indices, {d}).alias();
    if (want_values) values = squeeze(values, {d}).alias();
  }
  if (want_values && is_floating(x.dtype())) {
    tape::record(name, {values}, {x}, {where}, [d, shape = x.shape()](tape::Backward& b) {
      const Tensor at = b.saved(0);
      b.give(0, scatter_add(zeros(shape, b.grad().dtype(), b.grad().device()), d, at, reshape(b.grad(), at.shape())));
    });
  }
  return {values, indices};
}

Tensor arg_only(const char* name, bool largest, const Tensor& x, std::optional<int64_t> dim, bool keepdim) {
  check_defined(name, "input", x);
  if (dim) return arg_extreme(name, largest, x, *dim, keepdim, false).second;
  SW_CHECK_VALUE(x.numel() > 0, name, ": no elements in input of shape ", x.shape());
  tape::NoGradGuard no_grad;
  const Tensor at = arg_extreme(name, largest, reshape(x, {-1}), 0, true, false).second;
  return reshape(at, keepdim ? Shape::filled(x.dim(), 1) : Shape{}).alias();
}

// Lines along one dimension; the other dimensions may lie in memory in any dense order.
Tensor run_scan(const Tensor& x, int d, bool product, bool reverse) {
  const Tensor in = contiguous(x.alias());
  Tensor y = empty(x.shape(), x.dtype(), x.device());
  if (y.numel() == 0) return y;
  ReduceGeometry g{1, 1, 1};
  for (int i = 0; i < x.dim(); ++i) (i < d ? g.outer : i == d ? g.n : g.inner) *= x.shape()[i];
  launch(x.device(), scan_forward, ScanArgs{g, x.dtype(), product, reverse, in.data(), nullptr, y.data()});
  return y;
}

Tensor scan_input(const Tensor& x, OptionalDType dtype) {
  if (dtype && is_floating(*dtype)) return to(x, *dtype);
  return is_floating(x.dtype()) ? x : to(x, DType::Int64);
}

}  // namespace

std::pair<Tensor, Tensor> max(const Tensor& x, int64_t dim, bool keepdim) {
  return arg_extreme("max", true, x, dim, keepdim, true);
}
std::pair<Tensor, Tensor> min(const Tensor& x, int64_t dim, bool keepdim) {
  return arg_extreme("min", false, x, dim, keepdim, true);
}
Tensor argmax(const Tensor& x, std::optional<int64_t> dim, bool keepdim) {
  return arg_only("argmax", true, x, dim, keepdim);
}
Tensor argmin(const Tensor& x, std::optional<int64_t> dim, bool keepdim) {
  return arg_only("argmin", false, x, dim, keepdim);
}

std::pair<Tensor, Tensor> median(const Tensor& x, int64_t dim, bool keepdim) {
  check_defined("median", "input", x);
  const int d = normalize_dim(dim, x.dim() ? x.dim() : 1, "median");
  const int64_t n = x.dim() ? x.shape()[d] : 1;
  SW_CHECK_INDEX(n > 0, "median: dimension ", d, " of input of shape ", x.shape(), " has no elements");
  Tensor index;
  {
    tape::NoGradGuard no_grad;
    const auto [sorted, order] = sort(x, dim, false);
    index = x.dim() ? narrow(order, d, (n - 1) / 2, 1) : order;
    if (is_floating(x.dtype()) && x.dim()) {  // a NaN is sorted last, and is the median
      const Tensor nan = unary(UnaryOp::IsNan, narrow(sorted, d, n - 1, 1));
      index = where(nan, narrow(order, d, n - 1, 1), index);
    }
    index = contiguous(index).alias();
  }
  const Tensor values = gather(x, dim, index);
  if (keepdim || x.dim() == 0) return {values, index};
  return {squeeze(values, {d}), squeeze(index, {d})};
}

Tensor median(const Tensor& x) {
  check_defined("median", "input", x);
  SW_CHECK_VALUE(x.numel() > 0, "median: no elements in input of shape ", x.shape());
  return median(reshape(x, {-1}), 0, false).first;
}

Tensor cumsum(const Tensor& input, int64_t dim, OptionalDType dtype) {
  check_defined("cumsum", "input", input);
  const int d = normalize_dim(dim, input.dim() ? input.dim() : 1, "cumsum");
  const Tensor x = scan_input(input, dtype);
  Tensor y = run_scan(x, d, false, false);
  if (!is_floating(x.dtype())) return dtype ? to(y, *dtype) : y;
  tape::record("cumsum", {y}, {x}, {}, [d](tape::Backward& b) { b.give(0, run_scan(b.grad(), d, false, true)); });
  return y;
}

Tensor cumprod(const Tensor& input, int64_t dim, OptionalDType dtype) {
  check_defined("cumprod", "input", input);
  const int d = normalize_dim(dim, input.dim() ? input.dim() : 1, "cumprod");
  const Tensor x = scan_input(input, dtype);
  Tensor y = run_scan(x, d, true, false);
  if (!is_floating(x.dtype())) return dtype ? to(y, *dtype) : y;
  tape::record("cumprod", {y}, {x}, {x}, [d](tape::Backward& b) {
    const Tensor x = contiguous(b.saved(0)), dy = contiguous(b.grad());
    Tensor dx = empty(x.shape(), x.dtype(), x.device());
    ReduceGeometry g{1, 1, 1};
    for (int i = 0; i < x.dim(); ++i) (i < d ? g.outer : i == d ? g.n : g.inner) *= x.shape()[i];
    if (dx.numel() > 0) {
      launch(x.device(), cumprod_backward, ScanArgs{g, x.dtype(), true, false, x.data(), dy.data(), dx.data()});
    }
    b.give(0, dx);
  });
  return y;
}

}  // namespace skipway
