// How the kernels of channel normalisation cut dense [samples, rows, channels] data, by its shape alone.
//
// Where channels are few or odd, several rows are folded into one, so that packs of N elements fill it: 3 channels of
// bfloat16 are rows of 24 columns. A block takes a tile of up to 32 packs of columns and a chunk of rows; a thread
// stays in its columns, whose constants it keeps in registers, and takes every `down`-th row.
#pragma once
#include "kernels/cuda/pack.cuh"
#include "kernels/cuda/totals.cuh"

namespace skipway::cuda {

inline constexpr int kTileBlock = 256;
inline constexpr int kTileAcross = 32;    // packs of columns in a tile
inline constexpr int kTileColumns = 256;  // at most, in elements
inline constexpr int64_t kMostRows = 64;  // of a thread: sums so long are kept in float32
inline constexpr int64_t kWantedTasks = 512;

struct ChannelTiles {
  int64_t samples, rows, channels;  // as the op sees the data
  int64_t folds, columns, height;   // [samples, height, columns], columns = folds * channels
  int64_t tiles, per_thread, chunks;
  int pack, across, down;

  ChannelTiles(int64_t samples_, int64_t rows_, int64_t channels_, int pack_)
      : samples(samples_), rows(rows_), channels(channels_), folds(1), pack(pack_) {
    while (channels * folds % pack != 0) folds *= 2;  // pack is a power of two
    columns = channels * folds;
    height = rows / folds;
    const int64_t packs = columns / pack;
    tiles = ceil_div(packs, kTileAcross);
    across = int(ceil_div(packs, tiles));
    down = kTileBlock / across;
    const int64_t wanted = ceil_div(samples * height * tiles, down * kWantedTasks);
    per_thread = wanted < 4 ? 4 : wanted > kMostRows ? kMostRows : wanted;
    chunks = ceil_div(height, per_thread * down);
  }
  __host__ __device__ int64_t tasks() const { return samples * chunks * tiles; }
  unsigned grid() const { return unsigned(tasks() < (int64_t(1) << 30) ? tasks() : int64_t(1) << 30); }
  size_t partial_bytes() const { return size_t(samples * chunks * 2 * columns) * sizeof(double); }
};

// A thread's place in a task.
struct TilePlace {
  int64_t sample, chunk;
  int64_t tile_column, column;  // the tile's first, and this thread's
  int64_t at, step;             // element of its first row, and from row to row
  int x, y, count;              // count: rows of this thread
  bool inside;                  // it has columns

  __device__ __forceinline__ TilePlace(const ChannelTiles& t, int64_t task) {
    const int64_t outer = task / t.tiles;
    sample = outer / t.chunks;
    chunk = outer - sample * t.chunks;
    x = int(threadIdx.x) % t.across;
    y = int(threadIdx.x) / t.across;
    tile_column = (task - outer * t.tiles) * t.across * t.pack;
    column = tile_column + x * t.pack;
    inside = y < t.down && column < t.columns;
    const int64_t row = chunk * t.per_thread * t.down + y, left = t.height - row;
    const int64_t rows = left <= 0 ? 0 : (left + t.down - 1) / t.down;
    count = !inside ? 0 : rows < t.per_thread ? int(rows) : int(t.per_thread);
    at = (sample * t.height + row) * t.columns + column;
    step = t.down * t.columns;
  }
};

// f(element, count of rows that lie `step` apart) over a thread's rows: kRows at a time, whose loads are then under way
// together, and the rest one by one.
template <int kRows, class F>
__device__ __forceinline__ void for_rows(const TilePlace& p, const F& f) {
  int i = 0;
  for (; i + kRows <= p.count; i += kRows) f(p.at + i * p.step, Type<char[kRows]>{});
  for (; i < p.count; ++i) f(p.at + i * p.step, Type<char[1]>{});
}

// Two sums per column over the rows of a block, pairwise in a fixed order. They end up in the threads of row 0.
template <int N>
struct TileSums {
  double a[N][kTileBlock], b[N][kTileBlock];

  __device__ __forceinline__ void add_rows(const ChannelTiles& t, const TilePlace& p, double (&first)[N],
                                           double (&second)[N]) {
    const int me = threadIdx.x;
    __syncthreads();  // of an earlier task
#pragma unroll
    for (int k = 0; k < N; ++k) {
      a[k][me] = first[k];
      b[k][me] = second[k];
    }
    __syncthreads();
    for (int n = t.down; n > 1;) {
      const int half = (n + 1) / 2, other = me + half * t.across;
      if (p.y + half < n) {
#pragma unroll
        for (int k = 0; k < N; ++k) {
          a[k][me] += a[k][other];
          b[k][me] += b[k][other];
        }
      }
      __syncthreads();
      n = half;
    }
  }
  // To partial[sample, chunk][2][columns].
  __device__ __forceinline__ void store(const ChannelTiles& t, const TilePlace& p, double* partial) const {
    if (p.y != 0 || !p.inside) return;
    double* to = partial + (p.sample * t.chunks + p.chunk) * 2 * t.columns + p.column;
#pragma unroll
    for (int k = 0; k < N; ++k) {
      to[k] = a[k][threadIdx.x];
      to[t.columns + k] = b[k][threadIdx.x];
    }
  }
};

// The second pass.
// The totals of channel c of a sample; c beyond the channels takes part with nothing.
__device__ __forceinline__ void channel_totals(const ChannelTiles& t, const double* partial, int64_t sample, int64_t c,
                                               double& first, double& second) {
  const int64_t terms = c < t.channels ? t.chunks * t.folds : 0;
  rt::static_shared<Totals>()(terms, first, second, [&](int64_t i, double& a, double& b) {
    const int64_t chunk = i / t.folds, fold = i - chunk * t.folds;
    const double* from = partial + (sample * t.chunks + chunk) * 2 * t.columns + fold * t.channels + c;
    a += from[0];
    b += from[t.columns];
  });
}
inline int64_t totals_blocks(const ChannelTiles& t) { return t.samples * ceil_div(t.channels, kTotalsChannels); }

// Per channel, in float64, as [4][samples][channels]: mean, rstd, weight * rstd, bias.
struct ChannelConstants {
  double *mean, *rstd, *scale, *bias;
  __host__ __device__ ChannelConstants(double* base, int64_t samples, int64_t channels) {
    const int64_t n = samples * channels;
    mean = base;
    rstd = base + n;
    scale = base + 2 * n;
    bias = base + 3 * n;
  }
};

// The numbers with which A's are normalised: the mean is an A plus a rest that goes into shift. The same bits wherever
// they are worked out.
template <class A>
struct ApplyConstants {
  A mean, scale, shift;
  __device__ __forceinline__ ApplyConstants(double mean_, double scale_, double bias)
      : mean(A(mean_)), scale(A(scale_)), shift(A(fma(double(mean) - mean_, scale_, bias))) {}
};

}  // namespace skipway::cuda
