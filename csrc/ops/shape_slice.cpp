// Views that show a part of a tensor, and the copies built from them.

#include "autograd/tape.h"
#include "core/cuda.h"
#include "ops/concat.h"
#include "ops/copy.h"
#include "ops/index.h"
#include "ops/shape.h"

namespace skipway {
namespace {

// A dense tensor's sizes and strides without its memory.
struct Layout {
  Shape shape, strides;

  explicit Layout(const Tensor& x)
      : shape(x.shape()), strides(x.is_dense() ? x.strides() : contiguous_strides(x.shape())) {}
  // A tensor of this layout on memory that somebody else keeps.
  Tensor on(void* data, DType dtype, Device device) const {
    auto storage = std::make_shared<Storage>();
    storage->data = data;
    storage->bytes = size_t(shape.numel() * size_of(dtype));
    storage->device = device;
    storage->release = [] {};
    return Tensor(storage, shape, strides, 0, dtype);
  }
};

// A view of part of x. `geometry(t)` shows that part of any tensor t of x's shape, without the tape; the gradient of x
// is zero outside it. Several parts of one tensor add their gradients into the same memory.
template <class Geometry>
Tensor part(const char* name, const Tensor& x, const Geometry& geometry) {
  const Tensor shown = geometry(x);
  return tape::view(name, x, shown.shape(), shown.strides(), shown.offset(),
                    [geometry, layout = Layout(x)](tape::Backward& b) {
                      if (!b.needs(0)) return;
                      const Device device = b.grad().device();
                      const DType dtype = b.sum_dtype(0);
                      const Grad target = b.target(0, layout.on(nullptr, dtype, device));
                      const Tensor dx = layout.on(target.data, dtype, device);
                      if (target.mode == GradMode::Add)
                        return accumulate_into(geometry(dx), to(b.grad(), dtype), false);
                      fill_memory(target.data, device, 0, dx.storage()->bytes);
                      copy_into(geometry(dx), b.grad());
                    });
}

// The same where elements of the view may share memory: their gradients add up, bfloat16 in float32.
template <class Geometry>
Tensor overlapping_part(const char* name, const Tensor& x, const Geometry& geometry) {
  const Tensor shown = geometry(x);
  return tape::view(name, x, shown.shape(), shown.strides(), shown.offset(),
                    [geometry, shape = x.shape(), dtype = x.dtype()](tape::Backward& b) {
                      const DType wide = accumulate_dtype(dtype);
                      const Tensor dx = zeros(shape, wide, b.grad().device());
                      accumulate_into(geometry(dx), to(b.grad(), wide), true);
                      b.give(0, to(dx, dtype));
                    });
}

}  // namespace

void BasicIndex::add(IndexItem item) {
  SW_CHECK_INDEX(n < 2 * kMaxDims, "index: more than ", 2 * kMaxDims, " entries");
  items[n++] = item;
}

IndexItem slice_item(int64_t start, int64_t stop, int64_t step, int64_t size) {
  if (start < 0) start += size;
  if (stop < 0) stop += size;
  start = start < 0 ? 0 : start > size ? size : start;
  stop = stop < 0 ? 0 : stop > size ? size : stop;
  const int64_t length = stop > start ? (stop - start - 1) / step + 1 : 0;
  return {IndexItem::Slice, start, length, step};
}

Tensor basic_index(const char* name, const Tensor& x, const BasicIndex& index) {
  return part(name, x, [index](const Tensor& t) {
    Shape shape, strides;
    int64_t offset = t.offset();
    int d = 0;
    for (int i = 0; i < index.n; ++i) {
      const IndexItem& item = index.items[i];
      if (item.kind == IndexItem::NewAxis) {
        shape.push_back(1);
        strides.push_back(1);
        continue;
      }
      const int64_t stride = t.strides()[d++];
      if (item.kind == IndexItem::Int || item.length > 0) offset += item.start * stride;
      if (item.kind == IndexItem::Slice) {
        shape.push_back(item.length);
        strides.push_back(item.length > 1 ? stride * item.step : stride);
      }
    }
    for (; d < t.dim(); ++d) {
      shape.push_back(t.shape()[d]);
      strides.push_back(t.strides()[d]);
    }
    return t.as_strided(shape, strides, offset);
  });
}

namespace {
Tensor with_item(const char* name, const Tensor& x, int dim, const IndexItem& item) {
  BasicIndex index;
  for (int i = 0; i < dim; ++i) index.add({IndexItem::Slice, 0, x.shape()[i], 1});
  index.add(item);
  return basic_index(name, x, index);
}
}  // namespace

Tensor narrow(const Tensor& x, int64_t dim, int64_t start, int64_t length) {
  check_defined("narrow", "input", x);
  const int d = normalize_dim(dim, x.dim(), "narrow");
  const int64_t size = x.shape()[d];
  SW_CHECK_INDEX(start >= -size && start <= size, "narrow: start ", start, " is out of range for dimension ", d,
                 " of size ", size);
  if (start < 0) start += size;
  SW_CHECK_VALUE(length >= 0 && length <= size - start, "narrow: start ", start, " and length ", length,
                 " do not fit in dimension ", d, " of size ", size);
  return with_item("narrow", x, d, {IndexItem::Slice, start, length, 1});
}

Tensor select(const Tensor& x, int64_t dim, int64_t index) {
  check_defined("select", "input", x);
  const int d = normalize_dim(dim, x.dim(), "select");
  const int64_t size = x.shape()[d];
  SW_CHECK_INDEX(index >= -size && index < size, "select: index ", index, " is out of range for dimension ", d,
                 " of size ", size);
  return with_item("select", x, d, {IndexItem::Int, index < 0 ? index + size : index, 1, 1});
}

Tensor slice(const Tensor& x, int64_t dim, int64_t start, int64_t stop, int64_t step) {
  check_defined("slice", "input", x);
  const int d = normalize_dim(dim, x.dim(), "slice");
  SW_CHECK_VALUE(step >= 1, "slice: step must be at least 1, got ", step);
  return with_item("slice", x, d, slice_item(start, stop, step, x.shape()[d]));
}

Tensor diagonal(const Tensor& x, int64_t offset, int64_t dim1, int64_t dim2) {
  check_defined("diagonal", "input", x);
  const int a = normalize_dim(dim1, x.dim(), "diagonal"), b = normalize_dim(dim2, x.dim(), "diagonal");
  SW_CHECK_VALUE(a != b, "diagonal: dim1 and dim2 are both dimension ", a);
  const int64_t rows = x.shape()[a], cols = x.shape()[b];
  // Clamped: an offset beyond the matrix leaves an empty diagonal, whatever its value.
  const int64_t row = offset < 0 ? (offset < -rows ? rows : -offset) : 0;
  const int64_t col = offset > 0 ? (offset > cols ? cols : offset) : 0;
  const int64_t n = rows - row < cols - col ? rows - row : cols - col;
  return part("diagonal", x, [=](const Tensor& t) {
    Shape shape, strides;
    for (int i = 0; i < t.dim(); ++i) {
      if (i == a || i == b) continue;
      shape.push_back(t.shape()[i]);
      strides.push_back(t.strides()[i]);
    }
    shape.push_back(n);
    strides.push_back(t.strides()[a] + t.strides()[b]);
    return t.as_strided(shape, strides, t.offset() + (n > 0 ? row * t.strides()[a] + col * t.strides()[b] : 0));
  });
}

Tensor unfold(const Tensor& x, int64_t dim, int64_t size, int64_t step) {
  check_defined("unfold", "input", x);
  const int d = normalize_dim(dim, x.dim() ? x.dim() : 1, "unfold");
  const int64_t length = x.dim() ? x.shape()[d] : 1;
  SW_CHECK_VALUE(size >= 0 && size <= length, "unfold: size ", size, " does not fit in dimension ", d, " of size ",
                 length);
  SW_CHECK_VALUE(step >= 1, "unfold: step must be at least 1, got ", step);
  if (x.dim() == 0) return select(unfold(unsqueeze(x, 0), 0, size, step), 0, 0);
  return overlapping_part("unfold", x, [=](const Tensor& t) {
    Shape shape = t.shape(), strides = t.strides();
    shape.push_back(size);
    strides.push_back(t.strides()[d]);
    shape[d] = (length - size) / step + 1;
    strides[d] *= shape[d] > 1 ? step : 1;
    return t.as_strided(shape, strides, t.offset());
  });
}

Tensor as_strided(const Tensor& x, const Shape& shape, const Shape& strides, int64_t offset) {
  check_defined("as_strided", "input", x);
  SW_CHECK_SHAPE(shape.size() == strides.size(), "as_strided: size ", shape, " and stride ", strides,
                 " differ in length");
  int64_t last = offset;
  bool empty = false;
  for (int i = 0; i < shape.size(); ++i) {
    SW_CHECK_VALUE(shape[i] >= 0 && strides[i] >= 0, "as_strided: size ", shape, " and stride ", strides,
                   " must not be negative");
    empty |= shape[i] == 0;
    int64_t reach = 0;
    SW_CHECK_VALUE(shape[i] == 0 || (!__builtin_mul_overflow(shape[i] - 1, strides[i], &reach) &&
                                     !__builtin_add_overflow(last, reach, &last)),
                   "as_strided: size ", shape, " with stride ", strides, " is too large");
  }
  const int64_t available = int64_t(x.storage()->bytes) / size_of(x.dtype());
  SW_CHECK_VALUE(offset >= 0 && (empty ? offset <= available : last < available), "as_strided: size ", shape,
                 " with stride ", strides, " and offset ", offset, " reaches beyond the memory of input (", available,
                 " elements)");
  SW_CHECK_VALUE(!tape::should_record({x}) ||
                     (x.is_contiguous() && x.offset() <= offset && (empty || last < x.offset() + x.numel())),
                 "as_strided: the gradient needs a contiguous input that holds all elements of the view");
  const int64_t relative = offset - x.offset();
  return overlapping_part("as_strided", x,
                          [=](const Tensor& t) { return t.as_strided(shape, strides, t.offset() + relative); });
}

// ---- several parts --------------------------------------------------------------------------------------------------
std::vector<Tensor> split(const Tensor& x, const std::vector<int64_t>& sizes, int64_t dim) {
  check_defined("split", "tensor", x);
  const int d = normalize_dim(dim, x.dim(), "split");
  int64_t start = 0;
  std::vector<Tensor> out;
  for (int64_t s : sizes) {
    SW_CHECK_VALUE(s >= 0 && s <= x.shape()[d] - start, "split: sizes do not add up to ", x.shape()[d],
                   ", the size of dimension ", d, " (size ", s, " at ", start, ")");
    out.push_back(with_item("split", x, d, {IndexItem::Slice, start, s, 1}));
    start += s;
  }
  SW_CHECK_VALUE(start == x.shape()[d], "split: sizes add up to ", start, ", not to ", x.shape()[d],
                 ", the size of dimension ", d);
  return out;
}

std::vector<Tensor> split(const Tensor& x, int64_t split_size, int64_t dim) {
  check_defined("split", "tensor", x);
  const int d = normalize_dim(dim, x.dim(), "split");
  const int64_t size = x.shape()[d];
  SW_CHECK_VALUE(split_size > 0 || (split_size == 0 && size == 0), "split: split_size must be positive, got ",
                 split_size);
  std::vector<int64_t> sizes;
  for (int64_t at = 0; at < size; at += sizes.back()) sizes.push_back(size - at < split_size ? size - at : split_size);
  if (sizes.empty()) sizes.push_back(0);
  return split(x, sizes, d);
}

std::vector<Tensor> chunk(const Tensor& x, int64_t chunks, int64_t dim) {
  check_defined("chunk", "input", x);
  SW_CHECK_VALUE(chunks > 0, "chunk: chunks must be positive, got ", chunks);
  const int d = normalize_dim(dim, x.dim(), "chunk");
  const int64_t size = x.shape()[d];
  if (size == 0) return split(x, std::vector<int64_t>(size_t(chunks < 1024 ? chunks : 1024), 0), d);
  return split(x, (size - 1) / chunks + 1, d);
}

std::vector<Tensor> unbind(const Tensor& x, int64_t dim) {
  check_defined("unbind", "input", x);
  const int d = normalize_dim(dim, x.dim(), "unbind");
  std::vector<Tensor> out;
  for (int64_t i = 0; i < x.shape()[d]; ++i) out.push_back(with_item("unbind", x, d, {IndexItem::Int, i, 1, 1}));
  return out;
}

std::vector<Tensor> tensor_split(const Tensor& x, int64_t sections, int64_t dim) {
  check_defined("tensor_split", "input", x);
  const int d = normalize_dim(dim, x.dim(), "tensor_split");
  SW_CHECK_VALUE(sections > 0 && sections <= (1 << 20), "tensor_split: the number of sections must be positive, got ",
                 sections);
  const int64_t each = x.shape()[d] / sections, longer = x.shape()[d] % sections;
  std::vector<int64_t> sizes;
  for (int64_t i = 0; i < sections; ++i) sizes.push_back(each + (i < longer));
  return split(x, sizes, d);
}

std::vector<Tensor> tensor_split(const Tensor& x, const std::vector<int64_t>& indices, int64_t dim) {
  check_defined("tensor_split", "input", x);
  const int d = normalize_dim(dim, x.dim(), "tensor_split");
  std::vector<Tensor> out;
  int64_t start = 0;
  for (int64_t stop : indices) {
    out.push_back(with_item("tensor_split", x, d, slice_item(start, stop, 1, x.shape()[d])));
    start = stop;
  }
  out.push_back(with_item("tensor_split", x, d, slice_item(start, x.shape()[d], 1, x.shape()[d])));
  return out;
}

// ---- copies ---------------------------------------------------------------------------------------------------------
namespace {
Tensor positions(int64_t n) {
  Tensor index = empty({n}, DType::Int64);
  for (int64_t i = 0; i < n; ++i) index.data_as<int64_t>()[i] = i;
  return index;
}
}  // namespace

Tensor flip(const Tensor& x, const Shape& dims) {
  check_defined("flip", "input", x);
  Tensor out = x;
  uint32_t seen = 0;
  for (int64_t dim : dims) {
    const int d = normalize_dim(dim, x.dim(), "flip");
    SW_CHECK_VALUE(!(seen >> d & 1), "flip: dimension ", d, " appears twice");
    seen |= 1u << d;
    Tensor index = positions(x.shape()[d]);
    int64_t* p = index.data_as<int64_t>();
    for (int64_t i = 0; i < x.shape()[d]; ++i) p[i] = x.shape()[d] - 1 - i;
    out = index_select(out, d, index);
  }
  return dims.empty() ? clone(x) : out;
}

Tensor roll(const Tensor& x, const Shape& shifts, const Shape& dims) {
  check_defined("roll", "input", x);
  if (dims.empty()) {
    SW_CHECK_VALUE(shifts.size() == 1, "roll: without dims, shifts must be one number, got ", shifts);
    return reshape(roll(reshape(x, {-1}), shifts, {0}), x.shape());
  }
  SW_CHECK_VALUE(shifts.size() == dims.size(), "roll: shifts ", shifts, " and dims ", dims, " differ in length");
  Tensor out = x;
  for (int i = 0; i < dims.size(); ++i) {
    const int d = normalize_dim(dims[i], x.dim(), "roll");
    const int64_t size = x.shape()[d];
    if (size == 0) continue;
    const int64_t shift = (shifts[i] % size + size) % size;
    out = cat({narrow(out, d, size - shift, shift), narrow(out, d, 0, size - shift)}, d);
  }
  return out.impl() == x.impl() ? clone(x) : out;
}

Tensor repeat(const Tensor& x, const Shape& repeats) {
  check_defined("repeat", "input", x);
  const int lead = repeats.size() - x.dim();
  SW_CHECK_SHAPE(lead >= 0, "repeat: expected at least ", x.dim(), " repeats for input of shape ", x.shape(), ", got ",
                 repeats);
  Shape shape = x.shape();
  for (int i = 0; i < lead; ++i) shape.insert(0, 1);
  int64_t n = 1;
  for (int i = 0; i < repeats.size(); ++i) {
    SW_CHECK_VALUE(repeats[i] >= 0, "repeat: repeats must not be negative, got ", repeats);
    SW_CHECK_SHAPE(!__builtin_mul_overflow(n, repeats[i], &n) && !__builtin_mul_overflow(n, shape[i], &n),
                   "repeat: a result of ", repeats, " times ", x.shape(), " is too large");
  }
  Tensor out = reshape(x, shape);
  bool copied = false;
  for (const bool none : {true, false}) {  // dimensions that vanish first, so that nothing large is made for nothing
    for (int d = repeats.size() - 1; d >= 0; --d) {
      if (repeats[d] == 1 || (repeats[d] == 0) != none) continue;
      Shape wide = out.shape(), merged = out.shape();
      wide.insert(d, repeats[d]);
      merged[d] *= repeats[d];
      out = reshape(contiguous(expand(unsqueeze(out, d), wide)), merged);
      copied = true;
    }
  }
  return copied ? out : clone(out);
}

Tensor tile(const Tensor& x, const Shape& dims) {
  check_defined("tile", "input", x);
  Shape repeats = dims;
  while (repeats.size() < x.dim()) repeats.insert(0, 1);
  return repeat(x, repeats);
}

Tensor repeat_interleave(const Tensor& x, int64_t repeats, int64_t dim) {
  check_defined("repeat_interleave", "input", x);
  const int d = normalize_dim(dim, x.dim(), "repeat_interleave");
  SW_CHECK_VALUE(repeats >= 0, "repeat_interleave: repeats must not be negative, got ", repeats);
  Shape wide = x.shape(), merged = x.shape();
  wide.insert(d + 1, repeats);
  SW_CHECK_SHAPE(!__builtin_mul_overflow(merged[d], repeats, &merged[d]), "repeat_interleave: ", repeats,
                 " repeats are too many for shape ", x.shape());
  return reshape(contiguous(expand(unsqueeze(x, d + 1), wide)), merged);
}

}  // namespace skipway
