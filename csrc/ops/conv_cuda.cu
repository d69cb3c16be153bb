// Convolutions: what runs where. conv_choice_cuda.cu decides.
#include "ops/conv.h"

#include <cstdio>
#include <string>

#include "ops/conv_kernels.cuh"
#include "ops/conv_plan.h"
#include "ops/matmul_cublas.cuh"

namespace skipway::cuda {
namespace {

int64_t pixels(const int64_t (&size)[3]) { return size[0] * size[1] * size[2]; }

// The kernels decode pixels and sums in 31 bits.
void check_size(const ConvShape& s) {
  const int64_t limit = int64_t(1) << 31;
  const int64_t taps = pixels(s.kernel);
  const int64_t largest[] = {s.batch * pixels(s.in), s.batch * pixels(s.out), taps * s.in_channels,
                             taps * s.out_channels};
  for (const int64_t n : largest)
    SW_CHECK_VALUE(n < limit, "conv: on CUDA expected fewer than 2^31 pixels and weights per channel, got ", n);
  for (int d = 0; d < 3; ++d) {
    SW_CHECK_VALUE(s.out[d] * s.stride[d] < limit && s.in[d] + s.padding[d] < limit,
                   "conv: on CUDA expected padded sizes below 2^31, got ", s.in[d] + s.padding[d]);
  }
}

// A pointwise convolution is one product of matrices: y = x w^T, dx = dy w, dw = dy^T x.
GemmArgs product(int64_t m, int64_t n, int64_t k, DType dtype, const void* a, int64_t a_row, int64_t a_column,
                 const void* b, int64_t b_row, int64_t b_column, const void* bias, void* c, bool tf32) {
  GemmArgs g{};
  g.m = m, g.n = n, g.k = k, g.dtype = dtype, g.tf32 = tf32;
  g.a_strides[0] = a_row, g.a_strides[1] = a_column, g.b_strides[0] = b_row, g.b_strides[1] = b_column;
  g.a = a, g.b = b, g.bias = bias, g.c = c;
  return g;
}
bool pointwise_product(const ConvForwardArgs& a, const Stream& stream) {
  const int64_t n = a.shape.batch * pixels(a.shape.in), c = a.shape.in_channels, k = a.shape.out_channels;
  return multiply_cublas(product(n, k, c, a.dtype, a.x, c, 1, a.weight, 1, c, a.bias, a.y, a.tf32), stream) !=
         CublasResult::None;
}
bool pointwise_product(const ConvDataGradArgs& a, const Stream& stream) {
  const int64_t n = a.shape.batch * pixels(a.shape.in), c = a.shape.in_channels, k = a.shape.out_channels;
  return multiply_cublas(product(n, c, k, a.dtype, a.dy, k, 1, a.weight, c, 1, a.bias, a.dx.data, a.tf32), stream) !=
         CublasResult::None;
}
bool pointwise_product(const ConvWeightGradArgs& a, const Stream& stream) {
  const int64_t n = a.shape.batch * pixels(a.shape.in), c = a.shape.in_channels, k = a.shape.out_channels;
  return multiply_cublas(product(k, c, n, a.dtype, a.dy, 1, k, a.x, c, 1, nullptr, a.dweight, a.tf32), stream) !=
         CublasResult::None;
}

void correlate(const Correlation& c, const ConvChoice& choice, const Stream& stream) {
  if (choice.method == ConvMethod::Halos) return correlate_few_channels(c, choice.warps, stream);
  if (choice.method == ConvMethod::Warpgroups && correlate_by_warpgroups(c, choice.columns, stream)) return;
  correlate(c, choice.tile, stream);
}

// A product of matrices with much to multiply for each byte is left to cuBLAS, whatever else there is to do.
bool better_alone(const ConvShape& s, const ConvChoice& choice) {
  const double c = double(s.in_channels), k = double(s.out_channels);
  return choice.library && c * k / (c + k) > 256;
}
// Warpgroups do not normalise what they load. Over several taps that saves less than they do.
bool loads_norms(const ConvShape& s, const ConvChoice& choice) {
  return choice.method != ConvMethod::Plain && !better_alone(s, choice) &&
         !(choice.method == ConvMethod::Warpgroups && pixels(s.kernel) > 1);
}
bool takes_sums(const ConvDataGradArgs& a, const ConvChoice& choice) {
  const bool there = reinterpret_cast<uintptr_t>(a.sums.x) % 16 == 0;
  return there && choice.method != ConvMethod::Plain && !better_alone(a.shape, choice);
}

}  // namespace

SW_CUDA_KERNEL(conv_forward, a, stream) {
  check_size(a.shape);
  const bool fused = a.prologue || a.epilogue;
  const ConvChoice choice = choose_conv(
      {a.shape, a.dtype, ConvPass::Forward, fused, a.x, a.y, a.epilogue.residual, bool(a.prologue)}, stream);
  if (choice.library && pointwise_product(a, stream)) return;
  if (choice.method != ConvMethod::Plain) {
    Correlation c{a.shape, a.dtype, false, a.tf32, a.x, a.weight, a.y, a.prologue, {}};
    c.epilogue.bias = a.bias;
    c.epilogue.map = a.epilogue;
    return correlate(c, choice, stream);
  }
  const PlainImage image(a.shape, a.dtype, a.x, a.prologue, stream);
  plain_forward(a, image.data(), stream);
  plain_epilogue(a, stream);
}

SW_CUDA_KERNEL(conv_data_grad, a, stream) {
  check_size(a.shape);
  if (a.shape.batch == 0 || a.dx.mode == GradMode::Skip) return;
  const bool add = a.dx.mode == GradMode::Add;
  const ConvChoice choice = choose_conv({a.shape, a.dtype, ConvPass::DataGrad, add, a.dx.data, a.dy}, stream);
  const bool sums = a.sums && !add && !a.bias && takes_sums(a, choice);
  if (choice.library && !sums && pointwise_product(a, stream)) return;
  if (choice.method != ConvMethod::Plain) {
    Correlation c{a.shape, a.dtype, true, a.tf32, a.dy, a.weight, a.dx.data, {}, {}};
    c.epilogue.bias = a.bias;
    c.epilogue.add = add;
    if (sums) c.epilogue.sums = a.sums, *a.sums.done = true;
    return correlate(c, choice, stream);
  }
  plain_data_grad(a, stream);
}

SW_CUDA_KERNEL(conv_weight_grad, a, stream) {
  check_size(a.shape);
  if (a.shape.batch > 0) {
    const ConvChoice choice =
        choose_conv({a.shape, a.dtype, ConvPass::WeightGrad, bool(a.prologue), a.x, a.dy}, stream);
    if (choice.library && pointwise_product(a, stream)) return;
    if (choice.method == ConvMethod::Tiles) return weight_gradient(a, choice, stream);
  }
  const PlainImage image(a.shape, a.dtype, a.x, a.prologue, stream);
  plain_weight_grad(a, image.data(), stream);
}

// The convolution alone says what it would be in: what is fused must not cost it a faster kernel.
SW_CUDA_KERNEL(conv_loads_norms, a, stream) {
  *a.loads = loads_norms(a.shape, choose_conv({a.shape, a.dtype, a.pass, false}, stream));
}

SW_CUDA_KERNEL(conv_plan, a, stream) {
  const ConvProblem problem{a.shape, a.dtype, a.pass, a.fused};
  const std::string text = describe(problem, choose_conv(problem, stream));
  std::snprintf(a.text, a.size, "%s", text.c_str());
}

}  // namespace skipway::cuda
