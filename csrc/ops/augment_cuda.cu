// One block for each image of the batch: a thread draws where its pixels come from, all threads write them, channels
// innermost. Bound by the bytes written (four for each one read) for crops, by arithmetic for affine maps.
#include "kernels/cuda/walk.cuh"
#include "ops/augment.h"

namespace skipway::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads, 4) augment(AugmentArgs a, Fault* fault) {
  auto& placement = rt::static_shared<Placement>();
  const RngKey key = resolved(a.key);
  const int size = a.height * a.width * a.channels;
  for (int64_t b = blockIdx.x; b < a.batch; b += gridDim.x) {
    const int64_t chosen = a.index[b];
    if (chosen < 0 || chosen >= a.total) {  // the same for all threads
      if (threadIdx.x == 0) raise_fault(fault, FaultKind::Index, chosen, a.total);
      continue;
    }
    __syncthreads();  // the last image's placement has been read
    if (threadIdx.x == 0) placement = placement_of(a, key, b);
    __syncthreads();
    const uint8_t* image = a.images + chosen * a.image_stride;
    for (int at = threadIdx.x; at < size; at += kThreads) {
      const int c = at % a.channels, pixel = at / a.channels;
      const float v = augmented_pixel(a, placement, image + c * a.channel_stride, pixel / a.width, pixel % a.width);
      write_as<double>(a.out, a.dtype, b * size + at, double((v - a.mean[c]) / a.std[c]));
    }
  }
}

}  // namespace

SW_CUDA_KERNEL(augment_kernel, a, stream) {
  rt::launch(augment, {grid_for(a.batch, 1, stream), kThreads, 0, stream.handle}, a, stream.fault);
}

}  // namespace skipway::cuda
