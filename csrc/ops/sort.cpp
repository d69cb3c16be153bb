#include "ops/sort.h"

#include "autograd/tape.h"
#include "ops/copy.h"
#include "ops/index.h"
#include "ops/shape.h"

namespace skipway {
namespace {

// int64 positions of the first k in order along dim.
Tensor ordered(const char* op, const Tensor& x, int64_t dim, int64_t k, bool descending) {
  check_defined(op, "input", x);
  const int d = normalize_dim(dim, x.dim() ? x.dim() : 1, op);
  SortArgs args{x.dtype(), 1, 1, 1, k, descending, nullptr, nullptr};
  for (int i = 0; i < x.dim(); ++i) (i < d ? args.outer : i == d ? args.n : args.inner) *= x.shape()[i];
  if (k < 0) args.k = args.n;
  SW_CHECK_VALUE(args.k <= args.n, op, ": k = ", k, " is out of range for dimension ", d, " of size ", args.n);
  Shape shape = x.shape();
  if (x.dim()) {
    shape[d] = args.k;
  } else if (args.k != 1) {
    shape = {args.k};
  }
  Tensor positions = empty(shape, DType::Int64, x.device());
  if (positions.numel() == 0) return positions;
  const Tensor in = contiguous(x.alias());
  args.x = in.data();
  args.positions = positions.data_as<int64_t>();
  launch(x.device(), sort_positions, args);
  return positions;
}

}  // namespace

std::pair<Tensor, Tensor> sort(const Tensor& x, int64_t dim, bool descending) {
  const Tensor positions = ordered("sort", x, dim, -1, descending);
  return {gather(x, dim, positions), positions};
}

Tensor argsort(const Tensor& x, int64_t dim, bool descending) { return ordered("argsort", x, dim, -1, descending); }

std::pair<Tensor, Tensor> topk(const Tensor& x, int64_t k, int64_t dim, bool largest) {
  check_defined("topk", "input", x);
  SW_CHECK_VALUE(k >= 0 && (x.dim() > 0 || k == 1), "topk: k = ", k, " is out of range for input of shape ", x.shape());
  const Tensor positions = ordered("topk", x, dim, k, largest);
  return {gather(x, dim, positions), positions};
}

std::pair<Tensor, Tensor> kthvalue(const Tensor& x, int64_t k, int64_t dim, bool keepdim) {
  check_defined("kthvalue", "input", x);
  const int d = normalize_dim(dim, x.dim() ? x.dim() : 1, "kthvalue");
  const int64_t n = x.dim() ? x.shape()[d] : 1;
  SW_CHECK_VALUE(k >= 1 && k <= n, "kthvalue: k = ", k, " is out of range for dimension ", d, " of size ", n);
  Tensor at = ordered("kthvalue", x, d, k, false);
  if (x.dim()) at = contiguous(narrow(at, d, k - 1, 1)).alias();
  const Tensor values = gather(x, d, at);
  if (keepdim || x.dim() == 0) return {values, at};
  return {squeeze(values, {d}), squeeze(at, {d})};
}

Unique unique(const Tensor& x) {
  check_defined("unique", "input", x);
  tape::NoGradGuard no_grad;
  if (!x.device().is_cpu()) {  // the sizes of the results are known on the host alone
    const Unique u = unique(on_cpu(x));
    return {to(u.values, x.device()), to(u.inverse, x.device()), to(u.counts, x.device())};
  }
  const int64_t n = x.numel();
  const Tensor flat = contiguous(reshape(x.alias(), {-1}));
  const Tensor order = ordered("unique", flat, 0, -1, false);
  const int64_t* at = order.data_as<int64_t>();
  Unique u{{}, empty(x.shape(), DType::Int64), {}};
  int64_t groups = 0;
  dispatch_all(x.dtype(), [&]<class T>(Type<T>) {
    const T* p = flat.data_as<T>();
    const auto same = [](T a, T b) { return a == b || (a != a && b != b); };
    for (int64_t i = 0; i < n; ++i) {
      groups += i == 0 || !same(p[at[i]], p[at[i - 1]]);
      u.inverse.data_as<int64_t>()[at[i]] = groups - 1;
    }
    u.values = empty({groups}, x.dtype());
    u.counts = zeros({groups}, DType::Int64);
    for (int64_t i = n - 1; i >= 0; --i) {
      const int64_t g = u.inverse.data_as<int64_t>()[at[i]];
      u.values.data_as<T>()[g] = p[at[i]];
      ++u.counts.data_as<int64_t>()[g];
    }
  });
  return u;
}

}  // namespace skipway
