// Shuffles and votes. The lane arithmetic is the CUDA programming guide's: a source outside the segment of `width`
// lanes is the calling lane itself.
#pragma once
#include <type_traits>

#include "cuda_emulator/interface.h"

namespace emulator {

template <class T>
EMULATOR_INLINE T shuffle_from(unsigned mask, T value, unsigned source) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);
  T result;
  shuffle(mask, &value, &result, sizeof(T), source);
  return result;
}

}  // namespace emulator

template <class T>
EMULATOR_INLINE T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  const unsigned lane = emulator::lane_index(), segment = lane & ~unsigned(width - 1);
  return emulator::shuffle_from(mask, value, segment | (unsigned(source) & unsigned(width - 1)));
}
template <class T>
EMULATOR_INLINE T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32) {
  const unsigned lane = emulator::lane_index(), source = lane ^ unsigned(lane_mask), last = lane | unsigned(width - 1);
  return emulator::shuffle_from(mask, value, source > last ? lane : source);
}
template <class T>
EMULATOR_INLINE T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const unsigned lane = emulator::lane_index(), last = lane | unsigned(width - 1);
  return emulator::shuffle_from(mask, value, delta > last - lane ? lane : lane + delta);
}
template <class T>
EMULATOR_INLINE T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const unsigned lane = emulator::lane_index(), position = lane & unsigned(width - 1);
  return emulator::shuffle_from(mask, value, delta > position ? lane : lane - delta);
}

EMULATOR_INLINE unsigned __activemask() { return emulator::active_mask(); }
EMULATOR_INLINE unsigned __ballot_sync(unsigned mask, int predicate) { return emulator::ballot(mask, predicate); }
EMULATOR_INLINE int __any_sync(unsigned mask, int predicate) { return emulator::ballot(mask, predicate) != 0; }
EMULATOR_INLINE int __all_sync(unsigned mask, int predicate) { return emulator::ballot(mask, predicate) == mask; }

template <class T>
EMULATOR_INLINE unsigned __match_any_sync(unsigned mask, T value) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  uint64_t bits = 0;
  __builtin_memcpy(&bits, &value, sizeof(T));
  return emulator::match_any(mask, bits);
}
template <class T>
EMULATOR_INLINE unsigned __match_all_sync(unsigned mask, T value, int* predicate) {
  *predicate = __match_any_sync(mask, value) == mask;
  return *predicate ? mask : 0;
}

EMULATOR_INLINE unsigned __reduce_add_sync(unsigned m, unsigned v) { return emulator::reduce_bits(m, v, '+'); }
EMULATOR_INLINE int __reduce_add_sync(unsigned m, int v) { return int(emulator::reduce_bits(m, unsigned(v), '+')); }
EMULATOR_INLINE unsigned __reduce_min_sync(unsigned m, unsigned v) { return emulator::reduce_bits(m, v, 'm'); }
EMULATOR_INLINE int __reduce_min_sync(unsigned m, int v) { return int(emulator::reduce_bits(m, unsigned(v), 'i')); }
EMULATOR_INLINE unsigned __reduce_max_sync(unsigned m, unsigned v) { return emulator::reduce_bits(m, v, 'M'); }
EMULATOR_INLINE int __reduce_max_sync(unsigned m, int v) { return int(emulator::reduce_bits(m, unsigned(v), 'I')); }
EMULATOR_INLINE unsigned __reduce_and_sync(unsigned m, unsigned v) { return emulator::reduce_bits(m, v, '&'); }
EMULATOR_INLINE unsigned __reduce_or_sync(unsigned m, unsigned v) { return emulator::reduce_bits(m, v, '|'); }
EMULATOR_INLINE unsigned __reduce_xor_sync(unsigned m, unsigned v) { return emulator::reduce_bits(m, v, '^'); }
