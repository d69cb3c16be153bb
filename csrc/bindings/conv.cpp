#include "ops/conv.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "bindings/bindings.h"
#include "core/parallel.h"
#include "kernels/conv_choice.h"
#include "kernels/isa.h"
#include "ops/batch_norm.h"
#include "ops/conv_bf16.h"
#include "ops/conv_plan.h"
#include "ops/fma_rate.h"
#include "ops/left_sums.h"

namespace skipway::bindings {
namespace {

using Conv = Tensor (*)(const Tensor&, const Tensor&, const Tensor&, const Shape&, const Shape&, const Shape&, int64_t);
using ConvNamed = Tensor (*)(const Tensor&, const Tensor&, const Tensor&, const Shape&, const std::string&,
                             const Shape&, int64_t);

void bind_conv(py::module_& m, const char* name, Conv numbers, ConvNamed named) {
  const Shape one{1}, zero{0};
  constexpr const char* doc =
      "Cross-correlation: (N, C, ...) or (C, ...) with weight (K, C / groups, ...) and bias (K,) gives (N, K, ...) of "
      "size (in + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1. padding: numbers, \"valid\" (none) or "
      "\"same\" (the input's size; stride 1). ShapeError and ValueError name the argument that does not fit.";
  function(m, name, named, "input"_a, "weight"_a, "bias"_a = Tensor(), "stride"_a = one, "padding"_a,
           "dilation"_a = one, "groups"_a = 1, doc);
  function(m, name, numbers, "input"_a, "weight"_a, "bias"_a = Tensor(), "stride"_a = one, "padding"_a = zero,
           "dilation"_a = one, "groups"_a = 1, doc);
}

template <class F>
void bind_transpose(py::module_& m, const char* name, F f) {
  const Shape one{1}, zero{0};
  function(m, name, f, "input"_a, "weight"_a, "bias"_a = Tensor(), "stride"_a = one, "padding"_a = zero,
           "output_padding"_a = zero, "groups"_a = 1, "dilation"_a = one,
           "The gradient of a convolution with respect to its input, as an op: (N, C, ...) with weight (C, K / groups, "
           "...) gives (N, K, ...) of size (in - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding "
           "+ 1 (Zeiler et al. 2010). ShapeError and ValueError name the argument that does not fit.");
}

ConvShape shape_of(int64_t batch, int64_t in_channels, int64_t out_channels, int64_t groups, const Shape& in,
                   const Shape& out, const Shape& kernel, const Shape& stride, const Shape& padding,
                   const Shape& dilation) {
  ConvShape s{};
  s.batch = batch, s.in_channels = in_channels, s.out_channels = out_channels, s.groups = groups;
  for (int d = 0; d < 3; ++d) {
    s.in[d] = in[d], s.out[d] = out[d], s.kernel[d] = kernel[d];
    s.stride[d] = stride[d], s.padding[d] = padding[d], s.dilation[d] = dilation[d];
  }
  return s;
}

// What a CUDA device would do: [algorithm, reason, "blocks threads bytes"] of a pass, "forward", "data_gradient" or
// "weight_gradient".
std::vector<std::string> cuda_plan(int64_t batch, int64_t in_channels, int64_t out_channels, int64_t groups,
                                   const Shape& in, const Shape& out, const Shape& kernel, const Shape& stride,
                                   const Shape& padding, const Shape& dilation, DType dtype, const std::string& pass,
                                   bool fused, int device, int multiprocessors) {
  const ConvShape s = shape_of(batch, in_channels, out_channels, groups, in, out, kernel, stride, padding, dilation);
  const ConvPass which = pass == "forward"         ? ConvPass::Forward
                         : pass == "data_gradient" ? ConvPass::DataGrad
                                                   : ConvPass::WeightGrad;
  std::vector<std::string> lines(1);
  for (const char c : conv_cuda_plan(s, dtype, which, fused, {DeviceType::CUDA, int8_t(device)}, multiprocessors)) {
    if (c == '\n')
      lines.emplace_back();
    else
      lines.back() += c;
  }
  return lines;
}

// What skipway.plan prints: the algorithm of each pass, and the work that the shape asks for. Sizes have three entries.
py::dict plan(int64_t batch, int64_t in_channels, int64_t out_channels, int64_t groups, const Shape& in,
              const Shape& out, const Shape& kernel, const Shape& stride, const Shape& padding, const Shape& dilation,
              DType dtype) {
  const ConvShape s = shape_of(batch, in_channels, out_channels, groups, in, out, kernel, stride, padding, dilation);
  const int64_t lanes = std::min(64, 16 << int(current_isa())) / size_of(accumulate_dtype(dtype));
  const auto algorithm = [&](ConvPass pass) {
    const bool bf16 =
        dtype == DType::BFloat16 && (pass == ConvPass::WeightGrad ? runs_bf16_weight_grad(s) : runs_bf16(s));
    const ConvAlgorithm algorithm = conv_algorithm(s, dtype, pass, lanes);
    return bf16 && algorithm == ConvAlgorithm::Direct ? "bfloat16" : name_of(algorithm);
  };
  const ConvWork work = conv_work(s, dtype);
  py::dict d;
  d["forward"] = algorithm(ConvPass::Forward);
  d["data_gradient"] = algorithm(ConvPass::DataGrad);
  d["weight_gradient"] = algorithm(ConvPass::WeightGrad);
  d["flops"] = work.flops;
  d["bytes"] = work.bytes;
  return d;
}

py::tuple fused(const Tensor& input, const Tensor& weight, const Tensor& bias, const Shape& stride,
                const Shape& padding, const Shape& dilation, int64_t groups, const Tensor& in_scale,
                const Tensor& in_shift, const std::optional<std::string>& in_activation, const Tensor& scale,
                const Tensor& shift, const Tensor& residual, const std::optional<std::string>& activation, bool moments,
                const Tensor& in_mean) {
  const auto act = [](const std::optional<std::string>& name) {
    const OutputActivation parsed = parse_output_activation("conv2d_fused", name);
    SW_CHECK_VALUE(parsed.after.empty(), "conv2d_fused: expected relu, leaky_relu or relu6, got ", *name);
    return parsed.fused;
  };
  const ConvFusion fusion{in_mean,  in_scale,           in_shift,        scale,  shift,
                          residual, act(in_activation), act(activation), moments};
  const FusedConv r = [&] {
    py::gil_scoped_release released;
    return conv2d_fused(input, weight, bias, stride, padding, dilation, groups, fusion);
  }();
  return py::make_tuple(r.y, r.mean, r.deviations);
}

// Operations per second of float32 multiply-adds on all threads, the best of a few runs of about a millisecond.
double fma_peak() {
  double best = 0, flops = 0;
  const int64_t tasks = num_threads();
  for (int run = 0; run < 10; ++run) {
    const auto begin = std::chrono::steady_clock::now();
    launch(Device{}, fma_rate, FmaRateArgs{tasks, 500, &flops});
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    best = std::max(best, flops / seconds.count());
  }
  return best;
}

void bind_choice(py::module_& m) {
  function(m, "_fma_peak", &fma_peak);
  m.def("_conv2d_fused", &fused, "input"_a, "weight"_a, "bias"_a = Tensor(), "stride"_a = Shape{1},
        "padding"_a = Shape{0}, "dilation"_a = Shape{1}, "groups"_a = 1, "in_scale"_a = Tensor(),
        "in_shift"_a = Tensor(), "in_activation"_a = py::none(), "scale"_a = Tensor(), "shift"_a = Tensor(),
        "residual"_a = Tensor(), "activation"_a = py::none(), "moments"_a = false, "in_mean"_a = Tensor());
  m.def("_get_conv_algorithm", [] { return name_of(preferred_conv_algorithm()); });
  m.def(
      "_set_conv_algorithm", [](const std::string& name) { prefer_conv_algorithm(parse_conv_algorithm(name.c_str())); },
      "name"_a);
  m.def("_conv_plan", &plan, "batch"_a, "in_channels"_a, "out_channels"_a, "groups"_a, "input"_a, "output"_a,
        "kernel"_a, "stride"_a, "padding"_a, "dilation"_a, "dtype"_a);
  m.def("_conv_cuda_plan", &cuda_plan, "batch"_a, "in_channels"_a, "out_channels"_a, "groups"_a, "input"_a, "output"_a,
        "kernel"_a, "stride"_a, "padding"_a, "dilation"_a, "dtype"_a, "pass_"_a, "fused"_a = false, "device"_a = 0,
        "multiprocessors"_a = 0);
}

}  // namespace

SW_BINDINGS(conv) {
  bind_choice(m);
  m.def("_set_gradient_sums", &set_grad_sums_enabled, "on"_a);
  m.def("_gradient_sums", &grad_sums_enabled);
  m.def("_gradient_sums_taken", &grad_sums_taken);
  m.def("_set_moments", &set_moments_enabled, "on"_a);
  m.def("_moments", &moments_enabled);
  m.def("_moments_used", &moments_used);
  m.def("_set_conv_tf32", &set_conv_tf32, "allowed"_a);
  m.def("_conv_tf32", &conv_tf32);
  function(m, "_conv2d_mixed", &conv2d_mixed, "input"_a, "weight"_a, "bias"_a = Tensor(), "stride"_a = Shape{1},
           "padding"_a = Shape{0}, "dilation"_a = Shape{1}, "groups"_a = 1);
  bind_conv(m, "conv1d", &conv1d, &conv1d);
  bind_conv(m, "conv2d", &conv2d, &conv2d);
  bind_conv(m, "conv3d", &conv3d, &conv3d);
  bind_transpose(m, "conv_transpose1d", &conv_transpose1d);
  bind_transpose(m, "conv_transpose2d", &conv_transpose2d);
  bind_transpose(m, "conv_transpose3d", &conv_transpose3d);
}

}  // namespace skipway::bindings
