// The parts of a forward convolution that kernels/conv_fused_args.h asks for, as passes of their own: for algorithms
// that do not do them in passing.
#pragma once
#include "kernels/simd.h"
#include "ops/conv.h"

namespace skipway::SW_ISA {

// y holds z.
void epilogue_pass(const ConvForwardArgs& args);
// The map alone, on the channels [c0, c1) of `rows` positions of y from `row` on.
template <class S>
void epilogue_rows(const ConvEpilogue& epilogue, S* y, int64_t channels, int64_t row, int64_t rows, int64_t c0,
                   int64_t c1);

}  // namespace skipway::SW_ISA
