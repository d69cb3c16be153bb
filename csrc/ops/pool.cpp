#include "ops/pool.h"

#include "autograd/tape.h"
#include "ops/copy.h"

namespace skipway {
namespace {

constexpr int64_t kMaxSetting = int64_t(1) << 31;

// What surrounds the kernels: x as (N, C, spatial...) channels-last, and results back in x's number of dimensions.
struct Frame {
  const char* op;
  int dims;  // spatial
  bool batched;

  Frame(const char* name, int spatial_dims, const Tensor& x) : op(name), dims(spatial_dims) {
    check_floating(op, "input", x);
    SW_CHECK_SHAPE(x.dim() == dims + 1 || x.dim() == dims + 2, op, ": expected an input of ", dims + 1, " or ",
                   dims + 2, " dimensions, got ", x.shape());
    batched = x.dim() == dims + 2;
    for (int d = 0; d < dims; ++d) {
      SW_CHECK_SHAPE(x.size(d - dims) > 0, op, ": expected spatial dimensions of at least 1, got input ", x.shape());
    }
  }

  Tensor to_kernel(const Tensor& x) const {
    const Tensor in = x.alias();
    if (batched) return channels_last(in);
    Shape shape = in.shape(), strides = in.strides();
    shape.insert(0, 1);
    strides.insert(0, in.numel());
    return channels_last(in.as_strided(shape, strides, in.offset()));
  }
  Tensor from_kernel(const Tensor& y) const {
    if (batched) return y;
    Shape shape = y.shape(), strides = y.strides();
    shape.erase(0);
    strides.erase(0);
    return y.as_strided(shape, strides, y.offset());
  }
};

// The entry for each spatial dimension: one value stands for all.
Shape spread(const Frame& f, const char* arg, const Shape& given, int64_t least) {
  SW_CHECK_SHAPE(given.size() == 1 || given.size() == f.dims, f.op, ": expected ", arg, " to be a number or ", f.dims,
                 " numbers, got ", given);
  Shape all = given.size() == f.dims ? given : Shape::filled(f.dims, given[0]);
  for (int64_t v : all) {
    SW_CHECK_VALUE(v >= least, f.op, ": expected ", arg, " of at least ", least, ", got ", given);
    SW_CHECK_VALUE(v < kMaxSetting, f.op, ": expected ", arg, " below 2^31, got ", given);
  }
  return all;
}

PoolArgs describe(const Frame& f, const Tensor& in) {
  PoolArgs a{};
  a.dtype = in.dtype();
  a.n = in.size(0);
  a.c = in.size(1);
  for (int d = 0; d < f.dims; ++d) a.axis[3 - f.dims + d].in = in.size(2 + d);
  const int64_t plane = a.axis[0].in * a.axis[1].in * a.axis[2].in;
  SW_CHECK_SHAPE(plane < kMaxSetting, f.op, ": expected fewer than 2^31 elements in a channel, got input ", in.shape());
  return a;
}

// The last window of ceil mode starts inside the input or its left padding.
void set_windows(PoolArgs& a, const Frame& f, const Tensor& x, const PoolGeometry& g) {
  const Shape kernel = spread(f, "kernel_size", g.kernel, 1);
  const Shape stride = g.stride.empty() ? kernel : spread(f, "stride", g.stride, 1);
  const Shape padding = spread(f, "padding", g.padding.empty() ? Shape{0} : g.padding, 0);
  const Shape dilation = spread(f, "dilation", g.dilation.empty() ? Shape{1} : g.dilation, 1);
  for (int d = 0; d < f.dims; ++d) {
    PoolAxis& axis = a.axis[3 - f.dims + d];
    SW_CHECK_VALUE(padding[d] <= kernel[d] / 2, f.op,
                   ": expected padding of at most half the kernel size, got padding ", padding, " and kernel_size ",
                   kernel);
    axis.kernel = kernel[d];
    axis.stride = stride[d];
    axis.padding = padding[d];
    axis.dilation = dilation[d];
    const int64_t free = axis.in + 2 * padding[d] - dilation[d] * (kernel[d] - 1) - 1;
    axis.out = free < 0 ? 0 : (free + (g.ceil_mode ? stride[d] - 1 : 0)) / stride[d] + 1;
    if (free < 0 && g.ceil_mode && free + stride[d] - 1 >= 0) axis.out = 1;
    if (g.ceil_mode && axis.out > 0 && (axis.out - 1) * stride[d] >= axis.in + padding[d]) --axis.out;
    SW_CHECK_SHAPE(axis.out > 0, f.op, ": the input ", x.shape(), " is too small for kernel_size ", kernel, ", stride ",
                   stride, ", padding ", padding, ", dilation ", dilation);
  }
}

void set_adaptive(PoolArgs& a, const Frame& f, const Shape& output_size) {
  const Shape out = spread(f, "output_size", output_size, -1);
  for (int d = 0; d < f.dims; ++d) {
    PoolAxis& axis = a.axis[3 - f.dims + d];
    axis.adaptive = true;
    axis.out = out[d] < 0 ? axis.in : out[d];
  }
}

Shape output_shape(const Frame& f, const PoolArgs& a) {
  Shape shape{a.n, a.c};
  for (int d = 0; d < f.dims; ++d) shape.push_back(a.axis[3 - f.dims + d].out);
  return shape;
}
Shape input_shape(const Frame& f, const PoolArgs& a) {
  Shape shape{a.n, a.c};
  for (int d = 0; d < f.dims; ++d) shape.push_back(a.axis[3 - f.dims + d].in);
  return shape;
}

Tensor gradient(const Frame& f, PoolArgs a, const Tensor& grad, const Tensor& indices) {
  const Tensor dy = f.to_kernel(grad);
  Tensor dx = empty_channels_last(input_shape(f, a), a.dtype, dy.device());
  if (indices.defined()) a.indices = indices.data_as<int32_t>();
  if (dx.numel() > 0) {
    launch(dy.device(), indices.defined() ? max_pool_backward : avg_pool_backward, {a, dy.data(), dx.data()});
  }
  return f.from_kernel(dx);
}

MaxPoolResult run_max(const Frame& f, PoolArgs a, const Tensor& x, const Tensor& in, bool return_indices) {
  Tensor y = empty_channels_last(output_shape(f, a), a.dtype, x.device()), indices;
  if (return_indices || tape::should_record({x})) indices = empty_channels_last(y.shape(), DType::Int32, x.device());
  a.x = in.data();
  a.y = y.data();
  a.indices = indices.defined() ? indices.data_as<int32_t>() : nullptr;
  if (y.numel() > 0) launch(x.device(), max_pool_forward, a);
  MaxPoolResult result{f.from_kernel(y), {}};
  if (return_indices) result.indices = to(f.from_kernel(indices), DType::Int64);
  tape::record(f.op, {result.values}, {x}, {indices},
               [f, a](tape::Backward& b) { b.give(0, gradient(f, a, b.grad(), b.saved(0))); });
  return result;
}

Tensor run_avg(const Frame& f, PoolArgs a, const Tensor& x, const Tensor& in) {
  Tensor y = empty_channels_last(output_shape(f, a), a.dtype, x.device());
  a.x = in.data();
  a.y = y.data();
  if (y.numel() > 0) launch(x.device(), avg_pool_forward, a);
  y = f.from_kernel(y);
  tape::record(f.op, {y}, {x}, {}, [f, a](tape::Backward& b) { b.give(0, gradient(f, a, b.grad(), {})); });
  return y;
}

}  // namespace

MaxPoolResult max_pool(const char* op, int dims, const Tensor& x, const PoolGeometry& geometry, bool return_indices) {
  const Frame f(op, dims, x);
  const Tensor in = f.to_kernel(x);
  PoolArgs a = describe(f, in);
  set_windows(a, f, x, geometry);
  return run_max(f, a, x, in, return_indices);
}

Tensor avg_pool(const char* op, int dims, const Tensor& x, const PoolGeometry& geometry, bool count_include_pad,
                int64_t divisor_override) {
  const Frame f(op, dims, x);
  const Tensor in = f.to_kernel(x);
  PoolArgs a = describe(f, in);
  set_windows(a, f, x, geometry);
  a.count_include_pad = count_include_pad;
  a.divisor = double(divisor_override);
  return run_avg(f, a, x, in);
}

MaxPoolResult adaptive_max_pool(const char* op, int dims, const Tensor& x, const Shape& output_size,
                                bool return_indices) {
  const Frame f(op, dims, x);
  const Tensor in = f.to_kernel(x);
  PoolArgs a = describe(f, in);
  set_adaptive(a, f, output_size);
  return run_max(f, a, x, in, return_indices);
}

Tensor adaptive_avg_pool(const char* op, int dims, const Tensor& x, const Shape& output_size) {
  const Frame f(op, dims, x);
  const Tensor in = f.to_kernel(x);
  PoolArgs a = describe(f, in);
  set_adaptive(a, f, output_size);
  return run_avg(f, a, x, in);
}

namespace {

// The full planes' spatial size: given, or what a max_pool of this geometry would have had at least.
Shape unpooled_size(const Frame& f, const Tensor& x, const PoolGeometry& g, const Shape& output_size) {
  const Shape kernel = spread(f, "kernel_size", g.kernel, 1);
  const Shape stride = g.stride.empty() ? kernel : spread(f, "stride", g.stride, 1);
  const Shape padding = spread(f, "padding", g.padding.empty() ? Shape{0} : g.padding, 0);
  Shape size;
  for (int d = 0; d < f.dims; ++d) {
    const int64_t least = (x.size(d - f.dims) - 1) * stride[d] - 2 * padding[d] + kernel[d];
    size.push_back(output_size.empty() ? least : output_size[output_size.size() - f.dims + d]);
    SW_CHECK_VALUE(size.back() > 0 && size.back() < kMaxSetting, f.op, ": expected an output size of at least 1, got ",
                   size.back());
    SW_CHECK_VALUE(size.back() > least - stride[d] && size.back() < least + stride[d], f.op,
                   ": expected output_size from ", least - stride[d] + 1, " to ", least + stride[d] - 1,
                   " in dimension ", d - f.dims, ", got ", size.back());
  }
  return size;
}

}  // namespace

Tensor max_unpool(const char* op, int dims, const Tensor& x, const Tensor& indices, const PoolGeometry& geometry,
                  const Shape& output_size) {
  const Frame f(op, dims, x);
  check_defined(op, "indices", indices);
  SW_CHECK_TYPE(indices.dtype() == DType::Int64, op, ": expected int64 indices, got ", indices.dtype());
  SW_CHECK_SHAPE(indices.shape() == x.shape(), op, ": expected indices of the input's shape ", x.shape(), ", got ",
                 indices.shape());
  SW_CHECK_SHAPE(output_size.empty() || output_size.size() == dims || output_size.size() == x.dim(), op,
                 ": expected an output_size of ", dims, " numbers, got ", output_size);
  const Shape size = unpooled_size(f, x, geometry, output_size);
  Shape shape(x.shape().data(), x.dim() - dims);
  UnpoolArgs a{x.dtype(), shape.numel(), 1, size.numel(), nullptr, nullptr, nullptr, false};
  for (int d = 0; d < dims; ++d) {
    a.small *= x.size(d - dims);
    shape.push_back(size[d]);
  }
  const Tensor in = contiguous(x.alias()), flat = contiguous(indices);
  SW_CHECK_AS(DeviceError, indices.device() == x.device(), op, ": expected indices on the device of input ", x.dtype(),
              " ", x.shape(), " on ", x.device(), ", got ", indices.dtype(), " ", indices.shape(), " on ",
              indices.device());
  for (int64_t i = 0; flat.device().is_cpu() && i < flat.numel(); ++i) {  // on CUDA the kernel looks
    const int64_t index = flat.data_as<int64_t>()[i];
    SW_CHECK_INDEX(index >= 0 && index < a.large, op, ": index ", index, " is outside an output of ", size);
  }
  Tensor y = zeros(shape, x.dtype(), x.device());
  a.indices = flat.data_as<int64_t>();
  a.x = in.data();
  a.y = y.data();
  launch(x.device(), max_unpool_kernel, a);
  tape::record(op, {y}, {x}, {flat}, [a, small = x.shape()](tape::Backward& b) {
    const Tensor dy = contiguous(b.grad()), at = b.saved(0);
    Tensor dx = empty(small, dy.dtype(), dy.device());
    UnpoolArgs g = a;
    g.indices = at.data_as<int64_t>();
    g.x = dy.data();
    g.y = dx.data();
    g.gather = true;
    launch(dy.device(), max_unpool_kernel, g);
    b.give(0, dx);
  });
  return y;
}

}  // namespace skipway
