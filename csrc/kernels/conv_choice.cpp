#include "kernels/conv_choice.h"

#include <atomic>
#include <cstdlib>
#include <cstring>

#include "core/check.h"
#include "kernels/isa_level.h"

namespace skipway {
namespace {

constexpr const char* kNames[] = {"auto", "direct", "lanes", "winograd"};

ConvAlgorithm initial() {
  const char* wanted = std::getenv("SKIPWAY_CONV");
  return wanted && *wanted ? parse_conv_algorithm(wanted) : ConvAlgorithm::Auto;
}

std::atomic<ConvAlgorithm>& preferred() {
  static std::atomic<ConvAlgorithm> algorithm{initial()};
  return algorithm;
}

bool winograd_can(const ConvShape& s, DType dtype) {
  if ((dtype != DType::Float32 && dtype != DType::BFloat16) || s.groups != 1 || s.in_channels % 16 != 0 ||
      s.out_channels % 16 != 0)
    return false;
  for (int d = 0; d < 3; ++d) {
    if (s.kernel[d] != (d ? 3 : 1) || s.stride[d] != 1 || (s.dilation[d] != 1 && d) || s.padding[d] > (d ? 2 : 0))
      return false;
  }
  return s.in[0] == 1 && s.out[0] == 1 && s.batch > 0;
}

// In multiply-adds at full speed: an element of a transformed tile or filter costs about so many.
// Up to kKeptFilters channel pairs, transformed filters are kept in inference; the choice is the same in training,
// where it is too hopeful for a batch of one or two, so that a model computes the same bits in both.
constexpr double kTileElement = 14, kFilterElement = 30, kKeptElement = 20, kKeptFilters = 256 * 256, kEfficiency = 0.9;

// How many times faster than float32 direct convolutions compute, less what transforms gain from shorter images. The
// products of Winograd's are always float32's.
double direct_speed(DType dtype) {
  if (dtype != DType::BFloat16 || current_level() < Level::Avx512Bf16) return 1;
  return current_level() == Level::Avx512Bf16 ? 1.3 : 16;
}

bool winograd_wins(const ConvShape& s, DType dtype) {
  const double channels = double(s.in_channels) * double(s.out_channels);
  const double direct = double(s.batch) * double(s.out[1]) * double(s.out[2]) * 9 * channels;
  const double tiles = double(s.batch) * double((s.out[1] + 3) / 4) * double((s.out[2] + 3) / 4);
  const double winograd = 36 * (tiles * channels + tiles * double(s.in_channels + s.out_channels) * kTileElement +
                                channels * (channels > kKeptFilters ? kFilterElement : kKeptElement));
  return winograd * direct_speed(dtype) < kEfficiency * direct;
}

}  // namespace

const char* name_of(ConvAlgorithm algorithm) { return kNames[int(algorithm)]; }

ConvAlgorithm parse_conv_algorithm(const char* name) {
  for (ConvAlgorithm a : {ConvAlgorithm::Auto, ConvAlgorithm::Direct, ConvAlgorithm::Winograd})
    if (!std::strcmp(name, name_of(a))) return a;
  throw ValueError(concat("convolution algorithm: expected auto, direct or winograd, got ", name));
}

ConvAlgorithm preferred_conv_algorithm() { return preferred(); }

void prefer_conv_algorithm(ConvAlgorithm algorithm) { preferred() = algorithm; }

ConvAlgorithm conv_algorithm(const ConvShape& s, DType dtype, ConvPass, int64_t lanes) {
  const int64_t group = s.in_channels / s.groups;
  if (s.groups > 1 && group == s.out_channels / s.groups && group <= 8 && group < lanes && lanes % group == 0)
    return ConvAlgorithm::Lanes;
  if (!winograd_can(s, dtype)) return ConvAlgorithm::Direct;
  const ConvAlgorithm wanted = preferred();
  if (wanted != ConvAlgorithm::Auto) return wanted;
  return winograd_wins(s, dtype) ? ConvAlgorithm::Winograd : ConvAlgorithm::Direct;
}

ConvWork conv_work(const ConvShape& s, DType dtype) {
  double results = double(s.batch) * double(s.out_channels), sources = double(s.batch) * double(s.in_channels);
  double weights = double(s.out_channels) * double(s.in_channels / s.groups);
  double products = 2 * double(s.in_channels / s.groups);
  for (int d = 0; d < 3; ++d) {
    results *= double(s.out[d]);
    sources *= double(s.in[d]);
    weights *= double(s.kernel[d]);
    products *= double(s.kernel[d]);
  }
  return {results * products, (results + sources + weights) * double(size_of(dtype))};
}

}  // namespace skipway
