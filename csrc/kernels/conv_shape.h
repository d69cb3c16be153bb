// The geometry of a convolution of one to three dimensions, as plain numbers for kernels of any device.
#pragma once
#include <cstdint>

namespace skipway {

// Dimensions are depth, height, width; the ones that a convolution does not have are 1 (padding 0). padding is what
// stands before the first element; what stands after the last one follows from `out`.
struct ConvShape {
  int64_t batch, in_channels, out_channels, groups;
  int64_t in[3], out[3], kernel[3], stride[3], padding[3], dilation[3];
};

}  // namespace skipway
