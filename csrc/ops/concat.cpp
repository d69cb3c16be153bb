#include "ops/concat.h"

#include "autograd/tape.h"
#include "ops/copy.h"
#include "ops/index.h"
#include "ops/shape.h"

namespace skipway {
namespace {

// PyTorch lets an empty 1-D tensor stand among others.
bool is_placeholder(const Tensor& x) { return x.dim() == 1 && x.shape()[0] == 0; }

struct Joined {
  std::vector<Tensor> parts;
  Shape shape;
  DType dtype;
  int dim;
  bool channels_last;
};

Joined plan_cat(const std::vector<Tensor>& tensors, int64_t dim) {
  SW_CHECK_VALUE(!tensors.empty(), "cat: expected at least one tensor");
  const Tensor* first = nullptr;
  for (const Tensor& x : tensors) {
    check_defined("cat", "every tensor", x);
    if (!first || is_placeholder(*first)) first = &x;
  }
  SW_CHECK_SHAPE(first->dim() > 0, "cat: tensors without dimensions cannot be joined; use stack");
  Joined j{{}, first->shape(), tensors[0].dtype(), normalize_dim(dim, first->dim(), "cat"), first->dim() >= 3};
  j.shape[j.dim] = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Tensor& x = tensors[i];
    j.dtype = promote(j.dtype, x.dtype());
    j.parts.push_back(x);
    SW_CHECK_AS(DeviceError, x.device() == first->device(), "cat: expected tensors on one device, got ", first->dtype(),
                " ", first->shape(), " on ", first->device(), " and ", x.dtype(), " ", x.shape(), " on ", x.device());
    if (is_placeholder(x) && first->dim() != 1) continue;
    bool fits = x.dim() == first->dim();
    for (int d = 0; fits && d < x.dim(); ++d) fits = d == j.dim || x.shape()[d] == j.shape[d];
    SW_CHECK_SHAPE(fits, "cat: expected tensors of the same shape except in dimension ", j.dim, ", got ",
                   first->shape(), " and ", x.shape(), " (tensor ", i, ")");
    j.channels_last = j.channels_last && x.is_channels_last() && !x.is_contiguous();
    j.shape[j.dim] += x.shape()[j.dim];
  }
  return j;
}

}  // namespace

Tensor cat(const std::vector<Tensor>& tensors, int64_t dim) {
  Joined j = plan_cat(tensors, dim);
  for (Tensor& x : j.parts) x = to(x, j.dtype);
  const Device device = j.parts[0].device();
  Tensor y = j.channels_last ? empty_channels_last(j.shape, j.dtype, device) : empty(j.shape, j.dtype, device);
  const int d = j.dim;
  std::vector<int64_t> sizes;
  int64_t start = 0;
  {
    tape::NoGradGuard no_grad;
    for (const Tensor& x : j.parts) {
      const int64_t size = x.dim() == y.dim() ? x.shape()[d] : 0;
      if (x.numel() > 0) copy_into(narrow(y.alias(), d, start, size), x.alias());
      sizes.push_back(size);
      start += size;
    }
  }
  if (!is_floating(j.dtype)) return y;
  std::vector<bool> placeholder;
  for (const Tensor& x : j.parts) placeholder.push_back(x.dim() != y.dim());
  tape::record("cat", std::vector<Tensor>{y}, j.parts, {},
               [d, sizes, placeholder, images = j.channels_last](tape::Backward& b) {
                 int64_t start = 0;
                 for (size_t i = 0; i < sizes.size(); start += sizes[i++]) {
                   if (!b.needs(int(i))) continue;
                   // A copy: a gradient that were a window of another would keep all of that alive, and be slow to
                   // read.
                   const Tensor part = narrow(b.grad(), d, start, sizes[i]);
                   Tensor dx = placeholder[i] ? zeros({0}, part.dtype(), part.device())
                               : images       ? empty_channels_last(part.shape(), part.dtype(), part.device())
                                              : empty(part.shape(), part.dtype(), part.device());
                   if (!placeholder[i]) copy_into(dx, part);
                   b.give(int(i), dx);
                 }
               });
  return y;
}

Tensor stack(const std::vector<Tensor>& tensors, int64_t dim) {
  SW_CHECK_VALUE(!tensors.empty(), "stack: expected at least one tensor");
  check_defined("stack", "every tensor", tensors[0]);
  const int d = normalize_dim(dim, tensors[0].dim() + 1, "stack");
  std::vector<Tensor> parts;
  for (size_t i = 0; i < tensors.size(); ++i) {
    check_defined("stack", "every tensor", tensors[i]);
    SW_CHECK_SHAPE(tensors[i].shape() == tensors[0].shape(), "stack: expected tensors of the same shape, got ",
                   tensors[0].shape(), " and ", tensors[i].shape(), " (tensor ", i, ")");
    parts.push_back(unsqueeze(tensors[i], d));
  }
  return cat(parts, d);
}

namespace {
// Each tensor with at least n dimensions, as NumPy's stacking functions see it.
std::vector<Tensor> at_least(const char* op, const std::vector<Tensor>& tensors, int n) {
  SW_CHECK_VALUE(!tensors.empty(), op, ": expected at least one tensor");
  std::vector<Tensor> out;
  for (Tensor x : tensors) {
    check_defined(op, "every tensor", x);
    if (x.dim() == 0) x = reshape(x, {1});
    if (n >= 2 && x.dim() == 1) x = unsqueeze(x, 0);
    if (n >= 3 && x.dim() == 2) x = unsqueeze(x, 2);
    out.push_back(x);
  }
  return out;
}
}  // namespace

Tensor hstack(const std::vector<Tensor>& tensors) {
  const std::vector<Tensor> parts = at_least("hstack", tensors, 1);
  return cat(parts, parts[0].dim() == 1 ? 0 : 1);
}
Tensor vstack(const std::vector<Tensor>& tensors) { return cat(at_least("vstack", tensors, 2), 0); }
Tensor dstack(const std::vector<Tensor>& tensors) { return cat(at_least("dstack", tensors, 3), 2); }

// ---- pad ------------------------------------------------------------------------------------------------------------
namespace {

struct Amounts {
  int64_t before[kMaxDims] = {}, after[kMaxDims] = {};
};

Amounts read_amounts(const Tensor& x, const std::vector<int64_t>& pad, Shape& shape) {
  SW_CHECK_VALUE(pad.size() % 2 == 0 && int(pad.size()) <= 2 * x.dim(),
                 "pad: expected pad to be an even number of at most ", 2 * x.dim(), " amounts for input of shape ",
                 x.shape(), ", got ", pad.size());
  Amounts a;
  shape = x.shape();
  for (int i = 0; i < int(pad.size()) / 2; ++i) {
    const int d = x.dim() - 1 - i;
    a.before[d] = pad[size_t(2 * i)];
    a.after[d] = pad[size_t(2 * i) + 1];
    int64_t size;
    SW_CHECK_VALUE(!__builtin_add_overflow(shape[d], a.before[d], &size) &&
                       !__builtin_add_overflow(size, a.after[d], &size) && size >= 0,
                   "pad: pad amounts ", a.before[d], " and ", a.after[d], " leave no valid size for dimension ", d,
                   " of input of shape ", x.shape());
    shape[d] = size;
  }
  return a;
}

// The parts of input and result that hold the same elements.
Tensor common_part(Tensor x, const Amounts& a, const Shape& from, bool of_result) {
  for (int d = 0; d < x.dim(); ++d) {
    const int64_t cut_before = a.before[d] < 0 ? -a.before[d] : 0, cut_after = a.after[d] < 0 ? -a.after[d] : 0;
    const int64_t length = from[d] - cut_before - cut_after;
    x = narrow(x, d, of_result ? (a.before[d] > 0 ? a.before[d] : 0) : cut_before, length > 0 ? length : 0);
  }
  return x;
}

Tensor pad_constant(const Tensor& x, const Amounts& a, const Shape& shape, double value) {
  const bool images = x.dim() >= 3 && x.is_channels_last() && !x.is_contiguous();
  Tensor y = images ? empty_channels_last(shape, x.dtype(), x.device()) : empty(shape, x.dtype(), x.device());
  {
    tape::NoGradGuard no_grad;
    copy_into(y, full({}, value, x.dtype()));
    bool whole = true;  // a crop beyond the tensor leaves nothing of it
    for (int d = 0; d < x.dim(); ++d)
      whole = whole && x.shape()[d] + (a.before[d] < 0 ? a.before[d] : 0) + (a.after[d] < 0 ? a.after[d] : 0) >= 0;
    SW_CHECK_VALUE(whole, "pad: negative amounts crop more than input of shape ", x.shape(), " has");
    copy_into(common_part(y.alias(), a, x.shape(), true), common_part(x.alias(), a, x.shape(), false));
  }
  if (!is_floating(x.dtype())) return y;
  tape::record("pad", {y}, {x}, {}, [a, from = x.shape(), images](tape::Backward& b) {
    const DType dtype = b.grad().dtype();
    const Device device = b.grad().device();
    Tensor dx = images ? empty_channels_last(from, dtype, device) : empty(from, dtype, device);
    copy_into(dx, zeros({}, dtype));
    copy_into(common_part(dx, a, from, false), common_part(b.grad(), a, from, true));
    b.give(0, dx);
  });
  return y;
}

// Source positions along one dimension: reflect  c b | a b c | b a,  replicate  a a | a b c | c c,
// circular  b c | a b c | a b.
Tensor border_positions(const std::string& mode, int64_t size, int64_t before, int64_t after) {
  Tensor index = empty({size + before + after}, DType::Int64);
  for (int64_t i = 0; i < index.numel(); ++i) {
    int64_t k = i - before;
    if (mode == "reflect") {
      k = k < 0 ? -k : k >= size ? 2 * (size - 1) - k : k;
    } else if (mode == "replicate") {
      k = k < 0 ? 0 : k >= size ? size - 1 : k;
    } else {
      k = (k + size) % size;
    }
    index.data_as<int64_t>()[i] = k;
  }
  return index;
}

}  // namespace

Tensor pad(const Tensor& x, const std::vector<int64_t>& pad, const std::string& mode, double value) {
  check_defined("pad", "input", x);
  Shape shape;
  const Amounts a = read_amounts(x, pad, shape);
  if (mode == "constant") return pad_constant(x, a, shape, value);
  const bool reflect = mode == "reflect", circular = mode == "circular";
  SW_CHECK_VALUE(reflect || circular || mode == "replicate",
                 "pad: expected mode 'constant', 'reflect', 'replicate' or 'circular', got '", mode, "'");
  // The gradients add up axis after axis: of bfloat16 in float32.
  const bool widen = is_half(x.dtype()) && tape::should_record({x});
  Tensor y = widen ? to(x, DType::Float32) : x;
  for (int d = 0; d < x.dim(); ++d) {
    const int64_t size = x.shape()[d], before = a.before[d], after = a.after[d];
    if (before == 0 && after == 0) continue;
    const int64_t most = reflect ? size - 1 : circular ? size : INT64_MAX;
    SW_CHECK_VALUE(before >= 0 && after >= 0 && size > 0 && before <= most && after <= most, "pad: mode '", mode,
                   "' cannot pad dimension ", d, " of size ", size, " by ", before, " and ", after,
                   size > 0 && most < INT64_MAX ? concat(" (expected pad amounts from 0 to ", most, ")") : "");
    y = index_select(y, d, border_positions(mode, size, before, after));
  }
  return y.impl() == x.impl() ? clone(x) : to(y, x.dtype());
}

}  // namespace skipway
