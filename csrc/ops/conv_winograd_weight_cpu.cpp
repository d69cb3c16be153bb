// Weight gradient of 3x3 convolutions with stride 1 by Winograd's F(4x4, 3x3), in float32: for each point p
//   s[p][k][c] = sum over tiles t of m[p][t][k] * v[p][t][c],   dweight[k][c] = G^T s[.][k][c] G
// with v = B^T d B of the source patches and m = A dy A^T of the tiles of the result's gradient.
//
// Where s is small, parts of the tiles, a fixed number for the shape, each sum into their own s, and these are added in
// order. Where s would fill the cache, all tiles are transformed first, and each task sums a block of s over all of
// them.
#include "kernels/winograd_tiles.h"
#include "ops/conv_winograd.h"

namespace skipway::SW_ISA {
namespace {

enum Slot { kSums, kSource, kGradient };
constexpr int kLanes = Lanes<float>::n;
constexpr int64_t kLargeSums = 128 * 128;      // channel pairs from which on tasks take blocks
constexpr int64_t kRows = 32, kColumns = 128;  // of a block
constexpr int64_t kMaxParts = 16, kPartBytes = 4 << 20, kChunkBytes = 24 << 20;

template <class S>
struct WeightGrad {
  WinoTiles tiles;
  WinoImages source, gradient;
  const S *x, *dy;
  S* dweight;
  ConvPrologue prologue;  // of x
};

// sums[p][k][c] (+)= m[p]^T v[p] over `tiles` tiles, of `rows` channels k and `columns` channels c.
void multiply(int64_t tiles, int64_t rows, int64_t columns, const WinoMatrix& m, const WinoMatrix& v,
              const WinoMatrix& sums, bool first) {
  using Tile = MicroTile<float>;
  const int64_t vecs = columns / kLanes, pieces = ceil_div(vecs, Tile::kMaxColumnVecs);
  const int64_t strips = ceil_div(rows, Tile::kMaxColumnRows);
  MicroArgs<float> a{};
  a.a_row = 1;
  a.a_step = m.row;
  a.b_step = v.row;
  a.inner = tiles;
  a.outer = 1;
  a.c_row = a.start_row = sums.row;
  for (int p = 0; p < kWinoPoints; ++p)
    for (int64_t j = 0; j < pieces; ++j) {
      const int64_t vec = vecs * j / pieces;
      const int width = int(vecs * (j + 1) / pieces - vec);
      a.b = v.data + p * v.pitch + vec * kLanes;
      for (int64_t i = 0; i < strips; ++i) {
        const int64_t k = rows * i / strips, height = rows * (i + 1) / strips - k;
        a.a = m.data + p * m.pitch + k;
        a.c = sums.data + p * sums.pitch + k * sums.row + vec * kLanes;
        a.start = first ? nullptr : a.c;
        micro_by_columns<float>(int(height), width)(a);
      }
    }
}

// dweight[k0 + k][c0 + c] for rows [begin, end) of s, and all of its `columns`: the sum of the parts, `step` elements
// apart, in order.
template <class S>
void transform_sums(const WeightGrad<S>& g, const WinoMatrix& sums, int64_t parts, int64_t step, int64_t begin,
                    int64_t end, int64_t columns, int64_t k0, int64_t c0) {
  for (int64_t k = begin; k < end; ++k)
    for (int64_t c = 0; c < columns; c += kLanes) {
      alignas(64) float taps[9][kLanes];
      const float* at = sums.data + k * sums.row + c;
      both_axes<WinoFilterGradient>(
          [&](int r, int s) {
            const float* point = at + (r * kWinoPatch + s) * sums.pitch;
            vfloat sum = vload(point);
            for (int64_t part = 1; part < parts; ++part) sum += vload(point + part * step);
            return sum;
          },
          [&](int r, int s, vfloat x) { vstore(taps[r * 3 + s], x); });
      S* to = g.dweight + ((k0 + k) * g.source.channels + c0 + c) * 9;
      for (int lane = 0; lane < kLanes; ++lane)
        for (int tap = 0; tap < 9; ++tap) to[lane * 9 + tap] = S(taps[tap][lane]);
    }
}

template <class S>
void transform_both(const WeightGrad<S>& g, int64_t first, int64_t count, const WinoMatrix& v, const WinoMatrix& m) {
  transform_patches<WinoInput>(g.tiles, g.source, g.x, g.prologue, first, count, g.tiles.unit, v);
  transform_patches<WinoGradient>(g.tiles, g.gradient, g.dy, ConvPrologue{}, first, count, g.tiles.unit, m);
}

template <class S>
void by_parts(const WeightGrad<S>& g) {
  const int64_t sources = g.source.channels, results = g.gradient.channels, unit = g.tiles.unit;
  const int64_t units = ceil_div(g.tiles.count, unit), pitch = sources * results + 16, step = kWinoPoints * pitch;
  const int64_t parts = smaller(clamped(kPartBytes / (step * int64_t(sizeof(float))), 2, kMaxParts), units);
  float* sums = static_cast<float*>(thread_scratch(kSums, size_t(parts * step) * sizeof(float)));
  parallel_tasks(parts, [&](int64_t part) {
    const WinoMatrix v = wino_scratch(kSource, sources, unit), m = wino_scratch(kGradient, results, unit);
    const int64_t begin = units * part / parts, end = units * (part + 1) / parts;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t count = smaller(unit, g.tiles.count - i * unit);
      transform_both(g, i * unit, count, v, m);
      multiply(count, results, sources, m, v, {sums + part * step, sources, pitch}, i == begin);
    }
  });
  parallel_for(results, larger(1, (8 << 10) / sources), [&](int64_t begin, int64_t end) {
    transform_sums(g, {sums, sources, pitch}, parts, step, begin, end, sources, 0, 0);
  });
}

template <class S>
void by_blocks(const WeightGrad<S>& g) {
  const int64_t sources = g.source.channels, results = g.gradient.channels;
  const int64_t bytes = kWinoPoints * (sources + results) * int64_t(sizeof(float));
  const int64_t chunk = clamped(kChunkBytes / bytes, 1, g.tiles.count), unit = smaller(g.tiles.unit, 14);
  const WinoMatrix v = wino_scratch(kSource, sources, chunk), m = wino_scratch(kGradient, results, chunk);
  const int64_t down = ceil_div(results, kRows), across = ceil_div(sources, kColumns);
  const int64_t pitch = kRows * kColumns + 16, step = kWinoPoints * pitch;
  const bool once = chunk == g.tiles.count;  // then a block's sums live no longer than its task
  float* all =
      once ? nullptr : static_cast<float*>(thread_scratch(kSums, size_t(down * across * step) * sizeof(float)));
  for (int64_t first = 0; first < g.tiles.count; first += chunk) {
    const int64_t count = smaller(chunk, g.tiles.count - first);
    parallel_tasks(ceil_div(count, unit), [&](int64_t task) {
      const int64_t begin = task * unit;
      transform_both(g, first + begin, smaller(unit, count - begin), {v.data + begin * v.row, v.row, v.pitch},
                     {m.data + begin * m.row, m.row, m.pitch});
    });
    parallel_tasks(down * across, [&](int64_t task) {
      const int64_t k0 = task / across * kRows, c0 = task % across * kColumns;
      const int64_t rows = smaller(kRows, results - k0), columns = smaller(kColumns, sources - c0);
      float* data = once ? static_cast<float*>(thread_scratch(kSums, size_t(step) * sizeof(float))) : all + task * step;
      const WinoMatrix sums{data, kColumns, pitch};
      multiply(count, rows, columns, {m.data + k0, m.row, m.pitch}, {v.data + c0, v.row, v.pitch}, sums, first == 0);
      if (first + count == g.tiles.count) transform_sums(g, sums, 1, 0, 0, rows, columns, k0, c0);
    });
  }
}

template <class S>
void weight_grad(const ConvWeightGradArgs& a) {
  const ConvShape& s = a.shape;
  WeightGrad<S> g{};
  for (int i = 0; i < 2; ++i) {
    g.source.size[i] = s.in[i + 1];
    g.source.low[i] = -s.padding[i + 1];
    g.gradient.size[i] = s.out[i + 1];
  }
  g.source.channels = s.in_channels;
  g.gradient.channels = s.out_channels;
  g.tiles = make_wino_tiles(g.gradient.size, s.batch);
  g.x = static_cast<const S*>(a.x);
  g.dy = static_cast<const S*>(a.dy);
  g.dweight = static_cast<S*>(a.dweight);
  g.prologue = a.prologue;
  s.in_channels* s.out_channels > kLargeSums ? by_blocks(g) : by_parts(g);
}

}  // namespace

void winograd_weight_grad(const ConvWeightGradArgs& a) {
  a.dtype == DType::BFloat16 ? weight_grad<bfloat16>(a) : weight_grad<float>(a);
}

}  // namespace skipway::SW_ISA
