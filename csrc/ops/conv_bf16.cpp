#include "ops/conv_bf16.h"

namespace skipway {

bool runs_bf16(const ConvShape& s) { return current_level() >= Level::Avx512Bf16 && s.groups == 1; }

bool runs_bf16_weight_grad(const ConvShape& s) {
  return runs_bf16(s) && s.in[0] == 1 && s.kernel[0] == 1 && s.padding[0] == 0;
}

bool conv_forward_bf16(const ConvForwardArgs& a) {
  if (a.dtype != DType::BFloat16 || !runs_bf16(a.shape)) return false;
  return launch_bf16(conv_bf16, {a.shape, false, a.x, a.weight, a.bias, a.dtype, a.dtype, a.y, false});
}

bool conv_data_grad_bf16(const ConvDataGradArgs& a) {
  if (a.dtype != DType::BFloat16 || !runs_bf16(a.shape)) return false;
  return launch_bf16(conv_bf16,
                     {a.shape, true, a.dy, a.weight, a.bias, a.dtype, a.dtype, a.dx.data, a.dx.mode == GradMode::Add});
}

bool conv_weight_grad_bf16(const ConvWeightGradArgs& a) {
  if (a.dtype != DType::BFloat16 || !runs_bf16_weight_grad(a.shape)) return false;
  return launch_bf16(conv_bf16_weight_grad, {a.shape, a.x, a.dy, a.dweight, a.dtype});
}

}  // namespace skipway
