#include "kernels/conv_plan.h"

namespace skipway::SW_ISA {

Plan make_plan(const ConvShape& s, Direction direction) {
  Plan p{};
  p.shape = s;
  p.direction = direction;
  const bool forward = direction == Direction::Forward;
  p.from_channels = forward ? s.in_channels : s.out_channels;
  p.to_channels = forward ? s.out_channels : s.in_channels;
  p.passes = p.taps = 1;
  p.covers = true;
  for (int d = 0; d < 3; ++d) {
    p.from_size[d] = forward ? s.in[d] : s.out[d];
    p.to_size[d] = forward ? s.out[d] : s.in[d];
    p.phases[d] = forward ? 1 : smaller(s.kernel[d], tap_period(s, d));
    p.covers = p.covers && (forward || p.phases[d] == s.stride[d]);
    for (int64_t phase = 0; phase < p.phases[d]; ++phase) {
      const Axis a = p.axis(d, phase);
      const int64_t high = a.shift(a.taps - 1);
      p.positions[d] = larger(p.positions[d], a.count);
      p.low_shift[d] = phase ? smaller(p.low_shift[d], a.shift0) : a.shift0;
      p.high_shift[d] = phase ? larger(p.high_shift[d], high) : high;
    }
    p.passes *= p.phases[d];
    p.taps *= s.kernel[d];
  }
  p.from_group = p.from_channels / s.groups;
  p.to_group = p.to_channels / s.groups;
  p.to_stride[2] = p.to_channels;
  p.to_stride[1] = p.to_size[2] * p.to_stride[2];
  p.to_stride[0] = p.to_size[1] * p.to_stride[1];
  p.to_image = p.to_size[0] * p.to_stride[0];
  return p;
}

Blocks make_blocks(const Plan& p, int64_t macs, int64_t bytes, int64_t cache) {
  constexpr int64_t kTask = 1 << 20, kMaxTasks = 64, kMaxPieces = 16;
  const int64_t batch = p.shape.batch;
  const int64_t tasks = clamped(batch * macs / kTask, 1, kMaxTasks);
  Blocks b{};
  b.images = clamped(smaller(ceil_div(batch, tasks), cache / larger(bytes, 1)), 1, batch);
  b.groups = ceil_div(batch, b.images);
  b.images = ceil_div(batch, b.groups);
  while (b.split < 2 && p.positions[b.split] == 1) ++b.split;
  const int64_t length = p.positions[b.split];
  int64_t pieces = 1;
  if (b.images == 1) pieces = larger(ceil_div(bytes, cache), smaller(ceil_div(tasks, batch), kMaxPieces));
  b.length = ceil_div(length, clamped(pieces, 1, length));
  b.pieces = ceil_div(length, b.length);
  return b;
}

Frame make_frame(const Plan& p, const Blocks& b, int64_t channels, bool must_copy, const ConvPrologue& prologue) {
  Frame f{};
  f.channels = channels;
  f.prologue = prologue;
  f.in_place = !must_copy && !prologue && channels == p.from_channels;
  for (int d = 0; d < 3; ++d) {
    f.low[d] = p.low_shift[d];
    f.extent[d] = p.extent(d, d == b.split ? b.length : p.positions[d]);
    const int64_t whole = p.extent(d, p.positions[d]);
    if (f.low[d] < 0 || f.low[d] + whole > p.from_size[d]) f.in_place = false;
  }
  const int64_t* size = f.in_place ? p.from_size : f.extent;
  f.stride[2] = channels;
  f.stride[1] = size[2] * f.stride[2];
  f.stride[0] = size[1] * f.stride[1];
  f.image = size[0] * f.stride[0];
  // Images a power of two apart would share a cache set.
  if (!f.in_place) f.image = round_up(f.image, 32) + 16;
  return f;
}

namespace {
// Finds the longest runs, all of one length, of taps that follow on from each other.
void merge_taps(Pass& pass, int64_t tap, bool may_merge) {
  int64_t* offsets = pass.offsets;
  int64_t length = 1;
  while (may_merge && length < pass.taps && offsets[length] == offsets[0] + length * tap) ++length;
  for (; length > 1; --length) {
    bool fits = pass.taps % length == 0;
    for (int64_t t = 0; fits && t < pass.taps; ++t) fits = t % length == 0 || offsets[t] == offsets[t - 1] + tap;
    if (fits) break;
  }
  pass.run = length * tap;
  pass.runs = pass.taps / length;
  for (int64_t i = 0; i < pass.runs; ++i) offsets[i] = offsets[i * length];
}
}  // namespace

void make_passes(const Plan& p, const Frame& f, int64_t tap, bool merge, Pass* passes, int64_t* memory) {
  int64_t before = 0, i = 0;
  for (int64_t a = 0; a < p.phases[0]; ++a)
    for (int64_t b = 0; b < p.phases[1]; ++b)
      for (int64_t c = 0; c < p.phases[2]; ++c, ++i) {
        Pass& pass = passes[i];
        pass.axis[0] = p.axis(0, a), pass.axis[1] = p.axis(1, b), pass.axis[2] = p.axis(2, c);
        const Axis &x = pass.axis[0], &y = pass.axis[1], &z = pass.axis[2];
        pass.taps = x.taps * y.taps * z.taps;
        pass.taps_before = before;
        pass.offsets = memory + 2 * before;
        pass.tap_ids = pass.offsets + pass.taps;
        before += pass.taps;
        int64_t t = 0;
        for (int64_t u = 0; u < x.taps; ++u)
          for (int64_t v = 0; v < y.taps; ++v)
            for (int64_t w = 0; w < z.taps; ++w, ++t) {
              pass.offsets[t] = (x.shift(u) - f.low[0]) * f.stride[0] + (y.shift(v) - f.low[1]) * f.stride[1] +
                                (z.shift(w) - f.low[2]) * f.stride[2];
              pass.tap_ids[t] = (x.tap(u) * p.shape.kernel[1] + y.tap(v)) * p.shape.kernel[2] + z.tap(w);
            }
        merge_taps(pass, tap, merge && tap == f.channels);
      }
}

}  // namespace skipway::SW_ISA
