// Which algorithm computes a convolution on the CPU: a small cost model, which users can see and override. Depends on
// the shape and the dtype alone.
#pragma once
#include "core/dtype.h"
#include "kernels/conv_shape.h"

namespace skipway {

// Direct: kernels/conv_plan.h. Lanes: small groups, kernels/conv_lanes.h. Winograd: kernels/winograd.h.
enum class ConvAlgorithm : uint8_t { Auto, Direct, Lanes, Winograd };
enum class ConvPass : uint8_t { Forward, DataGrad, WeightGrad };

// The algorithm for a shape. `lanes`: of the instruction set's vectors of this dtype.
ConvAlgorithm conv_algorithm(const ConvShape& shape, DType dtype, ConvPass pass, int64_t lanes);

// Auto, Direct or Winograd (where it is defined: 3x3, stride 1, no groups, float32, channels in sixteens). Read from
// SKIPWAY_CONV at first use. Other values throw ValueError.
ConvAlgorithm preferred_conv_algorithm();
void prefer_conv_algorithm(ConvAlgorithm algorithm);
const char* name_of(ConvAlgorithm algorithm);
ConvAlgorithm parse_conv_algorithm(const char* name);  // throws ValueError

// What the mathematics asks for, whatever the algorithm: two operations per multiply-add, and each tensor moved once.
struct ConvWork {
  double flops, bytes;
};
ConvWork conv_work(const ConvShape& shape, DType dtype);

}  // namespace skipway
