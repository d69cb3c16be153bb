#include "ops/conv_bf16.h"

#include "autograd/tape.h"
#include "ops/conv_image.h"
#include "ops/copy.h"

namespace skipway {
namespace {

Tensor narrow(const Tensor& x) { return x.defined() ? to(x, DType::BFloat16) : x; }

// Of a convolution that has been checked.
ConvShape shape_of(const Tensor& x, const Tensor& weight, const Tensor& y, const Shape& stride, const Shape& padding,
                   const Shape& dilation) {
  const auto of = [](const Shape& value, int i) { return value[value.size() == 1 ? 0 : i]; };
  ConvShape s{};
  s.batch = x.shape()[0], s.in_channels = x.shape()[1], s.out_channels = y.shape()[1], s.groups = 1;
  s.in[0] = s.out[0] = s.kernel[0] = s.stride[0] = s.dilation[0] = 1;
  for (int i = 0; i < 2; ++i) {
    s.in[i + 1] = x.shape()[i + 2], s.out[i + 1] = y.shape()[i + 2], s.kernel[i + 1] = weight.shape()[i + 2];
    s.stride[i + 1] = of(stride, i), s.padding[i + 1] = of(padding, i), s.dilation[i + 1] = of(dilation, i);
  }
  return s;
}

Tensor weight_gradient(const ConvShape& s, const Tensor& x, const Tensor& dy, const Tensor& weight, DType dtype) {
  const bool direct = conv_algorithm(s, DType::BFloat16, ConvPass::WeightGrad, 1) == ConvAlgorithm::Direct;
  const bool wide = dtype == DType::Float32 && direct && runs_bf16_weight_grad(s);
  const Tensor dweight = empty(weight.shape(), wide ? dtype : DType::BFloat16, weight.device());
  const ConvImage image = conv_image(s, x, ConvPass::WeightGrad);
  if (wide) {
    launch_bf16(conv_bf16_weight_grad, {s, image.data, dy.data(), dweight.data(), dtype, image.prologue});
  } else {
    launch(x.device(), conv_weight_grad,
           ConvWeightGradArgs{s, DType::BFloat16, image.data, dy.data(), dweight.data(), false, image.prologue});
  }
  return to(dweight, dtype);
}

}  // namespace

Tensor conv2d_mixed(const Tensor& input, const Tensor& weight, const Tensor& bias, const Shape& stride,
                    const Shape& padding, const Shape& dilation, int64_t groups) {
  const bool native = current_level() >= Level::Avx512Bf16 && groups == 1 && input.defined() && input.dim() == 4 &&
                      input.device().is_cpu();
  if (!native) return conv2d(narrow(input), narrow(weight), narrow(bias), stride, padding, dilation, groups);
  // Aliases have no history: nothing is recorded but the node below.
  const Tensor x = channels_last(narrow(input.alias())), w = contiguous(narrow(weight.alias()));
  const Tensor y = conv2d(x, w, bias.defined() ? narrow(bias.alias()) : bias, stride, padding, dilation, groups);
  const ConvShape s = shape_of(x, w, y, stride, padding, dilation);
  const DType x_dtype = input.dtype(), w_dtype = weight.dtype(), b_dtype = bias.defined() ? bias.dtype() : x_dtype;
  tape::record("conv2d", {y}, {input, weight, bias}, {x, w}, [=](tape::Backward& g) {
    const Tensor dy = channels_last(g.grad()), x = g.saved(0), w = g.saved(1);
    if (g.needs(0)) {
      const bool narrowed = x_dtype != DType::BFloat16;  // then the gradient has to be widened
      const Tensor dx = narrowed ? empty_channels_last(x.shape(), DType::BFloat16, x.device()) : Tensor();
      const Grad into = narrowed ? Grad{dx.data(), GradMode::Write} : g.target(0, x);
      launch(dy.device(), conv_data_grad,
             ConvDataGradArgs{s, DType::BFloat16, dy.data(), w.data(), nullptr, into, false});
      if (narrowed) g.give(0, to(dx, x_dtype));
    }
    if (g.needs(1)) g.give(1, weight_gradient(s, x, dy, w, w_dtype));
    if (g.needs(2)) {
      const Tensor sum = empty(Shape{s.out_channels}, DType::BFloat16, dy.device());
      launch(dy.device(), channel_sum,
             ChannelSumArgs{dy.numel() / s.out_channels, s.out_channels, DType::BFloat16, dy.data(), sum.data()});
      g.give(2, to(sum, b_dtype));
    }
  });
  return y;
}

bool runs_bf16(const ConvShape& s) { return current_level() >= Level::Avx512Bf16 && s.groups == 1; }

bool runs_bf16_weight_grad(const ConvShape& s) {
  return runs_bf16(s) && s.in[0] == 1 && s.kernel[0] == 1 && s.padding[0] == 0;
}

bool conv_forward_bf16(const ConvForwardArgs& a) {
  if (a.dtype != DType::BFloat16 || !runs_bf16(a.shape)) return false;
  const ConvEpilogue epilogue = a.epilogue.mean ? ConvEpilogue{} : a.epilogue;
  return launch_bf16(conv_bf16, {a.shape, false, a.x, a.weight, a.bias, a.dtype, a.dtype, a.y, false, a.prologue,
                                 epilogue, a.packed, nullptr});
}

bool conv_packed_bytes_bf16(const ConvPackedBytesArgs& a) {
  if (a.dtype != DType::BFloat16 || !runs_bf16(a.shape)) return false;
  return launch_bf16(
      conv_bf16, {a.shape, false, nullptr, nullptr, nullptr, a.dtype, a.dtype, nullptr, false, {}, {}, {}, a.bytes});
}

bool conv_data_grad_bf16(const ConvDataGradArgs& a) {
  if (a.dtype != DType::BFloat16 || !runs_bf16(a.shape)) return false;
  return launch_bf16(conv_bf16, {a.shape,
                                 true,
                                 a.dy,
                                 a.weight,
                                 a.bias,
                                 a.dtype,
                                 a.dtype,
                                 a.dx.data,
                                 a.dx.mode == GradMode::Add,
                                 {},
                                 {},
                                 {},
                                 nullptr});
}

bool conv_weight_grad_bf16(const ConvWeightGradArgs& a) {
  if (a.dtype != DType::BFloat16 || !runs_bf16_weight_grad(a.shape)) return false;
  return launch_bf16(conv_bf16_weight_grad, {a.shape, a.x, a.dy, a.dweight, a.dtype, a.prologue});
}

}  // namespace skipway
