// Joining and padding.
#pragma once
#include <string>
#include <vector>

#include "core/tensor.h"
#include "kernels/dispatch.h"

namespace skipway {

// Tensors of the same shape except along dim. The result is channels-last where all inputs are. dtypes are promoted.
Tensor cat(const std::vector<Tensor>& tensors, int64_t dim);
Tensor stack(const std::vector<Tensor>& tensors, int64_t dim);
Tensor hstack(const std::vector<Tensor>& tensors);
Tensor vstack(const std::vector<Tensor>& tensors);
Tensor dstack(const std::vector<Tensor>& tensors);

// pad = (last dim before, last dim after, the dim before that before, after, ...); mode "constant" takes negative
// amounts, which crop. reflect, replicate and circular pad at most all dimensions but the first two (or one).
Tensor pad(const Tensor& x, const std::vector<int64_t>& pad, const std::string& mode, double value);

}  // namespace skipway
