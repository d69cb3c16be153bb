// ConvPrologue (kernels/conv_fused_args.h) on rows of channels, for convolutions that copy what they read.
#pragma once
#include "kernels/conv_fused_args.h"
#include "kernels/fused.h"
#include "kernels/gemm.h"
#include "kernels/partial.h"

namespace skipway::SW_ISA {

// to[row][c] = act((from[row][c] - mean[c]) * scale[c] + shift[c]), as S would hold it. from_row, to_row: elements.
template <FusedAct A, class S, class T>
void prologue_rows(const ConvPrologue& p, int64_t rows, int64_t channels, const S* from, int64_t from_row, T* to,
                   int64_t to_row) {
  constexpr int n = Lanes<S>::n;
  for (int64_t c = 0; c < channels; c += n) {
    const int64_t lanes = smaller(n, channels - c);
    const vfloat mean = p.mean ? take(p.mean + c, lanes) : vfloat{};
    const vfloat scale = take(p.scale + c, lanes), shift = take(p.shift + c, lanes);
    const auto run = [&](auto load, auto store) __attribute__((always_inline)) {
      for (int64_t row = 0; row < rows; ++row) {
        const vfloat z = fused_act<A>((load(from + row * from_row + c) - mean) * scale + shift);
        store(to + row * to_row + c, __is_same(S, T) ? z : rounded_to<S>(z));
      }
    };
    if (lanes == n) {
      run([](const S* at) { return vload(at); }, [](T* at, vfloat z) { vstore(at, z); });
    } else {
      run([=](const S* at) { return take(at, lanes); }, [=](T* at, vfloat z) { put(at, z, lanes); });
    }
  }
}
template <class S, class T>
SW_INLINE void prologue_rows(const ConvPrologue& p, int64_t rows, int64_t channels, const S* from, int64_t from_row,
                             T* to, int64_t to_row) {
  dispatch_act(p.act, [&]<FusedAct A>(ActTag<A>) { prologue_rows<A>(p, rows, channels, from, from_row, to, to_row); });
}

}  // namespace skipway::SW_ISA
