// Weight gradient of bfloat16 images. The pixels of a block are numbered by q, row after row with their padding, so
// that a tap is a shift of q:
//   dw[r][s][c][k] = sum over q of xt[c][q + shift(r, s)] * dv[q][k]
// xt is the padded image with q innermost, whose neighbouring pixels are pairs at any shift; dv is the output gradient
// with pairs of pixels interleaved, and zeros where q is padding. With stride s, xt holds s x s planes, one for each
// residue of an image position. Blocks are cut into parts, each of which sums into a buffer of its own; the buffers are
// then added in order.
#include "core/parallel.h"
#include "kernels/bf16_transpose.h"
#include "kernels/conv_prologue.h"
#include "ops/conv_bf16.h"

namespace skipway::SW_ISA {
namespace {

enum Slot { kPartials, kLinear, kPlanes, kGradient, kLists };
// What a block may take: more where the sums, read and written once per block, are themselves large.
constexpr int64_t kBlockCache = 512 << 10, kLargeSums = 1 << 20, kLargeBlockCache = 2 << 20;
constexpr int64_t kSmallChannels = 8;
constexpr int64_t kPanel = 2 * kBf16Lanes;  // result channels that lie together in the sums: [panel][r][s][c][lane]
constexpr int64_t kPiece = 256;             // pixels for which a tile of sums stays in registers

// One spatial axis.
struct Side {
  int64_t in, out, taps, stride, padding, dilation;
  SW_INLINE int64_t residue(int64_t tap) const { return tap * dilation % stride; }
  SW_INLINE int64_t shift(int64_t tap) const { return tap * dilation / stride; }
  SW_INLINE int64_t most() const { return shift(taps - 1); }
  SW_INLINE bool uses(int64_t plane) const {
    for (int64_t t = 0; t < taps; ++t)
      if (residue(t) == plane) return true;
    return false;
  }
  // Positions from one line to the next, such that none reads another's: with stride 1, lines share their zeros.
  SW_INLINE int64_t pitch() const { return stride == 1 ? larger(in + padding, out + most() - padding) : out + most(); }
};

struct WeightGrad {
  Side h, w;
  int64_t batch, channels, results, padded;  // padded: result channels, rounded up to whole vectors
  const bfloat16 *x, *dy;
  ConvPrologue prologue;                 // of x
  bool unfold;                           // few channels: the taps of a row become rows of xt of their own
  int64_t images, rows, groups, pieces;  // of blocks: images and output rows; groups of images, pieces of an image
  int64_t pitch, lines;                  // of q: per row, and rows per image of a block
  int64_t q, xt_row;                     // of a block, rounded up to 32; elements per row of xt
  int64_t parts, shares;                 // of the blocks; of the result channels
  float* partials;
  SW_INLINE int64_t panel_width(int64_t k) const { return smaller(kPanel, padded - k); }
  SW_INLINE int64_t size() const { return h.taps * w.taps * channels * padded; }
};

struct Block {
  int64_t image, images, row, rows;
  int64_t channel, channels;  // of the source
};

// One plane of the padded images of a block, [q][channel].
void fill_linear(const WeightGrad& g, const Block& b, int64_t plane_h, int64_t plane_w, int64_t count, bfloat16* to) {
  const int64_t c = b.channels;
  const ConvPrologue prologue = g.prologue.from(b.channel);
  for (int64_t n = 0; n < b.images; ++n)
    for (int64_t line = 0; line < g.lines; ++line) {
      bfloat16* row = to + (n * g.lines + line) * g.pitch * c;
      const int64_t ih = (b.row + line) * g.h.stride + plane_h - g.h.padding;
      if (ih < 0 || ih >= g.h.in) {
        clear(row, g.pitch * c);
        continue;
      }
      // Columns j with 0 <= j * stride + offset < in.
      const int64_t offset = plane_w - g.w.padding, stride = g.w.stride;
      const int64_t first = smaller(offset < 0 ? ceil_div(-offset, stride) : 0, g.pitch);
      const int64_t last = clamped(ceil_div(g.w.in - offset, stride), first, g.pitch);
      const bfloat16* from =
          g.x + b.channel + (((b.image + n) * g.h.in + ih) * g.w.in + first * stride + offset) * g.channels;
      clear(row, first * c);
      if (prologue) {
        prologue_rows(prologue, last - first, c, from, stride * g.channels, row + first * c, c);
      } else if (stride == 1 && c == g.channels) {
        __builtin_memcpy(static_cast<void*>(row + first * c), from, size_t((last - first) * c) * sizeof(bfloat16));
      } else {
        for (int64_t j = first; j < last; ++j, from += stride * g.channels)
          __builtin_memcpy(static_cast<void*>(row + j * c), from, size_t(c) * sizeof(bfloat16));
      }
      clear(row + last * c, (g.pitch - last) * c);
    }
  clear(to + b.images * g.lines * g.pitch * c, (count - b.images * g.lines * g.pitch) * c);
}

SW_INLINE int64_t plane_of(const WeightGrad& g, const Block& b, int64_t r, int64_t s) {
  return (g.h.residue(r) * g.w.stride + g.w.residue(s)) * b.channels * g.xt_row;
}

// xt of a block: the planes, and after them (unfold) a copy of its rows for each tap, shifted by that tap.
const bfloat16* fill_planes(const WeightGrad& g, const Block& b) {
  const int64_t count = g.xt_row - 32, planes = g.h.stride * g.w.stride * b.channels * g.xt_row;
  const int64_t unfolded = g.unfold ? g.h.taps * g.w.taps * g.channels * g.xt_row : 0;
  bfloat16* linear =
      static_cast<bfloat16*>(thread_scratch(kLinear, size_t(count * b.channels + 64) * sizeof(bfloat16)));
  bfloat16* xt = static_cast<bfloat16*>(thread_scratch(kPlanes, size_t(planes + unfolded + 64) * sizeof(bfloat16)));
  for (int64_t i = 0; i < g.h.stride; ++i)
    for (int64_t j = 0; j < g.w.stride; ++j) {
      if (!g.h.uses(i) || !g.w.uses(j)) continue;
      fill_linear(g, b, i, j, count, linear);
      transpose_pixels(linear, b.channels, b.channels, count, xt + (i * g.w.stride + j) * b.channels * g.xt_row,
                       g.xt_row);
    }
  if (!g.unfold) return xt;
  bfloat16* to = xt + planes;
  for (int64_t r = 0; r < g.h.taps; ++r)
    for (int64_t s = 0; s < g.w.taps; ++s)
      for (int64_t c = 0; c < g.channels; ++c, to += g.xt_row) {
        const int64_t shift = g.h.shift(r) * g.pitch + g.w.shift(s);
        __builtin_memcpy(static_cast<void*>(to), xt + plane_of(g, b, r, s) + c * g.xt_row + shift,
                         size_t(g.q) * sizeof(bfloat16));
      }
  return xt + planes;
}

// dv of a block, [panel][q / 2][result channel][2].
const bfloat16* fill_gradient(const WeightGrad& g, const Block& b) {
  bfloat16* dv = static_cast<bfloat16*>(thread_scratch(kGradient, size_t(g.q * g.padded) * sizeof(bfloat16)));
  for (int64_t k = 0; k < g.padded; k += kPanel) {
    bfloat16* panel = dv + k * g.q;
    const int64_t width = g.panel_width(k), lanes = smaller(width, g.results - k);
    for (int64_t n = 0; n < b.images; ++n)
      for (int64_t line = 0; line < g.lines; ++line) {
        bfloat16* row = panel + (n * g.lines + line) * g.pitch * width;
        if (line >= b.rows) {
          clear(row, g.pitch * width);
          continue;
        }
        const bfloat16* from = g.dy + (((b.image + n) * g.h.out + b.row + line) * g.w.out) * g.results + k;
        for (int64_t j = 0; j < g.w.out; j += 2, from += 2 * g.results)
          interleave_rows(from, j + 1 < g.w.out ? from + g.results : nullptr, lanes, width, row + j * width);
        const int64_t done = round_up(g.w.out, 2);
        clear(row + done * width, (g.pitch - done) * width);
      }
    const int64_t used = b.images * g.lines * g.pitch;
    clear(panel + used * width, (g.q - used) * width);
  }
  return dv;
}

// Adds what one list of pixels gives the taps of row r. to: the sums of a panel.
void add_taps(const WeightGrad& g, const Block& b, Bf16Tiles& tiles, const bfloat16* xt, int64_t r, float* to,
              bool onto, int vecs) {
  const int64_t groups = g.unfold ? 1 : g.w.taps, rows = g.unfold ? g.w.taps * g.channels : b.channels;
  for (int64_t s = 0; s < groups; ++s) {
    const bfloat16* a =
        g.unfold ? xt + r * rows * g.xt_row : xt + plane_of(g, b, r, s) + g.h.shift(r) * g.pitch + g.w.shift(s);
    float* c = to + ((r * g.w.taps + s) * g.channels + b.channel) * vecs * kBf16Lanes;
    tiles.push_rows(a, c, rows, onto);
  }
}

// Lists of q: of output rows, `round_up(out, 2)` pixels each, without those for which a row of taps reads padding
// alone; the tile unit takes 32 pixels at a time, whatever row they belong to.
struct PixelLists {
  int64_t *a, *b, count;
  SW_INLINE void select(const WeightGrad& g, const Block& block, int64_t begin, int64_t end, int64_t r) {
    count = 0;
    for (int64_t i = begin; i < end; ++i) {
      int64_t q = i * 32;
      if (!Bf16Unit::kTiles) {
        const int64_t line = i % block.rows;
        const int64_t ih = (block.row + line) * g.h.stride + r * g.h.dilation - g.h.padding;
        if (ih < 0 || ih >= g.h.in) continue;
        q = (i / block.rows * g.lines + line) * g.pitch;
      }
      a[count++] = q;
    }
  }
  SW_INLINE void scale(int64_t width) {
    for (int64_t i = 0; i < count; ++i) b[i] = a[i] * width;
  }
};

void add_block(const WeightGrad& g, const Block& block, float* buffer, bool first) {
  const bfloat16* xt = fill_planes(g, block);
  const bfloat16* dv = fill_gradient(g, block);
  const int64_t inner = Bf16Unit::kTiles ? 32 : round_up(g.w.out, 2),
                entries = Bf16Unit::kTiles ? g.q / 32 : block.images * block.rows;
  const int64_t piece = larger(kPiece / inner, 1), pieces = ceil_div(entries, piece);
  int64_t* memory = static_cast<int64_t*>(thread_scratch(kLists, size_t(2 * entries) * sizeof(int64_t)));
  PixelLists list{memory, memory + entries, 0};
  Bf16Tiles tiles(g.xt_row, chunks_of(inner));
  const auto add = [&](int64_t i, int64_t r, int64_t k) {
    const int64_t width = g.panel_width(k);
    const int vecs = int(width / kBf16Lanes);
    list.scale(width);
    tiles.runs(list.a, list.b, list.count);
    tiles.lanes(dv + k * g.q, vecs, width);
    add_taps(g, block, tiles, xt, r, buffer + k * (g.size() / g.padded), !first || i > 0, vecs);
  };
  for (int64_t i = 0; i < pieces; ++i) {
    const int64_t begin = entries * i / pieces, end = entries * (i + 1) / pieces;
    if constexpr (Bf16Unit::kTiles) {  // all taps read the same pixels: their strips fill the unit together
      list.select(g, block, begin, end, 0);
      for (int64_t k = 0; k < g.padded; k += kPanel) {
        for (int64_t r = 0; r < g.h.taps; ++r) add(i, r, k);
        tiles.flush();
      }
      continue;
    }
    for (int64_t r = 0; r < g.h.taps; ++r) {
      list.select(g, block, begin, end, r);
      if (list.count == 0 && !(first && i == 0)) continue;
      for (int64_t k = 0; k < g.padded; k += kPanel) {
        add(i, r, k);
        tiles.flush();
      }
    }
  }
}

// Task: one part of the blocks for one share of the source channels.
void run_task(const WeightGrad& g, int64_t task) {
  const int64_t part = task / g.shares, share = task % g.shares, count = g.groups * g.pieces;
  const int64_t units = ceil_div(g.channels, kBf16Lanes);
  const int64_t c0 = units * share / g.shares * kBf16Lanes;
  const int64_t c1 = smaller(units * (share + 1) / g.shares * kBf16Lanes, g.channels);
  const int64_t begin = count * part / g.parts, end = count * (part + 1) / g.parts;
  for (int64_t i = begin; i < end; ++i) {
    Block b{i / g.pieces * g.images, 0, i % g.pieces * g.rows, 0, c0, c1 - c0};
    b.images = smaller(g.images, g.batch - b.image);
    b.rows = smaller(g.rows, g.h.out - b.row);
    add_block(g, b, g.partials + part * g.size(), i == begin);
  }
}

// dweight[k][c][r][s]: the sum of the buffers, in order, brought into the order of the weights: 16 k by 16 of the
// elements (c, r, s) are transposed at a time.
template <class T>
void add_partials(const WeightGrad& g, T* dweight) {
  const int64_t taps = g.h.taps * g.w.taps, row = g.channels * taps, blocks = ceil_div(row, kBf16Lanes);
  const int64_t work = kBf16Lanes * kBf16Lanes * larger(g.parts, 1);
  parallel_for(g.padded / kBf16Lanes * blocks, larger(1, (64 << 10) / work), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t k = i / blocks * kBf16Lanes, first = i % blocks * kBf16Lanes;
      const int64_t count = smaller(kBf16Lanes, row - first), lanes = smaller(kBf16Lanes, g.results - k);
      const int64_t panel = k / kPanel * kPanel, width = g.panel_width(panel);
      const float* sums = g.partials + panel * row + k - panel;
      vword16 block[kBf16Lanes] = {};
      for (int64_t u = 0, c = first / taps, t = first % taps; u < count; ++u) {
        const float* from = sums + (t * g.channels + c) * width;
        vsum16 sum = load16(from);
        for (int64_t part = 1; part < g.parts; ++part) sum += load16(from + part * g.size());
        block[u] = (vword16)sum;
        if (++t == taps) t = 0, ++c;
      }
      transpose_words(block);
      for (int64_t j = 0; j < lanes; ++j) {
        T* to = dweight + (k + j) * row + first;
        if (count == kBf16Lanes) {
          store16(to, (vsum16)block[j]);
        } else {
          store16_n(to, (vsum16)block[j], count);
        }
      }
    }
  });
}

// Blocks that fit the cache, and enough of them; depends on the shape alone.
void make_blocks(WeightGrad& g) {
  constexpr int64_t kTask = 8 << 20, kMaxTasks = 16;
  const int64_t bytes = g.size() * int64_t(sizeof(float)),
                macs = g.batch * g.h.out * g.w.out * (g.size() / g.padded) * g.results;
  const int64_t cache = bytes > kLargeSums ? kLargeBlockCache : kBlockCache;
  const int64_t planes = smaller(g.h.stride, g.h.taps) * smaller(g.w.stride, g.w.taps);
  const int64_t xt = g.unfold ? g.h.taps * g.w.taps * g.channels : g.channels * planes;
  const int64_t line = g.pitch * (xt + g.channels + g.results) * int64_t(sizeof(bfloat16)), image = line * g.h.pitch();
  const int64_t tasks = clamped(macs / kTask, 1, kMaxTasks);
  g.images = clamped(smaller(ceil_div(g.batch, tasks), cache / larger(image, 1)), 1, g.batch);
  g.groups = ceil_div(g.batch, g.images);
  g.images = ceil_div(g.batch, g.groups);
  int64_t pieces = 1;
  if (g.images == 1) pieces = larger(ceil_div(image, cache), ceil_div(tasks, g.batch));
  g.rows = ceil_div(g.h.out, clamped(pieces, 1, g.h.out));
  g.pieces = ceil_div(g.h.out, g.rows);
  g.lines = g.pieces > 1 ? g.rows + g.h.most() : g.h.pitch();
  g.q = round_up(g.images * g.lines * g.pitch, 32);
  // Rows of xt hold what the last shift reads, and are an odd number of cache lines apart.
  g.xt_row = round_up(g.q + g.h.most() * g.pitch + g.w.most() + 2, 32) + 32;
  if (g.xt_row / 32 % 2 == 0) g.xt_row += 32;
  // Parts are of so many pixels that writing and adding their sums is a small part of the work; what they do not share
  // out among the tasks, source channels do.
  const int64_t enough = bytes > (128 << 10) ? 1024 : 256, pixels = g.batch * g.h.out * g.w.out;
  g.parts = clamped(smaller(pixels / enough, tasks), 1, g.groups * g.pieces);
  g.shares = clamped(tasks / g.parts, 1, ceil_div(g.channels, 2 * kBf16Lanes));
}

}  // namespace

void conv_bf16_weight_grad(const ConvBf16WeightGradArgs& a) {
  const ConvShape& s = a.shape;
  WeightGrad g{};
  g.h = {s.in[1], s.out[1], s.kernel[1], s.stride[1], s.padding[1], s.dilation[1]};
  g.w = {s.in[2], s.out[2], s.kernel[2], s.stride[2], s.padding[2], s.dilation[2]};
  const bool pointwise = g.h.taps * g.w.taps * g.h.stride * g.w.stride == 1 && g.h.padding + g.w.padding == 0;
  if (pointwise && g.w.in % 2 == 1 && g.h.in * g.w.in < 4096 && g.h.in == g.h.out && g.w.in == g.w.out) {
    g.w.in = g.w.out = g.h.in * g.w.in;  // rows of an odd length waste half a pair
    g.h.in = g.h.out = 1;
  }
  g.batch = s.batch, g.channels = s.in_channels, g.results = s.out_channels;
  g.padded = round_up(g.results, kBf16Lanes);
  g.x = static_cast<const bfloat16*>(a.x), g.dy = static_cast<const bfloat16*>(a.dy);
  g.prologue = a.prologue;
  g.unfold = g.channels <= kSmallChannels && g.w.taps > 1;
  const bool wide = a.dweight_dtype == DType::Float32;
  const int64_t weights = g.results * g.channels * g.h.taps * g.w.taps;
  if (g.batch * g.h.out * g.w.out == 0)
    return wide ? clear(static_cast<float*>(a.dweight), weights) : clear(static_cast<bfloat16*>(a.dweight), weights);
  g.pitch = round_up(g.w.pitch(), 2);
  make_blocks(g);
  g.partials = static_cast<float*>(thread_scratch(kPartials, size_t(g.parts * g.size()) * sizeof(float)));
  parallel_tasks(g.parts * g.shares, [&](int64_t task) { run_task(g, task); });
  if (wide) {
    add_partials(g, static_cast<float*>(a.dweight));
  } else {
    add_partials(g, static_cast<bfloat16*>(a.dweight));
  }
}

}  // namespace skipway::SW_ISA
