// Tiles of a Winograd convolution, and the transforms that move them in and out of the 36 matrices, one per point:
// v[point][tile][channel]. Tiles are numbered through all images. Images are float32 or bfloat16, matrices float32.
#pragma once
#include "core/parallel.h"
#include "kernels/conv_fused_args.h"
#include "kernels/conv_shape.h"
#include "kernels/fused.h"
#include "kernels/gemm.h"
#include "kernels/winograd.h"

namespace skipway::SW_ISA {

// Dense channels-last images, and where the patch of a tile begins relative to the tile: 4x4 elements stand for 4x4
// results, or are what a patch of 6x6 is centred on.
struct WinoImages {
  int64_t size[2], low[2], channels;
};

struct WinoTiles {
  int64_t across, per_image, count;
  int64_t unit;  // tiles that one task takes
};

// Whole strips of the microkernel; enough to amortise reading the filters, and enough units to share out.
SW_INLINE WinoTiles make_wino_tiles(const int64_t* to_size, int64_t batch) {
  constexpr int64_t kStrip = 14, kStrips = 4, kUnits = 16;
  WinoTiles t{};
  t.across = ceil_div(to_size[1], kWinoTile);
  t.per_image = t.across * ceil_div(to_size[0], kWinoTile);
  t.count = t.per_image * batch;
  const int64_t most = clamped(t.count / (kUnits * kStrip), 1, kStrips) * kStrip;
  t.unit = ceil_div(t.count, larger(ceil_div(t.count, most), 1));
  return t;
}

struct WinoPlace {
  int64_t image, row, column;  // of the tile's first result
};
SW_INLINE WinoPlace wino_place_of(const WinoTiles& t, int64_t tile) {
  const int64_t image = tile / t.per_image, rest = tile % t.per_image;
  return {image, rest / t.across * kWinoTile, rest % t.across * kWinoTile};
}

// One of the two factors: [point][tile][row elements], where row is the channels and, so that tiles do not share a
// cache set, sometimes a few more; points likewise.
struct WinoMatrix {
  float* data;
  int64_t row, pitch;
};
SW_INLINE int64_t wino_row(int64_t channels) { return channels + (channels % 256 == 0 ? 16 : 0); }
SW_INLINE int64_t wino_pitch(int64_t channels, int64_t tiles) { return wino_row(channels) * tiles + 16; }
SW_INLINE WinoMatrix wino_scratch(int slot, int64_t channels, int64_t tiles) {
  const int64_t pitch = wino_pitch(channels, tiles);
  return {static_cast<float*>(thread_scratch(slot, size_t(kWinoPoints * pitch) * sizeof(float))), wino_row(channels),
          pitch};
}

// Brings the 4x4 elements of a tile into the second-level cache.
template <class S>
SW_INLINE void prefetch_tile(const WinoTiles& t, const WinoImages& g, const S* images, int64_t tile) {
  if (tile >= t.count) return;
  const WinoPlace at = wino_place_of(t, tile);
  const S* row = images + ((at.image * g.size[0] + at.row) * g.size[1] + at.column) * g.channels;
  const int64_t rows = smaller(kWinoTile, g.size[0] - at.row);
  const int64_t length = smaller(kWinoTile, g.size[1] - at.column) * g.channels;
  for (int64_t r = 0; r < rows; ++r, row += g.size[1] * g.channels)
    for (int64_t i = 0; i < length; i += 64 / int64_t(sizeof(S))) __builtin_prefetch(row + i, 0, 2);
}

template <class Transform, class S>
SW_INLINE void transform_patch(const S* patch, int64_t row_step, int64_t column_step, float* to, int64_t pitch) {
  both_axes<Transform>([&](int r, int s) { return vload(patch + r * row_step + s * column_step); },
                       [&](int r, int s, vfloat x) { vstore(to + (r * Transform::kTo + s) * pitch, x); });
}

// The lanes [c, c + n) of a patch, as `load` makes them, with zeros outside the image.
template <int PATCH, class S, class Load>
SW_INLINE void stage_patch(const WinoImages& g, const S* corner, int64_t top, int64_t left, bool inside, int64_t c,
                           const Load& load, float* staged) {
  constexpr int n = Lanes<float>::n;
  for (int r = 0; r < PATCH; ++r)
    for (int s = 0; s < PATCH; ++s) {
      const bool there = inside || (top + r >= 0 && top + r < g.size[0] && left + s >= 0 && left + s < g.size[1]);
      vfloat x{};
      if (there) x = load(corner + (r * g.size[1] + s) * g.channels + c);
      vstore(staged + (r * PATCH + s) * n, x);
    }
}

// How images are read: as they are, or through the prologue.
struct PlainRead {
  static constexpr bool kPlain = true;
  SW_INLINE auto at(int64_t) const {
    return [](const auto* p) __attribute__((always_inline)) { return vload(p); };
  }
};
template <FusedAct A, class S>
struct PrologueRead {
  static constexpr bool kPlain = false;
  const ConvPrologue& prologue;
  SW_INLINE auto at(int64_t c) const {
    const vfloat mean = prologue.mean ? vload(prologue.mean + c) : vfloat{};
    const vfloat scale = vload(prologue.scale + c), shift = vload(prologue.shift + c);
    return [=](const S* p) __attribute__((always_inline)) {
      return rounded_to<S>(fused_act<A>((vload(p) - mean) * scale + shift));
    };
  }
};

template <class Transform, class S, class Read>
void transform_patches(const WinoTiles& t, const WinoImages& g, const S* images, const Read& read, int64_t first,
                       int64_t count, int64_t ahead, const WinoMatrix& v) {
  constexpr int n = Lanes<float>::n, patch = Transform::kFrom;
  const int64_t row_step = g.size[1] * g.channels;
  alignas(64) float staged[patch * patch * n];
  for (int64_t i = 0; i < count; ++i) {
    prefetch_tile(t, g, images, first + i + ahead);
    const WinoPlace at = wino_place_of(t, first + i);
    const int64_t top = at.row + g.low[0], left = at.column + g.low[1];
    const S* corner = images + at.image * g.size[0] * row_step + top * row_step + left * g.channels;
    const bool inside = top >= 0 && left >= 0 && top + patch <= g.size[0] && left + patch <= g.size[1];
    for (int64_t c = 0; c < g.channels; c += n) {
      float* to = v.data + i * v.row + c;
      if (inside && Read::kPlain) {
        transform_patch<Transform>(corner + c, row_step, g.channels, to, v.pitch);
      } else {
        stage_patch<patch>(g, corner, top, left, inside, c, read.at(c), staged);
        transform_patch<Transform>(staged, patch * n, n, to, v.pitch);
      }
    }
  }
}

// v[point][i] of the tiles first + i, i < count. While it works, the images of the tiles `ahead` are prefetched.
template <class Transform, class S>
void transform_patches(const WinoTiles& t, const WinoImages& g, const S* images, const ConvPrologue& prologue,
                       int64_t first, int64_t count, int64_t ahead, const WinoMatrix& v) {
  const auto run = [&](const auto& read) {
    transform_patches<Transform, S>(t, g, images, read, first, count, ahead, v);
  };
  if constexpr (__is_same(Transform, WinoInput)) {
    if (prologue) return dispatch_act(prologue.act, [&]<FusedAct A>(ActTag<A>) { run(PrologueRead<A, S>{prologue}); });
  }
  run(PlainRead{});
}

}  // namespace skipway::SW_ISA
