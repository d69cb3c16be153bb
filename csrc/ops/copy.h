// Copies: y = x with another memory layout or dtype. Backward: the gradient copied back to x's dtype.
#pragma once
#include "core/tensor.h"
#include "kernels/dispatch.h"
#include "kernels/walk_args.h"

namespace skipway {

// dst = src for any strides, dtypes and devices; src is broadcast to dst's shape. Not on the tape. Floats become
// integers by truncation and bool by != 0; the two may not overlap.
void copy_into(const Tensor& dst, const Tensor& src);
void copy_into(const Tensor& dst, const Tensor& src, bool non_blocking);

Tensor contiguous(const Tensor& x);  // x itself when it is dense row-major
Tensor channels_last(
    const Tensor& x);  // 3 to 5 dimensions, (N, spatial..., C) in memory; x itself when it is so already
Tensor to(const Tensor& x, DType dtype);  // x itself when it has that dtype
Tensor clone(const Tensor& x);            // same layout where x is dense
// On another device, same layout where x is dense; x itself when it is there. The gradient travels back. non_blocking:
// see copy_memory in core/cuda.h.
Tensor to(const Tensor& x, Device device, bool non_blocking = false);
Tensor on_cpu(const Tensor& x);  // for reading on the host: x itself or a copy, dense row-major, not on the tape

Tensor copy_(const Tensor& x, const Tensor& src, bool non_blocking = false);  // in place, differentiable in src
Tensor fill_(const Tensor& x, const Tensor& value);                           // value: 0-dim
Tensor zero_(const Tensor& x);
Tensor full(const Shape& shape, const Tensor& value, DType dtype, Device device = {});  // value: 0-dim
Tensor full(const Shape& shape, double value, DType dtype, Device device = {});
Tensor number(double value, DType dtype);  // a 0-dim tensor with weak(): a Python number

struct CopyArgs {
  int64_t numel;
  Walk dst, src;  // in dst's memory order
  // The same element order without merging per operand, for transposes: dimensions merged where both allow it.
  int ndim;
  int64_t sizes[kMaxDims], dst_strides[kMaxDims], src_strides[kMaxDims];
};
SW_DECLARE_KERNEL(copy_strided, CopyArgs)

}  // namespace skipway
