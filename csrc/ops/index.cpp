#include "ops/index.h"

#include <climits>

#include "autograd/tape.h"
#include "ops/copy.h"
#include "ops/elementwise.h"
#include "ops/index_move.h"
#include "ops/reduce.h"
#include "ops/shape.h"

namespace skipway {
namespace {

// What a backward closure needs of Positions beside the index tensors, which are saved.
struct Placement {
  Shape from, common;
  int first;
  bool distinct;
  uint32_t used = 0;  // bit d: dimension d is indexed

  Placement(const Shape& shape, const Positions& p)
      : from(shape), common(p.shape), first(p.first), distinct(p.distinct) {
    for (size_t d = 0; d < p.per_dim.size(); ++d) used |= uint32_t(p.per_dim[d].defined()) << d;
  }
  Positions restore(const tape::Backward& b, int saved_from) const {
    Positions p{{}, common, first, distinct};
    for (int d = 0; d < from.size(); ++d) p.per_dim.push_back(used >> d & 1 ? b.saved(saved_from++) : Tensor());
    return p;
  }
};

std::vector<Tensor> saved_indices(const Positions& p) {
  std::vector<Tensor> saved;
  for (const Tensor& t : p.per_dim)
    if (t.defined()) saved.push_back(t);
  return saved;
}

Tensor index_as(const char* name, const Tensor& x, const Indices& indices) {
  check_defined(name, "input", x);
  const Positions p = find_positions(name, x, indices);
  Tensor y = get_at(x, element_offsets(name, x.shape(), x.strides(), p, x.device()), p);
  if (!is_floating(x.dtype())) return y;
  tape::record(name, std::vector<Tensor>{y}, {x}, saved_indices(p), [at = Placement(x.shape(), p)](tape::Backward& b) {
    b.give(0, sum_at(at.from, at.restore(b, 0), b.grad()));
  });
  return y;
}

// Adds or stores `values` (of x's dtype) at the positions, on the tape.
void write_at(const char* name, const Tensor& x, const Positions& p, const Tensor& given, bool accumulate) {
  tape::begin_inplace(name, x);
  const Shape shape = indexed_shape(x.shape(), p);
  Tensor values = source_for(name, x, given);
  while (values.dim() > shape.size() && values.shape()[0] == 1) values = squeeze(values, {0});
  SW_CHECK_SHAPE(values.dim() <= shape.size(), name, ": values of shape ", given.shape(),
                 " cannot be broadcast to the indexed shape ", shape);
  values = expand(values, shape);
  const Tensor offsets = element_offsets(name, x.shape(), x.strides(), p, x.device());
  {
    tape::NoGradGuard no_grad;
    Tensor raw = values.alias();
    if (values.storage() == x.storage()) raw = clone(raw);
    if (accumulate && is_half(x.dtype())) {
      Tensor wide = to(x.alias(), DType::Float32);
      const Tensor wide_offsets = element_offsets(name, wide.shape(), wide.strides(), p, x.device());
      move_at(MoveMode::Add, wide, wide_offsets, p, to(raw, DType::Float32));
      copy_into(x.alias(), wide);
    } else {
      move_at(accumulate ? MoveMode::Add : MoveMode::Put, x, offsets, p, raw);
    }
  }
  Tensor result = x.alias();
  if (is_floating(x.dtype())) {
    tape::record(name, std::vector<Tensor>{result}, {x, values}, saved_indices(p),
                 [at = Placement(x.shape(), p), accumulate](tape::Backward& b) {
                   const Positions p = at.restore(b, 0);
                   const Tensor& dy = b.grad();
                   if (b.needs(1))
                     b.give(1, get_at(dy, element_offsets("index", dy.shape(), dy.strides(), p, dy.device()), p));
                   if (!b.needs(0)) return;
                   if (accumulate) return b.give(0, dy);
                   Tensor dx = clone(contiguous(dy)), zero = zeros({}, dy.dtype(), dy.device());
                   move_at(MoveMode::Put, dx, element_offsets("index", dx.shape(), dx.strides(), p, dx.device()), p,
                           zero);
                   b.give(0, dx);
                 });
  }
  tape::finish_inplace(x, result);
}

Indices along(const Tensor& x, int dim, const Tensor& index) {
  (void)x;
  Indices indices(size_t(dim) + 1);
  indices[size_t(dim)] = index;
  return indices;
}

// index as 1-D, for functions along one dimension.
Tensor line(const char* op, const Tensor& index) {
  const Tensor i = integer_index(op, index);
  SW_CHECK_SHAPE(i.dim() <= 1, op, ": expected index to have at most 1 dimension, got shape ", i.shape());
  return reshape(i, {-1});
}

}  // namespace

Tensor index(const Tensor& x, const Indices& indices) { return index_as("index", x, indices); }

Tensor index_put_(const Tensor& x, const Indices& indices, const Tensor& values, bool accumulate) {
  check_defined("index_put_", "input", x);
  check_defined("index_put_", "values", values);
  write_at("index_put_", x, find_positions("index_put_", x, indices), values, accumulate);
  return x;
}

Tensor index_put(const Tensor& x, const Indices& indices, const Tensor& values, bool accumulate) {
  return index_put_(clone(x), indices, values, accumulate);
}

Tensor index_select(const Tensor& x, int64_t dim, const Tensor& index) {
  check_defined("index_select", "input", x);
  const Tensor i = line("index_select", index);
  if (x.dim() == 0) return reshape(index_as("index_select", reshape(x, {1}), {i}), {});
  const int d = normalize_dim(dim, x.dim(), "index_select");
  return index_as("index_select", x, along(x, d, i));
}

namespace {
// The shape x[..., index, ...] has along one dimension, checked against `source`.
void check_source(const char* op, const Tensor& x, int d, int64_t count, const Tensor& source) {
  Shape expected = x.shape();
  expected[d] = count;
  SW_CHECK_SHAPE(source.shape() == expected, op, ": expected source of shape ", expected, ", got ", source.shape());
}
}  // namespace

Tensor index_add_(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source, double alpha) {
  check_defined("index_add_", "input", x);
  check_defined("index_add_", "source", source);
  const int d = normalize_dim(dim, x.dim(), "index_add_");
  const Tensor i = line("index_add_", index);
  check_source("index_add_", x, d, i.numel(), source);
  const Tensor values = alpha == 1 ? source : mul(source, number(alpha, source.dtype()));
  write_at("index_add_", x, find_positions("index_add_", x, along(x, d, i)), values, true);
  return x;
}

Tensor index_copy_(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source) {
  check_defined("index_copy_", "input", x);
  check_defined("index_copy_", "source", source);
  const int d = normalize_dim(dim, x.dim(), "index_copy_");
  const Tensor i = line("index_copy_", index);
  check_source("index_copy_", x, d, i.numel(), source);
  write_at("index_copy_", x, find_positions("index_copy_", x, along(x, d, i)), source, false);
  return x;
}

Tensor index_fill_(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& value) {
  check_defined("index_fill_", "input", x);
  check_defined("index_fill_", "value", value);
  SW_CHECK_SHAPE(value.numel() == 1, "index_fill_: expected a value with one element, got shape ", value.shape());
  const int d = normalize_dim(dim, x.dim(), "index_fill_");
  const Tensor i = line("index_fill_", index);
  write_at("index_fill_", x, find_positions("index_fill_", x, along(x, d, i)), reshape(value, {}), false);
  return x;
}

Tensor take(const Tensor& x, const Tensor& index) {
  check_defined("take", "input", x);
  return index_as("take", reshape(x, {-1}), {integer_index("take", index)});
}

Tensor masked_select(const Tensor& x, const Tensor& mask) {
  check_defined("masked_select", "input", x);
  check_defined("masked_select", "mask", mask);
  SW_CHECK_TYPE(mask.dtype() == DType::Bool, "masked_select: expected mask of dtype bool, got ", mask.dtype());
  const Shape shape = broadcast_shapes(x.shape(), mask.shape(), "masked_select");
  if (shape.empty()) return index_as("masked_select", reshape(x, {1}), {reshape(mask, {1})});
  return index_as("masked_select", expand(x, shape), {expand(mask, shape)});
}

// y[..., :] = weight[index[...], :]. The row padding_idx gets no gradient.
Tensor embedding(const Tensor& weight, const Tensor& index, std::optional<int64_t> padding_idx) {
  check_defined("embedding", "weight", weight);
  SW_CHECK_SHAPE(weight.dim() == 2, "embedding: expected weight of shape (num_embeddings, embedding_dim), got ",
                 weight.shape());
  const int64_t rows = weight.shape()[0];
  int64_t skip = padding_idx ? *padding_idx : LLONG_MIN;
  SW_CHECK_INDEX(!padding_idx || (skip >= -rows && skip < rows), "embedding: padding_idx ", skip,
                 " is out of range for ", rows, " rows");
  if (padding_idx && skip < 0) skip += rows;
  const Tensor i = integer_index("embedding", index);
  for (int64_t k = 0; k < i.numel() && i.device().is_cpu(); ++k) {
    const int64_t v = i.data_as<int64_t>()[k];
    SW_CHECK_INDEX(v >= 0 && v < rows, "embedding: index ", v, " is out of range for ", rows, " rows");
  }
  const Positions p = find_positions("embedding", weight, {i});
  Tensor y = get_at(
      weight, element_offsets("embedding", weight.shape(), weight.strides(), p, weight.device(), /*wrap=*/false), p);
  tape::record("embedding", std::vector<Tensor>{y}, {weight}, saved_indices(p),
               [at = Placement(weight.shape(), p), skip](tape::Backward& b) {
                 Tensor dw = sum_at(at.from, at.restore(b, 0), b.grad());
                 if (skip >= 0) copy_into(select(dw, 0, skip), zeros({}, dw.dtype(), dw.device()));
                 b.give(0, dw);
               });
  return y;
}

}  // namespace skipway
