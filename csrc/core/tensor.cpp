#include "core/tensor.h"

#include <algorithm>
#include <cstring>

#include "core/cuda.h"
#include "core/parallel.h"

namespace skipway {
namespace {

// Are the strides those of `shape` laid out densely in the order of dims given by `order` (slowest first)?
bool dense_in_order(const Shape& shape, const Shape& strides, const int* order) {
  int64_t step = 1;
  for (int i = shape.size() - 1; i >= 0; --i) {
    const int d = order[i];
    if (shape[d] == 0) return true;
    if (shape[d] != 1 && strides[d] != step) return false;
    step *= shape[d];
  }
  return true;
}

int64_t checked_numel(const Shape& shape) {
  int64_t n = 1;
  for (int64_t d : shape) {
    SW_CHECK_SHAPE(d >= 0, "expected sizes of 0 or more, got ", shape);
    if (__builtin_mul_overflow(n, d ? d : 1, &n))
      throw OutOfMemoryError(concat("a tensor of shape ", shape, " is too large"));
  }
  return shape.numel();
}

}  // namespace

Tensor::Tensor(StoragePtr storage, const Shape& shape, const Shape& strides, int64_t offset, DType dtype)
    : impl_(std::make_shared<TensorImpl>()) {
  impl_->storage = std::move(storage);
  impl_->shape = shape;
  impl_->strides = strides;
  impl_->offset = offset;
  impl_->dtype = dtype;
}

int64_t Tensor::size(int64_t d) const { return impl_->shape[normalize_dim(d, dim(), "size")]; }

bool Tensor::is_contiguous() const {
  int order[kMaxDims];
  for (int i = 0; i < dim(); ++i) order[i] = i;
  return dense_in_order(shape(), strides(), order);
}

bool Tensor::is_channels_last() const {
  if (dim() < 3) return false;
  int order[kMaxDims] = {0};
  for (int i = 2; i < dim(); ++i) order[i - 1] = i;
  order[dim() - 1] = 1;
  return dense_in_order(shape(), strides(), order);
}

bool Tensor::is_dense() const {
  int order[kMaxDims];
  for (int i = 0; i < dim(); ++i) order[i] = i;
  if (dense_in_order(shape(), strides(), order)) return true;
  std::stable_sort(order, order + dim(), [&](int a, int b) {
    if (strides()[a] != strides()[b]) return strides()[a] > strides()[b];
    return shape()[a] > shape()[b];
  });
  return dense_in_order(shape(), strides(), order);
}

Tensor Tensor::alias() const { return Tensor(storage(), shape(), strides(), offset(), dtype()); }

Tensor Tensor::as_strided(const Shape& shape, const Shape& strides, int64_t offset) const {
  return Tensor(storage(), shape, strides, offset, dtype());
}

Tensor empty_strided(const Shape& shape, const Shape& strides, DType dtype, Device device) {
  const int64_t n = checked_numel(shape);
  int64_t bytes;
  if (__builtin_mul_overflow(n, size_of(dtype), &bytes))
    throw OutOfMemoryError(concat("a tensor of shape ", shape, " is too large"));
  return Tensor(allocate(size_t(bytes), device), shape, strides, 0, dtype);
}

Tensor empty(const Shape& shape, DType dtype, Device device) {
  checked_numel(shape);
  return empty_strided(shape, contiguous_strides(shape), dtype, device);
}

Tensor empty_channels_last(const Shape& shape, DType dtype, Device device) {
  checked_numel(shape);
  return empty_strided(shape, channels_last_strides(shape), dtype, device);
}

Tensor empty_like(const Tensor& t) { return empty_like(t, t.dtype()); }

Tensor empty_like(const Tensor& t, DType dtype) {
  if (!t.is_dense()) return empty(t.shape(), dtype, t.device());
  return empty_strided(t.shape(), t.strides(), dtype, t.device());
}

Tensor zeros(const Shape& shape, DType dtype, Device device) {
  Tensor t = empty(shape, dtype, device);
  fill_memory(t.data(), device, 0, t.storage()->bytes);
  return t;
}

Tensor zeros_like(const Tensor& t) {
  Tensor z = empty_like(t);
  fill_memory(z.data(), z.device(), 0, z.storage()->bytes);
  return z;
}

void check_defined(const char* op, const char* arg, const Tensor& t) {
  SW_CHECK_TYPE(t.defined(), op, ": expected ", arg, " to be a tensor, got None");
}

void check_floating(const char* op, const char* arg, const Tensor& t) {
  check_defined(op, arg, t);
  SW_CHECK_TYPE(is_floating(t.dtype()), op, ": expected ", arg, " to be of a floating dtype, got ", t.dtype());
}

void check_same(const char* op, const char* arg_a, const Tensor& a, const char* arg_b, const Tensor& b) {
  SW_CHECK_TYPE(a.dtype() == b.dtype(), op, ": expected ", arg_a, " and ", arg_b, " to have the same dtype, got ",
                a.dtype(), " and ", b.dtype());
  SW_CHECK_AS(DeviceError, a.device() == b.device(), op, ": expected ", arg_a, " and ", arg_b,
              " to be on the same device, got ", a.device(), " and ", b.device());
}

}  // namespace skipway
