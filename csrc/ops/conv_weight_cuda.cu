// A convolution's weight gradient as an implicit matrix product on tensor cores. Formulas: ops/conv.h.
//
//   rows     k, output channels              a[m][p] = dy[p][m],   p = output positions
//   columns  (tap, c)                        b[p][n] = x[position p + tap][c]
//
// Both operands have p as their rows in memory, so stages have the layout Columns and fragments are transposed on their
// way to registers. Results are few and the sum is long: it is cut into pieces of positions (split-K), whose float32
// sums go to a workspace; a second kernel adds them in order, so that results are the same in every run.
//
// Bound by the tensor cores where channels are many, else by reading x and dy: x comes from L2 once per tap.
#include "kernels/cuda/conv_load.cuh"
#include "ops/conv_kernels.cuh"

namespace skipway::cuda {
namespace {

template <class T, class Tile>
struct Stages {                                                               // kStageK<T> positions each
  static constexpr int kA = Tile::kM / kChunk<T>, kB = Tile::kN / kChunk<T>;  // chunks of a position
  Chunk a[kStages][kStageK<T> * kA], b[kStages][kStageK<T> * kB];
};

struct WeightGradParams {
  Phase phase;  // forward, with every tap
  Image x, dy;
  int taps, piece;  // piece: positions
  ConvPrologue prologue;
};

// The chunks of one operand that a thread copies: one column of chunks, several positions of each stage.
template <class T, int kChunks, int kThreads>
struct PositionRows {
  static constexpr int kStep = kThreads / kChunks, kEach = kStageK<T> / kStep;
  static_assert(kThreads % kChunks == 0 && kStageK<T> % kStep == 0);
  static __device__ __forceinline__ int chunk() { return int(threadIdx.x) % kChunks; }
  static __device__ __forceinline__ int row(int i) { return int(threadIdx.x) / kChunks + i * kStep; }
};

// Blocks: x counts tiles, y pieces, z groups.
template <class How, class Tile>
__global__ void __launch_bounds__(Tile::kThreads, 512 / Tile::kThreads)
    weight_tiles(const __grid_constant__ WeightGradParams p, const typename element_of<How>::type* x,
                 const typename element_of<How>::type* dy, float* partial) {
  using T = typename element_of<How>::type;
  using Shared = Stages<T, Tile>;
  using RowsA = PositionRows<T, Shared::kA, Tile::kThreads>;
  using RowsB = PositionRows<T, Shared::kB, Tile::kThreads>;
  auto& stages = rt::dyn_shared<Shared>();
  const int columns = p.taps * p.x.channels, tiles_n = (columns + Tile::kN - 1) / Tile::kN;
  const int m0 = int(blockIdx.x) / tiles_n * Tile::kM, n0 = int(blockIdx.x) % tiles_n * Tile::kN, group = blockIdx.z;
  const int begin = int(blockIdx.y) * p.piece;
  const int end = p.phase.positions - begin < p.piece ? p.phase.positions : begin + p.piece;

  // This thread's columns: of dy, k; of x, a tap and channels.
  const int k = m0 + RowsA::chunk() * kChunk<T>, n = n0 + RowsB::chunk() * kChunk<T>;
  const bool some_k = k < p.dy.channels, some_n = n < columns;
  const int tap = some_n ? n / p.x.channels : 0, c = n - tap * p.x.channels;
  const int tap_h = tap / p.phase.w.taps, tap_w = tap - tap_h * p.phase.w.taps;
  const int shift_h = p.phase.h.shift + tap_h * p.phase.h.shift_step;
  const int shift_w = p.phase.w.shift + tap_w * p.phase.w.shift_step;
  const int channel = group * p.x.channels + (some_n ? c : 0);  // of x
  dy += group * p.dy.channels + k;
  x += channel;
  // Which of this thread's chunks of x are, kEach bits for each stage, the last loaded one's lowest.
  unsigned in_image = 0;
  const auto load = [&](int stage, int first) {
    unsigned bits = 0;
#pragma unroll
    for (int i = 0; i < RowsA::kEach; ++i) {
      const int row = RowsA::row(i), at = first + row;
      const bool inside = at < end && some_k;
      ptx::cp_async16(&stages.a[stage][columns_at<T>(row, RowsA::chunk())], inside ? dy + int64_t(at) * p.dy.pitch : dy,
                      inside);
    }
#pragma unroll
    for (int i = 0; i < RowsB::kEach; ++i) {
      const int row = RowsB::row(i), at = first + row;
      const Position q = decode(p.phase, at < end ? at : begin);
      const int h = q.h * p.phase.h.from_step + shift_h, w = q.w * p.phase.w.from_step + shift_w;
      const bool inside = at < end && some_n && unsigned(h) < unsigned(p.x.h) && unsigned(w) < unsigned(p.x.w);
      ptx::cp_async16(&stages.b[stage][columns_at<T>(row, RowsB::chunk())],
                      inside ? x + p.x.pixel(q.image, h, w) * p.x.pitch : x, inside);
      bits |= unsigned(inside) << i;
    }
    in_image = in_image << RowsB::kEach | bits;
  };

  const int warp = int(threadIdx.x) / kWarp, m = warp % Tile::kWarpsM * Tile::kWarpM,
            column = warp / Tile::kWarpsM * Tile::kWarpN;
  Products<How, Layout::Columns, Tile::kWarpM, Tile::kWarpN> products;
  const int steps = (end - begin + kStageK<T> - 1) / kStageK<T>;
#pragma unroll
  for (int s = 0; s < kStages - 1; ++s) {
    if (s < steps)
      load(s, begin + s * kStageK<T>);
    else
      in_image <<= RowsB::kEach;
    ptx::cp_async_commit();
  }
  int reading = 0, writing = kStages - 1;
  for (int s = 0; s < steps; ++s) {
    ptx::cp_async_wait<kStages - 2>();
    if (p.prologue.scale) {  // as in conv_load.cuh: by the thread that copied the chunk
      apply_prologue<T, RowsB::kEach>(p.prologue, channel, in_image >> RowsB::kEach * (kStages - 2), [&](int i) {
        return &stages.b[reading][columns_at<T>(RowsB::row(i), RowsB::chunk())];
      });
    }
    __syncthreads();
    if (s + kStages - 1 < steps)
      load(writing, begin + (s + kStages - 1) * kStageK<T>);
    else
      in_image <<= RowsB::kEach;
    ptx::cp_async_commit();
    products.add(stages.a[reading], m / kChunk<T>, stages.b[reading], column / kChunk<T>);
    reading = reading + 1 == kStages ? 0 : reading + 1;
    writing = writing + 1 == kStages ? 0 : writing + 1;
  }
  ptx::cp_async_wait<0>();
  float* to = partial + (int64_t(blockIdx.y) * gridDim.z + group) * p.dy.channels * columns;
  products.each([&](int i, int j, float sum) {
    const int row = m0 + m + i, at = n0 + column + j;
    if (row < p.dy.channels && at < columns) to[int64_t(row) * columns + at] = sum;
  });
}

// An image whose channels are no multiple of 8, with zeros for the ones that are missing, through the prologue.
template <class T>
__global__ void __launch_bounds__(256)
    pad_channels(int64_t pixels, int channels, int padded, const T* x, ConvPrologue prologue, T* to) {
  const int64_t count = pixels * padded;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += int64_t(gridDim.x) * blockDim.x) {
    const int64_t pixel = i / padded, c = i - pixel * padded;
    const T v = c < channels ? x[pixel * channels + c] : T(0.0f);
    to[i] = prologue.scale && c < channels ? through_prologue(prologue, c, v) : v;
  }
}

template <class How, class Tile>
void launch_weight(const WeightGradParams& p, const ConvWeightGradArgs& a, int pieces, const Stream& stream) {
  using T = typename element_of<How>::type;
  const int64_t groups = a.shape.groups, columns = int64_t(p.taps) * p.x.channels,
                count = a.shape.out_channels * columns;
  const Workspace partial(stream, size_t(pieces * count) * sizeof(float));
  const dim3 grid(unsigned(ceil_div(p.dy.channels, Tile::kM) * ceil_div(columns, Tile::kN)), unsigned(pieces),
                  unsigned(groups));
  rt::launch(weight_tiles<How, Tile>, {grid, Tile::kThreads, sizeof(Stages<T, Tile>), stream.handle}, p,
             static_cast<const T*>(a.x), static_cast<const T*>(a.dy), partial.as<float>());
  sum_pieces({a.shape.out_channels, p.taps, p.x.channels, a.shape.in_channels / groups, pieces}, a.dtype,
             partial.as<void>(), a.dweight, stream);
}

}  // namespace

void weight_gradient(const ConvWeightGradArgs& args, const ConvChoice& choice, const Stream& stream) {
  ConvWeightGradArgs a = args;
  const ConvShape& s = a.shape;
  const int64_t images = s.batch * s.in[1] * s.in[2], padded = (s.in_channels + 7) / 8 * 8;
  const bool pad = s.groups == 1 && padded != s.in_channels;
  const Workspace copy(stream, pad ? size_t(images * padded) * size_of(a.dtype) : 0);
  if (pad) {
    const auto fill = [&]<class T>(Type<T>) {
      rt::launch(pad_channels<T>, {grid_for(images * padded, 256, stream), 256, 0, stream.handle}, images,
                 int(s.in_channels), int(padded), static_cast<const T*>(a.x), a.prologue, copy.as<T>());
    };
    if (a.dtype == DType::Float32)
      fill(Type<float>{});
    else if (a.dtype == DType::BFloat16)
      fill(Type<bfloat16>{});
    else
      fill(Type<float16>{});
    a.x = copy.as<void>();
    a.prologue = {};
  }
  WeightGradParams p{};
  p.phase = make_phase(forward_axis(s, 1), forward_axis(s, 2), s.batch);
  p.x = {int(s.in[1]), int(s.in[2]), int(s.in_channels), int(s.in_channels / s.groups)};
  if (pad) p.x.pitch = p.x.channels = int(padded);
  p.dy = {int(s.out[1]), int(s.out[2]), int(s.out_channels), int(s.out_channels / s.groups)};
  p.taps = int(s.kernel[1] * s.kernel[2]);
  p.piece = choice.piece;
  p.prologue = a.prologue;
  const bool large = choice.tile == TileSize::Large;
  dispatch_tiles(a.dtype, a.tf32, large, [&]<class How, class Tile>(Type<How>, Type<Tile>) {
    launch_weight<How, Tile>(p, a, choice.pieces, stream);
  });
}

}  // namespace skipway::cuda
