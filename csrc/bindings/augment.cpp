#include "ops/augment.h"

#include "bindings/bindings.h"

namespace skipway::bindings {

SW_BINDINGS(augment) {
  function(
      m, "augment_images",
      [](const Tensor& images, const Tensor& index, const Tensor& mean, const Tensor& std, DType dtype, int64_t padding,
         bool flip, int64_t hole, double hole_value, double angle, double shift, double zoom, double shear,
         const GeneratorPtr& generator) {
        return augment_images(images, index, mean, std, dtype,
                              {padding, flip, hole, hole_value, angle, shift, zoom, shear}, generator);
      },
      "images"_a, "index"_a, "mean"_a, "std"_a, "dtype"_a = DType::Float32, py::kw_only(), "padding"_a = 0,
      "flip"_a = false, "hole"_a = 0, "hole_value"_a = 0.0, "angle"_a = 0.0, "shift"_a = 0.0, "zoom"_a = 0.0,
      "shear"_a = 0.0, "generator"_a = py::none(),
      R"(A batch of the images with these indices, (B, C, H, W), augmented and normalised: (image - mean) / std.

images: uint8 (N, C, H, W); index: int64 (B,); mean, std: float32 (C,); all on one device.
padding: moves each image by up to so many pixels each way. flip: mirrors it, left to right, with probability 1/2.
hole: puts a square of this side and of hole_value around a random pixel. angle (radians), shift (pixels), zoom (a factor
of up to 1 + zoom either way), shear: a bilinear affine map within these limits, instead of padding. What comes in from
outside is 0. The same bits from the same state of the generator (default: the default one) for what is not affine.

IndexError for indices out of range (on a CUDA device at the next wait), ValueError for negative limits.)");
}

}  // namespace skipway::bindings
