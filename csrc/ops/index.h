// Reading and writing elements at positions given by tensors.
#pragma once
#include <optional>
#include <vector>

#include "core/tensor.h"
#include "kernels/dispatch.h"

namespace skipway {

// dst += src, of the same shape and dtype; not on the tape. Where elements of dst overlap in memory (`overlaps`), each
// place receives all its addends, in a fixed order.
void accumulate_into(const Tensor& dst, const Tensor& src, bool overlaps);

// x[indices[0], indices[1], ...] with undefined entries for whole dimensions. Indices are integers (negative ones count
// from the end) of shapes that broadcast together, or bool masks over one or more dimensions. As in NumPy, their common
// dimensions take the place of the first index if the indices are adjacent, else they come first.
using Indices = std::vector<Tensor>;
Tensor index(const Tensor& x, const Indices& indices);
// x[indices] = values (broadcast), or += with `accumulate`; in place. Without it, the last of duplicates stays.
Tensor index_put_(const Tensor& x, const Indices& indices, const Tensor& values, bool accumulate);
Tensor index_put(const Tensor& x, const Indices& indices, const Tensor& values, bool accumulate);

Tensor index_select(const Tensor& x, int64_t dim, const Tensor& index);
Tensor index_add_(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source, double alpha);
Tensor index_copy_(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source);
Tensor index_fill_(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& value);
Tensor take(const Tensor& x, const Tensor& index);
Tensor masked_select(const Tensor& x, const Tensor& mask);
Tensor embedding(const Tensor& weight, const Tensor& index, std::optional<int64_t> padding_idx);

// y[i][j][k] = x[i][index[i][j][k]][k] (dim = 1); scatter writes the other way.
Tensor gather(const Tensor& x, int64_t dim, const Tensor& index);
Tensor scatter(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source);
Tensor scatter_(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source);
Tensor scatter_add(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source);
Tensor scatter_add_(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source);

Tensor nonzero(const Tensor& x);  // int64 (count, dim), in row-major order
Tensor one_hot(const Tensor& x, int64_t num_classes);
Tensor tril(const Tensor& x, int64_t diagonal);
Tensor triu(const Tensor& x, int64_t diagonal);
Tensor diag(const Tensor& x, int64_t diagonal);
Tensor diag_embed(const Tensor& x, int64_t offset);
Tensor bincount(const Tensor& x, const Tensor& weights, int64_t minlength);
Tensor searchsorted(const Tensor& sorted, const Tensor& values, bool right);
Tensor repeat_interleave(const Tensor& x, const Tensor& repeats, std::optional<int64_t> dim);

// ---- kernel ---------------------------------------------------------------------------------------------------------
// Moves between x, seen through its strides, and `values`, with `count` positions given as element offsets into x:
//   values[p, a, q] <-> x[p . outer_strides + offsets[a] + q . inner_strides]
// `inner` is a run of dimensions behind the positions, `outer` one before them; both may be empty.
enum class MoveMode : uint8_t { Get, Put, Add };
struct MoveArgs {
  MoveMode mode;
  DType dtype;
  int outer_dims, inner_dims;
  int64_t outer_sizes[kMaxDims], outer_x[kMaxDims], outer_v[kMaxDims];
  int64_t inner_sizes[kMaxDims], inner_x[kMaxDims], inner_v[kMaxDims];
  int64_t count, stride_v;  // of values, from one position to the next
  const int64_t* offsets;   // [count]; null: one position, at 0. A negative one (a fault, on CUDA) is left out.
  bool distinct;            // do positions never share elements of x? Then they are cut among threads.
  // On CUDA, where positions may occur twice in Put and Add: they ordered by offset, equal ones as they come, so that
  // one thread serves all of an element.
  const int64_t* order;
  void *x, *values;
};
SW_DECLARE_KERNEL(move_elements, MoveArgs)

// offsets[i] = base(i) + sum over d of index[d][i] * stride[d], where indices below 0 count from the end if `wrap`, and
// base(i) = the coordinates of i in base_sizes times base_strides. An index out of range is a fault.
struct OffsetArgs {
  int64_t count;
  int indices, base_dims;
  const int64_t* index[kMaxDims];
  int64_t size[kMaxDims], stride[kMaxDims];
  int64_t base_sizes[kMaxDims], base_strides[kMaxDims];
  bool wrap;
  int64_t* offsets;
  // On the CPU, the first fault: where in `index`, and its value. On CUDA it goes to the stream's record.
  int* fault_at;  // -1: none
  int64_t* fault_value;
};
SW_DECLARE_KERNEL(index_offsets, OffsetArgs)

}  // namespace skipway
