// Batches of images for training: chosen from a set of uint8 images by index, augmented at random, normalised:
//   y[b, c, i, j] = (image[index[b], c, source of (i, j)] - mean[c]) / std[c]
// in this order: a bilinear affine map, or a crop from the image with a border of zeros (`padding` pixels wide); a
// flip, left to right, of every second image; a square hole around a random pixel (DeVries and Taylor 2017, "cutout").
// Sixteen words of Philox belong to each image of the batch, so the result is a function of the generator's state.
#pragma once
#include <math.h>

#include "core/generator.h"
#include "core/tensor.h"
#include "kernels/dispatch.h"

namespace skipway {

struct Augmentation {
  int64_t padding = 0;    // crop: shifts by up to so many pixels, each way
  bool flip = false;      // with probability 1/2
  int64_t hole = 0;       // side of the square; 0: none
  double hole_value = 0;  // before normalising
  // Affine, up to: radians, pixels, factor 1 + zoom, slant. All 0: none.
  double angle = 0, shift = 0, zoom = 0, shear = 0;
  SW_INLINE bool affine() const { return angle != 0 || shift != 0 || zoom != 0 || shear != 0; }
};

// images: uint8 (N, C, H, W); index: int64 (B,); mean, std: float32 (C,); all on one device. Returns (B, C, H, W) of a
// floating dtype, channels last. A null generator is the default one; it is asked only where something is random. An
// index out of range is an IndexError; on a CUDA device it comes with the next wait.
Tensor augment_images(const Tensor& images, const Tensor& index, const Tensor& mean, const Tensor& std, DType dtype,
                      const Augmentation& augmentation, const GeneratorPtr& generator);

struct AugmentArgs {
  DType dtype;
  const uint8_t* images;
  int64_t total, image_stride, channel_stride, row_stride, column_stride;
  const int64_t* index;
  const float *mean, *std;
  void* out;
  int64_t batch;
  int channels, height, width;
  bool random;
  RngKey key;
  Augmentation augmentation;
};
SW_DECLARE_KERNEL(augment_kernel, AugmentArgs)

// Where the pixels of one image of the batch come from.
struct Placement {
  float yy = 1, yx = 0, y0 = 0, xy = 0, xx = 1, x0 = 0;  // source = (yy i + yx j + y0, xy i + xx j + x0)
  bool flip = false;
  int hole_y = 0, hole_x = 0;  // the hole's first row and column
};

SW_INLINE Placement placement_of(const AugmentArgs& a, RngKey key, int64_t image) {
  Placement p;
  if (!a.random) return p;
  const Augmentation& o = a.augmentation;
  const auto below = [&](int word, int64_t n) {  // uniform in 0 ... n - 1
    return int(uint64_t(random_u32(key, uint64_t(image * 16 + word))) * uint64_t(n) >> 32);
  };
  const auto either_way = [&](int word) {  // in [-1, 1)
    return uniform_float(random_u32(key, uint64_t(image * 16 + word))) * 2 - 1;
  };
  if (o.affine()) {
    const float turn = float(o.angle) * either_way(5), size = ::expf(::logf(1 + float(o.zoom)) * either_way(6));
    const float slant = float(o.shear) * either_way(7), c = ::cosf(turn) / size, s = ::sinf(turn) / size;
    const float middle_y = float(a.height - 1) / 2, middle_x = float(a.width - 1) / 2;
    p.yy = c;
    p.yx = s;
    p.xy = c * slant - s;
    p.xx = c + s * slant;
    p.y0 = middle_y + float(o.shift) * either_way(8) - p.yy * middle_y - p.yx * middle_x;
    p.x0 = middle_x + float(o.shift) * either_way(9) - p.xy * middle_y - p.xx * middle_x;
  } else if (o.padding > 0) {
    p.y0 = float(below(0, 2 * o.padding + 1) - o.padding);
    p.x0 = float(below(1, 2 * o.padding + 1) - o.padding);
  }
  p.flip = o.flip && below(2, 2) == 1;
  if (o.hole > 0) {
    p.hole_y = below(3, a.height) - int(o.hole / 2);
    p.hole_x = below(4, a.width) - int(o.hole / 2);
  }
  return p;
}

// One pixel of one channel; `image` is where that channel starts.
SW_INLINE float source_pixel(const AugmentArgs& a, const uint8_t* image, int y, int x) {
  if (y < 0 || y >= a.height || x < 0 || x >= a.width) return 0;
  return float(image[y * a.row_stride + x * a.column_stride]);
}
SW_INLINE float augmented_pixel(const AugmentArgs& a, const Placement& p, const uint8_t* image, int i, int j) {
  const Augmentation& o = a.augmentation;
  if (o.hole > 0 && i >= p.hole_y && i < p.hole_y + o.hole && j >= p.hole_x && j < p.hole_x + o.hole)
    return float(o.hole_value);
  if (p.flip) j = a.width - 1 - j;
  if (!o.affine()) return source_pixel(a, image, i + int(p.y0), j + int(p.x0));
  const float y = p.yy * float(i) + p.yx * float(j) + p.y0, x = p.xy * float(i) + p.xx * float(j) + p.x0;
  const float bounded_y = y < -1 ? -1 : y > float(a.height) ? float(a.height) : y;
  const float bounded_x = x < -1 ? -1 : x > float(a.width) ? float(a.width) : x;
  const int top = int(bounded_y + 1) - 1, left = int(bounded_x + 1) - 1;
  const float down = bounded_y - float(top), right = bounded_x - float(left);
  const float above = source_pixel(a, image, top, left) * (1 - right) + source_pixel(a, image, top, left + 1) * right;
  const float below =
      source_pixel(a, image, top + 1, left) * (1 - right) + source_pixel(a, image, top + 1, left + 1) * right;
  return above * (1 - down) + below * down;
}

}  // namespace skipway
