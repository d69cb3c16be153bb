// Convolutions whose groups are small: as many source as result channels per group, a divisor of the vector's lanes.
// Depthwise convolution is the case of one. Lanes are channels, and the j-th source channel of each lane's own group
// comes from a shuffle, so that no lane multiplies what belongs to another group:
//   y[q][lane] = sum over taps and j of x[q * step + tap][lane - lane % group + j] * w[tap][j][lane]
#pragma once
#include "kernels/conv_choice.h"
#include "kernels/conv_plan.h"

namespace skipway::SW_ISA {

template <class S>
void lanes_correlate(Direction direction, const ConvShape& shape, const S* from, const S* weight, const S* bias, S* to,
                     bool add, const ConvPrologue& prologue = {});
template <class S>
void lanes_weight_grad(const ConvShape& shape, const S* x, const ConvPrologue& prologue, const S* dy, S* dweight);

}  // namespace skipway::SW_ISA
