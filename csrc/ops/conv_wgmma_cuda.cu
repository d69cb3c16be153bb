// Convolution by warpgroups on sm_90a: forward and data gradient in 16-bit types, for many channels. The product is
// that of conv_gemm_cuda.cu; formulas: ops/conv.h.
//
// A block's 128 rows are a box of positions: 2^log_w columns x 2^log_h rows x as many images as are left. What a tap
// reads of the source is then a box of the same size, which TMA loads with one instruction per 64 channels; outside of
// the image it fills in zeros. A forward convolution of stride 2 reads every other pixel of an axis: the image is
// described by one map for each parity of rows and columns.
//
// Bound by the tensor cores: a tile of 128 x 128 does 64 operations per byte from L2. Two blocks share a
// multiprocessor, so that one multiplies while the other stores its results.
#include "ops/conv_kernels.cuh"

#if defined(SW_CUDA_SM90A) || defined(SW_CUDA_EMULATED)
#include "kernels/cuda/warpgroups.cuh"

namespace skipway::cuda {
namespace {

inline constexpr int kMostStride = 4;

struct Box {
  int log_w = 0, log_h = 0;
  int tiles_w = 0, tiles_h = 0, tiles = 0;  // tiles of all images
  int w() const { return 1 << log_w; }
  int h() const { return 1 << log_h; }
  int images() const { return kRingRows >> (log_w + log_h); }
};

// The box that needs the fewest tiles; of those, the one with the largest and then the squarest part of an image.
Box choose_box(int64_t w, int64_t h, int64_t images) {
  Box best;
  const auto extent = [](const Box& b) {
    return 8 * (b.log_w + b.log_h) - (b.log_w > b.log_h ? b.log_w - b.log_h : b.log_h - b.log_w);
  };
  for (int log_w = 0; log_w <= 7; ++log_w)
    for (int log_h = 0; log_w + log_h <= 7; ++log_h) {
      Box box{log_w, log_h};
      box.tiles_w = int(ceil_div(w, box.w()));
      box.tiles_h = int(ceil_div(h, box.h()));
      const int64_t tiles = box.tiles_w * box.tiles_h * ceil_div(images, box.images());
      if (tiles >> 31) continue;
      box.tiles = int(tiles);
      if (best.tiles == 0 || tiles < best.tiles || (tiles == best.tiles && extent(box) > extent(best))) best = box;
    }
  return best;
}

struct WarpgroupParams {
  ptx::TensorMap filter;       // [result channel][tap][source channel]
  ptx::TensorMap image[2][2];  // by the parity of row and column; stride 1 has one
  Phase phase[kMostPhases];
  Box box;
  Image from, to;
  int images, phases, kernel_w;
  int part;  // of the first phase's first tile, in the sums of the epilogue
  Epilogue epilogue;
};

// Where a block's box begins.
struct Corner {
  int image, h, w;
  __device__ __forceinline__ Corner(const Box& box, int tile) {
    const int row = tile / box.tiles_w, layer = row / box.tiles_h;
    w = (tile - row * box.tiles_w) << box.log_w;
    h = (row - layer * box.tiles_h) << box.log_h;
    image = layer * (kRingRows >> (box.log_w + box.log_h));
  }
};

// By one thread: all stages of the sum, in the order (tap row, tap column, channels).
template <int kN>
__device__ __forceinline__ void produce(const WarpgroupParams& p, const Phase& phase, const Corner& at, int n0,
                                        RingStages<kN>& stages, RingBarriers<RingStages<kN>::kCount>& barriers) {
  RingPlace<RingStages<kN>::kCount> next;
  const int odd_h = phase.h.from_step - 1, odd_w = phase.w.from_step - 1;  // masks, and logarithms, of steps 1 and 2
  for (int r = 0; r < phase.h.taps; ++r)
    for (int s = 0; s < phase.w.taps; ++s) {
      const int dy = phase.h.shift + r * phase.h.shift_step, dx = phase.w.shift + s * phase.w.shift_step;
      const int tap = (phase.h.tap + r * phase.h.tap_step) * p.kernel_w + phase.w.tap + s * phase.w.tap_step;
      const ptx::TensorMap* image = &p.image[dy & odd_h][dx & odd_w];
      for (int c = 0; c < p.from.channels; c += kRingK) {
        uint64_t* full = &barriers.full[next.stage];
        ptx::mbarrier_wait(&barriers.empty[next.stage], next.phase ^ 1);  // a new barrier lets this pass
        ptx::mbarrier_arrive_expect_tx(full, RingStages<kN>::kBytes);
        ptx::tma_load(stages.a[next.stage], image, full, c, at.w + (dx >> odd_w), at.h + (dy >> odd_h), at.image);
        ptx::tma_load(stages.b[next.stage], &p.filter, full, c, tap, n0);
        next.advance();
      }
    }
}

template <int kN>
struct WarpgroupShared {
  union {  // the others are used when the stages are done with
    RingStages<kN> stages;
    Moments<kConsumerWarps, kN> moments;
    Strip<kN> strips[kConsumerWarps];
    GradientSums<kConsumerWarps, kN> sums;
  };
  RingBarriers<RingStages<kN>::kCount> barriers;
};

// A warp's 16 rows of results, as write_results() of conv_epilogue.cuh: with one strip only, the coefficients of a lane
// are read when its sums are in shared memory, as registers are few.
template <class T, int kN, class Place>
__device__ __forceinline__ void write_strip(const Strip<kN>& strip, const Epilogue& e, T* to, int n0, int channels,
                                            const Place& place) {
  constexpr int kLanes = kN / kLaneChannels;
  const int lane = threadIdx.x % kWarp, column = lane % kLanes * kLaneChannels;
  const bool inside = n0 + column < channels;
  const LaneEpilogue<T> mine(e, n0 + column, inside);
#pragma unroll
  for (int r = lane / kLanes; r < 16; r += kWarp / kLanes) {
    const int64_t at = inside ? place(r) : -1;
    if (at >= 0) mine.finish(&strip.v[r][column], to, at + n0 + column);
  }
}

// Blocks: x counts tiles, columns first, so that blocks which share rows run together; y counts phases.
template <class T, int kN>
__global__ void __launch_bounds__(kRingThreads, 2)
    correlate_warpgroups(const __grid_constant__ WarpgroupParams p, T* to) {
  auto& shared = rt::dyn_shared<WarpgroupShared<kN>>();
  const Phase& phase = p.phase[blockIdx.y];
  const int columns = (p.to.channels + kN - 1) / kN, tile = int(blockIdx.x) / columns;
  const int n0 = int(blockIdx.x) % columns * kN;
  const Corner corner(p.box, tile);
  const bool some = corner.h < phase.h.count && corner.w < phase.w.count;
  if (!some && !p.epilogue.grad_sums) return;  // else the tile's sums are zeros

  if (threadIdx.x == 0) shared.barriers.init();
  __syncthreads();
  const int warp = int(threadIdx.x) / kWarp;
  WarpgroupProducts<T, kN> products;
  if (warp == kConsumerWarps) {
    if (threadIdx.x % kWarp == 0) produce<kN>(p, phase, corner, n0, shared.stages, shared.barriers);
    __syncwarp();
  } else {
    const int steps = phase.h.taps * phase.w.taps * ((p.from.channels + kRingK - 1) / kRingK);
    consume<T, kN>(shared.stages, shared.barriers, warp / kGroupWarps, steps, products);
  }
  __syncthreads();  // the stages are done with

  const auto place = [&](int row) -> int64_t {
    const int i = warp * 16 + row;
    const int w = corner.w + (i & ((1 << p.box.log_w) - 1)),
              h = corner.h + (i >> p.box.log_w & ((1 << p.box.log_h) - 1));
    const int image = corner.image + (i >> (p.box.log_w + p.box.log_h));
    const bool inside = w < phase.w.count && h < phase.h.count && image < p.images;
    return inside ? element_of_position(phase, p.to, {image, h, w}) : -1;
  };
  if (p.epilogue.moments) {
    if (warp < kConsumerWarps) shared.moments.template add<16, kN>(products, warp, 0, place);
    __syncthreads();
    shared.moments.store(p.epilogue.moments, tile, p.to.pitch, n0, p.to.channels - n0, kConsumerWarps);
    __syncthreads();
  }
  if (p.epilogue.grad_sums) {
    LaneGradient<T> mine(p.epilogue.sums, static_cast<const T*>(p.epilogue.sums.x), n0 + lane_column<kN>());
    if (warp < kConsumerWarps) write_rows<16, kN>(products, shared.strips[warp], mine, to, n0, p.to.channels, place);
    __syncthreads();  // the strips are done with
    if (warp < kConsumerWarps) shared.sums.template add<kN>(mine, warp, 0);
    __syncthreads();
    shared.sums.store(p.epilogue.grad_sums, p.part + int(blockIdx.y) * p.box.tiles + tile, p.to.pitch, n0,
                      p.to.channels - n0, kConsumerWarps);
    return;
  }
  if (warp == kConsumerWarps) return;
  Strip<kN>& strip = shared.strips[warp];
  products.strip(0, [&](int r, int c, float value) { strip.v[r][c] = value; });
  __syncwarp();
  write_strip<T>(strip, p.epilogue, to, n0, p.to.channels, place);
}

// Maps of the source with steps of step_h and step_w pixels, one for each first pixel of a step.
bool map_images(WarpgroupParams& p, const Correlation& c, int step_h, int step_w) {
  const uint64_t pixel = uint64_t(p.from.pitch) * 2, row = pixel * p.from.w;
  for (int y = 0; y < step_h; ++y)
    for (int x = 0; x < step_w; ++x) {
      const ptx::TensorLayout layout{4,
                                     {uint64_t(p.from.channels), uint64_t(ceil_div(p.from.w - x, step_w)),
                                      uint64_t(ceil_div(p.from.h - y, step_h)), uint64_t(p.images)},
                                     {0, pixel * step_w, row * step_h, row * p.from.h},
                                     {kRingK, uint32_t(p.box.w()), uint32_t(p.box.h()), uint32_t(p.box.images())}};
      const char* first = static_cast<const char*>(c.from) + y * row + x * pixel;
      if (!ptx::make_tensor_map(&p.image[y][x], first, c.dtype == DType::BFloat16, layout)) return false;
    }
  return true;
}

bool map_filter(WarpgroupParams& p, const Correlation& c, const void* packed, int columns) {
  const uint64_t taps = uint64_t(c.shape.kernel[1] * c.shape.kernel[2]), line = uint64_t(p.from.channels) * 2;
  const ptx::TensorLayout layout{3,
                                 {uint64_t(p.from.channels), taps, uint64_t(p.to.channels)},
                                 {0, line, line * taps},
                                 {kRingK, 1, uint32_t(columns)}};
  return ptx::make_tensor_map(&p.filter, packed, c.dtype == DType::BFloat16, layout);
}

template <class T, int kN>
void launch_warpgroups(const WarpgroupParams& p, const Correlation& c, const Stream& stream) {
  const dim3 grid(unsigned(p.box.tiles * ceil_div(p.to.channels, kN)), unsigned(p.phases));
  rt::launch(correlate_warpgroups<T, kN>, {grid, kRingThreads, sizeof(WarpgroupShared<kN>), stream.handle}, p,
             static_cast<T*>(c.to));
}
template <class T>
void launch_columns(const WarpgroupParams& p, const Correlation& c, int columns, const Stream& stream) {
  columns == 128 ? launch_warpgroups<T, 128>(p, c, stream) : launch_warpgroups<T, 64>(p, c, stream);
}

void launch_phases(const WarpgroupParams& p, const Correlation& c, int columns, const Stream& stream) {
  c.dtype == DType::BFloat16 ? launch_columns<bfloat16>(p, c, columns, stream)
                             : launch_columns<float16>(p, c, columns, stream);
}

void launch_forward(WarpgroupParams& p, const Correlation& c, int columns, const Stream& stream) {
  const PartialMoments moments(c, p.box.tiles, stream);
  p.epilogue.moments = moments.partial();
  p.phases = 1;
  p.phase[0] = make_phase(forward_axis(c.shape, 1), forward_axis(c.shape, 2), c.shape.batch);
  launch_phases(p, c, columns, stream);
  moments.join();
}

void launch_gradient(WarpgroupParams& p, const Correlation& c, int columns, const Stream& stream) {
  const ConvShape& s = c.shape;
  Phase phases[kMostStride * kMostStride];
  int count = 0;
  for (int h = 0; h < s.stride[1]; ++h)
    for (int w = 0; w < s.stride[2]; ++w) {
      phases[count] = make_phase(gradient_axis(s, 1, h), gradient_axis(s, 2, w), s.batch);
      count += phases[count].positions > 0;
    }
  const PartialSums sums(c, int64_t(count) * p.box.tiles, stream);
  p.epilogue.grad_sums = sums.partial();
  for (int first = 0; first < count; first += kMostPhases) {
    p.part = first * p.box.tiles;
    p.phases = count - first < kMostPhases ? count - first : kMostPhases;
    for (int i = 0; i < p.phases; ++i) p.phase[i] = phases[first + i];
    launch_phases(p, c, columns, stream);
  }
  sums.join();
}

// The largest phase comes first: its counts are those of all, or one less.
Box box_of(const ConvShape& s, bool gradient) {
  const Axis h = gradient ? gradient_axis(s, 1, 0) : forward_axis(s, 1),
             w = gradient ? gradient_axis(s, 2, 0) : forward_axis(s, 2);
  return choose_box(w.count, h.count, s.batch);
}

}  // namespace

int64_t warpgroup_tiles(const ConvShape& s, bool gradient, const Stream& stream) {
  const int most = gradient ? kMostStride : 2;
  const bool strided =
      s.stride[1] > most || s.stride[2] > most || (!gradient && (s.in[1] < s.stride[1] || s.in[2] < s.stride[2]));
  if (stream.compute_capability != 90 || s.groups != 1 || strided || s.batch == 0) return 0;
  return box_of(s, gradient).tiles;
}

int64_t warpgroup_shared(int columns) {
  return columns == 128 ? sizeof(WarpgroupShared<128>) : sizeof(WarpgroupShared<64>);
}

bool correlate_by_warpgroups(const Correlation& c, int columns, const Stream& stream) {
  const ConvShape& s = c.shape;
  WarpgroupParams p{};
  const Image in{int(s.in[1]), int(s.in[2]), int(s.in_channels), int(s.in_channels)};
  const Image out{int(s.out[1]), int(s.out[2]), int(s.out_channels), int(s.out_channels)};
  p.from = c.gradient ? out : in;
  p.to = c.gradient ? in : out;
  p.images = int(s.batch);
  p.kernel_w = int(s.kernel[2]);
  p.epilogue = c.epilogue;
  p.box = box_of(s, c.gradient);
  if (p.box.tiles == 0) return true;

  const bool packed = s.kernel[1] * s.kernel[2] == 1 && !c.gradient && reinterpret_cast<uintptr_t>(c.weight) % 16 == 0;
  const size_t weights = size_t(s.out_channels * s.in_channels * s.kernel[1] * s.kernel[2]);
  const Workspace filter(stream, packed ? 0 : weights * size_of(c.dtype));
  const int step_h = c.gradient ? 1 : int(s.stride[1]), step_w = c.gradient ? 1 : int(s.stride[2]);
  if (!map_images(p, c, step_h, step_w) || !map_filter(p, c, packed ? c.weight : filter.as<void>(), columns))
    return false;
  if (!packed) pack_filter(c, filter.as<void>(), stream);

  c.gradient ? launch_gradient(p, c, columns, stream) : launch_forward(p, c, columns, stream);
  return true;
}

}  // namespace skipway::cuda

#else  // a library for other devices alone

namespace skipway::cuda {

int64_t warpgroup_tiles(const ConvShape&, bool, const Stream&) { return 0; }
int64_t warpgroup_shared(int) { return 0; }
bool correlate_by_warpgroups(const Correlation&, int, const Stream&) { return false; }

}  // namespace skipway::cuda
#endif
