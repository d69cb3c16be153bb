#include "ops/layer_norm.h"

#include "autograd/tape.h"
#include "ops/copy.h"

namespace skipway {
namespace {

void check_affine(const char* op, const char* arg, const Tensor& t, const Shape& shape, const Tensor& input) {
  if (!t.defined()) return;
  SW_CHECK_SHAPE(t.shape() == shape, op, ": expected ", arg, " of normalized_shape ", shape, ", got ", t.shape());
  const bool mixed = is_half(input.dtype()) && t.dtype() == DType::Float32;
  SW_CHECK_TYPE(t.dtype() == input.dtype() || mixed, op, ": expected ", arg, " of input's dtype ", input.dtype(),
                ", got ", t.dtype());
  SW_CHECK_AS(DeviceError, t.device() == input.device(), op, ": expected ", arg, " on the device of input ",
              input.dtype(), " ", input.shape(), " on ", input.device(), ", got ", t.dtype(), " ", t.shape(), " on ",
              t.device());
}

// docs/backward.md, equations (norm) and (affine).
void layer_norm_grad(LayerNormGradArgs a, const Shape& normalized_shape, tape::Backward& b) {
  const Tensor x = b.saved(0), weight = b.saved(1), statistics = b.saved(2), dy = contiguous(b.grad());
  a.x = x.data();
  a.weight = weight.defined() ? weight.data() : nullptr;
  a.dy = dy.data();
  a.statistics = statistics.data_as<double>();
  a.dx = b.target(0, x);
  Tensor dweight, dbias;
  if (b.needs(1)) {
    dweight = empty(normalized_shape, a.weight_dtype, x.device());
    a.dweight = {dweight.data(), GradMode::Write};
  }
  if (b.needs(2)) {
    dbias = empty(normalized_shape, a.bias_dtype, x.device());
    a.dbias = {dbias.data(), GradMode::Write};
  }
  launch(x.device(), layer_norm_backward, a);
  if (dweight.defined()) b.give(1, dweight);
  if (dbias.defined()) b.give(2, dbias);
}

Tensor normalize_rows(const char* op, bool centred, const Tensor& input, const Shape& normalized_shape,
                      const Tensor& weight, const Tensor& bias, double eps) {
  SW_CHECK_VALUE(!normalized_shape.empty(), op, ": expected a normalized_shape of at least one dimension, got ()");
  SW_CHECK_SHAPE(input.shape().ends_with(normalized_shape), op, ": expected input whose last dimensions are ",
                 normalized_shape, ", got ", input.shape());
  SW_CHECK_VALUE(eps >= 0, op, ": expected eps >= 0, got ", eps);
  check_affine(op, "weight", weight, normalized_shape, input);
  check_affine(op, "bias", bias, normalized_shape, input);

  Tensor x, w, v;
  {
    tape::NoGradGuard off;
    x = contiguous(input);
    if (weight.defined()) w = contiguous(weight);
    if (bias.defined()) v = contiguous(bias);
  }
  const int64_t cols = normalized_shape.numel();
  int64_t rows = 1;
  for (int i = 0; i < input.dim() - normalized_shape.size(); ++i) rows *= input.size(i);
  Tensor y = empty(input.shape(), input.dtype(), input.device());
  Tensor statistics = empty({2, rows}, DType::Float64, input.device());
  const DType weight_dtype = w.defined() ? w.dtype() : x.dtype(), bias_dtype = v.defined() ? v.dtype() : x.dtype();
  launch(x.device(), layer_norm_forward,
         LayerNormArgs{rows, cols, x.dtype(), weight_dtype, bias_dtype, centred, eps, x.data(),
                       w.defined() ? w.data() : nullptr, v.defined() ? v.data() : nullptr, y.data(),
                       statistics.data_as<double>()});
  if (!tape::should_record({input, weight, bias})) return y;
  const LayerNormGradArgs args{rows,    cols,    x.dtype(), weight_dtype, bias_dtype, centred, nullptr,
                               nullptr, nullptr, nullptr,   {},           {},         {}};
  tape::record(op, {y}, {input, weight, bias}, {x, w, statistics},
               [args, normalized_shape](tape::Backward& b) { layer_norm_grad(args, normalized_shape, b); });
  return y;
}

}  // namespace

Tensor layer_norm(const Tensor& input, const Shape& normalized_shape, const Tensor& weight, const Tensor& bias,
                  double eps) {
  check_defined("layer_norm", "input", input);
  check_floating("layer_norm", "input", input);
  return normalize_rows("layer_norm", true, input, normalized_shape, weight, bias, eps);
}

Tensor rms_norm(const Tensor& input, const Shape& normalized_shape, const Tensor& weight, std::optional<double> eps) {
  check_defined("rms_norm", "input", input);
  check_floating("rms_norm", "input", input);
  const double epsilon = input.dtype() == DType::Float64 ? 2.220446049250313e-16 : 1.1920928955078125e-07;
  return normalize_rows("rms_norm", false, input, normalized_shape, weight, {}, eps.value_or(epsilon));
}

}  // namespace skipway
