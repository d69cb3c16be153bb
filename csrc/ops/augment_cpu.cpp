#include <math.h>

#include "core/parallel.h"
#include "kernels/simd.h"
#include "ops/augment.h"

namespace skipway {
namespace SW_ISA {

void augment_kernel(const AugmentArgs& args) {
  dispatch_float(args.dtype, [&]<class T>(Type<T>) {
    const int64_t size = int64_t(args.height) * args.width * args.channels;
    parallel_for(args.batch, 1 + 16384 / size, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        const Placement p = placement_of(args, args.key, b);
        const uint8_t* image = args.images + args.index[b] * args.image_stride;
        T* out = static_cast<T*>(args.out) + b * size;
        for (int i = 0; i < args.height; ++i)
          for (int j = 0; j < args.width; ++j)
            for (int c = 0; c < args.channels; ++c) {
              const float v = augmented_pixel(args, p, image + c * args.channel_stride, i, j);
              *out++ = T(accumulate_type<T>((v - args.mean[c]) / args.std[c]));
            }
      }
    });
  });
}

}  // namespace SW_ISA
}  // namespace skipway
