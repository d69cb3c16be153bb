// How the CPU computes convolutions. Forward and data gradient are the same thing, a correlation: each position of `to`
// is a sum over taps of positions of `from`, and differ only in their axes. A data gradient with stride s has s phases
// per axis, each a correlation of its own with the taps that reach it.
//
// The image is first copied into a frame that includes its zero padding (or used in place, where it needs none), so
// that no tap needs a check.
#pragma once
#include "core/parallel.h"
#include "kernels/conv_prologue.h"
#include "kernels/conv_shape.h"
#include "kernels/gemm.h"

namespace skipway::SW_ISA {

// to[first + q * to_step] = sum_{t < taps} from[q * from_step + shift(t)] * weight[tap(t)],   q < count
// with shifts that ascend.
struct Axis {
  int64_t first, count, to_step, from_step;
  int64_t taps, tap0, tap_step, shift0, shift_step;
  SW_INLINE int64_t tap(int64_t t) const { return tap0 + t * tap_step; }
  SW_INLINE int64_t shift(int64_t t) const { return shift0 + t * shift_step; }
};

inline Axis forward_axis(const ConvShape& s, int d) {
  return {0, s.out[d], 1, s.stride[d], s.kernel[d], 0, 1, -s.padding[d], s.dilation[d]};
}

// The gradient at position i sums what outputs (i + padding - r * dilation) / stride hold, over the taps r for which
// this is a whole number. Taps of one phase, a residue of i modulo the stride, are `period` apart, so that there are
// min(kernel, period) phases that any tap reaches; this is the one of taps r = start, start + period, ...
inline int64_t tap_period(const ConvShape& s, int d) {
  int64_t gcd = s.stride[d];
  for (int64_t rest = s.dilation[d] % gcd; rest != 0;) {
    const int64_t next = gcd % rest;
    gcd = rest;
    rest = next;
  }
  return s.stride[d] / gcd;
}
inline Axis gradient_axis(const ConvShape& s, int d, int64_t start) {
  const int64_t stride = s.stride[d], period = tap_period(s, d), taps = ceil_div(s.kernel[d] - start, period);
  const int64_t residue = (start * s.dilation[d] - s.padding[d]) % stride,
                phase = residue < 0 ? residue + stride : residue;
  const int64_t last = start + (taps - 1) * period;
  return {phase,
          phase < s.in[d] ? ceil_div(s.in[d] - phase, stride) : 0,
          stride,
          1,
          taps,
          last,
          -period,
          (phase + s.padding[d] - last * s.dilation[d]) / stride,
          s.dilation[d] * period / stride};
}

// A correlation with one set of taps, over frames with the given strides. The taps that read memory which follows on
// directly from the tap before are merged into runs.
struct Pass {
  Axis axis[3];
  int64_t taps, taps_before;  // taps_before: of earlier passes
  int64_t runs, run;          // `runs` runs of `run` elements
  int64_t* offsets;           // of the runs
  int64_t* tap_ids;           // of the taps, in the kernel's row-major order
  // Whether run r of position q reads anything but padding, as far as the first `axes` axes tell.
  SW_INLINE bool reads(const int64_t* from_size, int64_t r, const int64_t* q, int axes) const {
    int64_t t = r * (taps / runs);
    if (taps / runs > axis[2].taps) return true;  // runs over several rows
    for (int d = 2; d >= 0; --d) {
      const int64_t at = q[d] * axis[d].from_step + axis[d].shift(t % axis[d].taps);
      if (d < axes && (at < 0 || at >= from_size[d])) return false;
      t /= axis[d].taps;
    }
    return true;
  }
};

// The geometry of frames: of all images and blocks alike. A block is some images and, of one axis, some positions.
struct Frame {
  int64_t low[3], extent[3];  // of a block that begins at position 0: first source position, positions held
  int64_t stride[3];          // elements
  int64_t image;              // elements from one image of the frame to the next
  int64_t channels;           // elements from one position of the innermost axis to the next
  bool in_place;
  ConvPrologue prologue;  // of the image, on its way into frames
};

struct Blocks {
  int64_t images, groups;  // images per block; groups of images
  int split;               // the axis that is cut
  int64_t length, pieces;  // positions per piece; pieces
  SW_INLINE int64_t count() const { return groups * pieces; }
};

enum class Direction { Forward, DataGrad };

struct Plan {
  ConvShape shape;
  Direction direction;
  int64_t from_size[3], to_size[3], from_channels, to_channels;
  int64_t from_group, to_group;         // channels per group
  int64_t to_stride[3], to_image;       // elements
  int64_t phases[3];                    // that have taps
  int64_t low_shift[3], high_shift[3];  // over all phases
  int64_t positions[3];                 // the largest count of a phase
  int64_t passes, taps;
  bool covers;  // every position belongs to a phase
  SW_INLINE Axis axis(int d, int64_t phase) const {
    return direction == Direction::Forward ? forward_axis(shape, d) : gradient_axis(shape, d, phase);
  }
  SW_INLINE int64_t from_step(int d) const { return direction == Direction::Forward ? shape.stride[d] : 1; }
  SW_INLINE int64_t to_step(int d) const { return direction == Direction::Forward ? 1 : shape.stride[d]; }
  // Source positions that `length` positions of axis d read.
  SW_INLINE int64_t extent(int d, int64_t length) const {
    return (length - 1) * from_step(d) + high_shift[d] - low_shift[d] + 1;
  }
  // Of one image: positions in its frame, and multiply-adds.
  SW_INLINE int64_t frame_positions() const {
    return extent(0, positions[0]) * extent(1, positions[1]) * extent(2, positions[2]);
  }
  SW_INLINE int64_t macs() const {
    return from_group * to_channels * taps * positions[0] * positions[1] * positions[2];
  }
};

// Pointwise convolutions do not mind which pixel belongs to which image.
inline ConvShape flattened(ConvShape s) {
  for (int d = 0; d < 3; ++d)
    if (s.kernel[d] != 1 || s.stride[d] != 1 || s.padding[d] != 0 || s.in[d] != s.out[d]) return s;
  s.in[2] = s.out[2] = s.batch * s.in[0] * s.in[1] * s.in[2];
  s.batch = s.in[0] = s.in[1] = s.out[0] = s.out[1] = 1;
  return s;
}

Plan make_plan(const ConvShape& shape, Direction direction);
// macs and bytes: multiply-adds and frame bytes of one image; cache: bytes that a block's frames may take.
Blocks make_blocks(const Plan& plan, int64_t macs, int64_t bytes, int64_t cache);
// channels: elements per position; must_copy: elements have to be converted.
Frame make_frame(const Plan& plan, const Blocks& blocks, int64_t channels, bool must_copy,
                 const ConvPrologue& prologue = {});
// Elements per position of a frame. Pixels of a pointwise convolution that are a multiple of 2 KB apart share a cache
// set: their frames hold a few elements more.
SW_INLINE int64_t frame_channels(const Plan& p, int64_t element_bytes) {
  const bool crowded = p.taps == 1 && p.from_channels * element_bytes % 2048 == 0 && p.to_group > 64;
  return p.from_channels + (crowded ? 16 : 0);
}

// Axes this short are not worth a strip of positions; one of images takes its place, where there are more of them.
inline constexpr int64_t kNarrow = 4;
SW_INLINE bool is_narrow(const Plan& p, int64_t images) { return p.positions[2] <= kNarrow && images > p.positions[2]; }

// Fills passes[plan.passes]; memory holds 2 * plan.taps numbers. tap: elements that one tap reads at each position.
void make_passes(const Plan& plan, const Frame& frame, int64_t tap, bool merge, Pass* passes, int64_t* memory);

// What a block covers.
struct BlockRange {
  int64_t image0, images;
  int64_t begin[3], end[3];  // positions q
};
inline BlockRange block_range(const Plan& p, const Blocks& b, int64_t block) {
  BlockRange r;
  r.image0 = block / b.pieces * b.images;
  r.images = smaller(b.images, p.shape.batch - r.image0);
  for (int d = 0; d < 3; ++d) r.begin[d] = 0, r.end[d] = p.positions[d];
  r.begin[b.split] = block % b.pieces * b.length;
  r.end[b.split] = smaller(r.begin[b.split] + b.length, p.positions[b.split]);
  return r;
}

// The images of a block, with the zeros around them. from: the whole batch.
template <class T, class S>
void fill_frames(const Plan& p, const Frame& f, const BlockRange& r, const S* from, T* frames) {
  const int64_t c = p.from_channels, pad = f.channels - c;
  int64_t low[3], extent[3];
  for (int d = 0; d < 3; ++d) {
    low[d] = f.low[d] + r.begin[d] * p.from_step(d);
    extent[d] = p.extent(d, r.end[d] - r.begin[d]);
  }
  const int64_t left = clamped(-low[2], 0, extent[2]);
  const int64_t right = clamped(p.from_size[2] - low[2], left, extent[2]);
  for (int64_t n = 0; n < r.images; ++n)
    for (int64_t i = 0; i < extent[0]; ++i)
      for (int64_t j = 0; j < extent[1]; ++j) {
        T* row = frames + n * f.image + i * f.stride[0] + j * f.stride[1];
        const int64_t d = low[0] + i, h = low[1] + j;
        if (d < 0 || d >= p.from_size[0] || h < 0 || h >= p.from_size[1]) {
          clear(row, extent[2] * f.channels);
          continue;
        }
        clear(row, left * f.channels);
        const S* source =
            from + ((((r.image0 + n) * p.from_size[0] + d) * p.from_size[1] + h) * p.from_size[2] + low[2] + left) * c;
        T* at = row + left * f.channels;
        if (f.prologue) {
          if constexpr (sizeof(T) <= 4) prologue_rows(f.prologue, right - left, c, source, c, at, f.channels);
        } else if (pad == 0) {
          convert(source, at, (right - left) * c);
        } else {
          for (int64_t w = 0; w < right - left; ++w) convert(source + w * c, at + w * f.channels, c);
        }
        for (int64_t w = 0; pad > 0 && w < right - left; ++w) clear(at + w * f.channels + c, pad);
        clear(row + right * f.channels, (extent[2] - right) * f.channels);
      }
}

// Results that no tap reaches: the bias, or zero.
template <class S>
void fill_results(const Plan& p, const S* bias, S* to) {
  const int64_t channels = p.to_channels, positions = p.shape.batch * p.to_image / channels;
  parallel_for(positions, larger(1, (64 << 10) / channels), [&](int64_t begin, int64_t end) {
    if (!bias) return clear(to + begin * channels, (end - begin) * channels);
    for (int64_t i = begin; i < end; ++i) convert(bias, to + i * channels, channels);
  });
}

// The frames of a block, copied into the thread's scratch memory or in place.
template <class T, class S>
const T* block_frames(const Plan& p, const Frame& f, const Blocks& b, const BlockRange& r, const S* from, int slot) {
  if constexpr (sizeof(T) == sizeof(S)) {
    if (f.in_place) {
      const T* at = reinterpret_cast<const T*>(from) + r.image0 * f.image;
      for (int d = 0; d < 3; ++d) at += (f.low[d] + r.begin[d] * p.from_step(d)) * f.stride[d];
      return at;
    }
  }
  // Vectors may read past the last element.
  T* frames = static_cast<T*>(thread_scratch(slot, size_t(b.images * f.image + Lanes<T>::n) * sizeof(T)));
  fill_frames(p, f, r, from, frames);
  return frames;
}

}  // namespace skipway::SW_ISA
