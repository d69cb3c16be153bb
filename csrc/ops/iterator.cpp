#include "ops/iterator.h"

#include <algorithm>
#include <cstring>

#include "ops/copy.h"

namespace skipway {
namespace {

// Dimensions from the one that moves slowest in memory to the fastest.
void order_by_stride(const Shape& strides, int* dims) {
  for (int d = 0; d < strides.size(); ++d) dims[d] = d;
  std::stable_sort(dims, dims + strides.size(), [&](int a, int b) { return strides[a] > strides[b]; });
}

bool has_broadcast(const Tensor& t) {
  for (int d = 0; d < t.dim(); ++d)
    if (t.shape()[d] > 1 && t.strides()[d] == 0) return true;
  return false;
}

}  // namespace

Device output_device(const char* op, std::initializer_list<Tensor> operands) {
  const Tensor* decides = nullptr;
  for (const Tensor& t : operands) {
    if (!t.defined() || (t.device().is_cpu() && t.dim() == 0)) continue;
    if (!decides) decides = &t;
    SW_CHECK_AS(DeviceError, t.device() == decides->device(), op, ": expected tensors on one device, got ",
                decides->dtype(), " ", decides->shape(), " on ", decides->device(), " and ", t.dtype(), " ", t.shape(),
                " on ", t.device());
  }
  return decides ? decides->device() : Device{};
}

Tensor elementwise_output(const Shape& shape, DType dtype, std::initializer_list<Tensor> operands) {
  for (const Tensor& t : operands) {
    if (!t.defined() || t.shape() != shape || has_broadcast(t)) continue;
    if (t.is_contiguous()) break;
    if (t.is_dense()) return empty_strided(shape, t.strides(), dtype, t.device());
    int dims[kMaxDims];
    order_by_stride(t.strides(), dims);
    Shape strides = shape;
    int64_t step = 1;
    for (int i = shape.size() - 1; i >= 0; --i) {
      strides[dims[i]] = step;
      step *= std::max<int64_t>(shape[dims[i]], 1);
    }
    return empty_strided(shape, strides, dtype, t.device());
  }
  return empty(shape, dtype, output_device("elementwise", operands));
}

ElementLoop::ElementLoop(const Tensor& out) : device_(out.device()), out_dim_(out.dim()), numel_(out.numel()) {
  int order[kMaxDims];
  order_by_stride(out.strides(), order);
  for (int i = 0; i < out_dim_; ++i) {
    if (out.shape()[order[i]] == 1) continue;
    dims_[ndim_] = order[i];
    sizes_[ndim_++] = out.shape()[order[i]];
  }
}

void ElementLoop::strides_of(const Tensor& operand, int64_t* strides) const {
  const int missing = out_dim_ - operand.dim();
  for (int i = 0; i < ndim_; ++i) {
    const int d = dims_[i] - missing;
    strides[i] = d < 0 || operand.shape()[d] == 1 ? 0 : operand.strides()[d];
  }
}

Walk ElementLoop::walk(const Tensor& operand) const {
  Walk w;
  w.dtype = operand.dtype();
  if (operand.device().is_cpu() && !device_.is_cpu()) {  // a number; output_device has seen to that
    w.data = nullptr;
    std::memcpy(&w.immediate, operand.data(), size_t(size_of(operand.dtype())));
  } else {
    w.data = operand.data();
  }
  w.ndim = 0;
  int64_t strides[kMaxDims];
  strides_of(operand, strides);
  for (int i = 0; i < ndim_; ++i) {
    if (w.ndim > 0 && w.strides[w.ndim - 1] == strides[i] * sizes_[i]) {
      w.sizes[w.ndim - 1] *= sizes_[i];
      w.strides[w.ndim - 1] = strides[i];
    } else {
      w.sizes[w.ndim] = sizes_[i];
      w.strides[w.ndim++] = strides[i];
    }
  }
  if (w.ndim == 0) {
    w.ndim = 1;
    w.sizes[0] = 1;
    w.strides[0] = 1;
  }
  w.period = numel_;
  for (int d = 0; d < w.ndim && w.strides[d] == 0; ++d) w.period /= std::max<int64_t>(w.sizes[d], 1);
  w.period = std::max<int64_t>(w.period, 1);
  return w;
}

Tensor without_overlap(const Tensor& operand, const Tensor& out) {
  if (operand.storage() != out.storage()) return operand;
  if (operand.data() == out.data() && operand.shape() == out.shape() && operand.strides() == out.strides() &&
      operand.dtype() == out.dtype()) {
    return operand;
  }
  Tensor copy = empty_like(operand);
  copy_into(copy, operand);
  return copy;
}

DType result_type(std::initializer_list<Tensor> operands) {
  constexpr int kNone = -1;
  int found[3] = {kNone, kNone, kNone};  // of tensors with dimensions, 0-dim tensors, numbers
  for (const Tensor& t : operands) {
    if (!t.defined()) continue;
    const int rank = t.weak() ? 2 : t.dim() == 0 ? 1 : 0;
    DType d = t.dtype();
    if (rank == 2 && is_floating(d)) d = DType::Float32;
    found[rank] = found[rank] == kNone ? int(d) : int(promote(DType(found[rank]), d));
  }
  const auto kind = [](int d) { return is_floating(DType(d)) ? 2 : DType(d) == DType::Bool ? 0 : 1; };
  int result = found[0];
  for (int rank = 1; rank < 3; ++rank) {
    if (found[rank] == kNone) continue;
    if (result == kNone || kind(found[rank]) > kind(result)) {
      result = result == kNone ? found[rank] : int(promote(DType(result), DType(found[rank])));
    }
  }
  return result == kNone ? DType::Float32 : DType(result);
}

}  // namespace skipway
