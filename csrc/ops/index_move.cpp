#include "ops/index_move.h"

#include <algorithm>
#include <limits>

#include "autograd/tape.h"
#include "ops/copy.h"
#include "ops/iterator.h"
#include "ops/shape.h"
#include "ops/sort.h"

namespace skipway {
namespace {

struct Axis {
  int64_t size, x, v;
};

// Sorts by the strides of the values, drops single elements, and joins what is adjacent on both sides.
int merge_axes(std::vector<Axis> axes, int64_t* sizes, int64_t* sx, int64_t* sv) {
  std::stable_sort(axes.begin(), axes.end(), [](const Axis& a, const Axis& b) { return a.v > b.v; });
  int n = 0;
  for (const Axis& a : axes) {
    if (a.size == 1) continue;
    if (n > 0 && sx[n - 1] == a.x * a.size && sv[n - 1] == a.v * a.size) {
      sizes[n - 1] *= a.size;
      sx[n - 1] = a.x;
      sv[n - 1] = a.v;
      continue;
    }
    sizes[n] = a.size;
    sx[n] = a.x;
    sv[n++] = a.v;
  }
  return n;
}

// offsets: undefined for one position at 0.
void launch_move(MoveMode mode, const Tensor& x, const Tensor& values, const std::vector<Axis>& kept,
                 const Tensor& offsets, int64_t stride_v, bool distinct) {
  const int64_t count = offsets.defined() ? offsets.numel() : 1;
  MoveArgs args{};
  args.mode = mode;
  args.dtype = x.dtype();
  args.count = count;
  args.stride_v = stride_v;
  args.offsets = offsets.defined() ? offsets.data_as<int64_t>() : nullptr;
  args.distinct = distinct;
  args.x = x.data();
  args.values = values.data();
  std::vector<Axis> outer, inner;
  int64_t n = count;
  for (const Axis& a : kept) {
    (a.v > stride_v ? outer : inner).push_back(a);
    n *= a.size;
  }
  if (n == 0) return;
  args.outer_dims = merge_axes(outer, args.outer_sizes, args.outer_x, args.outer_v);
  args.inner_dims = merge_axes(inner, args.inner_sizes, args.inner_x, args.inner_v);
  Tensor order;
  if (!x.device().is_cpu() && mode != MoveMode::Get && !distinct && count > 1) {
    order = argsort(offsets, 0, false);
    args.order = order.data_as<int64_t>();
  }
  launch(x.device(), move_elements, args);
}

std::vector<Axis> axes_of(const Tensor& x, const Tensor& values) {
  std::vector<Axis> axes;
  for (int d = 0; d < x.dim(); ++d) axes.push_back({x.shape()[d], x.strides()[d], values.strides()[d]});
  return axes;
}

void check_mask_shape(const char* op, const Tensor& x, const Tensor& mask, int at) {
  SW_CHECK_INDEX(at + mask.dim() <= x.dim(), op, ": too many indices for input of shape ", x.shape());
  for (int i = 0; i < mask.dim(); ++i) {
    SW_CHECK_INDEX(mask.shape()[i] == x.shape()[at + i], op, ": the mask of shape ", mask.shape(),
                   " does not match input of shape ", x.shape(), " at dimension ", at + i, ": expected size ",
                   x.shape()[at + i], ", got ", mask.shape()[i]);
  }
}

}  // namespace

namespace {

Tensor run_offsets(const char* op, OffsetArgs& args, int64_t count, Device device, const int* dims) {
  const Tensor offsets = empty({count}, DType::Int64, device);
  int fault_at = -1;
  int64_t fault_value = 0;
  args.count = count;
  args.offsets = offsets.data_as<int64_t>();
  args.fault_at = &fault_at;
  args.fault_value = &fault_value;
  if (count > 0) launch(device, index_offsets, args);
  SW_CHECK_INDEX(fault_at < 0, op, ": index ", fault_value, " is out of range for dimension ", dims[fault_at],
                 " of size ", args.size[fault_at]);
  return offsets;
}

// Each element of src by its offset into dst, where several may share one place.
void add_overlapping(const Tensor& dst, const Tensor& src) {
  OffsetArgs args{};
  args.base_dims = dst.dim();
  for (int d = 0; d < dst.dim(); ++d) {
    args.base_sizes[d] = dst.shape()[d];
    args.base_strides[d] = dst.strides()[d];
  }
  const Tensor dense = contiguous(src.alias());
  launch_move(MoveMode::Add, dst, dense, {}, run_offsets("accumulate", args, src.numel(), dst.device(), nullptr), 1,
              false);
}

}  // namespace

void accumulate_into(const Tensor& dst, const Tensor& src, bool overlaps) {
  if (overlaps && !dst.device().is_cpu()) return add_overlapping(dst, src);
  int64_t largest = 0;  // the dimension of this stride is cut among threads
  for (int d = 0; d < src.dim(); ++d)
    if (src.shape()[d] > 1) largest = std::max(largest, src.strides()[d]);
  const int64_t stride = overlaps || largest == 0 ? std::numeric_limits<int64_t>::max() : largest - 1;
  launch_move(MoveMode::Add, dst, src, axes_of(dst, src), {}, stride, !overlaps);
}

Tensor on_device_of(const char* op, const Tensor& x, const Tensor& index) {
  if (index.device() == x.device()) return index;
  SW_CHECK_AS(DeviceError, index.device().is_cpu(), op, ": expected indices on ", x.device(), " or the CPU, got ",
              index.dtype(), " ", index.shape(), " on ", index.device(), " for ", x.dtype(), " ", x.shape());
  return to(index.alias(), x.device());
}

Tensor source_for(const char* op, const Tensor& x, const Tensor& values) {
  output_device(op, {x, values});
  return to(to(values, x.dtype()), x.device());
}

Tensor integer_index(const char* op, const Tensor& index) {
  check_defined(op, "index", index);
  SW_CHECK_TYPE(!is_floating(index.dtype()) && index.dtype() != DType::Bool, op,
                ": expected index to be of an integer dtype, got ", index.dtype());
  return contiguous(to(index.alias(), DType::Int64));
}

Positions find_positions(const char* op, const Tensor& x, const Indices& indices) {
  tape::NoGradGuard no_grad;
  Positions p;
  int masks = 0, tensors = 0, groups = 0;
  bool inside = false;
  for (const Tensor& given : indices) {
    const Tensor index = given.defined() ? on_device_of(op, x, given) : given;
    const int at = int(p.per_dim.size());
    if (!index.defined()) {
      SW_CHECK_INDEX(at < x.dim(), op, ": too many indices for input of shape ", x.shape());
      p.per_dim.emplace_back();
      inside = false;
      continue;
    }
    if (!inside && groups++ == 0) p.first = at;
    inside = true;
    ++tensors;
    if (index.dtype() == DType::Bool) {
      ++masks;
      SW_CHECK_INDEX(index.dim() > 0, op, ": a mask must have at least 1 dimension");
      check_mask_shape(op, x, index, at);
      const Tensor found = nonzero(index);
      for (int i = 0; i < index.dim(); ++i) p.per_dim.push_back(contiguous(select(found, 1, i)));
    } else {
      SW_CHECK_INDEX(at < x.dim(), op, ": too many indices for input of shape ", x.shape());
      p.per_dim.push_back(integer_index(op, index));
    }
  }
  if (groups > 1) p.first = 0;
  p.distinct = masks == 1 && tensors == 1;
  for (const Tensor& index : p.per_dim)
    if (index.defined()) p.shape = broadcast_shapes(p.shape, index.shape(), op);
  for (Tensor& index : p.per_dim)
    if (index.defined()) index = contiguous(expand(index, p.shape)).alias();
  while (int(p.per_dim.size()) < x.dim()) p.per_dim.emplace_back();
  return p;
}

Shape indexed_shape(const Shape& x, const Positions& p) {
  Shape shape;
  for (int d = 0; d < x.size(); ++d)
    if (!p.per_dim[size_t(d)].defined()) shape.push_back(x[d]);
  for (int i = 0; i < p.shape.size(); ++i) shape.insert(p.first + i, p.shape[i]);
  return shape;
}

Tensor element_offsets(const char* op, const Shape& shape, const Shape& strides, const Positions& p, Device device,
                       bool wrap) {
  OffsetArgs args{};
  args.wrap = wrap;
  int dims[kMaxDims];
  for (int d = 0; d < shape.size(); ++d) {
    const Tensor& index = p.per_dim[size_t(d)];
    if (!index.defined()) continue;
    const int k = args.indices++;
    dims[k] = d;
    args.index[k] = index.data_as<int64_t>();
    args.size[k] = shape[d];
    args.stride[k] = strides[d];
  }
  return run_offsets(op, args, p.shape.numel(), device, dims);
}

namespace {
// How the dimensions of `values` (indexed_shape) go with those of x. The common dimensions must be one run.
void move_laid_out(MoveMode mode, const Tensor& x, const Tensor& offsets, const Positions& p, const Tensor& values,
                   const Shape& strides_v, int64_t stride_v) {
  std::vector<Axis> kept;
  for (int d = 0, v = 0; d < x.dim(); ++d) {
    if (p.per_dim[size_t(d)].defined()) continue;
    const int at = v < p.first ? v : v + p.shape.size();
    kept.push_back({x.shape()[d], x.strides()[d], strides_v[at]});
    ++v;
  }
  launch_move(mode, x, values, kept, offsets, stride_v, p.distinct);
}
}  // namespace

void move_at(MoveMode mode, const Tensor& x, const Tensor& offsets, const Positions& p, const Tensor& values) {
  if (values.numel() == 1) {
    move_laid_out(mode, x, offsets, p, values, Shape::filled(kMaxDims, 0), 0);
    return;
  }
  const Tensor dense = contiguous(values.alias());
  const Shape strides = contiguous_strides(dense.shape());  // its own may be anything where a size is 1
  const int last = p.first + p.shape.size() - 1;
  move_laid_out(mode, x, offsets, p, dense, strides, p.shape.empty() ? x.numel() + 1 : strides[last]);
}

Tensor get_at(const Tensor& x, const Tensor& offsets, const Positions& p) {
  const Shape shape = indexed_shape(x.shape(), p);
  const int common = p.shape.size();
  // Rows picked from a tensor in another memory order (images in channels-last) stay in that order.
  if (common == 1 && shape.size() == x.dim() && x.is_dense() && !x.is_contiguous() && x.numel() > 0) {
    int order[kMaxDims];
    for (int i = 0; i < x.dim(); ++i) order[i] = i;
    std::stable_sort(order, order + x.dim(), [&](int a, int b) { return x.strides()[a] > x.strides()[b]; });
    Shape strides = Shape::filled(x.dim(), 1);
    for (int i = x.dim() - 1, step = 0; i >= 0; --i, ++step) {
      strides[order[i]] = i == x.dim() - 1 ? 1 : strides[order[i + 1]] * std::max<int64_t>(shape[order[i + 1]], 1);
    }
    Tensor out = empty_strided(shape, strides, x.dtype(), x.device());
    move_laid_out(MoveMode::Get, x, offsets, p, out, strides, strides[p.first]);
    return out;
  }
  Tensor out = empty(shape, x.dtype(), x.device());
  const int64_t stride_v = common ? out.strides()[p.first + common - 1] : std::numeric_limits<int64_t>::max();
  move_laid_out(MoveMode::Get, x, offsets, p, out, out.strides(), stride_v);
  return out;
}

Tensor sum_at(const Shape& shape, const Positions& p, const Tensor& values) {
  const bool widen = is_half(values.dtype());
  const Tensor v = widen ? to(values.alias(), DType::Float32) : values;
  Tensor out = zeros(shape, v.dtype(), v.device());
  const Tensor offsets = element_offsets("index", shape, out.strides(), p, out.device());
  if (v.numel() > 0) move_at(MoveMode::Add, out, offsets, p, v);
  return widen ? to(out, values.dtype()) : out;
}

Tensor gather_offsets(const char* op, const Tensor& x, int dim, const Tensor& index) {
  const Tensor dense = on_device_of(op, x, integer_index(op, index));
  OffsetArgs args{};
  args.wrap = true;
  args.indices = 1;
  args.index[0] = dense.data_as<int64_t>();
  args.size[0] = index.dim() ? x.shape()[dim] : 1;
  args.stride[0] = index.dim() ? x.strides()[dim] : 1;
  args.base_dims = index.dim();
  for (int d = 0; d < index.dim(); ++d) {
    args.base_sizes[d] = index.shape()[d];
    args.base_strides[d] = d == dim ? 0 : x.strides()[d];
  }
  return run_offsets(op, args, index.numel(), x.device(), &dim);
}

void move_single(MoveMode mode, const Tensor& x, const Tensor& offsets, const Tensor& values) {
  launch_move(mode, x, values, {}, offsets, values.numel() == 1 ? 0 : 1, false);
}

}  // namespace skipway
