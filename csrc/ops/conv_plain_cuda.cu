// The plain convolution, for everything that the fast kernels leave: products of implicit matrices (tile.cuh), correct
// for every shape, dtype and device. Formulas: ops/conv.h. With C = in_channels / groups, K = out_channels / groups and
// taps of the kernel, per group
//   forward:          rows are output pixels, columns k,            sums over (tap, c)
//   data gradient:    rows are input pixels,  columns c,            sums over (tap, k)
//   weight gradient:  rows are k,             columns (tap, c),     sums over output pixels, cut into pieces whose
//                     partial sums are added in order by a second kernel
#include "kernels/cuda/tile.cuh"
#include "kernels/cuda/walk.cuh"
#include "ops/conv.h"
#include "ops/conv_kernels.cuh"

namespace skipway::cuda {
namespace {

// The geometry with its divisions prepared. Indices of pixels and sums stay below 2^31 (check_size).
struct Geometry {
  ConvShape s;
  int from_channels, to_channels;  // per group: C and K
  Divider in[3], out[3], kernel[3], by_c, by_k, stride[3];

  explicit Geometry(const ConvShape& shape) : s(shape) {
    from_channels = int(s.in_channels / s.groups);
    to_channels = int(s.out_channels / s.groups);
    for (int d = 0; d < 3; ++d) {
      in[d] = Divider(uint32_t(s.in[d] ? s.in[d] : 1));
      out[d] = Divider(uint32_t(s.out[d] ? s.out[d] : 1));
      kernel[d] = Divider(uint32_t(s.kernel[d]));
      stride[d] = Divider(uint32_t(s.stride[d]));
    }
    by_c = Divider(uint32_t(from_channels));
    by_k = Divider(uint32_t(to_channels));
  }
};

struct Pixel {
  int64_t image;
  int at[3];
};
struct Tap {
  int at[3], index, channel;
};

__device__ __forceinline__ Pixel decode_pixel(uint32_t i, const Divider (&size)[3]) {
  Pixel p;
#pragma unroll
  for (int d = 2; d >= 0; --d) {
    const uint32_t outer = size[d].divide(i);
    p.at[d] = int(i - outer * size[d].divisor);
    i = outer;
  }
  p.image = i;
  return p;
}
__device__ __forceinline__ Tap decode_tap(uint32_t i, const Divider& channels, const Divider (&kernel)[3]) {
  Tap t;
  const uint32_t tap = channels.divide(i);
  t.channel = int(i - tap * channels.divisor);
  t.index = int(tap);
  uint32_t rest = tap;
#pragma unroll
  for (int d = 2; d >= 0; --d) {
    const uint32_t outer = kernel[d].divide(rest);
    t.at[d] = int(rest - outer * kernel[d].divisor);
    rest = outer;
  }
  return t;
}

// x at (output pixel, tap, c); zero in the padding.
template <class T>
__device__ __forceinline__ math_type<T> input_at(const Geometry& g, const T* x, int64_t group, const Pixel& p,
                                                 const Tap& t) {
  int64_t at = p.image;
#pragma unroll
  for (int d = 0; d < 3; ++d) {
    const int64_t i = p.at[d] * g.s.stride[d] - g.s.padding[d] + t.at[d] * g.s.dilation[d];
    if (i < 0 || i >= g.s.in[d]) return 0;
    at = at * g.s.in[d] + i;
  }
  return math_type<T>(x[at * g.s.in_channels + group * g.from_channels + t.channel]);
}

template <class T>
struct ForwardInput {
  using Fixed = Pixel;
  using Moving = Tap;
  static constexpr bool kAlongK = true;
  const Geometry& g;
  const T* x;
  int64_t group;
  __device__ __forceinline__ Fixed at(int64_t i) const { return decode_pixel(uint32_t(i), g.out); }
  __device__ __forceinline__ Moving step(int64_t k) const { return decode_tap(uint32_t(k), g.by_c, g.kernel); }
  __device__ __forceinline__ math_type<T> value(const Fixed& p, const Moving& t) const {
    return input_at(g, x, group, p, t);
  }
};

template <class T>
struct ForwardWeight {
  using Fixed = int64_t;
  using Moving = Tap;
  static constexpr bool kAlongK = true;
  const Geometry& g;
  const T* w;
  int64_t group;
  __device__ __forceinline__ Fixed at(int64_t k) const { return group * g.to_channels + k; }
  __device__ __forceinline__ Moving step(int64_t k) const { return decode_tap(uint32_t(k), g.by_c, g.kernel); }
  __device__ __forceinline__ math_type<T> value(const Fixed& k, const Moving& t) const {
    const int64_t taps = g.s.kernel[0] * g.s.kernel[1] * g.s.kernel[2];
    return math_type<T>(w[(k * g.from_channels + t.channel) * taps + t.index]);
  }
};

// dy at (input pixel, tap, k): of the output pixel that reads this input pixel through this tap, if there is one.
template <class T>
struct GradOutput {
  using Fixed = Pixel;
  using Moving = Tap;
  static constexpr bool kAlongK = true;
  const Geometry& g;
  const T* dy;
  int64_t group;
  __device__ __forceinline__ Fixed at(int64_t i) const { return decode_pixel(uint32_t(i), g.in); }
  __device__ __forceinline__ Moving step(int64_t k) const { return decode_tap(uint32_t(k), g.by_k, g.kernel); }
  __device__ __forceinline__ math_type<T> value(const Fixed& p, const Moving& t) const {
    int64_t at = p.image;
#pragma unroll
    for (int d = 0; d < 3; ++d) {
      const int64_t from = p.at[d] + g.s.padding[d] - t.at[d] * g.s.dilation[d];
      if (from < 0 || from >= g.s.out[d] * g.s.stride[d]) return 0;
      const uint32_t o = g.stride[d].divide(uint32_t(from));
      if (o * g.stride[d].divisor != from) return 0;
      at = at * g.s.out[d] + o;
    }
    return math_type<T>(dy[at * g.s.out_channels + group * g.to_channels + t.channel]);
  }
};

template <class T>
struct GradWeightOperand {  // w at (tap, k) and column c
  using Fixed = int64_t;
  using Moving = Tap;
  static constexpr bool kAlongK = false;
  const Geometry& g;
  const T* w;
  int64_t group;
  __device__ __forceinline__ Fixed at(int64_t c) const { return c; }
  __device__ __forceinline__ Moving step(int64_t k) const { return decode_tap(uint32_t(k), g.by_k, g.kernel); }
  __device__ __forceinline__ math_type<T> value(const Fixed& c, const Moving& t) const {
    const int64_t taps = g.s.kernel[0] * g.s.kernel[1] * g.s.kernel[2];
    return math_type<T>(w[((group * g.to_channels + t.channel) * g.from_channels + c) * taps + t.index]);
  }
};

template <class T>
struct WeightGradOutput {  // dy at row k and output pixel
  using Fixed = int64_t;
  using Moving = int64_t;
  static constexpr bool kAlongK = false;
  const Geometry& g;
  const T* dy;
  int64_t group;
  __device__ __forceinline__ Fixed at(int64_t k) const { return group * g.to_channels + k; }
  __device__ __forceinline__ Moving step(int64_t pixel) const { return pixel * g.s.out_channels; }
  __device__ __forceinline__ math_type<T> value(const Fixed& k, const Moving& pixel) const {
    return math_type<T>(dy[pixel + k]);
  }
};

template <class T>
struct WeightGradInput {  // x at column (tap, c) and output pixel
  using Fixed = Tap;
  using Moving = Pixel;
  static constexpr bool kAlongK = false;
  const Geometry& g;
  const T* x;
  int64_t group;
  __device__ __forceinline__ Fixed at(int64_t i) const { return decode_tap(uint32_t(i), g.by_c, g.kernel); }
  __device__ __forceinline__ Moving step(int64_t pixel) const { return decode_pixel(uint32_t(pixel), g.out); }
  __device__ __forceinline__ math_type<T> value(const Fixed& t, const Moving& p) const {
    return input_at(g, x, group, p, t);
  }
};

struct Tiles {
  int64_t m, n, k, groups, pieces, piece;  // k in [piece * i, piece * (i + 1)) is summed by piece i
  __host__ __device__ int64_t rows() const { return (m + kTileM - 1) / kTileM; }
  __host__ __device__ int64_t columns() const { return (n + kTileN - 1) / kTileN; }
  __host__ __device__ int64_t count() const { return rows() * columns() * groups * pieces; }
};
struct Task {
  int64_t m0, n0, group, piece;
};
__device__ __forceinline__ Task decode_task(const Tiles& t, int64_t i) {
  Task task;
  task.n0 = i % t.columns() * kTileN;
  i /= t.columns();
  task.m0 = i % t.rows() * kTileM;
  i /= t.rows();
  task.group = i % t.groups;
  task.piece = i / t.groups;
  return task;
}

template <class T>
__global__ void __launch_bounds__(kTileThreads)
    convolve_forward(Geometry g, Tiles tiles, const T* x, const T* w, const T* bias, T* y) {
  using A = math_type<T>;
  for (int64_t i = blockIdx.x; i < tiles.count(); i += gridDim.x) {
    const Task t = decode_task(tiles, i);
    const ForwardInput<T> a{g, x, t.group};
    const ForwardWeight<T> b{g, w, t.group};
    tile_product<A>(a, b, t.m0, tiles.m, t.n0, tiles.n, 0, tiles.k, [&](int64_t m, int64_t n, A sum) {
      const int64_t k = t.group * g.to_channels + n;
      y[m * g.s.out_channels + k] = T(bias ? sum + A(bias[k]) : sum);
    });
  }
}

template <class T>
__global__ void __launch_bounds__(kTileThreads)
    convolve_data_grad(Geometry g, Tiles tiles, const T* dy, const T* w, const T* bias, T* dx, bool add) {
  using A = math_type<T>;
  for (int64_t i = blockIdx.x; i < tiles.count(); i += gridDim.x) {
    const Task t = decode_task(tiles, i);
    const GradOutput<T> a{g, dy, t.group};
    const GradWeightOperand<T> b{g, w, t.group};
    tile_product<A>(a, b, t.m0, tiles.m, t.n0, tiles.n, 0, tiles.k, [&](int64_t m, int64_t n, A sum) {
      const int64_t c = t.group * g.from_channels + n;
      T& to = dx[m * g.s.in_channels + c];
      if (bias) sum += A(bias[c]);
      to = T(add ? A(to) + sum : sum);
    });
  }
}

// partial[piece][k][c][tap]
template <class T>
__global__ void __launch_bounds__(kTileThreads)
    convolve_weight_grad(Geometry g, Tiles tiles, const T* x, const T* dy, math_type<T>* partial) {
  using A = math_type<T>;
  const int64_t taps = g.s.kernel[0] * g.s.kernel[1] * g.s.kernel[2];
  for (int64_t i = blockIdx.x; i < tiles.count(); i += gridDim.x) {
    const Task t = decode_task(tiles, i);
    const WeightGradOutput<T> a{g, dy, t.group};
    const WeightGradInput<T> b{g, x, t.group};
    const int64_t begin = t.piece * tiles.piece, last = begin + tiles.piece, end = last < tiles.k ? last : tiles.k;
    A* to = partial + (t.piece * g.s.out_channels + t.group * g.to_channels) * g.from_channels * taps;
    tile_product<A>(a, b, t.m0, tiles.m, t.n0, tiles.n, begin, end, [&](int64_t m, int64_t n, A sum) {
      const uint32_t tap = g.by_c.divide(uint32_t(n));
      const int64_t c = n - int64_t(tap) * g.from_channels;
      to[(m * g.from_channels + c) * taps + tap] = sum;
    });
  }
}

template <class T>
__global__ void __launch_bounds__(kTileThreads)
    add_pieces(int64_t n, int64_t pieces, const math_type<T>* partial, T* sum) {
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += int64_t(gridDim.x) * blockDim.x) {
    math_type<T> total = 0;
    for (int64_t p = 0; p < pieces; ++p) total += partial[p * n + i];
    sum[i] = T(total);
  }
}

// partial[piece][channel] = sum over the piece's rows. 32 channels and 8 rows at a time to a block.
template <class A>
struct ColumnSums {
  A v[kTileThreads];
};
template <class T>
__global__ void __launch_bounds__(kTileThreads)
    sum_channels(int64_t rows, int64_t channels, int64_t piece, const T* x, math_type<T>* partial) {
  using A = math_type<T>;
  A(&v)[kTileThreads] = rt::static_shared<ColumnSums<A>>().v;
  const int lane = threadIdx.x % kWarp, row = threadIdx.x / kWarp;
  constexpr int kRows = kTileThreads / kWarp;
  const int64_t c = int64_t(blockIdx.x) * kWarp + lane;
  for (int64_t p = blockIdx.y; p * piece < rows; p += gridDim.y) {
    const int64_t end = (p + 1) * piece < rows ? (p + 1) * piece : rows;
    A sum = 0;
    if (c < channels)
      for (int64_t r = p * piece + row; r < end; r += kRows) sum += A(x[r * channels + c]);
    v[threadIdx.x] = sum;
    __syncthreads();
    for (int half = kRows / 2; half > 0; half /= 2) {
      if (row < half) v[threadIdx.x] += v[threadIdx.x + half * kWarp];
      __syncthreads();
    }
    if (row == 0 && c < channels) partial[p * channels + c] = v[lane];
    __syncthreads();
  }
}

int64_t pixels(const int64_t (&size)[3]) { return size[0] * size[1] * size[2]; }

template <class T>
void zero_weight_grad(const ConvWeightGradArgs& a, const Stream& stream, int64_t n) {
  rt::launch(add_pieces<T>, {grid_for(n, kTileThreads, stream), kTileThreads, 0, stream.handle}, n, 0,
             static_cast<const math_type<T>*>(nullptr), static_cast<T*>(a.dweight));
}

}  // namespace

void plain_forward(const ConvForwardArgs& a, const void* x, const Stream& stream) {
  const Geometry g(a.shape);
  const Tiles tiles{a.shape.batch * pixels(a.shape.out),
                    g.to_channels,
                    g.from_channels * pixels(a.shape.kernel),
                    a.shape.groups,
                    1,
                    0};
  if (tiles.count() == 0) return;
  dispatch_cuda(a.dtype, [&]<class T>(Type<T>) {
    rt::launch(convolve_forward<T>, {grid_for(tiles.count(), 1, stream), kTileThreads, 0, stream.handle}, g, tiles,
               static_cast<const T*>(x), static_cast<const T*>(a.weight), static_cast<const T*>(a.bias),
               static_cast<T*>(a.y));
  });
}

void plain_data_grad(const ConvDataGradArgs& a, const Stream& stream) {
  const Geometry g(a.shape);
  const Tiles tiles{a.shape.batch * pixels(a.shape.in),
                    g.from_channels,
                    g.to_channels * pixels(a.shape.kernel),
                    a.shape.groups,
                    1,
                    0};
  if (tiles.count() == 0) return;
  dispatch_cuda(a.dtype, [&]<class T>(Type<T>) {
    rt::launch(convolve_data_grad<T>, {grid_for(tiles.count(), 1, stream), kTileThreads, 0, stream.handle}, g, tiles,
               static_cast<const T*>(a.dy), static_cast<const T*>(a.weight), static_cast<const T*>(a.bias),
               static_cast<T*>(a.dx.data), a.dx.mode == GradMode::Add);
  });
}

void plain_weight_grad(const ConvWeightGradArgs& a, const void* x, const Stream& stream) {
  const Geometry g(a.shape);
  const int64_t taps = pixels(a.shape.kernel), sums = a.shape.batch * pixels(a.shape.out);
  Tiles tiles{g.to_channels, g.from_channels * taps, sums, a.shape.groups, 1, sums};
  const int64_t n = a.shape.out_channels * g.from_channels * taps;
  if (n == 0) return;
  if (sums == 0) return dispatch_cuda(a.dtype, [&]<class T>(Type<T>) { zero_weight_grad<T>(a, stream, n); });
  // Enough pieces to fill the device, none of fewer than 128 pixels.
  const int64_t wanted = ceil_div(2 * int64_t(stream.multiprocessors), tiles.count());
  const int64_t most = ceil_div(sums, 128);
  tiles.pieces = wanted < most ? wanted : most;
  tiles.piece = ceil_div(ceil_div(sums, tiles.pieces), kTileK) * kTileK;
  tiles.pieces = ceil_div(sums, tiles.piece);
  dispatch_cuda(a.dtype, [&]<class T>(Type<T>) {
    const Workspace partial(stream, size_t(tiles.pieces * n) * sizeof(math_type<T>));
    rt::launch(convolve_weight_grad<T>, {grid_for(tiles.count(), 1, stream), kTileThreads, 0, stream.handle}, g, tiles,
               static_cast<const T*>(x), static_cast<const T*>(a.dy), partial.as<math_type<T>>());
    rt::launch(add_pieces<T>, {grid_for(n, kTileThreads, stream), kTileThreads, 0, stream.handle}, n, tiles.pieces,
               partial.as<math_type<T>>(), static_cast<T*>(a.dweight));
  });
}

SW_CUDA_KERNEL(channel_sum, a, stream) {
  if (a.channels == 0) return;
  const int64_t wanted = ceil_div(int64_t(stream.multiprocessors) * 4, ceil_div(a.channels, kWarp));
  const int64_t most = ceil_div(a.rows, 64), limited = wanted < most ? wanted : most;
  const int64_t piece = limited < 1 ? 1 : ceil_div(a.rows, limited), pieces = a.rows == 0 ? 0 : ceil_div(a.rows, piece);
  dispatch_cuda(a.dtype, [&]<class T>(Type<T>) {
    const Workspace partial(stream, size_t(pieces * a.channels) * sizeof(math_type<T>));
    if (pieces > 0) {
      const dim3 grid(unsigned(ceil_div(a.channels, kWarp)), unsigned(pieces < 65535 ? pieces : 65535));
      rt::launch(sum_channels<T>, {grid, kTileThreads, 0, stream.handle}, a.rows, a.channels, piece,
                 static_cast<const T*>(a.x), partial.as<math_type<T>>());
    }
    rt::launch(add_pieces<T>, {grid_for(a.channels, kTileThreads, stream), kTileThreads, 0, stream.handle}, a.channels,
               pieces, partial.as<math_type<T>>(), static_cast<T*>(a.sum));
  });
}

}  // namespace skipway::cuda
