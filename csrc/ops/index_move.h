// Positions: from index tensors to element offsets, and the launch of the one kernel that moves elements.
#pragma once
#include "ops/index.h"

namespace skipway {

// Indices made ready for one tensor: integers only (masks became their nonzero positions), one entry per dimension of x
// (undefined: the whole dimension), all of shape `shape` and contiguous int64.
struct Positions {
  Indices per_dim;
  Shape shape;            // of the common dimensions
  int first = 0;          // where they stand in the result
  bool distinct = false;  // from a single mask: no position occurs twice
};
Positions find_positions(const char* op, const Tensor& x, const Indices& indices);
Shape indexed_shape(const Shape& x, const Positions& p);
// Element offsets into a tensor of these sizes and strides; throws IndexError for those out of range (on CUDA, when the
// host next waits for the device). wrap: negative indices count from the end.
Tensor element_offsets(const char* op, const Shape& shape, const Shape& strides, const Positions& p, Device device,
                       bool wrap = true);

// Get: values = x at the positions. Put, Add: the other way. `values` has indexed_shape and x's dtype (or one element,
// for Put). Not on the tape.
void move_at(MoveMode mode, const Tensor& x, const Tensor& offsets, const Positions& p, const Tensor& values);
Tensor get_at(const Tensor& x, const Tensor& offsets, const Positions& p);
// Zeros of `shape` with `values` added at the positions: the gradient of get_at. 16-bit types add in float32.
Tensor sum_at(const Shape& shape, const Positions& p, const Tensor& values);

// For gather and scatter: one position per element of `index` and nothing else.
Tensor gather_offsets(const char* op, const Tensor& x, int dim, const Tensor& index);
void move_single(MoveMode mode, const Tensor& x, const Tensor& offsets, const Tensor& values);  // values: contiguous
// Indices on the CPU go with tensors on any device; others are a DeviceError that names both.
Tensor on_device_of(const char* op, const Tensor& x, const Tensor& index);
// Values to be written into x, in its dtype: on its device, or a number.
Tensor source_for(const char* op, const Tensor& x, const Tensor& values);
Tensor integer_index(const char* op, const Tensor& index);  // contiguous int64; throws TypeError

}  // namespace skipway
