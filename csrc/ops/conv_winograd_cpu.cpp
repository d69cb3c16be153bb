// Forward, data gradient and weight gradient of 3x3 convolutions with stride 1 by Winograd's F(4x4, 3x3), in float32
// (kernels/winograd.h has the algorithm and its transforms). For each of 36 points p, over tiles t of 4x4 results:
//   forward, data gradient:   m[p][t][k] = sum_c v[p][t][c] * u[p][c][k]
//   weight gradient:          s[p][k][c] = sum_t m[p][t][k] * v[p][t][c]
// A data gradient is a forward pass over dy with filters that are turned round and transposed.
//
// Tiles are numbered through all images. A unit of them is transformed, multiplied and transformed back while it is in
// the cache. Units depend on the shape alone; the weight gradient sums over a fixed number of parts, in order.
#include "core/parallel.h"
#include "kernels/gemm.h"
#include "kernels/winograd.h"
#include "ops/conv_winograd.h"

namespace skipway::SW_ISA {
namespace {

enum Slot { kFilters, kSource, kResult, kZeros };
constexpr int kLanes = Lanes<float>::n;

// The tiles of one direction: from and to are images of the correlation, dense channels-last.
struct Tiles {
  int64_t from_size[2], to_size[2], low[2];  // low: the first source row and column of tile 0
  int64_t across, per_image, count;
  int64_t from_channels, to_channels;
  int64_t unit;                  // tiles
  int64_t from_pitch, to_pitch;  // elements from one point to the next
};

Tiles make_tiles(const ConvShape& s, bool forward) {
  Tiles t{};
  for (int i = 0; i < 2; ++i) {
    t.from_size[i] = forward ? s.in[i + 1] : s.out[i + 1];
    t.to_size[i] = forward ? s.out[i + 1] : s.in[i + 1];
    t.low[i] = forward ? -s.padding[i + 1] : s.padding[i + 1] - 2;
  }
  t.from_channels = forward ? s.in_channels : s.out_channels;
  t.to_channels = forward ? s.out_channels : s.in_channels;
  t.across = ceil_div(t.to_size[1], kWinoTile);
  t.per_image = t.across * ceil_div(t.to_size[0], kWinoTile);
  t.count = t.per_image * s.batch;
  // Whole strips of the microkernel; enough of them to amortise reading the filters, and of units to share out.
  constexpr int64_t kStrip = 14, kStrips = 4, kUnits = 16;
  t.unit = smaller(t.count, clamped(t.count / (kUnits * kStrip), 1, kStrips) * kStrip);
  // Points a multiple of the page size apart would share a cache set.
  t.from_pitch = t.unit * t.from_channels + 16;
  t.to_pitch = t.unit * t.to_channels + 16;
  return t;
}

struct Place {
  int64_t image, row, column;  // of the tile's first result
};
SW_INLINE Place place(const Tiles& t, int64_t tile) {
  const int64_t image = tile / t.per_image, rest = tile % t.per_image;
  return {image, rest / t.across * kWinoTile, rest % t.across * kWinoTile};
}

// v[p][tile][c] of the tiles [first, first + count). size, channels: of the image that patches of PATCH x PATCH are
// taken from; what lies outside of it is zero.
template <int PATCH, class Transform>
void transform_patches(const Tiles& t, const float* from, const int64_t* size, const int64_t* low, int64_t channels,
                       int64_t first, int64_t count, float* v, int64_t pitch) {
  const int64_t row_step = size[1] * channels;
  const float* zeros = static_cast<const float*>(thread_scratch(kZeros, size_t(channels) * sizeof(float)));
  bool cleared = false;
  for (int64_t i = 0; i < count; ++i, v += channels) {
    const Place at = place(t, first + i);
    const int64_t top = at.row + low[0], left = at.column + low[1];
    const float* image = from + at.image * size[0] * row_step;
    const float* corner = image + top * row_step + left * channels;
    if (top >= 0 && left >= 0 && top + PATCH <= size[0] && left + PATCH <= size[1]) {
      for (int64_t c = 0; c < channels; c += kLanes)
        both_axes<PATCH, kWinoPatch>(
            Transform{}, [&](int r, int s) { return vload(corner + r * row_step + s * channels + c); },
            [&](int r, int s, vfloat x) { vstore(v + (r * kWinoPatch + s) * pitch + c, x); });
      continue;
    }
    if (!cleared) clear(const_cast<float*>(zeros), channels), cleared = true;
    const float* element[PATCH][PATCH];
    for (int r = 0; r < PATCH; ++r)
      for (int s = 0; s < PATCH; ++s) {
        const bool inside = top + r >= 0 && top + r < size[0] && left + s >= 0 && left + s < size[1];
        element[r][s] = inside ? corner + r * row_step + s * channels : zeros;
      }
    for (int64_t c = 0; c < channels; c += kLanes)
      both_axes<PATCH, kWinoPatch>(
          Transform{}, [&](int r, int s) { return vload(element[r][s] + c); },
          [&](int r, int s, vfloat x) { vstore(v + (r * kWinoPatch + s) * pitch + c, x); });
  }
}

// to = A^T m A (+ bias, + what is there).
void transform_results(const Tiles& t, const float* m, int64_t first, int64_t count, const float* bias, bool add,
                       float* to) {
  const int64_t channels = t.to_channels, row_step = t.to_size[1] * channels;
  for (int64_t i = 0; i < count; ++i, m += channels) {
    const Place at = place(t, first + i);
    float* corner = to + at.image * t.to_size[0] * row_step + at.row * row_step + at.column * channels;
    const int64_t rows = t.to_size[0] - at.row, columns = t.to_size[1] - at.column;
    for (int64_t k = 0; k < channels; k += kLanes) {
      const vfloat b = bias ? vload(bias + k) : vfloat{};
      const auto load = [&](int r, int s) { return vload(m + (r * kWinoPatch + s) * t.to_pitch + k); };
      if (rows >= kWinoTile && columns >= kWinoTile && !add) {
        both_axes<kWinoPatch, kWinoTile>(WinoOutput{}, load, [&](int r, int s, vfloat y) {
          vstore(corner + r * row_step + s * channels + k, y + b);
        });
      } else {
        both_axes<kWinoPatch, kWinoTile>(WinoOutput{}, load, [&](int r, int s, vfloat y) {
          float* p = corner + r * row_step + s * channels + k;
          if (r < rows && s < columns) vstore(p, add ? vload(p) + y + b : y + b);
        });
      }
    }
  }
}

int panel_vecs(int64_t channels) { return channels >= 2 * kLanes ? 2 : 1; }

// u[p][panel][c][lane]: G g G^T of every pair of channels. weight: (out, in, 3, 3).
void transform_filters(const ConvShape& s, bool forward, const float* weight, float* u, int64_t pitch) {
  const int64_t from = forward ? s.in_channels : s.out_channels, to = forward ? s.out_channels : s.in_channels;
  const int64_t to_step = forward ? s.in_channels * 9 : 9, from_step = forward ? 9 : s.in_channels * 9;
  const int64_t width = panel_vecs(to) * kLanes;
  parallel_for(from, larger(1, (8 << 10) / to), [&](int64_t begin, int64_t end) {
    for (int64_t k = 0; k < to; k += kLanes)
      for (int64_t c = begin; c < end; ++c) {
        alignas(64) float g[9][kLanes];
        const float* w = weight + k * to_step + c * from_step;
        for (int lane = 0; lane < kLanes; ++lane)
          for (int tap = 0; tap < 9; ++tap) g[tap][lane] = w[lane * to_step + (forward ? tap : 8 - tap)];
        // The last panel may be narrower.
        const int64_t panel = k / width * width, wide = smaller(width, to - panel);
        float* at = u + panel * from + c * wide + k - panel;
        both_axes<3, kWinoPatch>(
            WinoFilter{}, [&](int r, int q) { return vload(g[r * 3 + q]); },
            [&](int r, int q, vfloat x) { vstore(at + (r * kWinoPatch + q) * pitch, x); });
      }
  });
}

// m[p] = v[p] u[p] of `count` tiles.
void multiply(const Tiles& t, int64_t count, const float* v, const float* u, int64_t u_pitch, float* m) {
  MicroArgs<float> a{};
  a.a_row = t.from_channels;
  a.a_step = 1;
  a.inner = t.from_channels;
  a.outer = 1;
  a.c_row = t.to_channels;
  const int64_t width = panel_vecs(t.to_channels) * kLanes;
  for (int p = 0; p < kWinoPoints; ++p)
    for (int64_t k = 0; k < t.to_channels; k += width) {
      const int64_t wide = smaller(width, t.to_channels - k);
      const int vecs = int(wide / kLanes);
      const int64_t strips = ceil_div(count, MicroTile<float>::rows(vecs));
      a.b = u + p * u_pitch + k * t.from_channels;
      a.b_step = wide;
      for (int64_t s = 0; s < strips; ++s) {
        const int64_t begin = count * s / strips, end = count * (s + 1) / strips;
        a.a = v + p * t.from_pitch + begin * t.from_channels;
        a.c = m + p * t.to_pitch + begin * t.to_channels + k;
        micro_by_rows<float>(int(end - begin), vecs)(a);
      }
    }
}

void correlate(const ConvShape& s, bool forward, const float* from, const float* weight, const float* bias, float* to,
               bool add) {
  const Tiles t = make_tiles(s, forward);
  const int64_t u_pitch = s.in_channels * s.out_channels + 16;
  float* u = static_cast<float*>(thread_scratch(kFilters, size_t(kWinoPoints * u_pitch) * sizeof(float)));
  transform_filters(s, forward, weight, u, u_pitch);
  parallel_tasks(ceil_div(t.count, t.unit), [&](int64_t task) {
    float* v = static_cast<float*>(thread_scratch(kSource, size_t(kWinoPoints * t.from_pitch) * sizeof(float)));
    float* m = static_cast<float*>(thread_scratch(kResult, size_t(kWinoPoints * t.to_pitch) * sizeof(float)));
    const int64_t first = task * t.unit, count = smaller(t.unit, t.count - first);
    transform_patches<kWinoPatch, WinoInput>(t, from, t.from_size, t.low, t.from_channels, first, count, v,
                                             t.from_pitch);
    multiply(t, count, v, u, u_pitch, m);
    transform_results(t, m, first, count, bias, add, to);
  });
}

// s[p] += m[p]^T v[p] of `count` tiles.
void multiply_gradient(const Tiles& t, int64_t count, const float* m, const float* v, float* sums, int64_t pitch,
                       bool first) {
  using Tile = MicroTile<float>;
  const int64_t rows = t.to_channels, vecs = t.from_channels / kLanes;
  const int64_t columns = ceil_div(vecs, Tile::kMaxColumnVecs), strips = ceil_div(rows, Tile::kMaxColumnRows);
  MicroArgs<float> a{};
  a.a_row = 1;
  a.a_step = t.to_channels;
  a.b_step = t.from_channels;
  a.inner = count;
  a.outer = 1;
  a.c_row = a.start_row = t.from_channels;
  for (int p = 0; p < kWinoPoints; ++p)
    for (int64_t j = 0; j < columns; ++j) {
      const int64_t vec = vecs * j / columns;
      const int width = int(vecs * (j + 1) / columns - vec);
      a.b = v + p * t.from_pitch + vec * kLanes;
      for (int64_t i = 0; i < strips; ++i) {
        const int64_t k = rows * i / strips, height = rows * (i + 1) / strips - k;
        a.a = m + p * t.to_pitch + k;
        a.c = sums + p * pitch + k * t.from_channels + vec * kLanes;
        a.start = first ? nullptr : a.c;
        micro_by_columns<float>(int(height), width)(a);
      }
    }
}

// dweight[k][c] = G^T (the sum of the parts, in order) G.
void transform_sums(const ConvShape& s, const float* sums, int64_t pitch, int64_t parts, float* dweight) {
  const int64_t channels = s.in_channels;
  parallel_for(s.out_channels, larger(1, (8 << 10) / channels), [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k)
      for (int64_t c = 0; c < channels; c += kLanes) {
        alignas(64) float g[9][kLanes];
        const float* at = sums + k * channels + c;
        both_axes<kWinoPatch, 3>(
            WinoFilterGradient{},
            [&](int r, int q) {
              const float* point = at + (r * kWinoPatch + q) * pitch;
              vfloat sum = vload(point);
              for (int64_t part = 1; part < parts; ++part) sum += vload(point + part * kWinoPoints * pitch);
              return sum;
            },
            [&](int r, int q, vfloat x) { vstore(g[r * 3 + q], x); });
        float* to = dweight + (k * channels + c) * 9;
        for (int lane = 0; lane < kLanes; ++lane)
          for (int tap = 0; tap < 9; ++tap) to[lane * 9 + tap] = g[tap][lane];
      }
  });
}

}  // namespace

void winograd_forward(const ConvForwardArgs& a) {
  correlate(a.shape, true, static_cast<const float*>(a.x), static_cast<const float*>(a.weight),
            static_cast<const float*>(a.bias), static_cast<float*>(a.y), false);
}

void winograd_data_grad(const ConvDataGradArgs& a) {
  correlate(a.shape, false, static_cast<const float*>(a.dy), static_cast<const float*>(a.weight),
            static_cast<const float*>(a.bias), static_cast<float*>(a.dx.data), a.dx.mode == GradMode::Add);
}

void winograd_weight_grad(const ConvWeightGradArgs& a) {
  const ConvShape& s = a.shape;
  const Tiles t = make_tiles(s, true);
  constexpr int64_t kMaxParts = 16, kPartBytes = 4 << 20;
  const int64_t pitch = s.in_channels * s.out_channels + 16, units = ceil_div(t.count, t.unit);
  const int64_t bytes = kWinoPoints * pitch * int64_t(sizeof(float));
  const int64_t parts = smaller(clamped(kPartBytes / bytes, 2, kMaxParts), units);
  float* sums = static_cast<float*>(thread_scratch(kFilters, size_t(parts * bytes)));
  const int64_t zero[2] = {0, 0};
  parallel_tasks(parts, [&](int64_t part) {
    float* v = static_cast<float*>(thread_scratch(kSource, size_t(kWinoPoints * t.from_pitch) * sizeof(float)));
    float* m = static_cast<float*>(thread_scratch(kResult, size_t(kWinoPoints * t.to_pitch) * sizeof(float)));
    const int64_t begin = units * part / parts, end = units * (part + 1) / parts;
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t first = unit * t.unit, count = smaller(t.unit, t.count - first);
      transform_patches<kWinoPatch, WinoInput>(t, static_cast<const float*>(a.x), t.from_size, t.low, t.from_channels,
                                               first, count, v, t.from_pitch);
      transform_patches<kWinoTile, WinoGradient>(t, static_cast<const float*>(a.dy), t.to_size, zero, t.to_channels,
                                                 first, count, m, t.to_pitch);
      multiply_gradient(t, count, m, v, sums + part * kWinoPoints * pitch, pitch, unit == begin);
    }
  });
  transform_sums(s, sums, pitch, parts, static_cast<float*>(a.dweight));
}

}  // namespace skipway::SW_ISA
