// Convolutions of few channels (the CIFAR networks, the first layer of every network): forward and data gradient, in
// 16-bit types on tensor cores. Formulas: ops/conv.h.
//
// There is little to multiply, so what counts is to read and write everything once. A block keeps the filter of up to
// 64 result channels in shared memory, in the order [result channel][tap][channel], and walks over tiles of positions.
// For a tile it copies the halo, the part of the image that the tile's taps read; while one is multiplied, the next one
// is on its way. All taps read the same halo: tap (r, s) of a position lies a fixed number of chunks after tap (0, 0),
// and these offsets are in a table.
//
// Chunks are 8 channels; an odd number of channels is filled up with zeros. The 8 pixels that ldmatrix reads at once
// are t = chunks of a pixel * stride chunks apart, and must lie in different banks wherever they begin. With g the
// greatest common divisor of t and 8, g of them share q % 8: so chunk q lies at q ^ (q / 8) % g (and where 16 divides
// t, q ^ (q / t) % 8). Filters have an odd pitch instead.
//
// Bound by memory for up to 32 channels. Every warp computes 32 positions and all columns.
#include "kernels/cuda/conv_load.cuh"
#include "ops/conv_kernels.cuh"

namespace skipway::cuda {
namespace {

inline constexpr int kWarpRows = 32, kMostWarps = 8;

struct HaloPhase {
  Phase phase;
  int tiles_h, tiles_w, tiles;  // tiles of all images
  int part;                     // the first part of the sums
  int halo_h, halo_w, halo;     // positions; chunks of a tile
  int chunks;                   // k: taps times chunks of a pixel, rounded up to an even number
  Divider by_halo_h, by_halo_w, by_tiles_h, by_tiles_w;
};

struct HaloParams {
  HaloPhase phase[kMostPhases];
  Image from, to;
  int phases, images, taps, kernel_w;
  int pixel_chunks;                  // chunks of a pixel
  int log_h, log_w, log_images;      // a tile's positions: images, rows, columns
  int filter_chunks, buffer_chunks;  // of shared memory: all of the filter, and one halo
  int swizzle_shift, swizzle_mask;
  bool gradient;
  Divider by_taps, by_inner, by_pixel_chunks;
  ConvPrologue prologue;
  Epilogue epilogue;
};

// Shared memory, in chunks: [filter][halo 0][halo 1], then the tables of offsets (of chunks k) and slots (of taps).
struct HaloShared {
  Chunk *filter, *halos;
  int *offset, *slot;
  __device__ __forceinline__ HaloShared(const HaloParams& p, Chunk* base)
      : filter(base),
        halos(filter + p.filter_chunks),
        offset(reinterpret_cast<int*>(halos + 2 * p.buffer_chunks)),
        slot(offset + p.taps * p.pixel_chunks + 1) {}
};
size_t shared_bytes(const HaloParams& p) {
  return size_t(p.filter_chunks + 2 * p.buffer_chunks) * sizeof(Chunk) +
         size_t(p.taps * p.pixel_chunks + 1 + p.taps) * sizeof(int);
}

__device__ __forceinline__ int halo_at(const HaloParams& p, int q) {
  return q ^ ((q >> p.swizzle_shift) & p.swizzle_mask);
}
// Of a filter with an even number of chunks: the one more stays zero.
__host__ __device__ __forceinline__ int filter_pitch(int chunks) { return chunks + 1; }

// offset[k]: chunks from a position's first tap to chunk k, -1 past the last one (zeros are read). slot[tap]: the tap's
// first chunk k, or -1 if the phase does not have it.
__device__ __forceinline__ void make_tables(const HaloParams& p, const HaloPhase& h, const HaloShared& shared) {
  const Axis &y = h.phase.h, &x = h.phase.w;
  const int used = y.taps * x.taps * p.pixel_chunks;
  for (int k = int(threadIdx.x); k < h.chunks; k += int(blockDim.x)) {
    const int tap = k / p.pixel_chunks, r = tap / (x.taps ? x.taps : 1), s = tap - r * x.taps;
    shared.offset[k] =
        k < used ? (r * y.shift_step * h.halo_w + s * x.shift_step) * p.pixel_chunks + k - tap * p.pixel_chunks : -1;
  }
  for (int tap = int(threadIdx.x); tap < p.taps; tap += int(blockDim.x)) shared.slot[tap] = -1;
  __syncthreads();
  for (int t = int(threadIdx.x); t < y.taps * x.taps; t += int(blockDim.x)) {
    const int r = t / x.taps, s = t - r * x.taps;
    shared.slot[(y.tap + r * y.tap_step) * p.kernel_w + x.tap + s * x.tap_step] = t * p.pixel_chunks;
  }
}

// The filter's rows n0... from weight[n][c][tap], or weight[c][n][tap] of a gradient, which is read in order.
template <class T, int kN>
__device__ __forceinline__ void load_filter(const HaloParams& p, const HaloPhase& h, const HaloShared& shared,
                                            const T* weight, int n0) {
  const int pitch = filter_pitch(h.chunks);
  for (int i = int(threadIdx.x); i < kN * pitch; i += int(blockDim.x)) shared.filter[i] = Chunk{};
  __syncthreads();  // the tables and the zeros are there
  T* filter = reinterpret_cast<T*>(shared.filter);
  const int rows = p.to.channels - n0 < kN ? p.to.channels - n0 : kN;
  const int inner = p.gradient ? rows : p.from.channels, outer = p.gradient ? p.from.channels : rows;
  const Divider by_inner = p.gradient ? Divider() : p.by_inner;
#pragma unroll 4
  for (int i = int(threadIdx.x); i < outer * inner * p.taps; i += int(blockDim.x)) {
    const int row = int(p.by_taps.divide(uint32_t(i))), tap = i - row * p.taps;
    const int a = p.gradient ? row / inner : int(by_inner.divide(uint32_t(row))), b = row - a * inner;
    const int n = p.gradient ? b : a, c = p.gradient ? a : b, slot = shared.slot[tap];
    const int64_t at = p.gradient ? int64_t(a) * p.to.channels + n0 + b : int64_t(n0 + a) * inner + b;
    if (slot >= 0) filter[(n * pitch + slot) * kChunk<T> + c] = weight[at * p.taps + tap];
  }
}

struct HaloTile {
  int image, h, w;  // the first position
};
__device__ __forceinline__ HaloTile decode_tile(const HaloParams& p, const HaloPhase& h, int tile) {
  const int row = int(h.by_tiles_w.divide(uint32_t(tile))), image = int(h.by_tiles_h.divide(uint32_t(row)));
  return {image << p.log_images, (row - image * h.tiles_h) << p.log_h, (tile - row * h.tiles_w) << p.log_w};
}

// f(chunk of the halo, source or null, channel) for every chunk that this thread copies.
template <class T, class F>
__device__ __forceinline__ void each_chunk(const HaloParams& p, const HaloPhase& h, const HaloTile& tile, const T* from,
                                           const F& f) {
  const int y0 = tile.h * h.phase.h.from_step + h.phase.h.shift, x0 = tile.w * h.phase.w.from_step + h.phase.w.shift;
  for (int q = int(threadIdx.x); q < h.halo; q += int(blockDim.x)) {
    const int pixel = int(p.by_pixel_chunks.divide(uint32_t(q))), c = (q - pixel * p.pixel_chunks) * kChunk<T>;
    const int row = int(h.by_halo_w.divide(uint32_t(pixel))), image = int(h.by_halo_h.divide(uint32_t(row)));
    const int y = y0 + row - image * h.halo_h, x = x0 + pixel - row * h.halo_w;
    const bool inside =
        tile.image + image < p.images && unsigned(y) < unsigned(p.from.h) && unsigned(x) < unsigned(p.from.w);
    f(halo_at(p, q), inside ? from + p.from.pixel(tile.image + image, y, x) * p.from.pitch + c : nullptr, c);
  }
}

template <class T>
__device__ __forceinline__ void load_halo(const HaloParams& p, const HaloPhase& h, const HaloTile& tile, const T* from,
                                          Chunk* halo) {
  if (p.from.channels % kChunk<T> == 0) {
    each_chunk(p, h, tile, from, [&](int at, const T* source, int) {
      ptx::cp_async16(&halo[at], source ? source : from, source != nullptr);
    });
  } else {
    each_chunk(p, h, tile, from, [&](int at, const T* source, int c) {
      Pack<T, kChunk<T>> chunk;
#pragma unroll
      for (int i = 0; i < kChunk<T>; ++i) chunk.v[i] = source && c + i < p.from.channels ? source[i] : T(0.0f);
      store_pack(reinterpret_cast<T*>(&halo[at]), chunk);
    });
  }
}

// As in conv_load.cuh: by the thread that copied the chunk.
template <class T>
__device__ __forceinline__ void halo_prologue(const HaloParams& p, const HaloPhase& h, const HaloTile& tile,
                                              const T* from, Chunk* halo) {
  if (p.from.channels % kChunk<T> == 0) {
    each_chunk(p, h, tile, from, [&](int at, const T* source, int c) {
      apply_prologue<T, 1>(p.prologue, c, source != nullptr, [&](int) { return &halo[at]; });
    });
  } else {
    each_chunk(p, h, tile, from, [&](int at, const T* source, int c) {
      if (!source) return;
      T* chunk = reinterpret_cast<T*>(&halo[at]);
      for (int i = 0; i < kChunk<T> && c + i < p.from.channels; ++i)
        chunk[i] = through_prologue(p.prologue, c + i, chunk[i]);
    });
  }
}

// Blocks: x walks over tiles, y counts phases, z columns of kN result channels.
template <class T, int kN>
__global__ void __launch_bounds__(kMostWarps* kWarp, 2)
    correlate_halos(const __grid_constant__ HaloParams p, const T* from, const T* weight, T* to) {
  const HaloPhase& h = p.phase[blockIdx.y];
  const HaloShared shared(p, &rt::dyn_shared<Chunk>());
  const int n0 = int(blockIdx.z) * kN, lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
  make_tables(p, h, shared);
  load_filter<T, kN>(p, h, shared, weight, n0);

  // Where this lane's rows of the two fragments begin in a halo.
  const auto position = [&](int row) {
    return Position{row >> (p.log_h + p.log_w), (row >> p.log_w) & ((1 << p.log_h) - 1), row & ((1 << p.log_w) - 1)};
  };
  int begin[kWarpRows / 16];
#pragma unroll
  for (int i = 0; i < kWarpRows / 16; ++i) {
    const Position at = position(warp * kWarpRows + i * 16 + lane % 16);
    begin[i] =
        ((at.image * h.halo_h + at.h * h.phase.h.from_step) * h.halo_w + at.w * h.phase.w.from_step) * p.pixel_chunks;
  }
  const Chunk* filter = shared.filter + (lane % 8 + lane / 16 * 8) * filter_pitch(h.chunks) + lane / 8 % 2;

  int buffer = 0;
  if (int(blockIdx.x) < h.tiles) load_halo(p, h, decode_tile(p, h, int(blockIdx.x)), from, shared.halos);
  ptx::cp_async_commit();
  for (int t = int(blockIdx.x); t < h.tiles; t += int(gridDim.x), buffer ^= 1) {
    ptx::cp_async_wait<0>();
    const HaloTile tile = decode_tile(p, h, t);
    Chunk* halo = shared.halos + buffer * p.buffer_chunks;
    if (p.prologue.scale) halo_prologue(p, h, tile, from, halo);
    __syncthreads();  // the halo and the filter are there; the other halo, and the strips in it, are done with
    if (t + int(gridDim.x) < h.tiles)
      load_halo(p, h, decode_tile(p, h, t + int(gridDim.x)), from, shared.halos + (buffer ^ 1) * p.buffer_chunks);
    ptx::cp_async_commit();

    Products<T, Layout::Rows, kWarpRows, kN> products;
#pragma unroll 2
    for (int k = 0; k < h.chunks; k += 2) {
      uint32_t x[kWarpRows / 16][4], y[kN / 16][4];
      const int offset = shared.offset[k + lane / 16];
#pragma unroll
      for (int i = 0; i < kWarpRows / 16; ++i) {
        ptx::ldmatrix_x4(x[i], offset < 0 ? &shared.filter[h.chunks] : &halo[halo_at(p, begin[i] + offset)]);
      }
#pragma unroll
      for (int j = 0; j < kN / 16; ++j) ptx::ldmatrix_x4(y[j], &filter[j * 16 * filter_pitch(h.chunks) + k]);
      products.multiply(x, y);
    }
    __syncthreads();  // everyone is done with the halo: strips take its place
    const auto place = [&](int row) {
      Position at = position(warp * kWarpRows + row);
      at.image += tile.image, at.h += tile.h, at.w += tile.w;
      const bool inside = at.image < p.images && at.h < h.phase.h.count && at.w < h.phase.w.count;
      return inside ? element_of_position(h.phase, p.to, at) : -1;
    };
    if (p.epilogue.moments) {
      auto& moments = *reinterpret_cast<Moments<kMostWarps, kN>*>(halo);
      moments.template add<kWarpRows, kN>(products, warp, 0, place);
      __syncthreads();
      moments.store(p.epilogue.moments, t, p.to.channels, n0, p.to.channels - n0, int(blockDim.x) / kWarp);
      __syncthreads();
    }
    auto& strip = reinterpret_cast<Strip<kN>*>(halo)[warp];
    if (p.epilogue.grad_sums) {
      LaneGradient<T> mine(p.epilogue.sums, static_cast<const T*>(p.epilogue.sums.x), n0 + lane_column<kN>());
      write_rows<kWarpRows, kN>(products, strip, mine, to, n0, p.to.channels, place);
      __syncthreads();  // the strips are done with
      auto& sums = *reinterpret_cast<GradientSums<kMostWarps, kN>*>(halo);
      sums.template add<kN>(mine, warp, 0);
      __syncthreads();
      sums.store(p.epilogue.grad_sums, h.part + t, p.to.channels, n0, p.to.channels - n0, int(blockDim.x) / kWarp);
    } else {
      write_results<kWarpRows, kN>(products, strip, p.epilogue, to, n0, p.to.channels, 0, place);
    }
  }
  ptx::cp_async_wait<0>();
}

int log2_up(int n) {
  int log = 0;
  while ((1 << log) < n) ++log;
  return log;
}
int smaller(int a, int b) { return a < b ? a : b; }

// A block's tile: 16 columns (8 of narrow images), then rows, then images.
void shape_tiles(HaloParams& p, int warps, int count_h, int count_w) {
  const int log_rows = log2_up(warps * kWarpRows);
  p.log_w = count_w > 8 ? 4 : 3;
  p.log_h = smaller(log2_up(count_h), log_rows - p.log_w);
  p.log_images = log_rows - p.log_w - p.log_h;
}

HaloPhase halo_phase(const HaloParams& p, const Phase& phase) {
  HaloPhase h{};
  h.phase = phase;
  h.tiles_h = int(ceil_div(phase.h.count, 1 << p.log_h));
  h.tiles_w = int(ceil_div(phase.w.count, 1 << p.log_w));
  h.tiles = int(ceil_div(p.images, 1 << p.log_images)) * h.tiles_h * h.tiles_w;
  const auto extent = [](const Axis& a, int log) {
    return ((1 << log) - 1) * a.from_step + (a.taps > 0 ? a.taps - 1 : 0) * a.shift_step + 1;
  };
  h.halo_h = extent(phase.h, p.log_h);
  h.halo_w = extent(phase.w, p.log_w);
  h.halo = (h.halo_h * h.halo_w * p.pixel_chunks) << p.log_images;
  h.chunks = (phase.h.taps * phase.w.taps * p.pixel_chunks + 1) / 2 * 2;
  h.by_halo_h = Divider(uint32_t(h.halo_h));
  h.by_halo_w = Divider(uint32_t(h.halo_w));
  h.by_tiles_h = Divider(uint32_t(h.tiles_h > 0 ? h.tiles_h : 1));
  h.by_tiles_w = Divider(uint32_t(h.tiles_w > 0 ? h.tiles_w : 1));
  return h;
}

}  // namespace

int halo_columns(int64_t channels) { return channels <= 16 ? 16 : channels <= 32 ? 32 : 64; }

namespace {

HaloParams base_params(const ConvShape& s, bool gradient) {
  HaloParams p{};
  const Image in{int(s.in[1]), int(s.in[2]), int(s.in_channels), int(s.in_channels)};
  const Image out{int(s.out[1]), int(s.out[2]), int(s.out_channels), int(s.out_channels)};
  p.from = gradient ? out : in;
  p.to = gradient ? in : out;
  p.images = int(s.batch);
  p.taps = int(s.kernel[1] * s.kernel[2]);
  p.kernel_w = int(s.kernel[2]);
  p.pixel_chunks = (p.from.channels + 7) / 8;
  p.gradient = gradient;
  const int apart = p.pixel_chunks * (gradient ? 1 : int(s.stride[2]));
  p.swizzle_shift = 3;
  while (apart % (2 << p.swizzle_shift) == 0) ++p.swizzle_shift;
  p.swizzle_mask = (apart & -apart) >= 8 ? 7 : (apart & -apart) - 1;
  p.by_taps = Divider(uint32_t(p.taps));
  p.by_inner = Divider(uint32_t(p.from.channels));
  p.by_pixel_chunks = Divider(uint32_t(p.pixel_chunks));
  return p;
}

// The phases that have positions, in tiles of `warps` warps; and the shared memory for the largest of them.
void add_phases(HaloParams& p, const ConvShape& s, int warps) {
  const int steps_h = p.gradient ? int(s.stride[1]) : 1, steps_w = p.gradient ? int(s.stride[2]) : 1;
  shape_tiles(p, warps, int(ceil_div(p.to.h, steps_h)), int(ceil_div(p.to.w, steps_w)));
  const int columns = halo_columns(p.to.channels);
  p.phases = p.filter_chunks = 0;
  p.buffer_chunks = warps * 16 * (columns + 4) * int(sizeof(float)) / int(sizeof(Chunk));  // the strips
  for (int i = 0; i < steps_h * steps_w; ++i) {
    const Phase phase = p.gradient
                            ? make_phase(gradient_axis(s, 1, i / steps_w), gradient_axis(s, 2, i % steps_w), s.batch)
                            : make_phase(forward_axis(s, 1), forward_axis(s, 2), s.batch);
    if (phase.positions == 0) continue;
    const HaloPhase& h = p.phase[p.phases++] = halo_phase(p, phase);
    const int filter = columns * filter_pitch(h.chunks), halo = (h.halo + 7) / 8 * 8;
    p.filter_chunks = p.filter_chunks < filter ? filter : p.filter_chunks;
    p.buffer_chunks = p.buffer_chunks < halo ? halo : p.buffer_chunks;
  }
  p.filter_chunks = (p.filter_chunks + 7) / 8 * 8;  // halos begin at a multiple of 8 chunks
  p.buffer_chunks = (p.buffer_chunks + 7) / 8 * 8;
}

dim3 halo_grid(const HaloParams& p, int warps, const Stream& stream) {
  int tiles = 0;
  for (int i = 0; i < p.phases; ++i) tiles = tiles < p.phase[i].tiles ? p.phase[i].tiles : tiles;
  const int64_t fit = int64_t(shared_memory(stream)) / int64_t(shared_bytes(p) + 1024);
  const int64_t most = smaller(int(fit < 1 ? 1 : fit), 2 * kMostWarps / warps) * int64_t(stream.multiprocessors);
  return dim3(unsigned(tiles < most ? tiles : most), unsigned(p.phases),
              unsigned(ceil_div(p.to.channels, halo_columns(p.to.channels))));
}

template <class T, int kN>
void launch_halos(const HaloParams& p, const Correlation& c, int warps, const Stream& stream) {
  const dim3 grid = halo_grid(p, warps, stream);
  rt::launch(correlate_halos<T, kN>, {grid, unsigned(warps * kWarp), shared_bytes(p), stream.handle}, p,
             static_cast<const T*>(c.from), static_cast<const T*>(c.weight), static_cast<T*>(c.to));
}

}  // namespace

void halo_launch(const ConvShape& s, bool gradient, const Stream& stream, ConvChoice& choice) {
  HaloParams p = base_params(s, gradient);
  add_phases(p, s, choice.warps);
  const dim3 grid = halo_grid(p, choice.warps, stream);
  choice.blocks = int64_t(grid.x) * grid.y * grid.z;
  choice.threads = choice.warps * kWarp;
  choice.shared = int64_t(shared_bytes(p));
}

int halo_warps(const ConvShape& s, bool gradient, const Stream& stream) {
  const int64_t channels = gradient ? s.out_channels : s.in_channels,
                results = gradient ? s.in_channels : s.out_channels;
  if (s.groups != 1 || channels > 64 || results > 128 || results % 8 != 0) return 0;
  if (s.kernel[1] * s.kernel[2] > 64 || (gradient && s.stride[1] * s.stride[2] > kMostPhases)) return 0;
  for (int d = 1; d < 3; ++d)
    if (s.dilation[d] > 8 || s.stride[d] > 8) return 0;
  HaloParams p = base_params(s, gradient);
  for (const int warps : {8, 4, 2}) {
    add_phases(p, s, warps);
    if (p.phases == 0) return 0;
    const int64_t tiles = int64_t(p.phase[0].tiles) * p.phases * ceil_div(results, 64);
    if (shared_bytes(p) <= size_t(shared_memory(stream)) && (warps == 2 || tiles >= 2 * stream.multiprocessors))
      return warps;
  }
  return 0;
}

void correlate_few_channels(const Correlation& c, int warps, const Stream& stream) {
  HaloParams p = base_params(c.shape, c.gradient);
  p.prologue = c.prologue;
  p.epilogue = c.epilogue;
  add_phases(p, c.shape, warps);
  const PartialMoments moments(c, p.phase[0].tiles, stream);
  p.epilogue.moments = moments.partial();
  int parts = 0;
  for (int i = 0; i < p.phases; ++i) {
    p.phase[i].part = parts;
    parts += p.phase[i].tiles;
  }
  const PartialSums sums(c, parts, stream);
  p.epilogue.grad_sums = sums.partial();
  const auto with_columns = [&]<class T>(Type<T>) {
    const int columns = halo_columns(p.to.channels);
    if (columns == 16) return launch_halos<T, 16>(p, c, warps, stream);
    if (columns == 32) return launch_halos<T, 32>(p, c, warps, stream);
    return launch_halos<T, 64>(p, c, warps, stream);
  };
  if (c.dtype == DType::BFloat16)
    with_columns(Type<bfloat16>{});
  else
    with_columns(Type<float16>{});
  moments.join();
  sums.join();
}

}  // namespace skipway::cuda
