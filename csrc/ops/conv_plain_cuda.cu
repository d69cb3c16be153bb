// The plain convolution, for everything that the fast kernels leave: products of implicit matrices (tile.cuh), correct
// for every shape, dtype and device. Formulas: ops/conv.h. With C = in_channels / groups, K = out_channels / groups and
// taps of the kernel, per group
//   forward:          rows are output pixels, columns k,            sums over (tap, c)
//   data gradient:    rows are input pixels,  columns c,            sums over (tap, k)
//   weight gradient:  rows are k,             columns (tap, c),     sums over output pixels, cut into pieces whose
//                     partial sums are added in order by a second kernel (conv_sums_cuda.cu)
// One operand of each pass is read from an image, by a walk from a pixel through a tap; the other is a matrix in
// memory.
#include <type_traits>

#include "kernels/cuda/tile.cuh"
#include "kernels/cuda/walk.cuh"
#include "ops/conv.h"
#include "ops/conv_kernels.cuh"

namespace skipway::cuda {
namespace {

int64_t pixels(const int64_t (&size)[3]) { return size[0] * size[1] * size[2]; }

// A pass, with its divisions prepared. Indices of pixels and of sums stay below 2^31 (check_size).
struct Walk {
  int64_t m, n, k, groups, pieces;     // rows, columns, terms of a sum; pieces of it, of `piece` terms
  int64_t piece, pitch, result_group;  // element (i, j) of a group's result lies at i * pitch + j
  // From a pixel of x (data gradient) or y through a tap to one of the image, y (data gradient) or x. Per axis:
  //   image = pixel * stride - padding + tap * dilation, or for the data gradient
  //   image = (pixel + padding - tap * dilation) / stride, if that is a whole number
  // that is first + pixel * pixel_step + tap * tap_step, if less than `limit`; below zero it is more, as unsigned.
  uint32_t first[3], pixel_step[3], tap_step[3], limit[3], image[3];
  Divider by_pixels[3], by_taps[3], by_stride[3], by_channels;
  int channels, image_pitch;  // of the image, in a group; elements from pixel to pixel
  // The matrix: element (i, (tap, channel)) of w lies at i * row + channel * step + tap, and of a weight gradient (k,
  // pixel) of dy at k * row + pixel * step.
  int row, step;
  int64_t matrix_group;

  Walk(const ConvShape& s, ConvPass pass) : groups(s.groups), pieces(1) {
    const bool data = pass == ConvPass::DataGrad;
    const int64_t c = s.in_channels / groups, out = s.out_channels / groups, filter = pixels(s.kernel);
    const auto &from = data ? s.in : s.out, &to = data ? s.out : s.in;
    for (int d = 0; d < 3; ++d) {
      first[d] = uint32_t(data ? s.padding[d] : -s.padding[d]);
      pixel_step[d] = uint32_t(data ? 1 : s.stride[d]);
      tap_step[d] = uint32_t(data ? -s.dilation[d] : s.dilation[d]);
      image[d] = uint32_t(to[d]);
      limit[d] = uint32_t(data ? to[d] * s.stride[d] : to[d]);
      by_pixels[d] = Divider(uint32_t(from[d] ? from[d] : 1));
      by_taps[d] = Divider(uint32_t(s.kernel[d]));
      by_stride[d] = Divider(uint32_t(s.stride[d]));
    }
    channels = int(data ? out : c);
    image_pitch = int(channels * groups);
    by_channels = Divider(uint32_t(channels));
    const int64_t starts = s.batch * pixels(from), sums = channels * filter;
    if (pass == ConvPass::WeightGrad) {
      m = out, n = sums, k = starts;
      pitch = n, result_group = m * n;
      row = 1, step = int(s.out_channels), matrix_group = out;
    } else {
      m = starts, n = data ? c : out, k = sums;
      pitch = n * groups, result_group = n;
      row = int(data ? filter : sums), step = int(data ? c * filter : filter), matrix_group = out * c * filter;
    }
    piece = k;
  }
  __host__ __device__ int64_t rows() const { return (m + kTileM - 1) / kTileM; }
  __host__ __device__ int64_t columns() const { return (n + kTileN - 1) / kTileN; }
  __host__ __device__ int64_t tasks() const { return rows() * columns() * groups * pieces; }
};

// Row-major; what is left of i.
__device__ __forceinline__ uint32_t decode(uint32_t i, const Divider (&size)[3], uint32_t (&at)[3]) {
#pragma unroll
  for (int d = 2; d >= 0; --d) {
    const uint32_t outer = size[d].divide(i);
    at[d] = i - outer * size[d].divisor;
    i = outer;
  }
  return i;
}
struct Pixel {  // at: the walk's first two terms
  uint32_t at[3], batch;
  Pixel() = default;
  __device__ __forceinline__ Pixel(const Walk& w, uint32_t i) : batch(decode(i, w.by_pixels, at)) {
#pragma unroll
    for (int d = 0; d < 3; ++d) at[d] = w.first[d] + at[d] * w.pixel_step[d];
  }
};
struct Tap {  // at: the walk's third
  uint32_t at[3], channel;
  Tap() = default;
  __device__ __forceinline__ Tap(const Walk& w, uint32_t i) {
    const uint32_t tap = w.by_channels.divide(i);
    channel = i - tap * w.by_channels.divisor;
    decode(tap, w.by_taps, at);
#pragma unroll
    for (int d = 0; d < 3; ++d) at[d] *= w.tap_step[d];
  }
};

template <class T, ConvPass kPass>
struct ImageOperand {
  static constexpr bool kAlongK = kPass != ConvPass::WeightGrad;
  using Fixed = std::conditional_t<kAlongK, Pixel, Tap>;
  using Moving = std::conditional_t<kAlongK, Tap, Pixel>;
  const Walk& w;
  const T* image;  // at the group's first channel
  __device__ __forceinline__ Fixed at(int64_t i) const { return Fixed(w, uint32_t(i)); }
  __device__ __forceinline__ Moving step(int64_t k) const { return Moving(w, uint32_t(k)); }
  __device__ __forceinline__ math_type<T> value(const Tap& t, const Pixel& p) const { return value(p, t); }
  __device__ __forceinline__ math_type<T> value(const Pixel& p, const Tap& t) const {
    uint32_t pixel = p.batch;
#pragma unroll
    for (int d = 0; d < 3; ++d) {
      uint32_t i = p.at[d] + t.at[d];
      if (i >= w.limit[d]) return 0;  // padding
      if constexpr (kPass == ConvPass::DataGrad) {
        const uint32_t strides = i;
        i = w.by_stride[d].divide(strides);
        if (i * w.by_stride[d].divisor != strides) return 0;  // no pixel of y reads p through t
      }
      pixel = pixel * w.image[d] + i;
    }
    return math_type<T>(image[int64_t(pixel) * w.image_pitch + t.channel]);
  }
};

template <class T, ConvPass kPass>
struct MatrixOperand {
  static constexpr bool kAlongK = kPass == ConvPass::Forward;
  using Fixed = int;
  using Moving = int64_t;
  const Walk& w;
  const T* matrix;  // the group's
  __device__ __forceinline__ int at(int64_t i) const { return int(i); }
  __device__ __forceinline__ int64_t step(int64_t k) const {
    if constexpr (kPass == ConvPass::WeightGrad) return k * w.step;
    const uint32_t tap = w.by_channels.divide(uint32_t(k));
    return int64_t(uint32_t(k) - tap * w.by_channels.divisor) * w.step + tap;
  }
  __device__ __forceinline__ math_type<T> value(int i, int64_t k) const {
    return math_type<T>(matrix[int64_t(i) * w.row + k]);
  }
};

// Bound by multiply-adds and by what it takes to find their operands. R: T, or of weight gradients, in pieces, its math
// type.
template <ConvPass kPass, class T, class R>
__global__ void __launch_bounds__(kTileThreads)
    convolve(Walk w, const T* image, const T* matrix, const T* bias, R* result, bool add) {
  using A = math_type<T>;
  for (int64_t task = blockIdx.x; task < w.tasks(); task += gridDim.x) {
    const int64_t strip = task / w.columns(), part = strip / w.rows(), piece = part / w.groups;
    const int64_t n0 = (task - strip * w.columns()) * kTileN, m0 = (strip - part * w.rows()) * kTileM;
    const int64_t group = part - piece * w.groups, begin = piece * w.piece;
    const int64_t end = begin + w.piece < w.k ? begin + w.piece : w.k;
    const ImageOperand<T, kPass> walk{w, image + group * w.channels};
    const MatrixOperand<T, kPass> flat{w, matrix + group * w.matrix_group};
    R* to = result + part * w.result_group;
    const auto store = [&](int64_t i, int64_t j, A sum) {
      R& r = to[i * w.pitch + j];
      if (bias) sum += A(bias[group * w.n + j]);
      r = R(add ? A(r) + sum : sum);
    };
    if constexpr (kPass == ConvPass::WeightGrad)
      tile_product<A>(flat, walk, m0, w.m, n0, w.n, begin, end, store);
    else
      tile_product<A>(walk, flat, m0, w.m, n0, w.n, begin, end, store);
  }
}

template <ConvPass kPass, class T, class R>
void run(const Walk& w, const Stream& stream, const void* image, const void* matrix, const void* bias, R* result,
         bool add = false) {
  if (w.tasks() == 0) return;
  rt::launch(convolve<kPass, T, R>, {grid_for(w.tasks(), 1, stream), kTileThreads, 0, stream.handle}, w,
             static_cast<const T*>(image), static_cast<const T*>(matrix), static_cast<const T*>(bias), result, add);
}

}  // namespace

void plain_forward(const ConvForwardArgs& a, const void* x, const Stream& stream) {
  const Walk w(a.shape, ConvPass::Forward);
  dispatch_cuda(a.dtype, [&]<class T>(Type<T>) {
    run<ConvPass::Forward, T>(w, stream, x, a.weight, a.bias, static_cast<T*>(a.y));
  });
}

void plain_data_grad(const ConvDataGradArgs& a, const Stream& stream) {
  const Walk w(a.shape, ConvPass::DataGrad);
  dispatch_cuda(a.dtype, [&]<class T>(Type<T>) {
    run<ConvPass::DataGrad, T>(w, stream, a.dy, a.weight, a.bias, static_cast<T*>(a.dx.data),
                               a.dx.mode == GradMode::Add);
  });
}

void plain_weight_grad(const ConvWeightGradArgs& a, const void* x, const Stream& stream) {
  Walk w(a.shape, ConvPass::WeightGrad);
  const int64_t count = a.shape.groups * w.m * w.n;
  if (count == 0) return;
  // Enough pieces to fill the device, none of fewer than 128 pixels.
  const int64_t wanted = ceil_div(2 * int64_t(stream.multiprocessors), w.tasks()), most = ceil_div(w.k, 128);
  w.pieces = wanted < most ? wanted : most;
  if (w.pieces > 0) {
    w.piece = ceil_div(ceil_div(w.k, w.pieces), kTileK) * kTileK;
    w.pieces = ceil_div(w.k, w.piece);
  }
  dispatch_cuda(a.dtype, [&]<class T>(Type<T>) {
    const Workspace partial(stream, size_t(w.pieces * count) * sizeof(math_type<T>));
    run<ConvPass::WeightGrad, T>(w, stream, x, a.dy, nullptr, partial.as<math_type<T>>());
    sum_pieces({a.shape.out_channels, pixels(a.shape.kernel), w.channels, w.channels, w.pieces}, a.dtype,
               partial.as<void>(), a.dweight, stream);
  });
}

}  // namespace skipway::cuda
