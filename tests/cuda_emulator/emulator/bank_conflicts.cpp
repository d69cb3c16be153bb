// Bank conflicts of plain accesses to shared memory, counted on demand.
//
// Lanes run one after the other, so the accesses that a device would make at once are found again by their place in the
// code and by how often the lane has been there. (Lanes whose loops differ in length may be matched wrongly.) A warp's
// access is made in phases of 128 bytes: 32 lanes of up to 4 bytes, 16 of 8, or 8 of 16. A phase takes as many
// wavefronts as the busiest of the 32 banks has different words.
#include <algorithm>
#include <map>
#include <tuple>

#include "cuda_emulator/emulator/launches.h"
#include "cuda_emulator/emulator/memory.h"
#include "cuda_emulator/emulator/report.h"
#include "cuda_emulator/emulator/symbols.h"

namespace emulator {
namespace {

struct LaneAccess {
  unsigned lane;
  size_t offset, bytes;
};
using WarpAccess = std::tuple<unsigned, const void*, unsigned>;  // warp, pc, number of the visit

std::map<WarpAccess, std::vector<LaneAccess>> of_block;
std::map<std::pair<unsigned, const void*>, unsigned> visits;  // by thread and pc

struct Count {
  uint64_t wavefronts = 0, conflicts = 0;
};
std::map<const void*, Count> by_place;

unsigned wavefronts(const LaneAccess* first, const LaneAccess* last) {
  std::vector<size_t> words[32];
  for (const LaneAccess* a = first; a != last; ++a)
    for (size_t word = a->offset / 4; word <= (a->offset + a->bytes - 1) / 4; ++word) {
      std::vector<size_t>& bank = words[word % 32];
      if (std::find(bank.begin(), bank.end(), word) == bank.end()) bank.push_back(word);
    }
  size_t most = 0;
  for (const auto& bank : words) most = std::max(most, bank.size());
  return unsigned(most);
}

}  // namespace

void note_shared_access(const Thread& self, size_t offset, size_t bytes, const void* pc) {
  const unsigned visit = visits[{self.linear, pc}]++;
  of_block[{self.warp, pc, visit}].push_back({self.lane, offset, bytes});
}

void count_bank_conflicts_of_block() {
  for (auto& [key, accesses] : of_block) {
    std::sort(accesses.begin(), accesses.end(), [](const auto& a, const auto& b) { return a.lane < b.lane; });
    const unsigned lanes = unsigned(128 / std::max<size_t>(4, accesses[0].bytes));  // of a phase
    Count& count = by_place[std::get<1>(key)];
    for (auto first = accesses.data(), end = first + accesses.size(); first != end;) {
      const LaneAccess* last = first;
      while (last != end && last->lane / lanes == first->lane / lanes) ++last;
      const unsigned n = wavefronts(first, last);
      count.wavefronts += n;
      count.conflicts += n - 1;
      counters.shared_wavefronts += n;
      counters.shared_conflicts += n - 1;
      first += last - first;
    }
  }
  of_block.clear();
  visits.clear();
}

std::vector<std::string> bank_conflicts() {
  std::map<std::string, Count> by_line;
  for (const auto& [pc, count] : by_place) {
    Count& line = by_line[source_line(pc)];
    line.wavefronts += count.wavefronts;
    line.conflicts += count.conflicts;
  }
  std::vector<std::string> lines;
  for (const auto& [line, count] : by_line)
    lines.push_back(format("%llu %llu %s", (unsigned long long)count.wavefronts, (unsigned long long)count.conflicts,
                           line.c_str()));
  return lines;
}
void clear_bank_conflicts() { by_place.clear(); }

}  // namespace emulator
