// From tensors to the plain walks that elementwise kernels take: layout of the output, broadcasting, merged dimensions.
#pragma once
#include <initializer_list>

#include "core/tensor.h"
#include "kernels/walk_args.h"

namespace skipway {

// Where the result of an elementwise operation lives: on the device of its operands. 0-dim tensors on the CPU go with
// any. Otherwise operands on two devices are a DeviceError that names both.
Device output_device(const char* op, std::initializer_list<Tensor> operands);

// An uninitialised output of `shape`: laid out as the first operand that has this shape, so that channels-last (or any
// other order of dimensions) carries through; row-major when none has it.
Tensor elementwise_output(const Shape& shape, DType dtype, std::initializer_list<Tensor> operands);

// The order in which the elements of `out` are visited: its memory order.
class ElementLoop {
 public:
  explicit ElementLoop(const Tensor& out);
  Walk walk(const Tensor& operand) const;  // broadcast to out's shape
  int64_t numel() const { return numel_; }
  int ndim() const { return ndim_; }  // dimensions of size 1 are left out
  int64_t size(int i) const { return sizes_[i]; }
  void strides_of(const Tensor& operand, int64_t* strides) const;  // ndim() of them, 0 where broadcast

 private:
  Device device_;
  int out_dim_, ndim_ = 0;
  int64_t numel_, sizes_[kMaxDims];
  int dims_[kMaxDims];
};

// `operand` itself, or a copy of it where it shares memory with `out` in another view (x[1:] += x[:-1]).
Tensor without_overlap(const Tensor& operand, const Tensor& out);

// The dtype of a result, as in PyTorch: tensors with dimensions decide, 0-dim tensors and then Python numbers only
// where they are of a higher kind (bool < integer < floating).
DType result_type(std::initializer_list<Tensor> operands);

}  // namespace skipway
