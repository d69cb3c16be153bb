#include "ops/conv.h"

#include <atomic>

#include "autograd/tape.h"
#include "ops/conv_image.h"
#include "ops/conv_packed.h"
#include "ops/copy.h"
#include "ops/left_sums.h"

namespace skipway {
namespace {

using Size = int64_t;

std::atomic<bool> tf32_allowed{false};

// Arithmetic on sizes that a caller chose.
struct Checked {
  const char* op;
  Size mul(Size a, Size b) const {
    Size r;
    SW_CHECK_VALUE(!__builtin_mul_overflow(a, b, &r), op, ": sizes overflow: ", a, " * ", b);
    return r;
  }
  Size add(Size a, Size b) const {
    Size r;
    SW_CHECK_VALUE(!__builtin_add_overflow(a, b, &r), op, ": sizes overflow: ", a, " + ", b);
    return r;
  }
};

std::string shown(const Shape& value) { return value.size() == 1 ? std::to_string(value[0]) : value.str(); }

// One number per spatial dimension.
Shape per_dim(const char* op, const char* name, const Shape& value, int nd, Size least) {
  SW_CHECK_VALUE(value.size() == 1 || value.size() == nd, op, ": expected ", name, " to be a number or ", nd,
                 " numbers, got ", shown(value));
  const Shape all = value.size() == nd ? value : Shape::filled(nd, value[0]);
  for (Size v : all) SW_CHECK_VALUE(v >= least, op, ": expected ", name, " >= ", least, ", got ", shown(value));
  return all;
}

// Without a batch dimension, an image is a batch of one.
Tensor batched(const Tensor& x, int nd) {
  Tensor t = x.alias();
  if (x.dim() == nd + 2) return t;
  Shape shape = x.shape(), strides = x.strides();
  shape.insert(0, 1);
  strides.insert(0, x.numel());
  return t.as_strided(shape, strides, x.offset());
}
Tensor unbatched(const Tensor& x, int nd, int dim) {
  if (dim == nd + 2) return x;
  Shape shape = x.shape(), strides = x.strides();
  shape.erase(0);
  strides.erase(0);
  return x.as_strided(shape, strides, x.offset());
}

// input_channels: of the convolution's input (dim 1); a transposed convolution exchanges the two.
void check_operands(const char* op, const Tensor& input, const Tensor& weight, const Tensor& bias, int nd, Size groups,
                    bool transposed) {
  check_floating(op, "input", input);
  check_defined(op, "weight", weight);
  check_same(op, "input", input, "weight", weight);
  SW_CHECK_SHAPE(input.dim() == nd + 2 || input.dim() == nd + 1, op, ": expected input with ", nd + 2,
                 " dimensions (N, C, ...), or ", nd + 1, " without a batch, got ", input.shape());
  SW_CHECK_SHAPE(weight.dim() == nd + 2, op, ": expected weight with ", nd + 2, " dimensions, got ", weight.shape());
  SW_CHECK_VALUE(groups >= 1, op, ": expected groups >= 1, got ", groups);
  for (int i = 0; i < weight.dim(); ++i)
    SW_CHECK_SHAPE(weight.shape()[i] >= 1, op, ": expected weight without empty dimensions, got ", weight.shape());
  const Size channels = transposed ? weight.shape()[0] : Checked{op}.mul(weight.shape()[1], groups);
  const Size results = transposed ? Checked{op}.mul(weight.shape()[1], groups) : weight.shape()[0];
  const int dim = input.dim() - nd - 1;
  SW_CHECK_SHAPE(input.shape()[dim] == channels, op, ": expected ", channels, " input channels (dim ", dim, "), got ",
                 input.shape());
  SW_CHECK_SHAPE(weight.shape()[0] % groups == 0, op, ": expected weight's dim 0 to be a multiple of groups ", groups,
                 ", got ", weight.shape());
  if (!bias.defined()) return;
  check_same(op, "input", input, "bias", bias);
  SW_CHECK_SHAPE(bias.shape() == Shape{results}, op, ": expected bias of shape ", Shape{results}, ", got ",
                 bias.shape());
}

// The geometry of the convolution whose image side has `image` and whose result side has `result` channels; sizes are
// filled in by the caller.
ConvShape geometry(const Tensor& weight, Size groups, const Shape& stride, const Shape& padding,
                   const Shape& dilation) {
  const int nd = weight.dim() - 2;
  ConvShape s{};
  s.out_channels = weight.shape()[0];
  s.in_channels = weight.shape()[1] * groups;
  s.groups = groups;
  for (int d = 0; d < 3; ++d) s.in[d] = s.out[d] = s.kernel[d] = s.stride[d] = s.dilation[d] = 1;
  for (int i = 0; i < nd; ++i) {
    const int d = 3 - nd + i;
    s.kernel[d] = weight.shape()[2 + i];
    s.stride[d] = stride[i];
    s.padding[d] = padding[i];
    s.dilation[d] = dilation[i];
  }
  return s;
}

// Scratch copies hold the padded image.
void check_volume(const char* op, const ConvShape& s, const Shape& padded) {
  const Checked checked{op};
  Size image = 1, result = 1;
  for (Size v : padded) image = checked.mul(image, v);
  for (Size v : s.out) result = checked.mul(result, v);
  for (Size channels : {s.in_channels, s.out_channels})
    for (Size volume : {image, result}) checked.mul(checked.mul(checked.mul(volume, channels), s.batch + 1), 16);
}

Shape output_shape(const Tensor& input, Size channels, const Size* sizes, int nd) {
  Shape shape{input.shape()[0], channels};
  for (int d = 3 - nd; d < 3; ++d) shape.push_back(sizes[d]);
  return shape;
}

Tensor channel_sums(const Tensor& x, DType dtype) {
  const Size channels = x.shape()[1];
  Tensor sum = empty(Shape{channels}, dtype, x.device());
  launch(x.device(), channel_sum, ChannelSumArgs{x.numel() / channels, channels, x.dtype(), x.data(), sum.data()});
  return sum;
}

const void* data_or_null(const Tensor& t) { return t.defined() ? t.data() : nullptr; }

Tensor weight_gradient(const ConvShape& s, const Tensor& x, const Tensor& dy, const Tensor& weight) {
  Tensor dweight = empty(weight.shape(), weight.dtype(), weight.device());
  const ConvImage image = conv_image(s, x, ConvPass::WeightGrad);
  launch(x.device(), conv_weight_grad,
         ConvWeightGradArgs{s, x.dtype(), image.data, dy.data(), dweight.data(), conv_tf32(), image.prologue});
  return dweight;
}

// The norm whose result x is, if the gradient of x is to be summed for its backward pass.
std::shared_ptr<const NormRecipe> summed_norm(const Tensor& x) {
  if (x.device().is_cpu() || !grad_sums_enabled()) return nullptr;
  auto norm = norm_recipe(x);
  if (!norm || norm->residual.defined()) return nullptr;
  const bool from_x = norm->activation == FusedAct::None || norm->activation == FusedAct::Relu || !norm->rounds;
  return from_x ? norm : nullptr;
}

// Of x, which the convolution read; `dim`: of its input.
void give_data_gradient(tape::Backward& g, const ConvShape& s, const Tensor& x, const Tensor& dy, const Tensor& w,
                        int nd, int dim) {
  ConvDataGradArgs a{s, dy.dtype(), dy.data(), w.data(), nullptr, {}, conv_tf32()};
  const auto norm = summed_norm(x);
  if (!norm) {
    a.dx = g.target(0, unbatched(x, nd, dim));
    return launch(dy.device(), conv_data_grad, a);
  }
  const Tensor dx = empty_like(x), sums = empty({2, s.in_channels}, DType::Float64, x.device());
  const ConvPrologue numbers = prologue_of(*norm);
  bool done = false;
  a.dx = {dx.data(), GradMode::Write};
  a.sums = {norm->x.data(),   numbers.mean,           numbers.scale, numbers.shift,
            norm->activation, sums.data_as<double>(), &done};
  launch(dy.device(), conv_data_grad, a);
  if (done) leave_grad_sums(dx, norm->coefficients, norm->activation, sums);
  g.give(0, unbatched(dx, nd, dim));
}

struct Forward {
  Tensor x, w, b, y;  // b may be undefined
  ConvImage image;
  ConvForwardArgs args;
};

// What a forward pass needs, with a result that is not yet computed.
Forward prepare_forward(const char* op, int nd, const Tensor& input, const Tensor& weight, const Tensor& bias,
                        const Shape& stride, const Shape& padding, const Shape& padding_after, const Shape& dilation,
                        Size groups) {
  Forward f{channels_last(batched(input, nd)), contiguous(weight.alias()), {}, {}, {}, {}};
  f.b = bias.defined() ? contiguous(bias.alias()) : bias;
  ConvShape s = geometry(weight, groups, stride, padding, dilation);
  const Checked checked{op};
  s.batch = f.x.shape()[0];
  Shape padded;
  for (int i = 0; i < nd; ++i) {
    const int d = 3 - nd + i;
    s.in[d] = f.x.shape()[2 + i];
    padded.push_back(checked.add(checked.add(s.in[d], padding[i]), padding_after[i]));
    const Size reach = checked.add(checked.mul(dilation[i], s.kernel[d] - 1), 1);
    SW_CHECK_SHAPE(reach <= padded[i], op, ": expected a kernel no larger than the padded input, got kernel ", reach,
                   dilation[i] > 1 ? " (with dilation)" : "", " and padded input ", padded[i], " in dim ",
                   input.dim() - nd + i);
    s.out[d] = (padded[i] - reach) / stride[i] + 1;
  }
  check_volume(op, s, padded);
  f.y = empty_channels_last(output_shape(f.x, s.out_channels, s.out, nd), f.x.dtype(), f.x.device());
  f.image = conv_image(s, f.x, ConvPass::Forward);
  f.args = ConvForwardArgs{s, f.x.dtype(), f.image.data, f.w.data(), data_or_null(f.b), f.y.data(), f.image.prologue};
  f.args.tf32 = conv_tf32();
  return f;
}

// Weights are kept packed where nothing is recorded.
void launch_forward(Forward f, const Tensor& weight) {
  PackedWeights packed;
  const bool keeps = f.x.device().is_cpu() && !tape::grad_enabled() && f.w.storage() == weight.storage();
  if (keeps) packed = packed_weights(f.w, f.args);
  f.args.packed = {packed.memory.get(), packed.ready};
  launch(f.x.device(), conv_forward, f.args);
  if (keeps) keep_packed(f.w, f.args, packed);
}

// Memory for the moments of a result that a batch norm is likely to read next: there is no bias.
Tensor wanted_moments(Forward& f, const Tensor& bias) {
  const bool wanted = moments_enabled() && !f.y.device().is_cpu() && !bias.defined() && tape::grad_enabled() &&
                      f.y.dim() == 4 && f.y.dtype() != DType::Float64 && f.y.numel() > 0;
  if (!wanted) return {};
  const Size channels = f.args.shape.out_channels;
  const Tensor moments = empty(Shape{2, channels}, DType::Float64, f.y.device());
  f.args.epilogue.mean = moments.data_as<double>();
  f.args.epilogue.deviations = f.args.epilogue.mean + channels;
  return moments;
}

Tensor convolve(const char* op, int nd, const Tensor& input, const Tensor& weight, const Tensor& bias, Shape stride,
                Shape padding, const Shape& padding_after, Shape dilation, Size groups) {
  Forward f = prepare_forward(op, nd, input, weight, bias, stride, padding, padding_after, dilation, groups);
  const Tensor moments = wanted_moments(f, bias);
  launch_forward(f, weight);
  f.image = {};
  if (moments.defined()) leave_moments(f.y, moments);
  const Tensor result = unbatched(f.y, nd, input.dim());
  const int dim = input.dim();
  const ConvShape s = f.args.shape;
  // docs/backward.md, equations (convx) and (convw).
  tape::record(op, {result}, {input, weight, bias}, {f.x, f.w}, [s, nd, dim](tape::Backward& g) {
    const Tensor dy = channels_last(batched(g.grad(), nd)), x = g.saved(0), w = g.saved(1);
    if (g.needs(0)) give_data_gradient(g, s, x, dy, w, nd, dim);
    if (g.needs(1)) g.give(1, weight_gradient(s, x, dy, w));
    if (g.needs(2)) g.give(2, channel_sums(dy, dy.dtype()));
  });
  return result;
}

// A coefficient per channel, float32, or undefined.
const float* coefficients(const char* op, const char* name, const Tensor& t, Size channels, Device device) {
  if (!t.defined()) return nullptr;
  SW_CHECK_TYPE(t.dtype() == DType::Float32, op, ": expected ", name, " in float32, got ", name_of(t.dtype()));
  SW_CHECK_SHAPE(t.shape() == Shape{channels} && t.is_contiguous(), op, ": expected ", name, " of shape ",
                 Shape{channels}, ", got ", t.shape());
  SW_CHECK_AS(DeviceError, t.device() == device, op, ": expected ", name, " on ", device, ", got ", t.device());
  SW_CHECK_VALUE(reinterpret_cast<uintptr_t>(t.data()) % 16 == 0, op, ": expected ", name,
                 " at a multiple of 16 bytes");
  return t.data_as<float>();
}

Tensor conv(const char* op, int nd, const Tensor& input, const Tensor& weight, const Tensor& bias, const Shape& stride,
            const Shape& padding, const Shape& dilation, Size groups) {
  check_operands(op, input, weight, bias, nd, groups, false);
  const Shape pad = per_dim(op, "padding", padding, nd, 0);
  return convolve(op, nd, input, weight, bias, per_dim(op, "stride", stride, nd, 1), pad, pad,
                  per_dim(op, "dilation", dilation, nd, 1), groups);
}

Tensor conv(const char* op, int nd, const Tensor& input, const Tensor& weight, const Tensor& bias, const Shape& stride,
            const std::string& padding, const Shape& dilation, Size groups) {
  SW_CHECK_VALUE(padding == "same" || padding == "valid", op,
                 ": expected padding to be numbers, \"same\" or \"valid\", got \"", padding, "\"");
  if (padding == "valid") return conv(op, nd, input, weight, bias, stride, Shape{0}, dilation, groups);
  check_operands(op, input, weight, bias, nd, groups, false);
  const Shape steps = per_dim(op, "stride", stride, nd, 1), dilations = per_dim(op, "dilation", dilation, nd, 1);
  Shape before, after;
  for (int i = 0; i < nd; ++i) {
    SW_CHECK_VALUE(steps[i] == 1, op, ": expected stride 1 with padding \"same\", got ", shown(stride));
    const Size total = Checked{op}.mul(dilations[i], weight.shape()[2 + i] - 1);
    before.push_back(total / 2);
    after.push_back(total - total / 2);
  }
  return convolve(op, nd, input, weight, bias, steps, before, after, dilations, groups);
}

Tensor conv_transpose(const char* op, int nd, const Tensor& input, const Tensor& weight, const Tensor& bias,
                      const Shape& stride, const Shape& padding, const Shape& output_padding, Size groups,
                      const Shape& dilation) {
  check_operands(op, input, weight, bias, nd, groups, true);
  const Shape steps = per_dim(op, "stride", stride, nd, 1), pad = per_dim(op, "padding", padding, nd, 0);
  const Shape dilations = per_dim(op, "dilation", dilation, nd, 1);
  const Shape extra = per_dim(op, "output_padding", output_padding, nd, 0);
  const Tensor x = channels_last(batched(input, nd)), w = contiguous(weight.alias());
  const Tensor b = bias.defined() ? contiguous(bias.alias()) : bias;
  ConvShape s = geometry(weight, groups, steps, pad, dilations);  // of the convolution that this transposes
  const Checked checked{op};
  s.batch = x.shape()[0];
  Shape padded;
  for (int i = 0; i < nd; ++i) {
    const int d = 3 - nd + i;
    SW_CHECK_VALUE(extra[i] < steps[i] || extra[i] < dilations[i], op,
                   ": expected output_padding smaller than stride or dilation, got ", output_padding, " with stride ",
                   steps, " and dilation ", dilations);
    s.out[d] = x.shape()[2 + i];
    const Size reach = checked.add(checked.mul(dilations[i], s.kernel[d] - 1), 1);
    padded.push_back(checked.add(checked.add(checked.mul(s.out[d] - 1, steps[i]), reach), extra[i]));
    s.in[d] = padded[i] - checked.mul(2, pad[i]);
    SW_CHECK_SHAPE(s.in[d] >= 1, op, ": expected an output of at least one element, got ", s.in[d], " in dim ",
                   input.dim() - nd + i, " from input ", input.shape(), ", kernel ", s.kernel[d], " and padding ", pad);
  }
  check_volume(op, s, padded);

  const Tensor y = empty_channels_last(output_shape(x, s.in_channels, s.in, nd), x.dtype(), x.device());
  launch(x.device(), conv_data_grad,
         ConvDataGradArgs{s, x.dtype(), x.data(), w.data(), data_or_null(b), Grad{y.data(), GradMode::Write},
                          conv_tf32()});
  const Tensor result = unbatched(y, nd, input.dim());
  const int dim = input.dim();
  // docs/backward.md, equation (conv): a transposed convolution is the data gradient of one.
  tape::record(op, {result}, {input, weight, bias}, {x, w}, [s, nd, dim](tape::Backward& g) {
    const Tensor dy = channels_last(batched(g.grad(), nd)), x = g.saved(0), w = g.saved(1);
    if (g.needs(0)) {
      const Tensor dx = empty_like(x);
      launch(dy.device(), conv_forward,
             ConvForwardArgs{s, dy.dtype(), dy.data(), w.data(), nullptr, dx.data(), {}, {}, conv_tf32()});
      g.give(0, unbatched(dx, nd, dim));
    }
    if (g.needs(1)) g.give(1, weight_gradient(s, dy, x, w));
    if (g.needs(2)) g.give(2, channel_sums(dy, dy.dtype()));
  });
  return result;
}

}  // namespace

FusedConv conv2d_fused(const Tensor& input, const Tensor& weight, const Tensor& bias, const Shape& stride,
                       const Shape& padding, const Shape& dilation, Size groups, const ConvFusion& fusion) {
  const char* op = "conv2d_fused";
  check_operands(op, input, weight, bias, 2, groups, false);
  const bool on_cpu = input.device().is_cpu(), half = !on_cpu && input.dtype() == DType::Float16;
  SW_CHECK_TYPE(input.dtype() == DType::Float32 || input.dtype() == DType::BFloat16 || half, op,
                ": expected float32 or bfloat16, got ", name_of(input.dtype()));
  SW_CHECK_VALUE(input.dim() == 4, op, ": expected a batch of images");
  const Shape pad = per_dim(op, "padding", padding, 2, 0);
  input.data();  // the prologue is the caller's
  Forward f = prepare_forward(op, 2, input, weight, bias, per_dim(op, "stride", stride, 2, 1), pad, pad,
                              per_dim(op, "dilation", dilation, 2, 1), groups);
  const Size channels = f.args.shape.out_channels;
  f.args.prologue = {coefficients(op, "in_scale", fusion.in_scale, f.args.shape.in_channels, f.x.device()),
                     coefficients(op, "in_shift", fusion.in_shift, f.args.shape.in_channels, f.x.device()),
                     fusion.in_activation,
                     coefficients(op, "in_mean", fusion.in_mean, f.args.shape.in_channels, f.x.device())};
  f.args.epilogue.scale = coefficients(op, "scale", fusion.scale, channels, f.x.device());
  f.args.epilogue.shift = coefficients(op, "shift", fusion.shift, channels, f.x.device());
  f.args.epilogue.act = fusion.activation;
  SW_CHECK_VALUE(
      fusion.in_scale.defined() == fusion.in_shift.defined() && fusion.scale.defined() == fusion.shift.defined(), op,
      ": expected both a scale and a shift, or neither");
  Tensor residual;
  if (fusion.residual.defined()) {
    check_same(op, "input", input, "residual", fusion.residual);
    SW_CHECK_SHAPE(fusion.residual.shape() == f.y.shape(), op, ": expected residual of shape ", f.y.shape(), ", got ",
                   fusion.residual.shape());
    residual = channels_last(fusion.residual.alias());
    f.args.epilogue.residual = residual.data();
  }
  FusedConv result{f.y, {}, {}};
  if (fusion.moments) {
    result.mean = empty(Shape{channels}, DType::Float64, f.x.device());
    result.deviations = empty(Shape{channels}, DType::Float64, f.x.device());
    f.args.epilogue.mean = result.mean.data_as<double>();
    f.args.epilogue.deviations = result.deviations.data_as<double>();
  }
  launch_forward(f, weight);
  f.image = {};
  return result;
}

void set_conv_tf32(bool allowed) { tf32_allowed = allowed; }
bool conv_tf32() { return tf32_allowed; }

#define SW_CONV(ND)                                                                                                   \
  Tensor conv##ND##d(const Tensor& input, const Tensor& weight, const Tensor& bias, const Shape& stride,              \
                     const Shape& padding, const Shape& dilation, int64_t groups) {                                   \
    return conv("conv" #ND "d", ND, input, weight, bias, stride, padding, dilation, groups);                          \
  }                                                                                                                   \
  Tensor conv##ND##d(const Tensor& input, const Tensor& weight, const Tensor& bias, const Shape& stride,              \
                     const std::string& padding, const Shape& dilation, int64_t groups) {                             \
    return conv("conv" #ND "d", ND, input, weight, bias, stride, padding, dilation, groups);                          \
  }                                                                                                                   \
  Tensor conv_transpose##ND##d(const Tensor& input, const Tensor& weight, const Tensor& bias, const Shape& stride,    \
                               const Shape& padding, const Shape& output_padding, int64_t groups,                     \
                               const Shape& dilation) {                                                               \
    return conv_transpose("conv_transpose" #ND "d", ND, input, weight, bias, stride, padding, output_padding, groups, \
                          dilation);                                                                                  \
  }
SW_CONV(1)
SW_CONV(2)
SW_CONV(3)
#undef SW_CONV

}  // namespace skipway
