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

// f(n, position along three axes of the given sizes, first channel, end of channels, flat position with n), for all;
// each item reads `reads` elements per channel.
template <class F>
SW_INLINE void for_positions(int64_t n, const int64_t* size, int64_t c, int64_t reads, const F& f) {
  const int64_t blocks = (c + kChannelBlock - 1) / kChannelBlock;
  const int64_t work = (c < kChannelBlock ? c : kChannelBlock) * reads;
  parallel_for(n * size[0] * size[1] * size[2] * blocks, kChannelWork / (work + 1) + 1,
               [&](int64_t begin, int64_t end) {
                 for (int64_t item = begin; item < end; ++item) {
                   const int64_t flat = item / blocks, first = item % blocks * kChannelBlock;
                   int64_t rest = flat, at[3];
                   for (int d = 2; d >= 0; --d) {
                     at[d] = rest % size[d];
                     rest /= size[d];
                   }
                   f(rest, at, first, first + kChannelBlock < c ? first + kChannelBlock : c, flat);
                 }
               });
}

}  // namespace SW_ISA
}  // namespace skipway
