#include "ops/linear.h"

#include "autograd/tape.h"
#include "ops/batch_norm.h"
#include "ops/copy.h"
#include "ops/matmul.h"
#include "ops/reduce.h"
#include "ops/residual.h"

namespace skipway {
namespace {

Tensor rows_of(const Tensor& x) {
  const Tensor dense = contiguous(x.alias());
  const int64_t columns = x.shape().back();
  int64_t rows = 1;
  for (int i = 0; i + 1 < x.dim(); ++i) rows *= x.shape()[i];
  return dense.as_strided({rows, columns}, {columns, 1}, dense.offset());
}
Tensor transposed(const Tensor& x) {
  return x.as_strided({x.shape()[1], x.shape()[0]}, {x.strides()[1], x.strides()[0]}, x.offset());
}
Tensor reshaped(const Tensor& x, const Shape& shape) {
  return x.as_strided(shape, contiguous_strides(shape), x.offset());
}

// dz = dy * act'(z), as rows
Tensor activation_grad(FusedAct act, const Tensor& dy, const Tensor& y) {
  const Tensor dz = empty(dy.shape(), dy.dtype(), dy.device());
  launch(dy.device(), residual_add_backward,
         ResidualAddGradArgs{dy.numel(), dy.dtype(), act, 1, dy.data(), y.data(), {dz.data(), GradMode::Write}, {}});
  return dz;
}

}  // namespace

Tensor linear(const Tensor& input, const Tensor& weight, const Tensor& bias,
              const std::optional<std::string>& activation) {
  check_floating("linear", "input", input);
  check_defined("linear", "weight", weight);
  check_same("linear", "input", input, "weight", weight);
  SW_CHECK_SHAPE(weight.dim() == 2, "linear: expected weight with 2 dimensions (out, in), got ", weight.shape());
  const int64_t out = weight.shape()[0], in = weight.shape()[1];
  SW_CHECK_SHAPE(input.dim() >= 1 && input.shape().back() == in, "linear: expected input whose last dimension is ", in,
                 ", got ", input.shape());
  Tensor b = bias;
  if (bias.defined()) {
    check_same("linear", "input", input, "bias", bias);
    SW_CHECK_SHAPE(bias.shape() == Shape{out}, "linear: expected bias of shape ", Shape{out}, ", got ", bias.shape());
    b = contiguous(bias.alias());
  }
  const OutputActivation named = parse_output_activation("linear", activation);
  const FusedAct act = named.fused;
  const Tensor x = rows_of(input), w = weight.alias();
  Shape shape = input.shape();
  shape[shape.size() - 1] = out;
  const Tensor y = reshaped(matrix_product("linear", x, transposed(w), b, act), shape);
  // docs/backward.md, equation (matmul) with B = W^T.
  tape::record("linear", {y}, {input, weight, bias}, {x, w, act == FusedAct::None ? Tensor() : y},
               [shape = input.shape(), out, act](tape::Backward& g) {
                 const Tensor dy = rows_of(g.grad());
                 const Tensor dz = act == FusedAct::None ? dy : activation_grad(act, dy, g.saved(2));
                 if (g.needs(0)) g.give(0, reshaped(matrix_product("linear", dz, g.saved(1)), shape));
                 if (g.needs(1)) g.give(1, matrix_product("linear", transposed(dz), g.saved(0)));
                 if (g.needs(2)) g.give(2, sum_to(dz, Shape{out}));
               });
  return named.finish(y);
}

}  // namespace skipway
