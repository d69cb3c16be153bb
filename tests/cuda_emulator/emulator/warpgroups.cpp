// wgmma.mma_async with both operands in shared memory, K-major with the swizzle of 128 bytes (PTX ISA, "Asynchronous
// Warpgroup Level Matrix Instructions"). The products are made when they are waited for; until then the accumulators
// hold NaN. With w the warp in its warpgroup, g = lane / 4, q = lane % 4, register r of the result is
//   row 16 w + g + 8 (r >> 1 & 1), column 8 (r >> 2) + 2 q + (r & 1)
#include <algorithm>
#include <cstring>
#include <map>

#include "cuda_emulator/emulator/happens_before.h"
#include "cuda_emulator/emulator/matrices.h"
#include "cuda_emulator/emulator/memory.h"
#include "cuda_emulator/emulator/report.h"

namespace emulator {
namespace {

constexpr unsigned kGroupThreads = 128;
constexpr int kDepth = 16, kRows = 64;

// Fields of a matrix descriptor
struct Descriptor {
  explicit Descriptor(uint64_t bits)
      : address(uint32_t(bits & 0x3fff) << 4),
        bytes_of_8_rows(uint32_t(bits >> 32 & 0x3fff) << 4),
        valid(bits >> 62 == 1 && !(bits >> 46 & 0xffff) && !(bits & 0xc000c000u) && (bits & 7) <= 6) {}
  uint32_t address, bytes_of_8_rows;
  bool valid;  // the swizzle of 128 bytes, no base offset or reserved bit, and within a row of 128 bytes
};

// 8 elements (16 bytes) of a row, as one warp reads them
void read_chunk(Thread& reader, const Descriptor& matrix, int row, int chunk, MatrixType type, float* to,
                const void* pc) {
  uint32_t address =
      matrix.address + uint32_t(row / 8) * matrix.bytes_of_8_rows + uint32_t(row % 8) * 128 + uint32_t(chunk) * 16;
  address ^= (address >> 7 & 7) << 4;
  const size_t offset = kDynamicSharedStart + address;
  check_access(reader, space + offset, 16, Access::Read, pc);
  if (checked_build && !(shadow.state[offset] & (kWrittenByTma | kCopyPending)) &&
      shadow.writer[offset] >= first_of_block) {
    const Epoch e = epoch_at(shadow.writer[offset]);
    if (e.clock > threads[e.thread]->proxy_fence_clock)
      report("wgmma reads what was written without a fence.proxy.async after it", pc, &reader,
             "by " + thread_name(e.thread));
  }
  uint16_t halves[8];
  std::memcpy(halves, space + offset, 16);
  for (int i = 0; i < 8; ++i) to[i] = matrix_element(type, halves[i], 0);
}

// One row of the result, held by 4 lanes
void add_row(unsigned first_lane, size_t position, int half, const std::vector<float>& sums) {
  for (size_t j = 0; j < sums.size(); ++j) {
    Thread& owner = *threads[first_lane + unsigned(j % 8 / 2)];
    const WarpgroupProduct& own = owner.products[position];
    float& d = owner.accumulators[own.d][j / 8 * 4 + size_t(half) * 2 + j % 2];
    d = (own.accumulate ? d : 0.f) + sums[j];
  }
}

void multiply(unsigned first, const WarpgroupProduct& p, size_t position, const void* pc) {
  const Descriptor a(p.a), b(p.b);
  const size_t cols = size_t(p.registers) * 2;
  std::vector<float> right(cols * kDepth);
  std::vector<float> sums(cols);
  for (unsigned w = 0; w < 4; ++w) {
    const unsigned lanes = first + w * kWarpSize;
    Thread& reader = *threads[lanes];
    for (size_t j = 0; j < cols; ++j)
      for (int chunk = 0; chunk < 2; ++chunk)
        read_chunk(reader, b, int(j), chunk, p.type, &right[j * kDepth + size_t(chunk) * 8], pc);
    for (int i = 0; i < kRows / 4; ++i) {
      float left[kDepth];
      for (int chunk = 0; chunk < 2; ++chunk)
        read_chunk(reader, a, int(w) * 16 + i, chunk, p.type, left + chunk * 8, pc);
      for (size_t j = 0; j < cols; ++j) {
        sums[j] = 0.f;
        for (size_t k = 0; k < kDepth; ++k) sums[j] += left[k] * right[j * kDepth + k];
      }
      add_row(lanes + unsigned(i % 8) * 4, position, i / 8, sums);
    }
  }
}

void check_same(unsigned first, size_t position, const void* pc) {
  const WarpgroupProduct& p = threads[first]->products[position];
  for (unsigned i = 0; i < kGroupThreads; ++i) {
    const Thread& t = *threads[first + i];
    const bool same = position < t.products.size() && t.products[position].a == p.a && t.products[position].b == p.b &&
                      t.products[position].registers == p.registers && t.products[position].group == p.group;
    if (same && Descriptor(p.a).valid && Descriptor(p.b).valid) continue;
    report(same ? "impossible wgmma descriptor" : "the threads of a warpgroup give different wgmma operands", pc, &t);
    abort_block();
  }
}

// Accumulators without a product under way show their values.
void show_results(Thread& t, size_t done) {
  t.products.erase(t.products.begin(), t.products.begin() + long(done));
  t.registers_fenced = false;
  for (auto it = t.accumulators.begin(); it != t.accumulators.end();) {
    const bool busy =
        std::any_of(t.products.begin(), t.products.end(), [&](const auto& p) { return p.d == it->first; });
    if (!busy) std::memcpy(it->first, it->second.data(), it->second.size() * sizeof(float));
    it = busy ? std::next(it) : t.accumulators.erase(it);
  }
}

}  // namespace

void check_products_at_exit(const Thread& self) {
  if (!self.products.empty())
    report("wgmma has not been waited for when its thread ends", self.products.front().pc, &self,
           format("%zu products", self.products.size()));
}

void warpgroup_multiply(MatrixType type, float* d, int registers, uint64_t a, uint64_t b, bool accumulate) {
  const void* pc = EMULATOR_CALLER;
  InEmulator in;
  Thread& self = *in.self;
  if (self.accumulators.try_emplace(d, d, d + registers).second) {
    if (!self.registers_fenced)
      report("wgmma without a wgmma.fence between it and what else its accumulators were used for", pc, &self);
    std::memset(d, 0xff, size_t(registers) * sizeof(float));
  }
  self.products.push_back({type, d, registers, a, b, accumulate, self.product_group, pc});
}

void warpgroup_fence() { running->registers_fenced = true; }

void warpgroup_commit() { ++running->product_group; }

void warpgroup_wait(int pending_groups, const float*) {
  const void* pc = EMULATOR_CALLER;
  InEmulator in;
  const unsigned first = in.self->linear / kGroupThreads * kGroupThreads;
  if (first + kGroupThreads > current_launch.threads) {
    report("wgmma in a warpgroup of fewer than 128 threads", pc, in.self);
    abort_block();
  }
  unsigned waiting = 0;
  for (unsigned i = first; i < first + kGroupThreads; ++i)
    waiting += threads[i]->state == ThreadState::WaitsForWarpgroup;
  if (waiting + 1 < kGroupThreads) return wait(*in.self, ThreadState::WaitsForWarpgroup, pc, "its warpgroup");

  const Thread& leader = *threads[first];
  size_t done = 0;
  for (; done < leader.products.size() && leader.products[done].group < leader.product_group - pending_groups; ++done) {
    check_same(first, done, pc);
    multiply(first, leader.products[done], done, pc);
  }
  for (unsigned w = 0; w < 4; ++w) warp_clocks(first / kWarpSize + w, 0xffffffffu);
  for (unsigned i = first; i < first + kGroupThreads; ++i) {
    show_results(*threads[i], done);
    if (threads[i]->state == ThreadState::WaitsForWarpgroup) make_ready(*threads[i]);
  }
}

}  // namespace emulator
