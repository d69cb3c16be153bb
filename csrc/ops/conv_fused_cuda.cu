// Prologue and epilogue of a convolution as kernels of their own, for the plain convolution, which does neither.
// Formulas: kernels/conv_fused_args.h.
#include "kernels/cuda/fused.cuh"
#include "kernels/cuda/walk.cuh"
#include "ops/conv_kernels.cuh"

namespace skipway::cuda {
namespace {

inline constexpr int kThreads = 256;

// to = act(from * scale + shift + residual); to may be from. Bound by memory.
__global__ void __launch_bounds__(kThreads)
    map_channels(int64_t count, int64_t channels, DType dtype, const void* from, ConvEpilogue e, void* to) {
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += int64_t(gridDim.x) * blockDim.x) {
    const int64_t c = i % channels;
    float v = read_as<float>(from, dtype, i);
    if (e.scale) v = fmaf(v, e.scale[c], e.shift[c]);
    if (e.residual) v += read_as<float>(e.residual, dtype, i);
    write_as<float>(to, dtype, i, fused_act(e.act, v));
  }
}

// to = what the prologue makes of from. Bound by memory.
template <class T>
__global__ void __launch_bounds__(kThreads)
    prologue_channels(int64_t count, int64_t channels, const T* from, ConvPrologue p, T* to) {
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += int64_t(gridDim.x) * blockDim.x)
    to[i] = through_prologue(p, i % channels, from[i]);
}

int64_t elements(const ConvShape& s) { return s.batch * s.in[0] * s.in[1] * s.in[2] * s.in_channels; }

}  // namespace

PlainImage::PlainImage(const ConvShape& s, DType dtype, const void* x, const ConvPrologue& prologue,
                       const Stream& stream)
    : copy_(stream, prologue ? size_t(elements(s)) * size_of(dtype) : 0), data_(x) {
  if (!prologue || elements(s) == 0) return;
  data_ = copy_.as<void>();
  dispatch_cuda(dtype, [&]<class T>(Type<T>) {
    if constexpr (sizeof(T) < sizeof(double))
      rt::launch(prologue_channels<T>, {grid_for(elements(s), kThreads, stream), kThreads, 0, stream.handle},
                 elements(s), s.in_channels, static_cast<const T*>(x), prologue, copy_.as<T>());
  });
}

void plain_epilogue(const ConvForwardArgs& a, const Stream& stream) {
  const ConvEpilogue& e = a.epilogue;
  const int64_t rows = a.shape.batch * a.shape.out[0] * a.shape.out[1] * a.shape.out[2],
                channels = a.shape.out_channels;
  if (e.mean) matrix_moments(rows, channels, a.y, a.dtype, e.mean, e.deviations, stream);
  if (e.maps() && rows > 0) {
    rt::launch(map_channels, {grid_for(rows * channels, kThreads, stream), kThreads, 0, stream.handle}, rows * channels,
               channels, a.dtype, a.y, e, a.y);
  }
}

}  // namespace skipway::cuda
