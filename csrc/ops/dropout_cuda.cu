// Memory-bound: one read and one write, in packs of 128 bits; about 15 instructions an element for Philox, of which
// every call's four words are used. Element e of a group of 64 takes word e / 16 of block e % 16, so a thread makes the
// N blocks of a pack and has the bits of four packs, 16 elements apart.
#include "kernels/cuda/walk.cuh"
#include "ops/dropout.h"

namespace skipway::cuda {
namespace {

constexpr int kThreads = 256, kBlocks = 4;  // of a multiprocessor: at most 64 registers

template <class A>
struct Affine {
  A scale, shift, dropped;
  __device__ __forceinline__ A operator()(bool keep, A x) const {
    const A v = x * scale;
    return !keep ? dropped : shift != 0 ? v + shift : v;
  }
};

// ---- one draw for each element, in logical order
// ----------------------------------------------------------------------
template <class T, int N>
__global__ void __launch_bounds__(kThreads, kBlocks)
    dropout_elements(int64_t n, RngKey key, uint64_t threshold, Affine<math_type<T>> f, const T* x, T* y) {
  using A = math_type<T>;
  constexpr int kParts = kPhiloxGroup / N;
  key = resolved(key);
  const int64_t tasks = (n + 63) / 64 * kParts, stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t task = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; task < tasks; task += stride) {
    const int64_t group = task / kParts, part = task % kParts * N, first = group * 64 + part;
    Pack<T, N> in[4];
#pragma unroll
    for (int w = 0; w < 4; ++w)
      if (first + w * 16 + N <= n) in[w] = load_pack<N>(x + first + w * 16);
    uint32_t keep = 0;  // bit N w + k
#pragma unroll 4
    for (int k = 0; k < N; ++k) {
      const PhiloxBlock block = philox4x32_10(key, uint64_t(group * kPhiloxGroup + part + k));
#pragma unroll
      for (int w = 0; w < 4; ++w) keep |= uint32_t(block.word[w] >= threshold) << (N * w + k);
    }
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      const int64_t at = first + w * 16;
      if (at + N <= n) {
        Pack<T, N> out;
#pragma unroll
        for (int k = 0; k < N; ++k) out.v[k] = T(f(keep >> (N * w + k) & 1, A(in[w].v[k])));
        store_pack(y + at, out);
      } else {
        for (int k = 0; at + k < n; ++k) y[at + k] = T(f(keep >> (N * w + k) & 1, A(x[at + k])));
      }
    }
  }
}

// ---- one draw for each element, channels last in memory
// ---------------------------------------------------------------
// A block takes a tile of channels and positions of one image: it draws the keep bits in logical order (positions
// innermost), 64 to a group by warp votes, into shared memory, and reads them in memory order.
constexpr int kTileWords = 1024;  // 32-bit words of keep bits

struct Tiling {
  int64_t channels, spatial;  // of an image
  int64_t tile_c, tile_s;     // of a tile
  int64_t tiles_c, tiles_s;   // tiles of an image
  int rows;                   // runs of bits: 1 where a tile has all positions of its channels, else tile_c
  int groups, words;          // of a row: groups of 64 at most; 32-bit words, an odd number against bank conflicts
};

Tiling plan_tiles(int64_t channels, int64_t spatial) {
  Tiling t{channels, spatial, 0, 0, 0, 0, 1, 0, 0};
  if (spatial <= 256) {  // whole channels: their bits are one run of at most 16384
    t.tile_s = spatial;
    t.tile_c = 16384 / spatial / 64 * 64;
    if (t.tile_c > 256) t.tile_c = 256;
    if (t.tile_c > channels) t.tile_c = channels;
    t.groups = int((t.tile_c * t.tile_s + 63 + 63) / 64);
    t.words = 2 * t.groups;
  } else {
    t.tile_s = 256;
    t.tile_c = channels < 64 ? channels : 64;
    t.rows = int(t.tile_c);
    t.groups = int((t.tile_s + 63 + 63) / 64);
    t.words = 2 * t.groups + 1;
  }
  t.tiles_c = ceil_div(channels, t.tile_c);
  t.tiles_s = ceil_div(spatial, t.tile_s);
  return t;
}

struct KeepBits {
  uint32_t words[kTileWords];
};

template <class T, int N>
__global__ void __launch_bounds__(kThreads, kBlocks)
    dropout_channels_last(int64_t images, Tiling t, RngKey key, uint64_t threshold, Affine<math_type<T>> f, const T* x,
                          T* y) {
  using A = math_type<T>;
  auto& bits = rt::static_shared<KeepBits>();
  key = resolved(key);
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int64_t tiles = t.tiles_c * t.tiles_s;
  for (int64_t task = blockIdx.x; task < images * tiles; task += gridDim.x) {
    const int64_t image = task / tiles, c0 = task % tiles % t.tiles_c * t.tile_c,
                  s0 = task % tiles / t.tiles_c * t.tile_s;
    const int nc = int(t.channels - c0 < t.tile_c ? t.channels - c0 : t.tile_c);
    const int ns = int(t.spatial - s0 < t.tile_s ? t.spatial - s0 : t.tile_s);
    const int64_t start = (image * t.channels + c0) * t.spatial + s0;  // the logical index of the tile's first element
    __syncthreads();                                                   // the bits of the last tile have been read
    // A warp draws two groups: lanes 0 to 15 the blocks of one, lanes 16 to 31 of the next.
    const int pairs = (t.groups + 1) / 2;
    for (int work = warp; work < t.rows * pairs; work += kThreads / kWarp) {
      const int row = work / pairs, group = 2 * (work % pairs) + lane / 16;
      const int64_t base = (start + row * t.spatial) / 64 + group;
      const PhiloxBlock block = philox4x32_10(key, uint64_t(base * kPhiloxGroup + lane % 16));
      uint32_t votes[4];
#pragma unroll
      for (int w = 0; w < 4; ++w) {
        const uint32_t vote = __ballot_sync(kFullWarp, block.word[w] >= threshold);
        votes[w] = lane < 16 ? vote & 0xffff : vote >> 16;
      }
      if (lane % 16 == 0 && group < t.groups) {
        bits.words[row * t.words + 2 * group] = votes[0] | votes[1] << 16;
        bits.words[row * t.words + 2 * group + 1] = votes[2] | votes[3] << 16;
      }
    }
    __syncthreads();
    const int packs = nc / N, start64 = int(start % 64), spatial64 = int(t.spatial % 64);
    const int64_t origin = (image * t.spatial + s0) * t.channels + c0;
    for (int i = threadIdx.x; i < packs * ns; i += kThreads) {
      const int s = i / packs, c = i % packs * N;
      const int64_t at = origin + s * t.channels + c;
      Pack<T, N> v = load_pack<N>(x + at);
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const int bit =
            t.rows == 1 ? start64 + (c + k) * int(t.spatial) + s : ((start64 + (c + k) * spatial64) & 63) + s;
        const uint32_t word = bits.words[(t.rows == 1 ? 0 : (c + k) * t.words) + bit / 32];
        v.v[k] = T(f(word >> (bit % 32) & 1, A(v.v[k])));
      }
      store_pack(y + at, v);
    }
  }
}

// ---- one draw for each image and channel
// ------------------------------------------------------------------------------
__global__ void __launch_bounds__(kThreads, kBlocks)
    channel_flags(int64_t rows, RngKey key, uint64_t threshold, uint8_t* flags) {
  key = resolved(key);
  const int64_t blocks = (rows + 63) / 64 * kPhiloxGroup, stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t b = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; b < blocks; b += stride) {
    const PhiloxBlock block = philox4x32_10(key, uint64_t(b));
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      const int64_t row = b / kPhiloxGroup * 64 + w * 16 + b % kPhiloxGroup;
      if (row < rows) flags[row] = block.word[w] >= threshold;
    }
  }
}

// What maps an element's place in memory to its image and channel.
struct Rows {
  int64_t run, channels;  // memory: runs of `run` elements of one row; or images of `run` elements, channels innermost
  bool channels_last, small;
  Divider by_run, by_channels;
  __device__ __forceinline__ int64_t operator()(int64_t i) const {
    const int64_t outer = small ? by_run.divide(uint32_t(i)) : i / run;
    if (!channels_last) return outer;
    const int64_t c = small ? i - int64_t(by_channels.divide(uint32_t(i))) * channels : i % channels;
    return outer * channels + c;
  }
};

// N elements are of one row, or of N neighbouring channels.
template <class T, int N>
__global__ void __launch_bounds__(kThreads, kBlocks)
    dropout_rows(int64_t n, Rows rows, const uint8_t* flags, Affine<math_type<T>> f, const T* x, T* y) {
  using A = math_type<T>;
  const int64_t packs = n / N, stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < packs; i += stride) {
    Pack<T, N> v = load_pack<N>(x + i * N);
    const uint8_t* flag = flags + rows(i * N);
#pragma unroll
    for (int k = 0; k < N; ++k) v.v[k] = T(f(flag[rows.channels_last ? k : 0], A(v.v[k])));
    store_pack(y + i * N, v);
  }
}

template <class T>
void per_channel(const DropoutArgs& a, const Affine<math_type<T>>& f, const Stream& stream) {
  const auto* x = static_cast<const T*>(a.x);
  auto* y = static_cast<T*>(a.y);
  const int64_t rows = a.images * a.channels, n = rows * a.spatial;
  const Workspace space(stream, size_t(rows));
  auto* flags = space.as<uint8_t>();
  rt::launch(channel_flags, {grid_for(ceil_div(rows, 4), kThreads, stream), kThreads, 0, stream.handle}, rows, a.key,
             a.threshold, flags);
  Rows r{a.channels_last ? a.channels * a.spatial : a.spatial,
         a.channels,
         a.channels_last,
         n < (int64_t(1) << 31),
         {},
         {}};
  if (r.small) {
    r.by_run = Divider(uint32_t(r.run));
    r.by_channels = Divider(uint32_t(r.channels));
  }
  const int64_t inner = a.channels_last ? a.channels : a.spatial;
  const bool packs = packs_at<T>(x, inner) && packs_at<T>(y, inner);
  rt::launch(packs ? dropout_rows<T, kPack<T>> : dropout_rows<T, 1>,
             {grid_for(packs ? n / kPack<T> : n, kThreads, stream), kThreads, 0, stream.handle}, n, r, flags, f, x, y);
}

template <class T>
void per_element(const DropoutArgs& a, const Affine<math_type<T>>& f, const Stream& stream) {
  const auto* x = static_cast<const T*>(a.x);
  auto* y = static_cast<T*>(a.y);
  if (a.channels_last) {
    const Tiling t = plan_tiles(a.channels, a.spatial);
    const bool packs = packs_at<T>(x, a.channels) && packs_at<T>(y, a.channels) && t.tile_c % kPack<T> == 0;
    rt::launch(packs ? dropout_channels_last<T, kPack<T>> : dropout_channels_last<T, 1>,
               {grid_for(a.images * t.tiles_c * t.tiles_s, 1, stream), kThreads, 0, stream.handle}, a.images, t, a.key,
               a.threshold, f, x, y);
    return;
  }
  const int64_t n = a.images * a.channels * a.spatial;
  const bool packs = packs_at<T>(x, 0) && packs_at<T>(y, 0);
  rt::launch(packs ? dropout_elements<T, kPack<T>> : dropout_elements<T, 1>,
             {grid_for(ceil_div(n, packs ? 4 * kPack<T> : 4), kThreads, stream), kThreads, 0, stream.handle}, n, a.key,
             a.threshold, f, x, y);
}

}  // namespace

SW_CUDA_KERNEL(dropout_kernel, a, stream) {
  if (a.images * a.channels * a.spatial == 0) return;
  dispatch_cuda(a.dtype, [&]<class T>(Type<T>) {
    using A = math_type<T>;
    const Affine<A> f{A(a.scale), A(a.shift), A(a.dropped)};
    a.per_channel ? per_channel<T>(a, f, stream) : per_element<T>(a, f, stream);
  });
}

}  // namespace skipway::cuda
