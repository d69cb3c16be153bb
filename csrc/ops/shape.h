// Views: the same memory seen with another shape. Nothing is copied unless the function says so; the gradient of a view
// is the same view of the gradient, run backwards.
#pragma once
#include <vector>

#include "core/tensor.h"

namespace skipway {

// One entry per dimension of x (Int drops it, Slice keeps it) or per new dimension of size 1. Dimensions beyond the
// last entry are kept. Entries are in range: the functions that build them have checked.
struct IndexItem {
  enum Kind : uint8_t { Int, Slice, NewAxis } kind;
  int64_t start, length, step;
};
struct BasicIndex {
  IndexItem items[2 * kMaxDims];
  int n = 0;
  void add(IndexItem item);  // throws IndexError when full
};
Tensor basic_index(const char* name, const Tensor& x, const BasicIndex& index);
// Python's start:stop:step for a dimension of `size` elements; step >= 1.
IndexItem slice_item(int64_t start, int64_t stop, int64_t step, int64_t size);

// One size may be -1: it is inferred. reshape copies where strides do not permit a view. So does view, unlike
// PyTorch's: results of convolution and pooling are channels-last here, and x.view(x.size(0), -1) has to work on them.
Tensor reshape(const Tensor& x, const Shape& shape);
Tensor view(const Tensor& x, const Shape& shape);
Tensor flatten(const Tensor& x, int64_t start_dim, int64_t end_dim);
Tensor unflatten(const Tensor& x, int64_t dim, const Shape& sizes);
Tensor squeeze(const Tensor& x);
Tensor squeeze(const Tensor& x, const Shape& dims);
Tensor unsqueeze(const Tensor& x, int64_t dim);

Tensor permute(const Tensor& x, const Shape& dims);
Tensor transpose(const Tensor& x, int64_t dim0, int64_t dim1);
Tensor t(const Tensor& x);                 // at most 2-D
Tensor reverse_dims(const Tensor& x);      // .T
Tensor matrix_transpose(const Tensor& x);  // .mT
Tensor movedim(const Tensor& x, const Shape& source, const Shape& destination);

Tensor expand(const Tensor& x, const Shape& shape);  // -1 keeps a size
std::vector<Tensor> broadcast_tensors(const std::vector<Tensor>& tensors);
std::vector<Tensor> meshgrid(const std::vector<Tensor>& tensors, bool xy);

Tensor narrow(const Tensor& x, int64_t dim, int64_t start, int64_t length);
Tensor select(const Tensor& x, int64_t dim, int64_t index);
Tensor slice(const Tensor& x, int64_t dim, int64_t start, int64_t stop, int64_t step);
Tensor diagonal(const Tensor& x, int64_t offset, int64_t dim1, int64_t dim2);
// Windows of `size` elements every `step` along dim, in a new last dimension. They may overlap.
Tensor unfold(const Tensor& x, int64_t dim, int64_t size, int64_t step);
// Strides and offset in elements of x's memory. The gradient needs x to be contiguous.
Tensor as_strided(const Tensor& x, const Shape& shape, const Shape& strides, int64_t offset);

std::vector<Tensor> split(const Tensor& x, int64_t split_size, int64_t dim);
std::vector<Tensor> split(const Tensor& x, const std::vector<int64_t>& sizes, int64_t dim);
std::vector<Tensor> chunk(const Tensor& x, int64_t chunks, int64_t dim);
std::vector<Tensor> unbind(const Tensor& x, int64_t dim);
std::vector<Tensor> tensor_split(const Tensor& x, int64_t sections, int64_t dim);
std::vector<Tensor> tensor_split(const Tensor& x, const std::vector<int64_t>& indices, int64_t dim);

// These copy (strides are never negative).
Tensor flip(const Tensor& x, const Shape& dims);
Tensor roll(const Tensor& x, const Shape& shifts, const Shape& dims);  // no dims: of the flattened tensor
Tensor repeat(const Tensor& x, const Shape& repeats);
Tensor tile(const Tensor& x, const Shape& dims);
Tensor repeat_interleave(const Tensor& x, int64_t repeats, int64_t dim);

}  // namespace skipway
