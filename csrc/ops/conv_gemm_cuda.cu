// Convolution as an implicit matrix product on tensor cores: forward and data gradient. Formulas: ops/conv.h.
//
//   rows     positions of the result          a[m][k] = from[position m + tap][channel],   k = (tap, channel)
//   columns  result channels                  b[n][k] = filter[n][tap][channel]
//
// The layers: Products (mma or multiply-adds on a stage) < correlate_tiles (three stages in flight) < the choice of a
// tile. A block computes one tile; a stage is 32 values of k (float32: 16), 64 bytes of each row. While stage k is
// multiplied, stages k + 1 and k + 2 are on their way.
//
// Bound by the tensor cores where channels are many: a tile of 128 x 128 does 64 operations per byte from L2.
#include "kernels/cuda/conv_load.cuh"
#include "ops/conv_kernels.cuh"

namespace skipway::cuda {
namespace {

template <class Tile>
struct Stages {
  Chunk a[kStages][Tile::kM * kRowChunks], b[kStages][Tile::kN * kRowChunks];
};
template <class Tile>
struct Strips {
  Strip<Tile::kWarpN> of_warp[Tile::kThreads / kWarp];
};
template <class Tile>
union TileShared {  // the others are used when the stages are done with
  Stages<Tile> stages;
  Moments<Tile::kWarpsM, Tile::kN> moments;
  Strips<Tile> strips;
  GradientSums<Tile::kWarpsM, Tile::kN> sums;
};

struct CorrelationParams {
  Phase phase[kMostPhases];
  Image from, to;
  int part[kMostPhases];       // a phase's first part of the sums
  int phases, taps, kernel_w;  // taps: of the whole filter
  ConvPrologue prologue;
  Epilogue epilogue;
};

// Blocks of a multiprocessor. Multiply-adds keep fewer warps busy, and their operands need registers.
template <class How, class Tile>
inline constexpr int kBlocks = std::is_same_v<How, PlainFloat> ? 3 : 512 / Tile::kThreads;

// Blocks: x counts tiles, columns first, so that blocks which share rows run together; y counts phases and groups.
template <class How, class Tile>
__global__ void __launch_bounds__(Tile::kThreads, kBlocks<How, Tile>)
    correlate_tiles(const __grid_constant__ CorrelationParams p, const typename element_of<How>::type* from,
                    const typename element_of<How>::type* filter, typename element_of<How>::type* to) {
  using T = typename element_of<How>::type;
  auto& shared = rt::dyn_shared<TileShared<Tile>>();
  const int group = int(blockIdx.y) / p.phases;
  const int which = int(blockIdx.y) - group * p.phases;
  const Phase& phase = p.phase[which];
  const int columns = (p.to.channels + Tile::kN - 1) / Tile::kN;
  const int m0 = int(blockIdx.x) / columns * Tile::kM, n0 = int(blockIdx.x) % columns * Tile::kN;
  if (m0 >= phase.positions) return;

  const ImageRows<T, Tile::kM, Tile::kThreads> image(phase, p.from, from + group * p.from.channels, m0);
  const int length = p.taps * p.from.channels;
  const FilterRows<T, Tile::kN, Tile::kThreads> rows{filter + int64_t(group) * p.to.channels * length, n0,
                                                     p.to.channels, length};
  TapCursor<T> next(image.chunk(), phase, p.from.channels), current = next;
  auto& stages = shared.stages;
  const auto load = [&](int stage) {
    image.load(phase, p.from, next, stages.a[stage]);
    rows.load(phase, p.kernel_w, p.from.channels, next, stages.b[stage]);
    next.advance(phase, p.from.channels);
  };

  const int warp = int(threadIdx.x) / kWarp, m = warp % Tile::kWarpsM * Tile::kWarpM,
            n = warp / Tile::kWarpsM * Tile::kWarpN;
  Products<How, Layout::Rows, Tile::kWarpM, Tile::kWarpN> products;
  const int steps = (phase.h.taps * phase.w.taps * p.from.channels + kStageK<T> - 1) / kStageK<T>;
#pragma unroll
  for (int s = 0; s < kStages - 1; ++s) {
    if (s < steps) load(s);
    ptx::cp_async_commit();
  }
  int reading = 0, writing = kStages - 1;
  for (int k = 0; k < steps; ++k) {
    ptx::cp_async_wait<kStages - 2>();  // this thread's part of stage k is there
    if (p.prologue.scale) {
      image.prologue(phase, p.from, current, p.prologue, group * p.from.channels, stages.a[reading]);
      current.advance(phase, p.from.channels);
    }
    __syncthreads();  // everyone's is; and everyone is done with stage k - 1, which is filled next
    if (k + kStages - 1 < steps) load(writing);
    ptx::cp_async_commit();
    products.add(stages.a[reading], m, stages.b[reading], n);
    reading = reading + 1 == kStages ? 0 : reading + 1;
    writing = writing + 1 == kStages ? 0 : writing + 1;
  }
  ptx::cp_async_wait<0>();
  __syncthreads();  // the stages are done with
  const int64_t first = int64_t(group) * p.to.channels;
  const auto place = [&](int row) {
    const int at = m0 + m + row;
    return at < phase.positions ? element_of_position(phase, p.to, decode(phase, at)) : -1;
  };
  if (p.epilogue.moments) {
    shared.moments.template add<Tile::kWarpM, Tile::kWarpN>(products, warp % Tile::kWarpsM, n, place);
    __syncthreads();
    shared.moments.store(p.epilogue.moments, int(blockIdx.x) / columns, p.to.pitch, first + n0, p.to.channels - n0,
                         Tile::kWarpsM);
    __syncthreads();
  }
  if (p.epilogue.grad_sums) {
    LaneGradient<T> mine(p.epilogue.sums, static_cast<const T*>(p.epilogue.sums.x) + first,
                         first + n0 + n + lane_column<Tile::kWarpN>());
    write_rows<Tile::kWarpM, Tile::kWarpN>(products, shared.strips.of_warp[warp], mine, to + first, n0 + n,
                                           p.to.channels, place);
    __syncthreads();  // the strips are done with
    shared.sums.template add<Tile::kWarpN>(mine, warp % Tile::kWarpsM, n);
    __syncthreads();
    shared.sums.store(p.epilogue.grad_sums, p.part[which] + int(blockIdx.x) / columns, p.to.pitch, first + n0,
                      p.to.channels - n0, Tile::kWarpsM);
    return;
  }
  Epilogue epilogue = p.epilogue;
  if (epilogue.map.residual) epilogue.map.residual = static_cast<const T*>(epilogue.map.residual) + first;
  write_results<Tile::kWarpM, Tile::kWarpN>(products, shared.strips.of_warp[warp], epilogue, to + first, n0 + n,
                                            p.to.channels, first, place);
}

// packed[n][tap][c] from weight[n][c][tap] (forward), or from weight[c][n][tap] (gradient), of each group.
template <class T>
__global__ void __launch_bounds__(256) pack_filters(int64_t count, int to_channels, int from_channels, int taps,
                                                    bool gradient, const T* weight, T* packed) {
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += int64_t(gridDim.x) * blockDim.x) {
    const int64_t row = i / from_channels, filter = row / taps, group = filter / to_channels;
    const int64_t c = i - row * from_channels, tap = row - filter * taps, n = filter - group * to_channels;
    const int64_t at =
        gradient ? (group * from_channels + c) * to_channels + n : (group * to_channels + n) * from_channels + c;
    packed[i] = weight[at * taps + tap];
  }
}

template <class How, class Tile>
void launch_tiles(const CorrelationParams& p, const Correlation& c, const void* filter, const Stream& stream) {
  using T = typename element_of<How>::type;
  int64_t most = 0;
  for (int i = 0; i < p.phases; ++i) most = most < p.phase[i].positions ? p.phase[i].positions : most;
  const int64_t tiles = ceil_div(most, Tile::kM) * ceil_div(p.to.channels, Tile::kN);
  if (tiles == 0) return;
  const dim3 grid(unsigned(tiles), unsigned(p.phases * c.shape.groups));
  rt::launch(correlate_tiles<How, Tile>, {grid, Tile::kThreads, sizeof(TileShared<Tile>), stream.handle}, p,
             static_cast<const T*>(c.from), static_cast<const T*>(filter), static_cast<T*>(c.to));
}

void launch_phases(const CorrelationParams& p, const Correlation& c, const void* filter, TileSize tile,
                   const Stream& stream) {
  dispatch_tiles(c.dtype, c.tf32, tile == TileSize::Large,
                 [&]<class How, class Tile>(Type<How>, Type<Tile>) { launch_tiles<How, Tile>(p, c, filter, stream); });
}

}  // namespace

void pack_filter(const Correlation& c, void* packed, const Stream& stream) {
  const ConvShape& s = c.shape;
  const int64_t taps = s.kernel[1] * s.kernel[2], count = s.out_channels * (s.in_channels / s.groups) * taps;
  const auto pack = [&]<class T>(Type<T>) {
    rt::launch(pack_filters<T>, {grid_for(count, 256, stream), 256, 0, stream.handle}, count, int(c.to_channels()),
               int(c.from_channels()), int(taps), c.gradient, static_cast<const T*>(c.weight), static_cast<T*>(packed));
  };
  if (c.dtype == DType::Float32)
    pack(Type<uint32_t>{});
  else
    pack(Type<uint16_t>{});
}

void correlate(const Correlation& c, TileSize tile, const Stream& stream) {
  const ConvShape& s = c.shape;
  CorrelationParams p{};
  const Image in{int(s.in[1]), int(s.in[2]), int(s.in_channels), int(s.in_channels / s.groups)};
  const Image out{int(s.out[1]), int(s.out[2]), int(s.out_channels), int(s.out_channels / s.groups)};
  p.from = c.gradient ? out : in;
  p.to = c.gradient ? in : out;
  p.taps = int(s.kernel[1] * s.kernel[2]);
  p.kernel_w = int(s.kernel[2]);
  p.prologue = c.prologue;
  p.epilogue = c.epilogue;
  const int64_t positions = s.batch * s.out[1] * s.out[2];
  const int rows = tile == TileSize::Large ? LargeTile::kM : SmallTile::kM;
  const PartialMoments moments(c, ceil_div(positions, rows), stream);
  p.epilogue.moments = moments.partial();

  const bool packed = p.taps == 1 && !c.gradient && reinterpret_cast<uintptr_t>(c.weight) % 16 == 0;  // already
  const size_t weights = size_t(s.out_channels) * size_t(s.in_channels / s.groups) * p.taps;
  const Workspace filter(stream, packed ? 0 : weights * size_of(c.dtype));
  if (!packed) pack_filter(c, filter.as<void>(), stream);
  const void* filters = packed ? c.weight : filter.as<void>();

  if (!c.gradient) {
    p.phase[p.phases++] = make_phase(forward_axis(s, 1), forward_axis(s, 2), s.batch);
    launch_phases(p, c, filters, tile, stream);
    return moments.join();
  }
  const auto phase_of = [&](int h, int w) {
    return make_phase(gradient_axis(s, 1, h), gradient_axis(s, 2, w), s.batch);
  };
  int parts = 0;
  if (c.epilogue.sums) {
    for (int h = 0; h < s.stride[1]; ++h)
      for (int w = 0; w < s.stride[2]; ++w) parts += int(ceil_div(phase_of(h, w).positions, rows));
  }
  const PartialSums sums(c, parts, stream);
  p.epilogue.grad_sums = sums.partial();
  int part = 0;
  for (int h = 0; h < s.stride[1]; ++h)
    for (int w = 0; w < s.stride[2]; ++w) {
      const Phase phase = phase_of(h, w);
      if (phase.positions == 0) continue;
      p.part[p.phases] = part;
      part += int(ceil_div(phase.positions, rows));
      p.phase[p.phases++] = phase;
      if (p.phases == kMostPhases) {
        launch_phases(p, c, filters, tile, stream);
        p.phases = 0;
      }
    }
  if (p.phases > 0) launch_phases(p, c, filters, tile, stream);
  sums.join();
}

}  // namespace skipway::cuda
