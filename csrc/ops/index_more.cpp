// gather and scatter, and functions about positions.
#include <cmath>
#include <cstring>
#include <limits>

#include "autograd/tape.h"
#include "ops/copy.h"
#include "ops/elementwise.h"
#include "ops/index.h"
#include "ops/index_move.h"
#include "ops/reduce.h"
#include "ops/shape.h"

namespace skipway {
namespace {

int check_gather(const char* op, const Tensor& x, int64_t dim, const Tensor& index) {
  check_defined(op, "input", x);
  check_defined(op, "index", index);
  const int d = normalize_dim(dim, x.dim() ? x.dim() : 1, op);
  SW_CHECK_SHAPE(index.dim() == x.dim(), op, ": expected index with ", x.dim(), " dimensions like input of shape ",
                 x.shape(), ", got shape ", index.shape());
  for (int i = 0; i < x.dim(); ++i) {
    SW_CHECK_SHAPE(i == d || index.shape()[i] <= x.shape()[i], op, ": index of shape ", index.shape(),
                   " is larger than input of shape ", x.shape(), " in dimension ", i);
  }
  return d;
}

Tensor raw_gather(const char* op, const Tensor& x, int d, const Tensor& index) {
  Tensor y = empty(index.shape(), x.dtype(), x.device());
  move_single(MoveMode::Get, x, gather_offsets(op, x, d, index), y);
  return y;
}

// x gets (or receives in addition) the elements of source, which has index's shape.
void raw_scatter(const char* op, bool add, const Tensor& x, int d, const Tensor& index, const Tensor& source) {
  if (index.numel() == 0) return;
  if (add && is_half(x.dtype())) {
    Tensor wide = to(x.alias(), DType::Float32);
    raw_scatter(op, add, wide, d, index, to(source.alias(), DType::Float32));
    return copy_into(x, wide);
  }
  move_single(add ? MoveMode::Add : MoveMode::Put, x, gather_offsets(op, x, d, index), contiguous(source.alias()));
}

Tensor scatter_into(const char* op, bool add, const Tensor& x, int64_t dim, const Tensor& index, const Tensor& given) {
  const int d = check_gather(op, x, dim, index);
  check_defined(op, "src", given);
  tape::begin_inplace(op, x);
  Tensor source = source_for(op, x, given);
  if (given.weak() || given.dim() == 0) source = expand(source, index.shape());
  SW_CHECK_SHAPE(source.dim() == index.dim(), op, ": expected src with ", index.dim(), " dimensions, got shape ",
                 source.shape());
  for (int i = 0; i < index.dim(); ++i) {
    SW_CHECK_SHAPE(index.shape()[i] <= source.shape()[i], op, ": index of shape ", index.shape(),
                   " is larger than src of shape ", source.shape(), " in dimension ", i);
    source = narrow(source, i, 0, index.shape()[i]);
  }
  const Tensor saved_index = integer_index(op, index);
  {
    tape::NoGradGuard no_grad;
    raw_scatter(op, add, x.alias(), d, saved_index, source.storage() == x.storage() ? clone(source.alias()) : source);
  }
  Tensor result = x.alias();
  if (is_floating(x.dtype())) {
    tape::record(op, {result}, {x, source}, {saved_index}, [d, add](tape::Backward& b) {
      const Tensor index = b.saved(0);
      if (b.needs(1)) b.give(1, raw_gather("gather", b.grad(), d, index));
      if (!b.needs(0)) return;
      if (add) return b.give(0, b.grad());
      Tensor dx = clone(b.grad());
      raw_scatter("scatter", false, dx, d, index, zeros(index.shape(), dx.dtype(), dx.device()));
      b.give(0, dx);
    });
  }
  tape::finish_inplace(x, result);
  return x;
}

}  // namespace

Tensor gather(const Tensor& x, int64_t dim, const Tensor& index) {
  const int d = check_gather("gather", x, dim, index);
  const Tensor saved_index = integer_index("gather", index);
  Tensor y = raw_gather("gather", x, d, saved_index);
  if (!is_floating(x.dtype())) return y;
  tape::record("gather", {y}, {x}, {saved_index}, [d, shape = x.shape()](tape::Backward& b) {
    Tensor dx = zeros(shape, b.grad().dtype(), b.grad().device());
    raw_scatter("gather", true, dx, d, b.saved(0), b.grad());
    b.give(0, dx);
  });
  return y;
}

Tensor scatter_(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source) {
  return scatter_into("scatter", false, x, dim, index, source);
}
Tensor scatter(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source) {
  check_defined("scatter", "input", x);
  return scatter_into("scatter", false, clone(x), dim, index, source);
}
Tensor scatter_add_(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source) {
  return scatter_into("scatter_add", true, x, dim, index, source);
}
Tensor scatter_add(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source) {
  check_defined("scatter_add", "input", x);
  return scatter_into("scatter_add", true, clone(x), dim, index, source);
}

Tensor nonzero(const Tensor& input) {
  check_defined("nonzero", "input", input);
  tape::NoGradGuard no_grad;
  const Tensor x = on_cpu(input.alias());  // the result's size has to be known on the host anyway
  const int nd = x.dim();
  int64_t count = 0;
  Tensor out;
  dispatch_any(x.dtype(), [&]<class T>(Type<T>) {
    const T* p = x.data_as<T>();
    const int64_t n = x.numel();
    for (int64_t i = 0; i < n; ++i) count += p[i] != T(0);
    out = empty({count, nd}, DType::Int64);
    int64_t* to = out.data_as<int64_t>();
    for (int64_t i = 0; i < n && nd > 0; ++i) {
      if (p[i] == T(0)) continue;
      int64_t rest = i;
      for (int d = nd - 1; d >= 0; --d) {
        to[d] = rest % x.shape()[d];
        rest /= x.shape()[d];
      }
      to += nd;
    }
  });
  return to(out, input.device());
}

Tensor one_hot(const Tensor& x, int64_t num_classes) {
  const Tensor classes = on_cpu(integer_index("one_hot", x));
  const int64_t* p = classes.data_as<int64_t>();
  int64_t largest = -1;
  for (int64_t i = 0; i < classes.numel(); ++i) {
    SW_CHECK_INDEX(p[i] >= 0, "one_hot: class ", p[i], " is negative");
    largest = p[i] > largest ? p[i] : largest;
  }
  if (num_classes == -1) {
    SW_CHECK_VALUE(largest >= 0, "one_hot: num_classes cannot be inferred from an empty tensor");
    num_classes = largest + 1;
  }
  SW_CHECK_VALUE(num_classes > 0, "one_hot: num_classes must be positive, got ", num_classes);
  SW_CHECK_INDEX(largest < num_classes, "one_hot: class ", largest, " is out of range for ", num_classes, " classes");
  Shape shape = x.shape();
  shape.push_back(num_classes);
  Tensor y = zeros(shape, DType::Int64);
  for (int64_t i = 0; i < classes.numel(); ++i) y.data_as<int64_t>()[i * num_classes + p[i]] = 1;
  return to(y, x.device());
}

// ---- triangles and diagonals ----------------------------------------------------------------------------------------
namespace {
Tensor triangle(const char* op, bool lower, const Tensor& x, int64_t diagonal);

// The same by a mask of one matrix, made on the CPU.
Tensor masked_triangle(const char* op, bool lower, const Tensor& x, int64_t diagonal) {
  const Tensor ones = full({x.size(-2), x.size(-1)}, 1, DType::Bool);
  return where(to(triangle(op, lower, ones, diagonal), x.device()), x, zeros({}, x.dtype(), x.device()));
}

// Keeps x[..., i, j] where j - i <= diagonal (lower) or >= diagonal.
Tensor triangle(const char* op, bool lower, const Tensor& x, int64_t diagonal) {
  check_defined(op, "input", x);
  SW_CHECK_SHAPE(x.dim() >= 2, op, ": expected input of at least 2 dimensions, got shape ", x.shape());
  if (!x.device().is_cpu()) return masked_triangle(op, lower, x, diagonal);
  const Tensor in = contiguous(x.alias());
  Tensor y = empty(x.shape(), x.dtype(), x.device());
  const int64_t rows = x.size(-2), cols = x.size(-1), size = size_of(x.dtype());
  std::memset(y.data(), 0, size_t(y.numel() * size));
  const int64_t limit = rows + cols;
  diagonal = diagonal < -limit ? -limit : diagonal > limit ? limit : diagonal;
  for (int64_t r = 0; cols > 0 && r < y.numel() / cols; ++r) {
    const int64_t edge = r % rows + diagonal + (lower ? 1 : 0);
    const int64_t cut = edge < 0 ? 0 : edge > cols ? cols : edge;
    const int64_t begin = lower ? 0 : cut, end = lower ? cut : cols;
    std::memcpy(static_cast<char*>(y.data()) + (r * cols + begin) * size,
                static_cast<const char*>(in.data()) + (r * cols + begin) * size, size_t((end - begin) * size));
  }
  if (!is_floating(x.dtype())) return y;
  tape::record(op, {y}, {x}, {},
               [op, lower, diagonal](tape::Backward& b) { b.give(0, triangle(op, lower, b.grad(), diagonal)); });
  return y;
}
}  // namespace

Tensor tril(const Tensor& x, int64_t diagonal) { return triangle("tril", true, x, diagonal); }
Tensor triu(const Tensor& x, int64_t diagonal) { return triangle("triu", false, x, diagonal); }

Tensor diag_embed(const Tensor& x, int64_t offset) {
  check_defined("diag_embed", "input", x);
  SW_CHECK_SHAPE(x.dim() >= 1, "diag_embed: expected input of at least 1 dimension, got shape ()");
  SW_CHECK_VALUE(offset > -(int64_t(1) << 31) && offset < (int64_t(1) << 31), "diag_embed: offset ", offset,
                 " is too large");
  Shape shape = x.shape();
  const int64_t n = shape.back() + (offset < 0 ? -offset : offset);
  shape[shape.size() - 1] = n;
  shape.push_back(n);
  Tensor y = zeros(shape, x.dtype(), x.device());
  {
    tape::NoGradGuard no_grad;
    copy_into(diagonal(y, offset, -2, -1), x.alias());
  }
  if (!is_floating(x.dtype())) return y;
  tape::record("diag_embed", {y}, {x}, {},
               [offset](tape::Backward& b) { b.give(0, diagonal(b.grad(), offset, -2, -1)); });
  return y;
}

Tensor diag(const Tensor& x, int64_t offset) {
  check_defined("diag", "input", x);
  SW_CHECK_SHAPE(x.dim() == 1 || x.dim() == 2, "diag: expected input of 1 or 2 dimensions, got shape ", x.shape());
  return x.dim() == 1 ? diag_embed(x, offset) : clone(diagonal(x, offset, 0, 1));
}

// ---- counting and searching -----------------------------------------------------------------------------------------
Tensor bincount(const Tensor& x, const Tensor& weights, int64_t minlength) {
  const Tensor bins = on_cpu(integer_index("bincount", x));
  SW_CHECK_SHAPE(x.dim() == 1, "bincount: expected input of 1 dimension, got shape ", x.shape());
  SW_CHECK_VALUE(minlength >= 0, "bincount: minlength must not be negative, got ", minlength);
  SW_CHECK_SHAPE(!weights.defined() || weights.shape() == x.shape(), "bincount: expected weights of shape ", x.shape());
  int64_t n = minlength;
  const int64_t* p = bins.data_as<int64_t>();
  for (int64_t i = 0; i < bins.numel(); ++i) {
    SW_CHECK_VALUE(p[i] >= 0, "bincount: expected values of 0 or more, got ", p[i]);
    SW_CHECK_VALUE(p[i] < std::numeric_limits<int64_t>::max(), "bincount: value ", p[i], " is too large");
    n = p[i] + 1 > n ? p[i] + 1 : n;
  }
  if (!weights.defined()) {
    Tensor counts = zeros({n}, DType::Int64);
    for (int64_t i = 0; i < bins.numel(); ++i) ++counts.data_as<int64_t>()[p[i]];
    return to(counts, x.device());
  }
  const Tensor w = on_cpu(to(weights.alias(), DType::Float64));
  Tensor sums = zeros({n}, DType::Float64);
  for (int64_t i = 0; i < bins.numel(); ++i) sums.data_as<double>()[p[i]] += w.data_as<double>()[i];
  return to(is_floating(weights.dtype()) ? to(sums, weights.dtype()) : sums, x.device());
}

Tensor searchsorted(const Tensor& sorted, const Tensor& values, bool right) {
  check_defined("searchsorted", "sorted_sequence", sorted);
  check_defined("searchsorted", "input", values);
  SW_CHECK_SHAPE(sorted.dim() == 1, "searchsorted: expected sorted_sequence of 1 dimension, got shape ",
                 sorted.shape());
  const Tensor s = on_cpu(to(sorted.alias(), DType::Float64)), v = on_cpu(to(values.alias(), DType::Float64));
  Tensor out = empty(values.shape(), DType::Int64);
  const double *p = s.data_as<double>(), *q = v.data_as<double>();
  for (int64_t i = 0; i < out.numel(); ++i) {
    int64_t low = 0, high = s.numel();
    while (low < high) {
      const int64_t mid = low + (high - low) / 2;
      const bool before = right ? !(q[i] < p[mid]) : p[mid] < q[i] || (std::isnan(q[i]) && !std::isnan(p[mid]));
      (before ? low : high) = before ? mid + 1 : mid;
    }
    out.data_as<int64_t>()[i] = low;
  }
  return to(out, values.device());
}

Tensor repeat_interleave(const Tensor& x, const Tensor& repeats, std::optional<int64_t> dim) {
  check_defined("repeat_interleave", "input", x);
  const Tensor in = dim && x.dim() > 0 ? x : reshape(x, {-1});
  const int d = normalize_dim(dim ? *dim : 0, in.dim(), "repeat_interleave");
  const Tensor counts = on_cpu(integer_index("repeat_interleave", repeats));
  SW_CHECK_SHAPE(counts.numel() == 1 || (counts.dim() == 1 && counts.numel() == in.shape()[d]),
                 "repeat_interleave: expected repeats of shape (", in.shape()[d], ",), got ", counts.shape());
  const int64_t* p = counts.data_as<int64_t>();
  const bool one = counts.numel() == 1;
  int64_t total = 0;
  for (int64_t i = 0; i < in.shape()[d]; ++i) {
    const int64_t r = p[one ? 0 : i];
    SW_CHECK_VALUE(r >= 0 && !__builtin_add_overflow(total, r, &total),
                   "repeat_interleave: repeats must not be negative or huge, got ", r);
  }
  Tensor index = empty({total}, DType::Int64);
  int64_t* out = index.data_as<int64_t>();
  for (int64_t i = 0; i < in.shape()[d]; ++i)
    for (int64_t r = p[one ? 0 : i]; r > 0; --r) *out++ = i;
  return index_select(in, d, index);
}

}  // namespace skipway
