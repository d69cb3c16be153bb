// The register-blocked kernel that bfloat16 convolutions, their weight gradients and matrix products share:
//   c[p][i][j] = (onto ? c[p][i][j] : 0) + sum over o < outer, k < inner of
//                a[p][a_outer[o] + i * a_row + k] * b(o, k)[j],   p < parts, i < rows, j < vecs * 16
// with float32 sums. Rows of a are read in place, two neighbouring elements k, k + 1 at a time, so inner is even. b
// holds such pairs side by side:
//   b(o, k)[j] = b[b_outer[o] + k / 2 * b_step + 2 * j + k % 2]
// Two units implement it (bf16_micro_cpu.cpp), and everything above them is written once: vdpbf16ps keeps up to 28
// vectors of sums in registers; AMX takes up to four tiles of 16 rows, of up to 32 k at a time. A run of `inner` is cut
// into chunks of one size, the last of which begins early, over elements whose rows of b hold zeros.
#pragma once
#include "kernels/gemm.h"

namespace skipway::SW_ISA {

inline constexpr int kBf16Lanes = 16;

struct Chunks {
  int64_t inner, count, size;  // elements of a
  SW_INLINE int64_t start(int64_t chunk) const { return smaller(chunk * size, inner - size); }
  SW_INLINE int64_t held() const { return count * size; }  // rows of b for one run, two rows each pair
};

struct Bf16Unit {
#ifdef SW_AMX
  static constexpr bool kTiles = true;
  static constexpr int kMaxVecs = 2, kMaxParts = 4, kMaxRows = 16;
  static constexpr int64_t kMaxChunk = 32;
  SW_INLINE static constexpr int parts(int vecs) { return vecs == 1 ? 4 : 2; }
  SW_INLINE static constexpr int rows(int) { return 16; }
#else
  static constexpr bool kTiles = false;
  static constexpr int kMaxVecs = 4, kMaxParts = 1, kMaxRows = 28;
  static constexpr int64_t kMaxChunk = int64_t(1) << 40;
  SW_INLINE static constexpr int parts(int) { return 1; }
  SW_INLINE static constexpr int rows(int vecs) { return 28 / vecs; }
#endif
};

SW_INLINE Chunks chunks_of(int64_t inner) {
  const int64_t count = ceil_div(inner, Bf16Unit::kMaxChunk);
  return {inner, count, round_up(ceil_div(inner, count), 2)};
}

struct Bf16Tile {
  const bfloat16* a[Bf16Unit::kMaxParts];
  float* c[Bf16Unit::kMaxParts];
  int parts, rows, vecs;
  int64_t a_row, c_row;
  const int64_t *a_outer, *b_outer;  // a_outer null: at 0. b_outer null: each run of b follows on the one before.
  int64_t outer;
  Chunks chunks;
  const bfloat16* b;
  int64_t b_step;  // elements
  bool onto;
};

// Belongs to one task of one thread: on AMX, the state of the tile unit, which is configured for the tiles at hand and
// released at the end. Other libraries of this process may use the unit between tasks.
class Bf16Session {
 public:
  Bf16Session() = default;
  Bf16Session(const Bf16Session&) = delete;
  ~Bf16Session();
  void multiply(const Bf16Tile& tile);

 private:
  int rows_ = 0;
  int64_t chunk_ = 0;
};

// Strips of rows that are waiting until the unit can take them together.
class Bf16Tiles {
 public:
  Bf16Tiles(int64_t a_row, Chunks chunks) {
    tile_.a_row = a_row;
    tile_.chunks = chunks;
    tile_.outer = 1;
  }
  // b: packed rows of vecs * 16 pairs.
  SW_INLINE void lanes(const bfloat16* b, int vecs, int64_t c_row) {
    tile_.b = b, tile_.vecs = vecs;
    tile_.b_step = 2 * vecs * kBf16Lanes;
    tile_.c_row = c_row;
  }
  SW_INLINE void runs(const int64_t* a, const int64_t* b, int64_t count) {
    tile_.a_outer = a, tile_.b_outer = b, tile_.outer = count;
  }
  SW_INLINE void push(const bfloat16* a, float* c, int rows, bool onto) {
    if (tile_.parts > 0 && rows != tile_.rows) flush();
    tile_.rows = rows;
    tile_.onto = onto;
    tile_.a[tile_.parts] = a;
    tile_.c[tile_.parts] = c;
    if (++tile_.parts == Bf16Unit::parts(tile_.vecs)) flush();
  }
  // Before lanes, runs or onto change, and at the end.
  SW_INLINE void flush() {
    if (tile_.parts > 0) session_.multiply(tile_);
    tile_.parts = 0;
  }
  // All rows [0, rows) of a and c: whole tiles where the unit has them, equal strips of registers else.
  SW_INLINE void push_rows(const bfloat16* a, float* c, int64_t rows, bool onto) {
    const int64_t most = Bf16Unit::rows(tile_.vecs), strips = ceil_div(rows, most);
    for (int64_t i = 0; i < strips; ++i) {
      const int64_t first = Bf16Unit::kTiles ? i * most : rows * i / strips;
      const int64_t end = Bf16Unit::kTiles ? smaller(first + most, rows) : rows * (i + 1) / strips;
      push(a + first * tile_.a_row, c + first * tile_.c_row, int(end - first), onto);
    }
  }

 private:
  Bf16Tile tile_{};
  Bf16Session session_;
};

}  // namespace skipway::SW_ISA
