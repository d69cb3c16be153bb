// Forward and data gradient of 3x3 convolutions with stride 1 by Winograd's F(4x4, 3x3), in float32
// (kernels/winograd.h has the algorithm and its transforms); images and weights may be bfloat16. For each of the 36
// points p, over tiles t of 4x4 results:
//   m[p][t][k] = sum_c v[p][t][c] * u[p][c][k]
// A data gradient is a forward pass over dy with filters that are turned round and transposed.
//
// Where filters are small, each task takes a unit of tiles through all three steps while they are in the cache. Where
// transformed filters would fill the cache, or tiles are few, all tiles are transformed first, and then each task makes
// a block of result channels, for which it transforms only that block's filters.
#include "kernels/conv_moments.h"
#include "kernels/winograd_tiles.h"
#include "ops/conv_winograd.h"

namespace skipway::SW_ISA {
namespace {

enum Slot { kFilters, kSource, kResult, kPart, kParts };
constexpr int kLanes = Lanes<float>::n;
constexpr int64_t kBlock = 32;                // result channels of a block
constexpr int64_t kLargeFilters = 256 * 256;  // from here on by blocks
constexpr int64_t kChunkBytes = 16 << 20;     // of transformed tiles, by blocks

template <class S>
struct Correlation {
  WinoTiles tiles;
  WinoImages from, to;
  bool forward;
  const S *source, *weight, *bias;
  S* result;
  bool add;
  ConvPrologue prologue;
  ConvEpilogue epilogue;
  int64_t chunk;         // tiles that are transformed at a time
  double* part_moments;  // [part][2][channels]
  ConvPacked packed;
};

// u[p][panel][c][lane], of the result channels [k0, k0 + count): G g G^T of every pair of channels. weight: (out, in,
// 3, 3). Panels are as wide as the microkernel's tile; the last one may be narrower.
constexpr int64_t kPanel = 2 * kLanes;
template <class S>
void transform_filters(const Correlation<S>& c, int64_t k0, int64_t count, int64_t c0, int64_t c1, float* u,
                       int64_t pitch) {
  const int64_t sources = c.from.channels;
  const int64_t to_step = c.forward ? sources * 9 : 9, from_step = c.forward ? 9 : c.to.channels * 9;
  for (int64_t k = 0; k < count; k += kLanes) {
    const int64_t panel = k / kPanel * kPanel, width = smaller(kPanel, count - panel);
    for (int64_t i = c0; i < c1; ++i) {
      alignas(64) float g[9][kLanes];
      const S* w = c.weight + (k0 + k) * to_step + i * from_step;
      for (int lane = 0; lane < kLanes; ++lane)
        for (int tap = 0; tap < 9; ++tap) g[tap][lane] = float(w[lane * to_step + (c.forward ? tap : 8 - tap)]);
      float* at = u + panel * sources + i * width + k - panel;
      both_axes<WinoFilter>([&](int r, int s) { return vload(g[r * 3 + s]); },
                            [&](int r, int s, vfloat x) { vstore(at + (r * kWinoPatch + s) * pitch, x); });
    }
  }
}

// m[p] = v[p] u[p]: `tiles` tiles, `count` result channels.
void multiply(int64_t tiles, int64_t sources, int64_t count, const WinoMatrix& v, const float* u, int64_t u_pitch,
              const WinoMatrix& m) {
  MicroArgs<float> a{};
  a.a_row = v.row;
  a.a_step = 1;
  a.inner = sources;
  a.outer = 1;
  a.c_row = m.row;
  for (int p = 0; p < kWinoPoints; ++p)
    for (int64_t k = 0; k < count; k += kPanel) {
      a.b_step = smaller(kPanel, count - k);
      const int vecs = int(a.b_step / kLanes);
      const int64_t strips = ceil_div(tiles, MicroTile<float>::rows(vecs));
      a.b = u + p * u_pitch + k * sources;
      for (int64_t s = 0; s < strips; ++s) {
        const int64_t begin = tiles * s / strips, end = tiles * (s + 1) / strips;
        a.a = v.data + p * v.pitch + begin * v.row;
        a.c = m.data + p * m.pitch + begin * m.row + k;
        micro_by_rows<float>(int(end - begin), vecs)(a);
      }
    }
}

// z = A^T m A + bias of one tile and n channels, then the moments, the map and the sum that were asked for.
template <class S>
void finish_tile(const Correlation<S>& c, const vfloat* z, int64_t k, int64_t at, int64_t rows, int64_t columns,
                 const PartMoments& part, bool first) {
  const ConvEpilogue& e = c.epilogue;
  const int64_t channels = c.to.channels, row_step = c.to.size[1] * channels;
  vfloat sum{}, squares{}, pivot{};
  if (e.mean) {
    if (first) part.begin(z[0], k, kLanes);
    pivot = vload(part.memory + k), sum = vload(part.memory + channels + k);
    squares = vload(part.memory + 2 * channels + k);
  }
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t s = 0; s < columns; ++s) {
      const int64_t place = at + r * row_step + s * channels + k;
      vfloat y = z[r * kWinoTile + s];
      if (e.mean) {
        const vfloat d = y - pivot;
        sum += d;
        squares += d * d;
      }
      if (e.scale) y = y * vload(e.scale + k) + vload(e.shift + k);
      if (e.residual) y += vload(static_cast<const S*>(e.residual) + place);
      if (e.act != FusedAct::None) dispatch_act(e.act, [&]<FusedAct A>(ActTag<A>) { y = fused_act<A>(y); });
      if (c.add) y += vload(c.result + place);
      vstore(c.result + place, y);
    }
  if (e.mean) vstore(part.memory + channels + k, sum), vstore(part.memory + 2 * channels + k, squares);
}

// The results of the tiles first + i, i < count, and the channels [k0, k1); m holds those channels.
template <class S>
void transform_results(const Correlation<S>& c, const WinoMatrix& m, int64_t first, int64_t count, int64_t k0,
                       int64_t k1, const PartMoments& part) {
  const int64_t channels = c.to.channels, row_step = c.to.size[1] * channels;
  const bool plain = !c.add && !c.epilogue;
  for (int64_t i = 0; i < count; ++i) {
    const WinoPlace place = wino_place_of(c.tiles, first + i);
    const int64_t at = (place.image * c.to.size[0] + place.row) * row_step + place.column * channels;
    const int64_t rows = smaller(kWinoTile, c.to.size[0] - place.row);
    const int64_t columns = smaller(kWinoTile, c.to.size[1] - place.column);
    for (int64_t k = k0; k < k1; k += kLanes) {
      const vfloat b = c.bias ? vload(c.bias + k) : vfloat{};
      const float* from = m.data + i * m.row + k - k0;
      const auto load = [&](int r, int s) { return vload(from + (r * kWinoPatch + s) * m.pitch); };
      if (plain && rows == kWinoTile && columns == kWinoTile) {
        S* to = c.result + at + k;
        both_axes<WinoOutput>(load, [&](int r, int s, vfloat z) { vstore(to + r * row_step + s * channels, z + b); });
      } else {
        vfloat z[kWinoTile * kWinoTile];
        both_axes<WinoOutput>(load, [&](int r, int s, vfloat x) { z[r * kWinoTile + s] = x + b; });
        finish_tile(c, z, k, at, rows, columns, part, i == 0);
      }
    }
  }
}

// Results that the tiles [first, first + count) hold per channel.
template <class S>
int64_t results_of(const Correlation<S>& c, int64_t first, int64_t count) {
  int64_t results = 0;
  for (int64_t tile = first; tile < first + count; ++tile) {
    const WinoPlace at = wino_place_of(c.tiles, tile);
    results += smaller(kWinoTile, c.to.size[0] - at.row) * smaller(kWinoTile, c.to.size[1] - at.column);
  }
  return results;
}

template <class S>
PartMoments begin_part(const Correlation<S>& c) {
  const int64_t channels = c.to.channels;
  if (!c.epilogue.mean) return {nullptr, channels};
  return {static_cast<float*>(thread_scratch(kPart, size_t(3 * channels) * sizeof(float))), channels};
}
template <class S>
void end_part(const Correlation<S>& c, const PartMoments& part, int64_t index, int64_t k0, int64_t k1) {
  if (!c.epilogue.mean) return;
  const int64_t first = index * c.chunk, count = smaller(c.chunk, c.tiles.count - first);
  part.end(results_of(c, first, count), k0, k1, c.part_moments + 2 * index * part.channels);
}

template <class S>
void by_units(const Correlation<S>& c) {
  const int64_t sources = c.from.channels, channels = c.to.channels, pitch = sources * channels + 16;
  float* u = static_cast<float*>(c.packed.data ? c.packed.data
                                               : thread_scratch(kFilters, size_t(kWinoPoints * pitch) * sizeof(float)));
  if (!c.packed.ready)
    parallel_for(sources, larger(1, (8 << 10) / channels),
                 [&](int64_t begin, int64_t end) { transform_filters(c, 0, channels, begin, end, u, pitch); });
  parallel_tasks(ceil_div(c.tiles.count, c.chunk), [&](int64_t task) {
    const WinoMatrix v = wino_scratch(kSource, sources, c.chunk), m = wino_scratch(kResult, channels, c.chunk);
    const int64_t first = task * c.chunk, count = smaller(c.chunk, c.tiles.count - first);
    transform_patches<WinoInput>(c.tiles, c.from, c.source, c.prologue, first, count, c.chunk, v);
    for (int64_t i = 0; i < count; ++i) prefetch_tile(c.tiles, c.to, c.result, first + i);
    multiply(count, sources, channels, v, u, pitch, m);
    const PartMoments part = begin_part(c);
    transform_results(c, m, first, count, 0, channels, part);
    end_part(c, part, task, 0, channels);
  });
}

template <class S>
void by_blocks(const Correlation<S>& c) {
  const int64_t sources = c.from.channels, channels = c.to.channels, pitch = sources * kBlock + 16;
  const WinoMatrix v = wino_scratch(kSource, sources, c.chunk);
  for (int64_t first = 0; first < c.tiles.count; first += c.chunk) {
    const int64_t count = smaller(c.chunk, c.tiles.count - first), unit = smaller(c.tiles.unit, 14);
    parallel_tasks(ceil_div(count, unit), [&](int64_t task) {
      const int64_t begin = task * unit;
      const WinoMatrix part{v.data + begin * v.row, v.row, v.pitch};
      transform_patches<WinoInput>(c.tiles, c.from, c.source, c.prologue, first + begin, smaller(unit, count - begin),
                                   unit, part);
    });
    parallel_tasks(ceil_div(channels, kBlock), [&](int64_t block) {
      const int64_t k0 = block * kBlock, width = smaller(kBlock, channels - k0);
      float* u = static_cast<float*>(thread_scratch(kFilters, size_t(kWinoPoints * pitch) * sizeof(float)));
      const WinoMatrix m = wino_scratch(kResult, kBlock, c.chunk);
      transform_filters(c, k0, width, 0, sources, u, pitch);
      multiply(count, sources, width, v, u, pitch, m);
      const PartMoments part = begin_part(c);
      transform_results(c, m, first, count, k0, k0 + width, part);
      end_part(c, part, first / c.chunk, k0, k0 + width);
    });
  }
}

template <class S>
void correlate(const ConvShape& s, Correlation<S>& c) {
  for (int i = 0; i < 2; ++i) {
    c.from.size[i] = c.forward ? s.in[i + 1] : s.out[i + 1];
    c.to.size[i] = c.forward ? s.out[i + 1] : s.in[i + 1];
    c.from.low[i] = c.forward ? -s.padding[i + 1] : s.padding[i + 1] - 2;
  }
  c.from.channels = c.forward ? s.in_channels : s.out_channels;
  c.to.channels = c.forward ? s.out_channels : s.in_channels;
  c.tiles = make_wino_tiles(c.to.size, s.batch);
  const bool blocks = c.from.channels * c.to.channels > kLargeFilters;
  const int64_t bytes = kWinoPoints * c.from.channels * int64_t(sizeof(float));
  c.chunk = blocks ? clamped(kChunkBytes / bytes, 1, c.tiles.count) : c.tiles.unit;
  const int64_t parts = ceil_div(c.tiles.count, c.chunk), channels = c.to.channels;
  if (c.epilogue.mean)
    c.part_moments = static_cast<double*>(thread_scratch(kParts, size_t(2 * parts * channels) * sizeof(double)));
  blocks ? by_blocks(c) : by_units(c);
  if (!c.epilogue.mean) return;
  const ConvEpilogue& e = c.epilogue;
  for (int64_t k = 0; k < channels; ++k) e.mean[k] = e.deviations[k] = 0;
  for (int64_t part = 0, before = 0; part < parts; ++part) {
    const int64_t n = results_of(c, part * c.chunk, smaller(c.chunk, c.tiles.count - part * c.chunk));
    const double* from = c.part_moments + 2 * part * channels;
    for (int64_t k = 0; k < channels; ++k)
      combine_moments(e.mean[k], e.deviations[k], before, from[k], from[channels + k], n);
    before += n;
  }
}

template <class S>
void forward(const ConvForwardArgs& a) {
  Correlation<S> c{};
  c.forward = true;
  c.source = static_cast<const S*>(a.x);
  c.weight = static_cast<const S*>(a.weight);
  c.bias = static_cast<const S*>(a.bias);
  c.result = static_cast<S*>(a.y);
  c.prologue = a.prologue;
  c.epilogue = a.epilogue;
  c.packed = a.packed;
  correlate(a.shape, c);
}

template <class S>
void data_grad(const ConvDataGradArgs& a) {
  Correlation<S> c{};
  c.source = static_cast<const S*>(a.dy);
  c.weight = static_cast<const S*>(a.weight);
  c.bias = static_cast<const S*>(a.bias);
  c.result = static_cast<S*>(a.dx.data);
  c.add = a.dx.mode == GradMode::Add;
  correlate(a.shape, c);
}

}  // namespace

void winograd_forward(const ConvForwardArgs& a) {
  a.dtype == DType::BFloat16 ? forward<bfloat16>(a) : forward<float>(a);
}

// By blocks, reading transformed filters from memory would take longer than transforming them.
int64_t winograd_packed_bytes(const ConvShape& s) {
  const int64_t pairs = s.in_channels * s.out_channels;
  return pairs > kLargeFilters ? 0 : kWinoPoints * (pairs + 16) * int64_t(sizeof(float));
}

void winograd_data_grad(const ConvDataGradArgs& a) {
  a.dtype == DType::BFloat16 ? data_grad<bfloat16>(a) : data_grad<float>(a);
}

}  // namespace skipway::SW_ISA
