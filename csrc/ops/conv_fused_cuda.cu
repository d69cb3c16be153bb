// Prologue and epilogue of a convolution as kernels of their own, for the plain convolution, which does neither; and
// the second pass of moments, for those that do. Formulas: kernels/conv_fused_args.h.
#include "kernels/cuda/fused.cuh"
#include "kernels/cuda/totals.cuh"
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

struct ChannelMeans {
  double v[kTotalsChannels];
};

// Of kTotalsChannels channels to a block: the mean first, then the deviations from it. part(i, c) gives the Moment of
// the i-th of n parts of channel c. Bound by latency.
template <class Part>
__device__ __forceinline__ void join_channels(int64_t n, int64_t channels, const void* bias, DType dtype, double* mean,
                                              double* deviations, const Part& part) {
  auto& totals = rt::static_shared<Totals>();
  auto& means = rt::static_shared<ChannelMeans>().v;
  const int64_t c = int64_t(blockIdx.x) * kTotalsChannels + threadIdx.x % kTotalsChannels;
  const int64_t parts = c < channels ? n : 0;
  double sum, count, squares, unused;
  totals(parts, sum, count, [&](int64_t i, double& a, double& b) {
    const Moment m = part(i, c);
    a += double(m.n) * m.mean;
    b += m.n;
  });
  if (threadIdx.x < kTotalsChannels) means[threadIdx.x] = count > 0 ? sum / count : 0.0;
  __syncthreads();
  const double centre = means[threadIdx.x % kTotalsChannels];
  totals(parts, squares, unused, [&](int64_t i, double& a, double&) {
    const Moment m = part(i, c);
    const double d = m.mean - centre;
    a += m.deviations + m.n * d * d;
  });
  if (threadIdx.x >= kTotalsChannels || c >= channels) return;
  mean[c] = centre + (bias && n > 0 ? read_as<double>(bias, dtype, c) : 0.0);
  deviations[c] = squares;
}

// Parts as Moments::store leaves them.
__global__ void __launch_bounds__(kTotalsBlock)
    join_parts(int64_t parts, int64_t channels, const float* partial, const void* bias, DType dtype, double* mean,
               double* deviations) {
  join_channels(parts, channels, bias, dtype, mean, deviations, [&](int64_t i, int64_t c) {
    const float* part = partial + i * (2 * channels + 1);
    return Moment{part[2 * channels], part[c], part[channels + c]};
  });
}

// Of a dense [rows, channels] matrix.
__global__ void __launch_bounds__(kTotalsBlock)
    matrix_moments(int64_t rows, int64_t channels, const void* z, DType dtype, double* mean, double* deviations) {
  join_channels(rows, channels, nullptr, dtype, mean, deviations,
                [&](int64_t i, int64_t c) { return Moment{1.0f, read_as<float>(z, dtype, i * channels + c), 0.0f}; });
}

// to[block of rows][column] = the sum of `each` rows of a dense [rows, columns] matrix: 32 columns and 8 rows at a time
// to a block, in a fixed order. Bound by memory.
struct RowSums {
  double v[kThreads];
};
template <class T>
__global__ void __launch_bounds__(kThreads)
    sum_rows(int64_t rows, int64_t each, int64_t columns, const T* from, double* to) {
  auto& v = rt::static_shared<RowSums>().v;
  const int me = int(threadIdx.x), row = me / kWarp;
  const int64_t column = int64_t(blockIdx.x) * kWarp + me % kWarp, first = int64_t(blockIdx.y) * each;
  const int64_t end = first + each < rows ? first + each : rows;
  double sum = 0;
  if (column < columns) {
#pragma unroll 8
    for (int64_t r = first + row; r < end; r += kThreads / kWarp) sum += double(from[r * columns + column]);
  }
  v[me] = sum;
  __syncthreads();
  for (int half = kThreads / 2; half >= kWarp; half /= 2) {
    if (me < half) v[me] += v[me + half];
    __syncthreads();
  }
  if (row == 0 && column < columns) to[int64_t(blockIdx.y) * columns + column] = v[me];
}

unsigned channel_blocks(int64_t channels) { return unsigned(ceil_div(channels, kTotalsChannels)); }

}  // namespace

PartialMoments::PartialMoments(const Correlation& c, int64_t parts, const Stream& stream)
    : correlation_(c),
      stream_(stream),
      parts_(parts),
      memory_(stream, c.epilogue.map.mean ? size_t(parts * (2 * channels() + 1)) * sizeof(float) : 0) {}

void PartialMoments::join() const {
  const Epilogue& e = correlation_.epilogue;
  if (!e.map.mean) return;
  rt::launch(join_parts, {channel_blocks(channels()), kTotalsBlock, 0, stream_.handle}, parts_, channels(), partial(),
             e.bias, correlation_.dtype, e.map.mean, e.map.deviations);
}

PartialSums::PartialSums(const Correlation& c, int64_t parts, const Stream& stream)
    : correlation_(c),
      stream_(stream),
      parts_(parts),
      memory_(stream, c.epilogue.sums ? size_t(parts * 2 * c.shape.in_channels) * sizeof(float) : 0) {}

// Where parts are many, a few of them first, by as many blocks as that takes.
void PartialSums::join() const {
  double* sums = correlation_.epilogue.sums.sums;
  if (!sums) return;
  const int64_t columns = 2 * correlation_.shape.in_channels, each = 32, pieces = ceil_div(parts_, each);
  const unsigned across = unsigned(ceil_div(columns, kWarp));
  const bool twice = pieces > 2 && pieces < 65536;
  const Workspace between(stream_, twice ? size_t(pieces * columns) * sizeof(double) : 0);
  rt::launch(sum_rows<float>, {dim3(across, twice ? unsigned(pieces) : 1u), kThreads, 0, stream_.handle}, parts_,
             twice ? each : parts_, columns, partial(), twice ? between.as<double>() : sums);
  if (twice)
    rt::launch(sum_rows<double>, {dim3(across), kThreads, 0, stream_.handle}, pieces, pieces, columns,
               between.as<double>(), sums);
}

namespace {
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
  if (e.mean) {
    rt::launch(matrix_moments, {channel_blocks(channels), kTotalsBlock, 0, stream.handle}, rows, channels, a.y, a.dtype,
               e.mean, e.deviations);
  }
  if (e.maps() && rows > 0) {
    rt::launch(map_channels, {grid_for(rows * channels, kThreads, stream), kThreads, 0, stream.handle}, rows * channels,
               channels, a.dtype, a.y, e, a.y);
  }
}

}  // namespace skipway::cuda
