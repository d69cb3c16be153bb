#include "ops/copy.h"

#include "autograd/tape.h"
#include "core/cuda.h"
#include "ops/iterator.h"
#include "ops/reduce.h"

namespace skipway {
namespace {

void merge_dims(CopyArgs& a, const ElementLoop& loop, const Tensor& dst, const Tensor& src) {
  int64_t to[kMaxDims], from[kMaxDims];
  loop.strides_of(dst, to);
  loop.strides_of(src, from);
  a.ndim = 0;
  for (int i = 0; i < loop.ndim(); ++i) {
    const int64_t size = loop.size(i);
    int last = a.ndim - 1;
    if (last >= 0 && a.dst_strides[last] == to[i] * size && a.src_strides[last] == from[i] * size) {
      a.sizes[last] *= size;
    } else {
      last = a.ndim++;
      a.sizes[last] = size;
    }
    a.dst_strides[last] = to[i];
    a.src_strides[last] = from[i];
  }
}

// A copy whose gradient is the output's gradient itself, in x's dtype.
Tensor recorded_copy(const char* name, const Tensor& y, const Tensor& x) {
  copy_into(y, x);
  if (is_floating(y.dtype())) {
    tape::record(name, {y}, {x}, {}, [dtype = x.dtype()](tape::Backward& b) { b.give(0, to(b.grad(), dtype)); });
  }
  return y;
}

// A tensor of src's values that copy_memory can take to `like` as it is: its shape, dtype and dense layout.
Tensor prepared(const Tensor& src, const Tensor& like) {
  if (src.shape() == like.shape() && src.dtype() == like.dtype() && src.strides() == like.strides()) return src;
  const Tensor t = empty_strided(like.shape(), like.strides(), like.dtype(), src.device());
  copy_into(t, src);
  return t;
}

void copy_across(const Tensor& dst, const Tensor& src, bool non_blocking) {
  if (!dst.is_dense()) {
    const Tensor landed = empty(dst.shape(), dst.dtype(), dst.device());
    copy_across(landed, src, non_blocking);
    return copy_into(dst, landed);
  }
  const Tensor from = prepared(src, dst);
  const bool temporary = from.storage() != src.storage();  // freed when this returns
  copy_memory(dst.data(), dst.device(), from.data(), from.device(), size_t(dst.numel() * size_of(dst.dtype())),
              non_blocking && !temporary);
}

}  // namespace

void copy_into(const Tensor& dst, const Tensor& src) { copy_into(dst, src, false); }

void copy_into(const Tensor& dst, const Tensor& src, bool non_blocking) {
  SW_CHECK_SHAPE(broadcast_shapes(dst.shape(), src.shape(), "copy_") == dst.shape(), "copy_: expected a source that ",
                 "broadcasts to ", dst.shape(), ", got ", src.shape());
  if (dst.numel() == 0) return;
  const bool number = src.device().is_cpu() && src.numel() == 1;  // travels in the kernel's arguments
  if (dst.device() != src.device() && !number) return copy_across(dst, src, non_blocking);
  if (dst.device() != src.device() && dst.device().is_cpu()) return copy_across(dst, src, non_blocking);
  const ElementLoop loop(dst);
  CopyArgs args{};
  args.numel = loop.numel();
  args.dst = loop.walk(dst);
  args.src = loop.walk(src);
  merge_dims(args, loop, dst, src);
  launch(dst.device(), copy_strided, args);
}

Tensor contiguous(const Tensor& x) {
  check_defined("contiguous", "input", x);
  return x.is_contiguous() ? x : recorded_copy("contiguous", empty(x.shape(), x.dtype(), x.device()), x);
}

Tensor channels_last(const Tensor& x) {
  check_defined("channels_last", "input", x);
  SW_CHECK_SHAPE(x.dim() >= 3 && x.dim() <= 5, "channels_last: expected input with 3 to 5 dimensions (N, C, ...), got ",
                 x.shape());
  if (x.is_channels_last()) return x;
  return recorded_copy("channels_last", empty_channels_last(x.shape(), x.dtype(), x.device()), x);
}

Tensor to(const Tensor& x, DType dtype) {
  check_defined("to", "input", x);
  return x.dtype() == dtype ? x : recorded_copy("to", empty_like(x, dtype), x);
}

Tensor to(const Tensor& x, Device device, bool non_blocking) {
  check_defined("to", "input", x);
  if (x.device() == device) return x;
  cuda::check_device(device);
  const Tensor y =
      x.is_dense() ? empty_strided(x.shape(), x.strides(), x.dtype(), device) : empty(x.shape(), x.dtype(), device);
  copy_into(y, x, non_blocking);
  if (is_floating(y.dtype())) {
    tape::record("to", {y}, {x}, {}, [from = x.device()](tape::Backward& b) { b.give(0, to(b.grad(), from)); });
  }
  return y;
}

Tensor on_cpu(const Tensor& x) {
  tape::NoGradGuard off;
  return contiguous(to(x, Device{}));
}

Tensor clone(const Tensor& x) {
  check_defined("clone", "input", x);
  return recorded_copy("clone", empty_like(x), x);
}

namespace {

Tensor overwrite(const char* name, const Tensor& x, const Tensor& src, bool non_blocking = false) {
  check_defined(name, "input", x);
  check_defined(name, "src", src);
  tape::begin_inplace(name, x);
  Tensor y = x.alias();
  copy_into(y, without_overlap(src, y), non_blocking);
  if (is_floating(y.dtype())) {
    tape::record(name, {y}, {x, src}, {},
                 [shape = src.shape(), dtype = src.dtype(), device = src.device()](tape::Backward& b) {
                   if (b.needs(1)) b.give(1, to(to(sum_to(b.grad(), shape), dtype), device));
                   if (b.needs(0)) b.give(0, zeros_like(b.grad()));
                 });
  }
  tape::finish_inplace(x, y);
  return x;
}

}  // namespace

Tensor copy_(const Tensor& x, const Tensor& src, bool non_blocking) { return overwrite("copy_", x, src, non_blocking); }

Tensor fill_(const Tensor& x, const Tensor& value) {
  check_defined("fill_", "value", value);
  SW_CHECK_SHAPE(value.dim() == 0, "fill_: expected value to be a number or a 0-dim tensor, got ", value.shape());
  return overwrite("fill_", x, value);
}

Tensor zero_(const Tensor& x) { return overwrite("zero_", x, number(0, DType::Int64)); }

Tensor full(const Shape& shape, const Tensor& value, DType dtype, Device device) {
  SW_CHECK_SHAPE(value.dim() == 0, "full: expected fill_value to be a number, got a tensor of ", value.shape());
  for (int64_t size : shape) SW_CHECK_VALUE(size >= 0, "full: expected sizes of at least 0, got ", shape);
  Tensor y = empty(shape, dtype, device);
  copy_into(y, value);
  return y;
}

Tensor full(const Shape& shape, double value, DType dtype, Device device) {
  return full(shape, number(value, DType::Float64), dtype, device);
}

Tensor number(double value, DType dtype) {
  Tensor t = empty({}, is_floating(dtype) ? DType::Float64 : dtype);
  switch (t.dtype()) {
    case DType::Float64:
      *t.data_as<double>() = value;
      break;
    case DType::Int64:
      *t.data_as<int64_t>() = int64_t(value);
      break;
    case DType::Int32:
      *t.data_as<int32_t>() = int32_t(value);
      break;
    default:
      *t.data_as<uint8_t>() = uint8_t(value);
  }
  t.impl()->weak = true;
  return t;
}

}  // namespace skipway
