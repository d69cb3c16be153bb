// A convolution and its data gradient are the same thing to a kernel, a correlation: each position of the result is a
// sum over taps of positions of the source, times a filter. A data gradient with stride s has s phases per axis, each
// a correlation of its own with the taps that reach it (kernels/conv_plan.h says the same for the CPU).
#pragma once
#include "kernels/conv_shape.h"
#include "kernels/cuda/walk.cuh"

namespace skipway::cuda {

// to[first + q * to_step] = sum_{t < taps} from[q * from_step + shift + t * shift_step] * filter[tap + t * tap_step],
// q < count
struct Axis {
  int first, count, to_step, from_step;
  int taps, tap, tap_step, shift, shift_step;
};

inline Axis forward_axis(const ConvShape& s, int d) {
  return {0, int(s.out[d]), 1, int(s.stride[d]), int(s.kernel[d]), 0, 1, -int(s.padding[d]), int(s.dilation[d])};
}

// Positions i = phase, phase + stride, ...: output (i + padding - r * dilation) / stride for the taps r for which this
// is a whole number. They are `period` apart. Phases that no tap reaches have no taps.
inline Axis gradient_axis(const ConvShape& s, int d, int phase) {
  const int stride = int(s.stride[d]), dilation = int(s.dilation[d]), padding = int(s.padding[d]);
  int a = stride, b = dilation % stride;
  while (b != 0) a = a % b, std::swap(a, b);
  const int period = stride / a;
  Axis axis{phase, phase < s.in[d] ? int(ceil_div(s.in[d] - phase, stride)) : 0, stride, 1, 0, 0, -period, 0, 0};
  int start = 0;
  while (start < period && (phase + padding - start * dilation) % stride != 0) ++start;
  if (start == period || start >= s.kernel[d]) return axis;
  axis.taps = int(ceil_div(s.kernel[d] - start, period));
  axis.tap = start + (axis.taps - 1) * period;  // the last tap reads the first position
  axis.shift = (phase + padding - axis.tap * dilation) / stride;
  axis.shift_step = dilation * period / stride;
  return axis;
}

// One correlation over height and width, for all images.
struct Phase {
  Axis h, w;
  Divider by_h, by_w;  // counts
  int positions;       // of all images
};

inline Phase make_phase(const Axis& h, const Axis& w, int64_t images) {
  return {h, w, Divider(uint32_t(h.count ? h.count : 1)), Divider(uint32_t(w.count ? w.count : 1)),
          int(images * h.count * w.count)};
}

struct Position {
  int image, h, w;  // h, w: of the phase, q in the formula
};
__device__ __forceinline__ Position decode(const Phase& p, int m) {
  const int row = int(p.by_w.divide(uint32_t(m))), image = int(p.by_h.divide(uint32_t(row)));
  return {image, row - image * p.h.count, m - row * p.w.count};
}

// An image in memory: channels-last, of which a group takes `channels`.
struct Image {
  int h, w, pitch, channels;  // pitch: elements from pixel to pixel
  __device__ __forceinline__ int64_t pixel(int image, int y, int x) const { return (int64_t(image) * h + y) * w + x; }
};

}  // namespace skipway::cuda
