// The Winograd convolutions of one instruction set, called where kernels/conv_choice.h says so.
#pragma once
#include "kernels/simd.h"
#include "ops/conv.h"

namespace skipway::SW_ISA {

void winograd_forward(const ConvForwardArgs& args);
int64_t winograd_packed_bytes(const ConvShape& shape);
void winograd_data_grad(const ConvDataGradArgs& args);
void winograd_weight_grad(const ConvWeightGradArgs& args);

}  // namespace skipway::SW_ISA
