// The AMX kernel of csrc/kernels/bf16_micro_cpu.cpp on tiles of many shapes, one after the other in a session, against
// the formula of bf16_micro.h. Integers, so that every sum is exact.
#include "kernels/bf16_micro.h"

using namespace skipway;
using namespace skipway::SW_ISA;

namespace {

struct Case {
  int parts, rows, vecs;
  int64_t outer, inner;
  bool onto;
};
constexpr Case kCases[] = {
    {4, 16, 1, 3, 48, false}, {4, 16, 1, 3, 48, true},  {2, 16, 2, 2, 32, false}, {2, 9, 2, 1, 32, true},
    {2, 7, 2, 1, 30, true},   {1, 7, 2, 2, 30, false},  {1, 7, 1, 1, 2, false},   {3, 7, 1, 9, 2, true},
    {2, 1, 1, 1, 70, false},  {2, 16, 2, 4, 64, false}, {1, 16, 2, 5, 64, true},  {3, 3, 1, 2, 34, false},
};
constexpr int64_t kPitch = 96, kWidth = 40;
bfloat16 a[4][32 * kPitch], b[1 << 16];
float c[4][16 * kWidth], expected[4][16 * kWidth];

float value(int64_t seed) { return float(seed * 7919 % 13 - 6); }

// Elements of c that are wrong.
int64_t multiply(Bf16Session& session, const Case& t) {
  const Chunks chunks = chunks_of(t.inner);
  const int64_t width = t.vecs * kBf16Lanes;
  int64_t a_outer[16];
  for (int64_t o = 0; o < t.outer; ++o) a_outer[o] = o * 2;
  for (int64_t i = 0; i < int64_t(sizeof b / sizeof b[0]); ++i) b[i] = bfloat16(0.0f);
  for (int64_t p = 0; p < t.parts; ++p) {
    for (int64_t i = 0; i < 32 * kPitch; ++i) a[p][i] = bfloat16(value(i + 5 * p));
    for (int64_t i = 0; i < 16 * kWidth; ++i) c[p][i] = expected[p][i] = value(3 * i + p);
    for (int64_t i = 0; i < t.rows; ++i)
      for (int64_t j = 0; j < width && !t.onto; ++j) expected[p][i * kWidth + j] = 0;
  }
  for (int64_t o = 0; o < t.outer; ++o)
    for (int64_t k = 0; k < t.inner; ++k) {
      // Of the chunk that has k first; where the last one begins early, its first rows are zeros.
      const int64_t chunk = k / chunks.size, at = k - chunks.start(chunk);
      bfloat16* row = b + (o * chunks.held() + chunk * chunks.size + at / 2 * 2) * width;
      for (int64_t j = 0; j < width; ++j) {
        const float weight = value(o * 31 + k * 3 + j);
        row[2 * j + at % 2] = bfloat16(weight);
        for (int64_t p = 0; p < t.parts; ++p)
          for (int64_t i = 0; i < t.rows; ++i)
            expected[p][i * kWidth + j] += float(a[p][i * kPitch + a_outer[o] + k]) * weight;
      }
    }
  Bf16Tile tile{};
  for (int p = 0; p < t.parts; ++p) tile.a[p] = a[p], tile.c[p] = c[p];
  tile.parts = t.parts, tile.rows = t.rows, tile.vecs = t.vecs;
  tile.a_row = kPitch, tile.c_row = kWidth;
  tile.a_outer = a_outer, tile.outer = t.outer;
  tile.chunks = chunks;
  tile.b = b, tile.b_step = 2 * width;
  tile.onto = t.onto;
  session.multiply(tile);
  int64_t wrong = 0;
  for (int p = 0; p < t.parts; ++p)
    for (int64_t i = 0; i < 16 * kWidth; ++i) wrong += c[p][i] != expected[p][i];
  return wrong;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int64_t wrong_elements() {
  int64_t wrong = 0;
  Bf16Session session;
  for (const Case& t : kCases) wrong += multiply(session, t);
  return wrong;
}
