#include "ops/shape.h"

#include "autograd/tape.h"
#include "ops/copy.h"
#include "ops/reduce.h"

namespace skipway {
namespace {

// Replaces one -1 by what is left, and checks the number of elements.
Shape infer_shape(const char* op, const Tensor& x, Shape shape) {
  int unknown = -1;
  int64_t known = 1;
  for (int i = 0; i < shape.size(); ++i) {
    if (shape[i] == -1) {
      SW_CHECK_SHAPE(unknown < 0, op, ": only one size can be -1, got ", shape);
      unknown = i;
      continue;
    }
    SW_CHECK_SHAPE(shape[i] >= 0, op, ": sizes must not be negative (one may be -1), got ", shape);
    SW_CHECK_SHAPE(!__builtin_mul_overflow(known, shape[i], &known), op, ": shape ", shape, " is too large");
  }
  const int64_t n = x.numel();
  if (unknown >= 0) {
    SW_CHECK_SHAPE(known != 0, op, ": cannot infer the size -1 of ", shape,
                   " because the other sizes have no elements");
    SW_CHECK_SHAPE(n % known == 0, op, ": shape ", shape, " is invalid for input of shape ", x.shape(), " (", n,
                   " elements)");
    shape[unknown] = n / known;
    return shape;
  }
  SW_CHECK_SHAPE(known == n, op, ": shape ", shape, " is invalid for input of shape ", x.shape(), " (", n,
                 " elements)");
  return shape;
}

// Strides that show the elements of (shape, strides) as `to`, in row-major order; false when no strides do. Both shapes
// have the same number of elements. Walks both from the last dimension: a run of dimensions that are adjacent in memory
// can be cut anew.
bool view_strides(const Shape& shape, const Shape& strides, const Shape& to, Shape& out) {
  out = contiguous_strides(to);
  if (shape.numel() == 0) return true;
  int j = to.size() - 1;
  for (int i = shape.size() - 1; i >= 0;) {
    if (shape[i] == 1) {
      --i;
      continue;
    }
    const int64_t base = strides[i];
    int64_t run = shape[i];
    for (--i; i >= 0 && (shape[i] == 1 || strides[i] == base * run); --i) run *= shape[i];
    int64_t used = 1;
    for (; j >= 0 && (used < run || to[j] == 1); --j) {
      out[j] = base * used;
      used *= to[j];
    }
    if (used != run) return false;
  }
  return true;
}

// The copy that reshape makes of images whose channels are innermost in memory, and stay so (a channel shuffle).
// Undefined where the shapes do not allow it.
Tensor reshape_images(const char* op, const Tensor& x, const Shape& shape) {
  if (x.dim() < 4 || shape.size() != 4 || shape[1] == 1 || x.numel() == 0 || x.strides().back() == 1 || !x.is_dense()) {
    return {};
  }
  Tensor y = empty_channels_last(shape, x.dtype(), x.device());
  Shape strides;
  if (!view_strides(shape, y.strides(), x.shape(), strides)) return {};
  copy_into(y.as_strided(x.shape(), strides, 0), x.alias());
  if (is_floating(x.dtype())) {
    tape::record(op, {y}, {x}, {}, [from = x.shape()](tape::Backward& b) { b.give(0, reshape(b.grad(), from)); });
  }
  return y;
}

Tensor reshape_as(const char* op, const Tensor& x, const Shape& wanted) {
  check_defined(op, "input", x);
  const Shape shape = infer_shape(op, x, wanted);
  Shape strides;
  if (!view_strides(x.shape(), x.strides(), shape, strides)) {
    const Tensor images = reshape_images(op, x, shape);
    return images.defined() ? images : reshape_as(op, contiguous(x), shape);
  }
  return tape::view(op, x, shape, strides, x.offset(),
                    [from = x.shape()](tape::Backward& b) { b.give(0, reshape(b.grad(), from)); });
}

int unique_dim(const char* op, int64_t dim, int ndim, uint32_t& seen) {
  const int d = normalize_dim(dim, ndim, op);
  SW_CHECK_VALUE(!(seen >> d & 1), op, ": dimension ", d, " appears twice");
  seen |= 1u << d;
  return d;
}

}  // namespace

Tensor reshape(const Tensor& x, const Shape& shape) { return reshape_as("reshape", x, shape); }
Tensor view(const Tensor& x, const Shape& shape) { return reshape_as("view", x, shape); }

Tensor flatten(const Tensor& x, int64_t start_dim, int64_t end_dim) {
  check_defined("flatten", "input", x);
  if (x.dim() == 0) {
    normalize_dim(start_dim, 1, "flatten");
    normalize_dim(end_dim, 1, "flatten");
    return reshape_as("flatten", x, {1});
  }
  const int first = normalize_dim(start_dim, x.dim(), "flatten"), last = normalize_dim(end_dim, x.dim(), "flatten");
  SW_CHECK_SHAPE(first <= last, "flatten: start_dim ", start_dim, " comes after end_dim ", end_dim);
  Shape shape;
  int64_t n = 1;
  for (int i = 0; i < x.dim(); ++i) {
    if (i < first || i > last) {
      shape.push_back(x.shape()[i]);
    } else {
      n *= x.shape()[i];
      if (i == last) shape.push_back(n);
    }
  }
  return reshape_as("flatten", x, shape);
}

Tensor unflatten(const Tensor& x, int64_t dim, const Shape& sizes) {
  check_defined("unflatten", "input", x);
  const int d = normalize_dim(dim, x.dim(), "unflatten");
  SW_CHECK_SHAPE(!sizes.empty(), "unflatten: sizes must not be empty");
  Shape full = sizes;
  int64_t known = 1;
  int unknown = -1;
  for (int i = 0; i < sizes.size(); ++i) {
    if (sizes[i] == -1 && unknown < 0) {
      unknown = i;
    } else {
      SW_CHECK_SHAPE(sizes[i] >= 0 && !__builtin_mul_overflow(known, sizes[i], &known),
                     "unflatten: expected sizes of at least 0, of which one may be -1, got ", sizes);
    }
  }
  if (unknown >= 0 && known > 0) full[unknown] = x.shape()[d] / known;
  SW_CHECK_SHAPE((unknown < 0 || known > 0) && (unknown < 0 ? known : known * full[unknown]) == x.shape()[d],
                 "unflatten: sizes ", sizes, " do not multiply to ", x.shape()[d], ", the size of dimension ", d,
                 " of input of shape ", x.shape());
  Shape shape;
  for (int i = 0; i < x.dim(); ++i) {
    if (i != d) {
      shape.push_back(x.shape()[i]);
    } else {
      for (int64_t s : full) shape.push_back(s);
    }
  }
  return reshape_as("unflatten", x, shape);
}

namespace {
Tensor squeeze_mask(const Tensor& x, uint32_t mask) {
  Shape shape, strides;
  for (int i = 0; i < x.dim(); ++i) {
    if (x.shape()[i] == 1 && (mask >> i & 1)) continue;
    shape.push_back(x.shape()[i]);
    strides.push_back(x.strides()[i]);
  }
  return tape::view("squeeze", x, shape, strides, x.offset(),
                    [from = x.shape()](tape::Backward& b) { b.give(0, reshape(b.grad(), from)); });
}
}  // namespace

Tensor squeeze(const Tensor& x) {
  check_defined("squeeze", "input", x);
  return squeeze_mask(x, ~0u);
}

Tensor squeeze(const Tensor& x, const Shape& dims) {
  check_defined("squeeze", "input", x);
  uint32_t mask = 0;
  for (int64_t d : dims) unique_dim("squeeze", d, x.dim() ? x.dim() : 1, mask);
  return squeeze_mask(x, mask);
}

Tensor unsqueeze(const Tensor& x, int64_t dim) {
  check_defined("unsqueeze", "input", x);
  const int d = normalize_dim(dim, x.dim() + 1, "unsqueeze");
  Shape shape = x.shape(), strides = x.strides();
  const int64_t stride = d < x.dim() ? shape[d] * strides[d] : 1;
  shape.insert(d, 1);
  strides.insert(d, stride);
  return tape::view("unsqueeze", x, shape, strides, x.offset(),
                    [d](tape::Backward& b) { b.give(0, squeeze(b.grad(), {d})); });
}

Tensor permute(const Tensor& x, const Shape& dims) {
  check_defined("permute", "input", x);
  SW_CHECK_SHAPE(dims.size() == x.dim(), "permute: expected ", x.dim(), " dims for input of shape ", x.shape(),
                 ", got ", dims);
  Shape shape, strides, inverse = Shape::filled(x.dim(), 0);
  uint32_t seen = 0;
  for (int i = 0; i < x.dim(); ++i) {
    const int d = unique_dim("permute", dims[i], x.dim(), seen);
    shape.push_back(x.shape()[d]);
    strides.push_back(x.strides()[d]);
    inverse[d] = i;
  }
  return tape::view("permute", x, shape, strides, x.offset(),
                    [inverse](tape::Backward& b) { b.give(0, permute(b.grad(), inverse)); });
}

Tensor transpose(const Tensor& x, int64_t dim0, int64_t dim1) {
  check_defined("transpose", "input", x);
  const int n = x.dim() ? x.dim() : 1;
  const int a = normalize_dim(dim0, n, "transpose"), b = normalize_dim(dim1, n, "transpose");
  Shape dims;
  for (int i = 0; i < x.dim(); ++i) dims.push_back(i == a ? b : i == b ? a : i);
  return permute(x, dims);
}

Tensor t(const Tensor& x) {
  check_defined("t", "input", x);
  SW_CHECK_SHAPE(x.dim() <= 2, "t: expected input of at most 2 dimensions, got shape ", x.shape());
  return x.dim() < 2 ? permute(x, x.dim() ? Shape{0} : Shape{}) : transpose(x, 0, 1);
}

Tensor reverse_dims(const Tensor& x) {
  check_defined("T", "input", x);
  Shape dims;
  for (int i = x.dim() - 1; i >= 0; --i) dims.push_back(i);
  return permute(x, dims);
}

Tensor matrix_transpose(const Tensor& x) {
  check_defined("mT", "input", x);
  SW_CHECK_SHAPE(x.dim() >= 2, "mT: expected input of at least 2 dimensions, got shape ", x.shape());
  return transpose(x, -2, -1);
}

Tensor movedim(const Tensor& x, const Shape& source, const Shape& destination) {
  check_defined("movedim", "input", x);
  SW_CHECK_SHAPE(source.size() == destination.size(), "movedim: source ", source, " and destination ", destination,
                 " differ in length");
  Shape dims = Shape::filled(x.dim(), -1);
  uint32_t from = 0, to = 0;
  for (int i = 0; i < source.size(); ++i) {
    const int s = unique_dim("movedim", source[i], x.dim(), from);
    dims[unique_dim("movedim", destination[i], x.dim(), to)] = s;
  }
  for (int i = 0, next = 0; i < x.dim(); ++i) {
    if (dims[i] >= 0) continue;
    while (from >> next & 1) ++next;
    dims[i] = next++;
  }
  return permute(x, dims);
}

Tensor expand(const Tensor& x, const Shape& wanted) {
  check_defined("expand", "input", x);
  const int lead = wanted.size() - x.dim();
  SW_CHECK_SHAPE(lead >= 0, "expand: shape ", wanted, " has fewer dimensions than input of shape ", x.shape());
  Shape shape = wanted, strides = Shape::filled(wanted.size(), 0);
  for (int i = 0; i < wanted.size(); ++i) {
    const bool keep = wanted[i] == -1 && i >= lead;
    SW_CHECK_SHAPE(keep || wanted[i] >= 0, "expand: sizes must not be negative (-1 keeps an existing one), got ",
                   wanted);
    if (i < lead) continue;
    const int64_t size = x.shape()[i - lead];
    if (keep || wanted[i] == size) {
      shape[i] = size;
      strides[i] = x.strides()[i - lead];
    } else {
      SW_CHECK_SHAPE(size == 1, "expand: input of shape ", x.shape(), " cannot be expanded to ", wanted, " (dimension ",
                     i - lead, " has size ", size, ", not 1 or ", wanted[i], ")");
    }
  }
  int64_t n = 1;
  for (int64_t s : shape) SW_CHECK_SHAPE(!__builtin_mul_overflow(n, s, &n), "expand: shape ", wanted, " is too large");
  return tape::view("expand", x, shape, strides, x.offset(),
                    [from = x.shape()](tape::Backward& b) { b.give(0, sum_to(b.grad(), from)); });
}

std::vector<Tensor> broadcast_tensors(const std::vector<Tensor>& tensors) {
  Shape shape;
  for (const Tensor& x : tensors) {
    check_defined("broadcast_tensors", "tensors", x);
    shape = broadcast_shapes(shape, x.shape(), "broadcast_tensors");
  }
  std::vector<Tensor> out;
  for (const Tensor& x : tensors) out.push_back(expand(x, shape));
  return out;
}

std::vector<Tensor> meshgrid(const std::vector<Tensor>& tensors, bool xy) {
  const int n = int(tensors.size());
  SW_CHECK_VALUE(n > 0 && n <= kMaxDims, "meshgrid: expected 1 to ", kMaxDims, " tensors, got ", n);
  const bool swap = xy && n >= 2;
  Shape sizes;
  for (const Tensor& x : tensors) {
    check_defined("meshgrid", "tensors", x);
    SW_CHECK_SHAPE(x.dim() <= 1, "meshgrid: expected 0-D or 1-D tensors, got shape ", x.shape());
    sizes.push_back(x.numel());
  }
  std::vector<Tensor> out;
  for (int i = 0; i < n; ++i) {
    Shape shape = Shape::filled(n, 1);
    shape[i] = sizes[i];
    Tensor grid = expand(reshape(tensors[size_t(i)], shape), sizes);
    out.push_back(swap ? transpose(grid, 0, 1) : grid);
  }
  return out;
}

}  // namespace skipway
