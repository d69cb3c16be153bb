#include "ops/augment.h"

#include <algorithm>
#include <cmath>

#include "ops/copy.h"

namespace skipway {
namespace {

constexpr const char* kOp = "augment_images";

void check_same_device(const char* name, const Tensor& t, const Tensor& images) {
  check_defined(kOp, name, t);
  SW_CHECK_AS(DeviceError, t.device() == images.device(), kOp, ": expected ", name, " on ", images.device(),
              ", where the images are, got ", t.device());
}

Tensor per_channel(const char* name, const Tensor& t, const Tensor& images) {
  check_same_device(name, t, images);
  SW_CHECK_TYPE(t.dtype() == DType::Float32, kOp, ": expected ", name, " of float32, got ", t.dtype());
  SW_CHECK_SHAPE(t.dim() == 1 && t.size(0) == images.size(1), kOp, ": expected ", name, " of shape (", images.size(1),
                 ",), one for each channel, got ", t.shape());
  return contiguous(t.alias());
}

void check_options(const Augmentation& a, const Tensor& images) {
  const int64_t most = 4 * std::max(images.size(2), images.size(3));
  SW_CHECK_VALUE(a.padding >= 0 && a.padding <= most, kOp, ": expected padding in [0, ", most, "], got ", a.padding);
  SW_CHECK_VALUE(a.hole >= 0 && a.hole <= most, kOp, ": expected hole in [0, ", most, "], got ", a.hole);
  for (double v : {a.angle, a.shift, a.zoom, a.shear, a.hole_value})
    SW_CHECK_VALUE(std::isfinite(v) && v >= 0, kOp, ": expected finite limits of at least 0, got ", v);
  SW_CHECK_VALUE(a.padding == 0 || !a.affine(), kOp, ": expected a crop (padding) or an affine map, got both");
}

}  // namespace

Tensor augment_images(const Tensor& images, const Tensor& index, const Tensor& mean, const Tensor& std, DType dtype,
                      const Augmentation& augmentation, const GeneratorPtr& generator) {
  check_defined(kOp, "images", images);
  SW_CHECK_TYPE(images.dtype() == DType::UInt8, kOp, ": expected images of uint8, got ", images.dtype());
  SW_CHECK_SHAPE(images.dim() == 4, kOp, ": expected images of shape (N, C, H, W), got ", images.shape());
  for (int d = 1; d < 4; ++d)
    SW_CHECK_SHAPE(images.size(d) > 0 && images.size(d) <= 32768, kOp,
                   ": expected C, H and W from 1 to 32768, got images of shape ", images.shape());
  SW_CHECK_SHAPE(images.size(1) * images.size(2) * images.size(3) < int64_t(1) << 31, kOp,
                 ": expected images of fewer than 2^31 elements each, got ", images.shape());
  check_same_device("index", index, images);
  SW_CHECK_TYPE(index.dtype() == DType::Int64, kOp, ": expected index of int64, got ", index.dtype());
  SW_CHECK_SHAPE(index.dim() == 1, kOp, ": expected index of shape (B,), got ", index.shape());
  SW_CHECK_TYPE(is_floating(dtype), kOp, ": expected a floating dtype, got ", dtype);
  check_options(augmentation, images);
  const Tensor means = per_channel("mean", mean, images), deviations = per_channel("std", std, images);
  const Tensor chosen = contiguous(index.alias());
  const Augmentation& o = augmentation;
  const bool random = o.padding > 0 || o.flip || o.hole > 0 || o.affine();
  const RngKey key = random ? (generator ? generator : default_generator())->next(images.device()) : RngKey{};
  const int64_t batch = index.size(0);
  Tensor out = empty_channels_last({batch, images.size(1), images.size(2), images.size(3)}, dtype, images.device());
  if (images.device().is_cpu()) {
    for (int64_t b = 0; b < batch; ++b) {
      const int64_t i = chosen.data_as<int64_t>()[b];
      SW_CHECK_INDEX(i >= 0 && i < images.size(0), kOp, ": index ", i, " is out of range for ", images.size(0),
                     " images");
    }
  }
  if (batch == 0) return out;
  const Shape& s = images.strides();
  launch(images.device(), augment_kernel,
         {dtype, images.data_as<uint8_t>(), images.size(0), s[0], s[1], s[2], s[3], chosen.data_as<int64_t>(),
          means.data_as<float>(), deviations.data_as<float>(), out.data(), batch, int(images.size(1)),
          int(images.size(2)), int(images.size(3)), random, key, augmentation});
  return out;
}

}  // namespace skipway
