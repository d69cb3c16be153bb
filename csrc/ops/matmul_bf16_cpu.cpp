// Matrix products of bfloat16. c is cut into blocks, one task each. A block takes k in slices; b's slices are packed
// into panels of pairs, [panel][chunk][pair][lane][2] (kernels/bf16_micro.h), once for all blocks below each other
// where that takes little memory, else by each block; a is read in place where neighbouring k are neighbours in memory.
// Sums are float32. Few, small blocks with a long k are cut along k as well, and the partial results added in order.
// How it is cut depends on the sizes alone.
#include "core/parallel.h"
#include "kernels/bf16_transpose.h"
#include "kernels/fused.h"
#include "ops/matmul_bf16.h"

namespace skipway::SW_ISA {
namespace {

enum Slot { kPartials, kPanels, kRows, kBlock, kSharedPanels };

// Of a block, at most: enough columns that packing a, which is done anew for each block beside another, is a small part
// of the work, and a slice of k whose panels stay in the second cache.
constexpr int64_t kHeight = 448, kColumns = 384, kSlice = 768;
constexpr int64_t kShared = 8 << 20;  // elements of panels that blocks share
constexpr int64_t kTask = 8 << 20;    // multiply-adds
constexpr int64_t kWidth = 2 * kBf16Lanes;

struct Matrices {
  int64_t m, n, k;
  const bfloat16 *a, *b, *bias;
  FusedAct act;
  int64_t am, ak, bk, bn;
};

struct Cut {
  int64_t rows, columns, depth;  // of a block
  int64_t row_blocks, column_blocks, depth_blocks;
  int64_t shared_blocks;  // columns of blocks whose panels are packed together; 0: each block packs its own
  int64_t slice() const { return smaller(depth, round_up(ceil_div(depth, ceil_div(depth, kSlice)), 32)); }
  // Elements of the panels of one slice, and of all slices, of a block.
  int64_t panels() const {
    const int64_t most = larger(chunks_of(round_up(slice(), 2)).held(), slice() + 64);
    return round_up(columns, kBf16Lanes) * most;
  }
  int64_t all_panels() const { return panels() * ceil_div(depth, slice()); }
};

Cut cut(int64_t m, int64_t n, int64_t k, int64_t batch) {
  constexpr int64_t kStep = 112, kLeastColumns = 64;  // whole strips of either unit
  const double macs = double(m) * double(n) * double(k) * double(batch);
  const int64_t wanted = clamped(int64_t(macs / double(kTask)), 1, 24);
  Cut c{smaller(m, kHeight), smaller(n, kColumns), k, 0, 0, 1, 0};
  const auto blocks = [&] { return ceil_div(m, c.rows) * ceil_div(n, c.columns) * batch; };
  while (blocks() < wanted && c.rows > kStep) c.rows = round_up(c.rows / 2, kStep);
  while (blocks() < wanted && c.columns > kLeastColumns) c.columns = round_up(c.columns / 2, kWidth);
  while (c.columns > 2 * kLeastColumns && c.columns * k > kShared) c.columns = round_up(c.columns / 2, kWidth);
  // Blocks of one size, as far as whole strips and panels allow.
  c.rows = smaller(m, round_up(ceil_div(m, ceil_div(m, c.rows)), kStep));
  c.columns = smaller(n, round_up(ceil_div(n, ceil_div(n, c.columns)), kWidth));
  c.row_blocks = ceil_div(m, c.rows);
  c.column_blocks = ceil_div(n, c.columns);
  const int64_t most = clamped(wanted / larger(blocks(), 1), 1, larger(k / kSlice, 1));
  c.depth = larger(round_up(ceil_div(k, most), 2), 2);
  c.depth_blocks = larger(ceil_div(k, c.depth), 1);
  if (batch == 1 && c.row_blocks > 1 && c.depth_blocks == 1)
    c.shared_blocks = smaller(kShared / c.all_panels(), c.column_blocks);
  return c;
}

// Pairs [e0, e1) of k, relative to b, of `lanes` columns: to[pair][lane][2], zeros after the last lane and from `depth`
// on.
void pack_pairs(const Matrices& g, const bfloat16* b, int64_t e0, int64_t e1, int64_t depth, int64_t lanes,
                int64_t width, bfloat16* to) {
  int64_t e = e0;
  if (g.bk == 1) {  // words of pairs are transposed, 16 lanes of 16 pairs at a time
    for (; e + 32 <= smaller(e1, depth); e += 32, to += 32 * width)
      for (int64_t j = 0; j < width; j += kBf16Lanes) {
        vword16 words[16];
        for (int i = 0; i < 16; ++i) words[i] = j + i < lanes ? load_raw<vword16>(b + e + (j + i) * g.bn) : vword16{};
        transpose_words(words);
        for (int i = 0; i < 16; ++i) __builtin_memcpy(to + 2 * (i * width + j), &words[i], 64);
      }
  }
  for (; e < e1; e += 2, to += 2 * width) {
    const bfloat16 *even = b + e * g.bk, *odd = e + 1 < depth ? even + g.bk : nullptr;
    if (e >= depth) {
      clear(to, 2 * width);
    } else if (g.bn == 1) {
      interleave_rows(even, odd, lanes, width, to);
    } else {
      for (int64_t j = 0; j < lanes; ++j) {
        to[2 * j] = even[j * g.bn];
        to[2 * j + 1] = odd ? odd[j * g.bn] : bfloat16{};
      }
      clear(to + 2 * lanes, 2 * (width - lanes));
    }
  }
}

// All panels of a slice, some pairs of rows at a time where rows are read along.
void pack_panels(const Matrices& g, const bfloat16* b, const Chunks& chunks, int64_t depth, int64_t columns,
                 bfloat16* panels) {
  const int64_t padded = round_up(columns, kBf16Lanes), group = g.bn == 1 ? 16 : chunks.size;
  for (int64_t chunk = 0; chunk < chunks.count; ++chunk) {
    const int64_t start = chunks.start(chunk), end = start + chunks.size;
    const int64_t fresh = chunk * chunks.size;  // before: seen by the chunk before
    for (int64_t e = fresh; e < end; e += group)
      for (int64_t j = 0; j < padded; j += kWidth) {
        const int64_t width = smaller(kWidth, padded - j);
        bfloat16* to = panels + j * chunks.held() + chunk * chunks.size * width;
        if (e == fresh) clear(to, (fresh - start) * width);
        pack_pairs(g, b + j * g.bn, e, smaller(e + group, end), depth, smaller(width, columns - j), width,
                   to + (e - start) * width);
      }
  }
}

// a[0 .. rows)[0 .. depth) with neighbouring k side by side, `pitch` elements per row, zeros after `depth`.
void pack_rows(const Matrices& g, const bfloat16* a, int64_t rows, int64_t depth, int64_t pitch, bfloat16* to) {
  int64_t whole_rows = 0, whole = 0;
  if (g.ak == 1) {
    for (int64_t i = 0; i < rows; ++i)
      __builtin_memcpy(static_cast<void*>(to + i * pitch), a + i * g.am, size_t(depth) * sizeof(bfloat16));
    whole_rows = rows, whole = depth;
  } else if (g.am == 1) {
    whole_rows = rows / 32 * 32, whole = depth / 32 * 32;
    for (int64_t k = 0; k < whole; k += 32) {
      // Short pieces of long rows: nothing but this has the next ones on their way.
      for (int64_t next = k + 32; next < smaller(k + 64, depth); ++next)
        for (int64_t i = 0; i < whole_rows; i += 32) __builtin_prefetch(a + next * g.ak + i, 0, 2);
      transpose_pixels(a + k * g.ak, g.ak, whole_rows, 32, to + k, pitch);
    }
  }
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t k = i < whole_rows ? whole : 0; k < depth; ++k) to[i * pitch + k] = a[i * g.am + k * g.ak];
    clear(to + i * pitch + depth, round_up(depth, 2) - depth);
  }
}

// One block in float32: to[rows][columns], rows of which have room for whole vectors. shared: its panels, or null.
void multiply_block(const Matrices& g, const Cut& c, int64_t i0, int64_t rows, int64_t j0, int64_t columns, int64_t k0,
                    int64_t k1, const bfloat16* shared, float* to, int64_t to_row) {
  const int64_t depth = c.slice(), pitch = round_up(depth, 2) + 32, padded = round_up(columns, kBf16Lanes);
  // Rows of a that are a multiple of 2 KB apart share a cache set.
  const bool crowded = g.am * int64_t(sizeof(bfloat16)) % 2048 == 0 && rows > 4 && columns > kWidth;
  const bool pack_a = g.ak != 1 || crowded || (k1 - k0) % 2 == 1;
  bfloat16* own =
      shared ? nullptr : static_cast<bfloat16*>(thread_scratch(kPanels, size_t(c.panels()) * sizeof(bfloat16)));
  bfloat16* packed =
      pack_a ? static_cast<bfloat16*>(thread_scratch(kRows, size_t(rows * pitch) * sizeof(bfloat16))) : nullptr;
  for (int64_t k = k0; k < k1; k += depth) {
    const int64_t here = smaller(depth, k1 - k);
    const Chunks chunks = chunks_of(round_up(here, 2));
    const bfloat16* a = g.a + i0 * g.am + k * g.ak;
    if (pack_a) pack_rows(g, a, rows, here, pitch, packed);
    if (own) pack_panels(g, g.b + k * g.bk + j0 * g.bn, chunks, here, columns, own);
    const bfloat16* panels = own ? own : shared + (k - k0) / depth * c.panels();
    // A strip of a stays in the first cache while the panels pass by.
    const int64_t a_row = pack_a ? pitch : g.am, height = Bf16Unit::rows(2) * Bf16Unit::parts(2);
    const bfloat16* from = pack_a ? packed : a;
    Bf16Tiles tiles(a_row, chunks);
    for (int64_t i = 0; i < rows; i += height)
      for (int64_t j = 0; j < padded; j += kWidth) {
        tiles.lanes(panels + j * chunks.held(), int(smaller(kWidth, padded - j) / kBf16Lanes), to_row);
        tiles.push_rows(from + i * a_row, to + i * to_row + j, smaller(height, rows - i), k > k0);
        tiles.flush();
      }
  }
}

// c = act(sums + bias), rounded.
void store_row(const float* from, const bfloat16* bias, FusedAct act, bfloat16* to, int64_t columns) {
  dispatch_act(act, [&](auto tag) {
    constexpr FusedAct kAct = decltype(tag)::value;
    for (int64_t j = 0; j < columns; j += kBf16Lanes) {
      const int64_t lanes = smaller(kBf16Lanes, columns - j);
      vsum16 z = load16(from + j);
      if (bias) z += lanes == kBf16Lanes ? load16(bias + j) : load16_n(bias + j, lanes);
      z = fused_act<kAct>(z);
      if (lanes == kBf16Lanes) {
        store16(to + j, z);
      } else {
        store16_n(to + j, z, lanes);
      }
    }
  });
}

// shared: the panels of its column of blocks, or null.
void run_block(const Matrices& g, const Cut& c, int64_t block, const bfloat16* shared, float* partials,
               bfloat16* result) {
  const int64_t depth_block = block % c.depth_blocks, tile = block / c.depth_blocks;
  const int64_t i0 = tile / c.column_blocks * c.rows, rows = smaller(c.rows, g.m - i0);
  const int64_t j0 = tile % c.column_blocks * c.columns, columns = smaller(c.columns, g.n - j0);
  const int64_t k0 = depth_block * c.depth, k1 = smaller(k0 + c.depth, g.k), row = round_up(columns, kBf16Lanes);
  float* to = static_cast<float*>(thread_scratch(kBlock, size_t(rows * row) * sizeof(float)));
  multiply_block(g, c, i0, rows, j0, columns, k0, k1, shared, to, row);
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t at = (i0 + i) * g.n + j0;
    if (c.depth_blocks == 1) {
      store_row(to + i * row, g.bias ? g.bias + j0 : nullptr, g.act, result + at, columns);
    } else {
      convert(to + i * row, partials + depth_block * g.m * g.n + at, columns);
    }
  }
}

void add_partials(const Matrices& g, const Cut& c, float* partials, bfloat16* result) {
  parallel_for(g.m, larger(1, (32 << 10) / (g.n * c.depth_blocks)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      float* sum = partials + i * g.n;
      for (int64_t d = 1; d < c.depth_blocks; ++d) {
        const float* from = sum + d * g.m * g.n;
        for (int64_t j = 0; j < g.n; ++j) sum[j] += from[j];
      }
      store_row(sum, g.bias, g.act, result + i * g.n, g.n);
    }
  });
}

// Some columns of blocks at a time: their panels first, then the blocks.
void run_shared(const Matrices& g, const Cut& c, bfloat16* result) {
  const int64_t slices = ceil_div(g.k, c.slice()), all = c.all_panels();
  bfloat16* panels = static_cast<bfloat16*>(
      thread_scratch(kSharedPanels, size_t(smaller(c.shared_blocks, c.column_blocks) * all) * sizeof(bfloat16)));
  for (int64_t first = 0; first < c.column_blocks; first += c.shared_blocks) {
    const int64_t count = smaller(c.shared_blocks, c.column_blocks - first);
    parallel_for(count * slices, larger(1, (64 << 10) / c.panels()), [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t block = task / slices, slice = task % slices, k = slice * c.slice();
        const int64_t j0 = (first + block) * c.columns, here = smaller(c.slice(), g.k - k);
        pack_panels(g, g.b + k * g.bk + j0 * g.bn, chunks_of(round_up(here, 2)), here, smaller(c.columns, g.n - j0),
                    panels + block * all + slice * c.panels());
      }
    });
    const int64_t macs = smaller(c.rows, g.m) * smaller(c.columns, g.n) * larger(g.k, 1);
    parallel_for(c.row_blocks * count, larger(1, kTask / 4 / larger(macs, 1)), [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t block = task % count;
        run_block(g, c, task / count * c.column_blocks + first + block, panels + block * all, nullptr, result);
      }
    });
  }
}

SW_INLINE int64_t batch_offset(const GemmArgs& a, const int64_t* strides, int64_t index) {
  int64_t offset = 0;
  for (int d = a.batch_ndim - 1; d >= 0; --d) {
    offset += index % a.batch[d] * strides[d];
    index /= a.batch[d];
  }
  return offset;
}

}  // namespace

void gemm_bf16(const GemmArgs& args) {
  int64_t batch = 1;
  for (int d = 0; d < args.batch_ndim; ++d) batch *= args.batch[d];
  const auto matrices = [&](int64_t i) {
    return Matrices{args.m,
                    args.n,
                    args.k,
                    static_cast<const bfloat16*>(args.a) + batch_offset(args, args.a_batch, i),
                    static_cast<const bfloat16*>(args.b) + batch_offset(args, args.b_batch, i),
                    static_cast<const bfloat16*>(args.bias),
                    args.activation,
                    args.a_strides[0],
                    args.a_strides[1],
                    args.b_strides[0],
                    args.b_strides[1]};
  };
  const int64_t size = args.m * args.n;
  bfloat16* c = static_cast<bfloat16*>(args.c);
  const Cut cuts = cut(args.m, args.n, args.k, batch);
  const int64_t tiles = cuts.row_blocks * cuts.column_blocks;
  if (cuts.depth_blocks > 1) {  // then the batch is small
    for (int64_t i = 0; i < batch; ++i) {
      float* partials =
          static_cast<float*>(thread_scratch(kPartials, size_t(size * cuts.depth_blocks + 16) * sizeof(float)));
      const Matrices g = matrices(i);
      parallel_tasks(tiles * cuts.depth_blocks,
                     [&](int64_t task) { run_block(g, cuts, task, nullptr, partials, c + i * size); });
      add_partials(g, cuts, partials, c + i * size);
    }
    return;
  }
  if (cuts.shared_blocks > 0) return run_shared(matrices(0), cuts, c);
  const int64_t macs = smaller(cuts.rows, args.m) * smaller(cuts.columns, args.n) * larger(args.k, 1);
  parallel_for(batch * tiles, larger(1, kTask / 4 / larger(macs, 1)), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task)
      run_block(matrices(task / tiles), cuts, task % tiles, nullptr, nullptr, c + task / tiles * size);
  });
}

}  // namespace skipway::SW_ISA
