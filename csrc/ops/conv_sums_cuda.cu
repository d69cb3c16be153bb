// What convolutions add up over positions, after the kernels that multiply: pieces of a weight gradient, a bias's
// gradient, and the moments and sums of an epilogue. Each in a fixed order, so that bits are the same in every run;
// where terms are many, runs of them first, by as many blocks as that takes.
#include "kernels/cuda/totals.cuh"
#include "kernels/cuda/walk.cuh"
#include "ops/conv_kernels.cuh"

namespace skipway::cuda {
namespace {

inline constexpr int kThreads = 256;

// Of terms one by one, in the math type. Bound by memory.
template <class T>
__global__ void __launch_bounds__(kThreads) add_pieces(int64_t count, PieceSums s, const math_type<T>* partial, T* to) {
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += int64_t(gridDim.x) * blockDim.x) {
    math_type<T> total = 0;
#pragma unroll 4
    for (int64_t p = 0; p < s.pieces; ++p) total += partial[p * count + i];
    const int64_t row = i / s.padded, c = i - row * s.padded, k = row / s.taps, tap = row - k * s.taps;
    if (c < s.channels) to[(k * s.channels + c) * s.taps + tap] = T(total);
  }
}

// to[piece][column] = the sum of the piece's `each` rows of a dense [rows, columns] matrix: 32 columns and 8 rows at a
// time to a block. Bound by memory.
template <class A>
struct RowSums {
  A v[kThreads];
};
template <class T, class A>
__global__ void __launch_bounds__(kThreads)
    sum_rows(int64_t rows, int64_t each, int64_t columns, const T* from, A* to) {
  auto& v = rt::static_shared<RowSums<A>>().v;
  const int me = int(threadIdx.x), row = me / kWarp;
  const int64_t column = int64_t(blockIdx.x) * kWarp + me % kWarp, first = int64_t(blockIdx.y) * each;
  const int64_t end = first + each < rows ? first + each : rows;
  A sum = 0;
  if (column < columns) {
#pragma unroll 8
    for (int64_t r = first + row; r < end; r += kThreads / kWarp) sum += A(from[r * columns + column]);
  }
  v[me] = sum;
  __syncthreads();
  for (int half = kThreads / 2; half >= kWarp; half /= 2) {
    if (me < half) v[me] += v[me + half];
    __syncthreads();
  }
  if (row == 0 && column < columns) to[int64_t(blockIdx.y) * columns + column] = v[me];
}
template <class T, class A>
void launch_sum_rows(int64_t rows, int64_t each, int64_t pieces, int64_t columns, const T* from, A* to,
                     const Stream& stream) {
  const dim3 grid(unsigned(ceil_div(columns, kWarp)), unsigned(pieces));
  rt::launch(sum_rows<T, A>, {grid, kThreads, 0, stream.handle}, rows, each, columns, from, to);
}

// Parts whose moments are joined: as Moments::store leaves them, and the elements of a dense [rows, channels] matrix.
struct JoinedMoment {
  double n, mean, deviations;
};
template <class T>
struct MomentParts {
  const T* partial;
  int64_t channels;
  __device__ __forceinline__ JoinedMoment operator()(int64_t i, int64_t c) const {
    const T* part = partial + i * (2 * channels + 1);
    return {double(part[2 * channels]), double(part[c]), double(part[channels + c])};
  }
};
struct MatrixRows {
  const void* z;
  DType dtype;
  int64_t channels;
  __device__ __forceinline__ JoinedMoment operator()(int64_t i, int64_t c) const {
    return {1.0, double(read_as<float>(z, dtype, i * channels + c)), 0.0};
  }
};

// Where results go: as [piece][2 * channels + 1] to be joined again, or, of one piece and with the bias, at last.
struct JoinResult {
  double *mean, *deviations, *count;  // count: null at last
  int64_t pitch;                      // from piece to piece
  const void* bias;                   // may be null
  DType dtype;
};
struct ChannelMeans {
  double v[kTotalsChannels];
};

// Of kTotalsChannels channels and `each` of n parts to a block: the mean first, then the deviations from it. Bound by
// latency.
template <class Parts>
__global__ void __launch_bounds__(kTotalsBlock)
    join_moments(int64_t n, int64_t each, int64_t channels, Parts part, JoinResult to) {
  auto& totals = rt::static_shared<Totals>();
  auto& means = rt::static_shared<ChannelMeans>().v;
  const int64_t c = int64_t(blockIdx.x) * kTotalsChannels + threadIdx.x % kTotalsChannels;
  const int64_t piece = blockIdx.y, first = piece * each, left = n - first < each ? n - first : each;
  const int64_t parts = c < channels ? left : 0;
  double sum, count, squares, unused;
  totals(parts, sum, count, [&](int64_t i, double& a, double& b) {
    const JoinedMoment m = part(first + i, c);
    a += m.n * m.mean;
    b += m.n;
  });
  if (threadIdx.x < kTotalsChannels) means[threadIdx.x] = count > 0 ? sum / count : 0.0;
  __syncthreads();
  const double centre = means[threadIdx.x % kTotalsChannels];
  totals(parts, squares, unused, [&](int64_t i, double& a, double&) {
    const JoinedMoment m = part(first + i, c);
    const double d = m.mean - centre;
    a += m.deviations + m.n * d * d;
  });
  if (threadIdx.x >= kTotalsChannels || c >= channels) return;
  to.mean[piece * to.pitch + c] = centre + (to.bias && n > 0 ? read_as<double>(to.bias, to.dtype, c) : 0.0);
  to.deviations[piece * to.pitch + c] = squares;
  if (to.count && c == 0) to.count[piece * to.pitch] = count;
}
template <class Parts>
void launch_join(int64_t n, int64_t each, int64_t pieces, int64_t channels, const Parts& part, const JoinResult& to,
                 const Stream& stream) {
  const dim3 grid(unsigned(ceil_div(channels, kTotalsChannels)), unsigned(pieces));
  rt::launch(join_moments<Parts>, {grid, kTotalsBlock, 0, stream.handle}, n, each, channels, part, to);
}

// The moments of n parts: those of runs of 128 or more first, if there are more than two runs.
template <class Parts>
void join(int64_t n, int64_t channels, const Parts& part, const JoinResult& result, const Stream& stream) {
  const int64_t least = 128, even = ceil_div(n, 1024), each = even < least ? least : even, pieces = ceil_div(n, each);
  if (pieces <= 2) return launch_join(n, n, 1, channels, part, result, stream);
  const int64_t pitch = 2 * channels + 1;
  const Workspace memory(stream, size_t(pieces * pitch) * sizeof(double));
  double* between = memory.as<double>();
  launch_join(n, each, pieces, channels, part,
              {between, between + channels, between + 2 * channels, pitch, nullptr, result.dtype}, stream);
  launch_join(pieces, pieces, 1, channels, MomentParts<double>{between, channels}, result, stream);
}

}  // namespace

void sum_pieces(const PieceSums& s, DType dtype, const void* partial, void* to, const Stream& stream) {
  const int64_t count = s.rows * s.taps * s.padded;
  dispatch_cuda(dtype, [&]<class T>(Type<T>) {
    rt::launch(add_pieces<T>, {grid_for(count, kThreads, stream), kThreads, 0, stream.handle}, count, s,
               static_cast<const math_type<T>*>(partial), static_cast<T*>(to));
  });
}

SW_CUDA_KERNEL(channel_sum, a, stream) {
  if (a.channels == 0) return;
  const int64_t wanted = ceil_div(int64_t(stream.multiprocessors) * 4, ceil_div(a.channels, kWarp));
  const int64_t most = ceil_div(a.rows, 64), limited = wanted < most ? wanted : most;
  const int64_t piece = limited < 1 ? 1 : ceil_div(a.rows, limited), pieces = ceil_div(a.rows, piece);
  const bool wide = a.dtype == DType::Float64;
  const Workspace partial(stream, size_t(pieces * a.channels) * (wide ? sizeof(double) : sizeof(float)));
  dispatch_cuda(a.dtype, [&]<class T>(Type<T>) {
    if (pieces > 0)
      launch_sum_rows(a.rows, piece, pieces, a.channels, static_cast<const T*>(a.x), partial.as<math_type<T>>(),
                      stream);
  });
  sum_pieces({1, 1, a.channels, a.channels, pieces}, a.dtype, partial.as<void>(), a.sum, stream);
}

PartialMoments::PartialMoments(const Correlation& c, int64_t parts, const Stream& stream)
    : correlation_(c),
      stream_(stream),
      parts_(parts),
      memory_(stream, c.epilogue.map.mean ? size_t(parts * (2 * channels() + 1)) * sizeof(float) : 0) {}

void PartialMoments::join() const {
  const Epilogue& e = correlation_.epilogue;
  if (!e.map.mean) return;
  cuda::join(parts_, channels(), MomentParts<float>{partial(), channels()},
             {e.map.mean, e.map.deviations, nullptr, 0, e.bias, correlation_.dtype}, stream_);
}

void matrix_moments(int64_t rows, int64_t channels, const void* z, DType dtype, double* mean, double* deviations,
                    const Stream& stream) {
  join(rows, channels, MatrixRows{z, dtype, channels}, {mean, deviations, nullptr, 0, nullptr, dtype}, stream);
}

PartialSums::PartialSums(const Correlation& c, int64_t parts, const Stream& stream)
    : correlation_(c),
      stream_(stream),
      parts_(parts),
      memory_(stream, c.epilogue.sums ? size_t(parts * 2 * c.shape.in_channels) * sizeof(float) : 0) {}

void PartialSums::join() const {
  double* sums = correlation_.epilogue.sums.sums;
  if (!sums) return;
  const int64_t columns = 2 * correlation_.shape.in_channels, even = ceil_div(parts_, 65535);
  const int64_t each = even < 32 ? 32 : even, pieces = ceil_div(parts_, each);
  if (pieces <= 2) return launch_sum_rows(parts_, parts_, 1, columns, partial(), sums, stream_);
  const Workspace between(stream_, size_t(pieces * columns) * sizeof(double));
  launch_sum_rows(parts_, each, pieces, columns, partial(), between.as<double>(), stream_);
  launch_sum_rows(pieces, pieces, 1, columns, between.as<double>(), sums, stream_);
}

}  // namespace skipway::cuda
