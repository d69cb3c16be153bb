// Walks over channels-last tensors: a work item is one position of one image with a block of channels.
#pragma once
#include "core/parallel.h"
#include "kernels/simd.h"

namespace skipway {
namespace SW_ISA {

inline constexpr int64_t kChannelBlock = 256;   // channels of one work item
inline constexpr int64_t kChannelWork = 32768;  // element reads of one task

template <class T>
using Vec = typename Lanes<T>::vec;

// `count` channels at p. What lies behind them is read where it is inside the tensor: a plain load is faster.
template <class T>
SW_INLINE Vec<T> load_channels(const T* p, int64_t count, const T* end) {
  return count >= Lanes<T>::n || p + Lanes<T>::n <= end ? vload(p) : vload_n(p, count);
}
template <class T>
SW_INLINE void store_channels(T* p, Vec<T> v, int64_t count) {
  count >= Lanes<T>::n ? vstore(p, v) : vstore_n(p, v, count);
}

// f(state, n, position along three axes of the given sizes, first channel, end of channels, flat position with n), for
// all, position after position; each item reads `reads` elements per channel. Every task has its own copy of the state.
template <class State, class F>
SW_INLINE void for_positions(int64_t n, const int64_t* size, int64_t c, int64_t reads, const State& initial,
                             const F& f) {
  const int64_t plane = size[0] * size[1] * size[2], work = (c < kChannelBlock ? c : kChannelBlock) * reads;
  const int64_t blocks = (c + kChannelBlock - 1) / kChannelBlock;
  parallel_for(n * plane * blocks, kChannelWork / (work + 1) + 1, [&](int64_t begin, int64_t end) {
    State state = initial;
    int64_t flat = begin / blocks, block = begin % blocks, image = flat / plane;
    int64_t at[3] = {flat % plane / (size[1] * size[2]), flat / size[2] % size[1], flat % size[2]};
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = block * kChannelBlock, last = first + kChannelBlock < c ? first + kChannelBlock : c;
      f(state, image, at, first, last, flat);
      if (++block < blocks) continue;
      block = 0;
      ++flat;
      if (++at[2] < size[2]) continue;
      at[2] = 0;
      if (++at[1] < size[1]) continue;
      at[1] = 0;
      if (++at[0] < size[0]) continue;
      at[0] = 0;
      ++image;
    }
  });
}

}  // namespace SW_ISA
}  // namespace skipway
