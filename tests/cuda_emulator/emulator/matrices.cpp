// ldmatrix and mma.sync: which lane and register hold which element (PTX ISA, "Warp Level Matrix Instructions").
// With g = lane / 4, q = lane % 4, register r and half h of a register (0: low 16 bits):
//   A 16x16  row g + 8 (r & 1), column 2 q + h + 8 (r >> 1)      B 16x8  row 2 q + h + 8 r, column g
//   A 16x8 (tf32)  row g + 8 (r & 1), column q + 4 (r >> 1)      B 8x8 (tf32)  row q + 4 r, column g
//   C, D 16x8  row g + 8 (r >> 1), column 2 q + (r & 1)
// The order of summation and the rounding are not specified; here products are summed in float32 in order of k.
#include "cuda_emulator/emulator/matrices.h"

#include <cstring>

#include "cuda_emulator/emulator/memory.h"
#include "cuda_emulator/emulator/report.h"

namespace emulator {
namespace {

constexpr uint32_t kAllLanes = 0xffffffffu;

float half_to_float(uint16_t bits) {
  const uint32_t sign = uint32_t(bits & 0x8000u) << 16, magnitude = bits & 0x7fffu;
  if (magnitude < 0x400u) {  // zero or subnormal
    const float value = float(magnitude) * 0x1p-24f;
    return sign ? -value : value;
  }
  return __builtin_bit_cast(float, sign | ((magnitude << 13) + (magnitude >= 0x7c00u ? 0x70000000u : 0x38000000u)));
}
struct Product {
  float* d;
  const uint32_t *a, *b;
};

void multiply(WarpOperation& op) {
  const auto type = MatrixType(op.parameter);
  const bool tf32 = type == MatrixType::TFloat32;
  const int depth = tf32 ? 8 : 16;
  float a[16][16], b[16][8], d[16][8] = {};
  for (int lane = 0; lane < kWarpSize; ++lane) {
    const auto* in = static_cast<const Product*>(op.input[lane]);
    const int g = lane / 4, q = lane % 4;
    for (int half = 0; half < (tf32 ? 1 : 2); ++half) {
      const int k = tf32 ? q : 2 * q + half, step = tf32 ? 4 : 8;
      for (int r = 0; r < 4; ++r) a[g + 8 * (r & 1)][k + step * (r >> 1)] = matrix_element(type, in->a[r], half);
      for (int r = 0; r < 2; ++r) b[k + step * r][g] = matrix_element(type, in->b[r], half);
    }
  }
  for (int i = 0; i < 16; ++i)
    for (int k = 0; k < depth; ++k)
      for (int j = 0; j < 8; ++j) d[i][j] += a[i][k] * b[k][j];
  for (int lane = 0; lane < kWarpSize; ++lane) {
    float* out = static_cast<const Product*>(op.input[lane])->d;
    for (int r = 0; r < 4; ++r) out[r] += d[lane / 4 + 8 * (r >> 1)][2 * (lane % 4) + (r & 1)];
  }
}

struct MatrixRow {
  const char* row;
  const void* pc;
};

void read_shared(const WarpOperation& op, unsigned lane, const MatrixRow& from, size_t column, size_t bytes, void* to) {
  check_access(*threads[op.warp * kWarpSize + lane], from.row + column, bytes, Access::Read, from.pc);
  std::memcpy(to, from.row + column, bytes);
}

void count_conflicts(const WarpOperation& op, int matrix) {
  uint32_t groups = 0;  // of four banks: different rows of 16 bytes conflict where these are equal
  const char* rows[8];
  int different = 0;
  for (int row = 0; row < 8; ++row) {
    const char* at = static_cast<const MatrixRow*>(op.input[8 * matrix + row])->row;
    groups |= 1u << (space_offset(at) >> 4 & 7);
    bool seen = false;
    for (int i = 0; i < different; ++i) seen |= rows[i] == at;
    if (!seen) rows[different++] = at;
  }
  ++counters.matrix_loads;
  counters.matrix_load_conflicts += uint64_t(different - __builtin_popcount(groups));
}

void load(WarpOperation& op) {
  const int count = op.parameter & 7;
  const bool transposed = op.parameter & 8;
  for (int m = 0; m < count; ++m) {
    count_conflicts(op, m);
    for (unsigned lane = 0; lane < kWarpSize; ++lane) {
      const int g = int(lane) / 4, q = int(lane) % 4;
      const auto row = [&](int r) -> const MatrixRow& { return *static_cast<const MatrixRow*>(op.input[8 * m + r]); };
      uint16_t halves[2];
      if (transposed) {
        for (int h = 0; h < 2; ++h) read_shared(op, lane, row(2 * q + h), size_t(2 * g), 2, &halves[h]);
      } else {
        read_shared(op, lane, row(g), size_t(4 * q), 4, halves);
      }
      std::memcpy(static_cast<uint32_t*>(op.output[lane]) + m, halves, 4);
    }
  }
}

}  // namespace

float matrix_element(MatrixType type, uint32_t word, int half) {
  if (type == MatrixType::TFloat32) return __builtin_bit_cast(float, word & ~0x1fffu);
  const uint16_t bits = uint16_t(word >> (16 * half));
  return type == MatrixType::Float16 ? half_to_float(bits) : __builtin_bit_cast(float, uint32_t(bits) << 16);
}

void load_matrices(uint32_t* registers, const void* row, int count, bool transposed) {
  const void* pc = EMULATOR_CALLER;
  InEmulator in;
  count_event(*in.self, pc);
  const size_t offset = space_offset(row);
  if (!is_shared(offset) || offset % 16) {
    report(is_shared(offset) ? "misaligned ldmatrix" : "ldmatrix does not read shared memory", pc, in.self,
           format("lane %u gives %p", in.self->lane, row));
    abort_block();
  }
  MatrixRow mine{static_cast<const char*>(row), pc};
  uint32_t loaded[4];
  warp_operation(*in.self, "ldmatrix", count | (transposed ? 8 : 0), kAllLanes, &mine, loaded, load, pc);
  std::memcpy(registers, loaded, size_t(count) * 4);
}

void multiply_matrices(MatrixType type, float* d, const uint32_t* a, const uint32_t* b) {
  const void* pc = EMULATOR_CALLER;
  InEmulator in;
  Product mine{d, a, b};
  warp_operation(*in.self, "mma", int(type), kAllLanes, &mine, nullptr, multiply, pc);
}

}  // namespace emulator
