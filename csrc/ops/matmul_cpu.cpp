// Matrix products. c is cut into blocks, one task each; a block takes k in slices and runs the shared tile
// (kernels/gemm.h) over a slice of b in panels [panel][k][lane], packed once for all blocks below each other where that
// takes little memory, else by each block. Few, small blocks with a long k are cut along k as well, and the partial
// results added in order. How it is cut depends on the sizes alone.
#include "core/parallel.h"
#include "kernels/fused.h"
#include "kernels/gemm_pack.h"
#include "ops/matmul_bf16.h"

namespace skipway::SW_ISA {
namespace {

enum Slot { kPartials, kPanels, kRows, kBlock, kSharedPanels = kPackSlot + 1 };  // and that of kernels/gemm_pack.h
constexpr int64_t kShared = 16 << 20;                                            // bytes of panels that blocks share
constexpr int64_t kSlice = 384;                                                  // of k
constexpr int64_t kTask = 4 << 20;                                               // multiply-adds
constexpr int64_t kDotRows = 4;  // up to so many rows or columns, a product is dot products

struct Cut {
  int64_t rows, columns, depth;  // of a block
  int64_t row_blocks, column_blocks, depth_blocks;
};

// Large enough that packing is a small part of a block's work.
template <class T>
Cut cut(int64_t m, int64_t n, int64_t k, int64_t batch, bool by_columns) {
  constexpr int64_t height = MicroTile<T>::rows(2);
  const bool few = m <= height;  // rows: reading b is the work, and best done in long rows
  const double macs = double(few ? 16 : m) * double(n) * double(k) * double(batch);
  const int64_t wanted = clamped(int64_t(macs / double(kTask)), 1, 24);
  // By columns, packing a costs more than packing b, and panels have three vectors.
  const int64_t panel = (by_columns ? 3 : 2) * Lanes<T>::n, most_rows = by_columns ? 192 : 32 * height;
  const int64_t least_columns = few ? 512 : by_columns ? 192 : 128, least_depth = few ? 128 : 2 * kSlice;
  Cut c{smaller(m, most_rows), smaller(n, 2 * least_columns), k, 0, 0, 1};
  const auto blocks = [&] { return ceil_div(m, c.rows) * ceil_div(n, c.columns) * batch; };
  while (blocks() < wanted && c.columns > least_columns) c.columns = round_up(c.columns / 2, panel);
  while (blocks() < wanted && c.rows > 8 * height) c.rows = round_up(c.rows / 2, height);
  const int64_t step = by_columns ? MicroTile<T>::kMaxColumnRows : height;
  c.rows = smaller(m, round_up(ceil_div(m, ceil_div(m, c.rows)), step));
  c.row_blocks = ceil_div(m, c.rows);
  c.column_blocks = ceil_div(n, c.columns);
  c.depth = larger(ceil_div(k, clamped(wanted / larger(blocks(), 1), 1, larger(k / least_depth, 1))), 1);
  c.depth_blocks = larger(ceil_div(k, c.depth), 1);
  return c;
}

// A slice of k of one block, as the tile takes it.
template <class T>
struct Slice {
  const T *a, *b;
  int64_t a_strip;        // 0: a is not packed in strips
  int64_t a_row, a_step;  // one of them is 1
  int64_t b_step;         // 0: b is panels of `width` lanes
  int64_t width, depth;
};

// c[rows][columns] = (onto ? c : 0) + a b. Rows of c, and panels, hold whole vectors.
template <class T>
void multiply_slice(const Slice<T>& s, int64_t rows, int64_t columns, T* c, int64_t c_row, bool onto) {
  constexpr int n = Lanes<T>::n;
  const bool by_columns = s.a_step != 1;
  MicroArgs<T> m{};
  m.a_row = s.a_row;
  m.a_step = s.a_step;
  m.outer = 1;
  m.inner = s.depth;
  m.c_row = m.start_row = c_row;
  const int64_t most = by_columns ? MicroTile<T>::kMaxColumnRows : MicroTile<T>::rows(2), strips = ceil_div(rows, most);
  for (int64_t strip = 0; strip < strips; ++strip) {
    const int64_t i = rows * strip / strips;
    const int count = int(rows * (strip + 1) / strips - i);
    m.a = s.a + (s.a_strip ? strip * s.a_strip : i * s.a_row);
    for (int64_t j = 0; j < columns; j += s.width) {
      const int vecs = int(ceil_div(smaller(s.width, columns - j), n));
      m.b = s.b + (s.b_step ? j : j * s.depth);
      m.b_step = s.b_step ? s.b_step : s.width;
      m.c = c + i * c_row + j;
      m.start = onto ? m.c : nullptr;
      (by_columns ? micro_by_columns<T>(count, vecs) : micro_by_rows<T>(count, vecs))(m);
    }
  }
}

// The same for very few rows: to[i] += a[i][k] * b[k], four rows of b at a time, which are read from end to end.
template <class T, class S>
void add_rows(const Gemm<T, S>& g, int64_t i, int64_t j0, int64_t columns, int64_t k0, int64_t k1, T* to) {
  constexpr int n = Lanes<T>::n;
  clear(to, round_up(columns, n));
  for (int64_t k = k0; k < k1; k += 4) {
    T a[4];
    const S* b[4];
    for (int u = 0; u < 4; ++u) {
      const int64_t at = smaller(k + u, k1 - 1);
      a[u] = T(g.a[i * g.am + at * g.ak]);
      b[u] = g.b + at * g.bk + j0;
    }
    const int rows = int(smaller(4, k1 - k));
    for (int64_t j = 0; j < columns; j += n) {
      const int64_t lanes = smaller(n, columns - j);
      auto sum = vload(to + j);
      if (rows == 4 && lanes == n) {
        sum += (a[0] * vload(b[0] + j) + a[1] * vload(b[1] + j)) + (a[2] * vload(b[2] + j) + a[3] * vload(b[3] + j));
      } else {
        for (int u = 0; u < rows; ++u) sum += a[u] * vload_n(b[u] + j, lanes);
      }
      vstore(to + j, sum);
    }
  }
}

template <class T, class S>
SW_INLINE bool reads_columns(const Gemm<T, S>& g) {
  return sizeof(T) == sizeof(S) && g.am == 1 && g.ak != 1;
}
template <class T, class S>
SW_INLINE int64_t panel_width(const Gemm<T, S>& g) {
  return Lanes<T>::n * (reads_columns(g) ? MicroTile<T>::kMaxColumnVecs : 2);
}

// Panels that stand packed: of each slice of k, `slice` elements.
template <class T>
struct Packed {
  const T* panels;  // null: they do not
  int64_t slice;
};

// One block, in T: to[rows][columns], rows of which have room for whole vectors.
template <class T, class S>
void multiply_block(const Gemm<T, S>& g, int64_t i0, int64_t rows, int64_t j0, int64_t columns, int64_t k0, int64_t k1,
                    Packed<T> shared, T* to, int64_t to_row) {
  constexpr int n = Lanes<T>::n;
  constexpr bool same = sizeof(T) == sizeof(S);
  if (rows <= kDotRows && g.bn == 1) {
    for (int64_t i = 0; i < rows; ++i) add_rows(g, i0 + i, j0, columns, k0, k1, to + i * to_row);
    return;
  }
  const bool by_columns = reads_columns(g);
  // Packing b does not pay for a handful of rows; b is then read a few whole rows at a time.
  const bool pack_b = !(same && g.bn == 1 && rows <= MicroTile<T>::rows(2) && columns % n == 0);
  // Rows of a that are a multiple of 2 KB apart share a cache set.
  const bool crowded = g.am * int64_t(sizeof(T)) % 2048 == 0 && rows > 4 && columns > 2 * n;
  const bool pack_a = by_columns ? columns > 4 * n : !(same && g.ak == 1 && !crowded);
  constexpr int64_t height = MicroTile<T>::kMaxColumnRows;
  const int64_t depth = smaller(pack_b ? kSlice : 64, larger(k1 - k0, 1)), pitch = depth + 16;
  Slice<T> s{};
  s.width = panel_width(g);
  T *own = nullptr, *packed_a = nullptr;
  if (pack_b && !shared.panels)
    own = static_cast<T*>(thread_scratch(kPanels, size_t(round_up(columns, s.width) * depth) * sizeof(T)));
  if (pack_a) packed_a = static_cast<T*>(thread_scratch(kRows, size_t(round_up(rows, height) * pitch) * sizeof(T)));
  s.a_row = by_columns ? 1 : pack_a ? pitch : g.am;
  s.a_step = !by_columns ? 1 : pack_a ? height : g.ak;
  s.b_step = pack_b ? 0 : g.bk;
  for (int64_t k = k0; k == k0 || k < k1; k += depth) {
    s.depth = smaller(depth, k1 - k);
    if (own) pack_columns(g, k, s.depth, j0, columns, s.width, own);
    const T* panels = own || !pack_b ? own : shared.panels + (k - k0) / depth * shared.slice;
    if (pack_a && !by_columns) pack_rows(g, i0, rows, k, s.depth, pitch, packed_a);
    if constexpr (same) {
      s.a_strip = by_columns && pack_a ? height * s.depth : 0;
      if (s.a_strip) pack_strips(g.a + i0 + k * g.ak, g.ak, rows, s.depth, packed_a);
    }
    s.a = pack_a ? packed_a : reinterpret_cast<const T*>(g.a) + i0 * g.am + k * g.ak;
    s.b = pack_b ? panels : reinterpret_cast<const T*>(g.b) + k * g.bk + j0;
    multiply_slice(s, rows, columns, to, to_row, k > k0);
  }
}

// One element of c = act(sum + bias), rounded to S.
template <FusedAct A, class T, class S>
SW_INLINE S finish_sum(T sum, const S* bias) {
  typename Lanes<T>::vec z{};
  z[0] = bias ? sum + T(*bias) : sum;
  return S(fused_act<A>(z)[0]);
}

// The same for a row of them.
template <class T, class S>
void store_row(const T* from, const S* bias, FusedAct act, S* to, int64_t columns) {
  constexpr int n = Lanes<S>::n;
  dispatch_act(act, [&](auto a) {
    constexpr FusedAct kAct = decltype(a)::value;
    int64_t j = 0;
    for (; j + n <= columns; j += n)
      vstore(to + j, fused_act<kAct>(bias ? vload(from + j) + vload(bias + j) : vload(from + j)));
    for (; j < columns; ++j) to[j] = finish_sum<kAct>(from[j], bias ? bias + j : nullptr);
  });
}

template <class T, class S>
void run_block(const Gemm<T, S>& g, const Cut& c, int64_t block, Packed<T> shared, T* partials, S* result) {
  const int64_t depth_block = block % c.depth_blocks, tile = block / c.depth_blocks;
  const int64_t i0 = tile / c.column_blocks * c.rows, rows = smaller(c.rows, g.m - i0);
  const int64_t j0 = tile % c.column_blocks * c.columns, columns = smaller(c.columns, g.n - j0);
  const int64_t k0 = depth_block * c.depth, k1 = smaller(k0 + c.depth, g.k);
  const bool whole = columns % Lanes<T>::n == 0;
  if (sizeof(T) == sizeof(S) && whole && c.depth_blocks == 1) {
    T* to = reinterpret_cast<T*>(result) + i0 * g.n + j0;
    multiply_block(g, i0, rows, j0, columns, k0, k1, shared, to, g.n);
    if (!g.bias && g.act == FusedAct::None) return;
    const S* bias = g.bias ? g.bias + j0 : nullptr;
    for (int64_t i = 0; i < rows; ++i) store_row(to + i * g.n, bias, g.act, result + (i0 + i) * g.n + j0, columns);
    return;
  }
  const int64_t row = round_up(columns, Lanes<T>::n);
  T* to = static_cast<T*>(thread_scratch(kBlock, size_t(rows * row) * sizeof(T)));
  multiply_block(g, i0, rows, j0, columns, k0, k1, shared, to, row);
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t at = (i0 + i) * g.n + j0;
    if (c.depth_blocks == 1) {
      store_row(to + i * row, g.bias ? g.bias + j0 : nullptr, g.act, result + at, columns);
    } else {
      convert(to + i * row, partials + depth_block * g.m * g.n + at, columns);
    }
  }
}

template <class T, class S>
void add_partials(const Gemm<T, S>& g, const Cut& c, T* partials, S* result) {
  parallel_for(g.m, larger(1, (32 << 10) / (g.n * c.depth_blocks)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      T* sum = partials + i * g.n;
      for (int64_t d = 1; d < c.depth_blocks; ++d) {
        const T* from = sum + d * g.m * g.n;
        for (int64_t j = 0; j < g.n; ++j) sum[j] += from[j];
      }
      store_row(sum, g.bias, g.act, result + i * g.n, g.n);
    }
  });
}

// Sum of a[i] * b[i], four vectors side by side.
template <class T, class S>
T dot_product(const S* a, const S* b, int64_t count) {
  constexpr int n = Lanes<S>::n;
  typename Lanes<S>::vec acc[4] = {};
  int64_t k = 0;
  for (; k + 4 * n <= count; k += 4 * n)
    for (int j = 0; j < 4; ++j) acc[j] += vload(a + k + j * n) * vload(b + k + j * n);
  for (; k + n <= count; k += n) acc[0] += vload(a + k) * vload(b + k);
  T sum = vsum((acc[0] + acc[1]) + (acc[2] + acc[3]));
  for (; k < count; ++k) sum += T(a[k]) * T(b[k]);
  return sum;
}

template <class T, class S>
void dot_products(const Gemm<T, S>& g, S* c) {
  const bool by_columns = g.m <= g.n;  // cut the longer side
  const int64_t longer = larger(g.m, g.n), other = smaller(g.m, g.n);
  parallel_for(longer, larger(1, (64 << 10) / larger(other * g.k, 1)), [&](int64_t begin, int64_t end) {
    for (int64_t x = begin; x < end; ++x)
      for (int64_t y = 0; y < other; ++y) {
        const int64_t i = by_columns ? y : x, j = by_columns ? x : y;
        const T sum = dot_product<T>(g.a + i * g.am, g.b + j * g.bn, g.k);
        const S* bias = g.bias ? g.bias + j : nullptr;
        dispatch_act(g.act, [&](auto a) { c[i * g.n + j] = finish_sum<decltype(a)::value>(sum, bias); });
      }
  });
}

// Some columns of blocks at a time: their panels first, then the blocks. False where the panels would take too much.
template <class T, class S>
bool run_shared(const Gemm<T, S>& g, const Cut& c, S* result) {
  const int64_t depth = smaller(kSlice, g.k), slices = ceil_div(g.k, depth), width = panel_width(g);
  const int64_t slice = round_up(c.columns, width) * depth, all = slice * slices;
  const int64_t most = smaller(kShared / int64_t(sizeof(T)) / all, c.column_blocks);
  if (most == 0) return false;
  T* panels = static_cast<T*>(thread_scratch(kSharedPanels, size_t(most * all) * sizeof(T)));
  for (int64_t first = 0; first < c.column_blocks; first += most) {
    const int64_t count = smaller(most, c.column_blocks - first);
    parallel_for(count * slices, larger(1, (32 << 10) / slice), [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t j0 = (first + task / slices) * c.columns, k = task % slices * depth;
        pack_columns(g, k, smaller(depth, g.k - k), j0, smaller(c.columns, g.n - j0), width, panels + task * slice);
      }
    });
    const int64_t macs = smaller(c.rows, g.m) * smaller(c.columns, g.n) * g.k;
    parallel_for(c.row_blocks * count, larger(1, kTask / 4 / macs), [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task)
        run_block(g, c, task / count * c.column_blocks + first + task % count, {panels + task % count * all, slice},
                  static_cast<T*>(nullptr), result);
    });
  }
  return true;
}

// Where matrix `index` of the batch begins.
SW_INLINE int64_t batch_offset(const GemmArgs& a, const int64_t* strides, int64_t index) {
  int64_t offset = 0;
  for (int d = a.batch_ndim - 1; d >= 0; --d) {
    offset += index % a.batch[d] * strides[d];
    index /= a.batch[d];
  }
  return offset;
}

template <class T, class S>
void multiply(const GemmArgs& args, int64_t batch) {
  const auto matrix = [&](int64_t i) {
    return Gemm<T, S>{args.m,
                      args.n,
                      args.k,
                      static_cast<const S*>(args.a) + batch_offset(args, args.a_batch, i),
                      static_cast<const S*>(args.b) + batch_offset(args, args.b_batch, i),
                      static_cast<const S*>(args.bias),
                      args.activation,
                      args.a_strides[0],
                      args.a_strides[1],
                      args.b_strides[0],
                      args.b_strides[1]};
  };
  const int64_t size = args.m * args.n;
  S* c = static_cast<S*>(args.c);
  if (smaller(args.m, args.n) <= kDotRows && (args.a_strides[1] == 1 || args.k == 1) &&
      (args.b_strides[0] == 1 || args.k == 1)) {
    for (int64_t i = 0; i < batch; ++i) dot_products(matrix(i), c + i * size);
    return;
  }
  const bool by_columns = sizeof(T) == sizeof(S) && args.a_strides[0] == 1 && args.a_strides[1] != 1;
  const Cut cuts = cut<T>(args.m, args.n, args.k, batch, by_columns);
  const int64_t tiles = cuts.row_blocks * cuts.column_blocks, partial = size * cuts.depth_blocks;
  if (cuts.depth_blocks > 1) {  // then the batch is small
    for (int64_t i = 0; i < batch; ++i) {
      T* partials = static_cast<T*>(thread_scratch(kPartials, size_t(partial) * sizeof(T)));
      const Gemm<T, S> g = matrix(i);
      parallel_tasks(tiles * cuts.depth_blocks,
                     [&](int64_t task) { run_block(g, cuts, task, {}, partials, c + i * size); });
      add_partials(g, cuts, partials, c + i * size);
    }
    return;
  }
  if (batch == 1 && cuts.row_blocks > 1 && args.k > 0 && run_shared(matrix(0), cuts, c)) return;
  const int64_t macs = smaller(cuts.rows, args.m) * smaller(cuts.columns, args.n) * larger(args.k, 1);
  parallel_for(batch * tiles, larger(1, kTask / 4 / larger(macs, 1)), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task)
      run_block(matrix(task / tiles), cuts, task % tiles, {}, static_cast<T*>(nullptr), c + task / tiles * size);
  });
}

// Integers: plain loops, modulo 2^bits. U is the unsigned type of their size.
template <class U>
void multiply_integers(const GemmArgs& g, int64_t batch) {
  parallel_for(batch * g.m, larger(1, (64 << 10) / larger(g.n * g.k, 1)), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const U* a = static_cast<const U*>(g.a) + batch_offset(g, g.a_batch, row / g.m) + row % g.m * g.a_strides[0];
      const U* b = static_cast<const U*>(g.b) + batch_offset(g, g.b_batch, row / g.m);
      U* c = static_cast<U*>(g.c) + row * g.n;
      clear(c, g.n);
      for (int64_t k = 0; k < g.k; ++k)
        for (int64_t j = 0; j < g.n; ++j)
          c[j] = U(c[j] + uint64_t(a[k * g.a_strides[1]]) * b[k * g.b_strides[0] + j * g.b_strides[1]]);
    }
  });
}

}  // namespace

void gemm(const GemmArgs& a) {
  int64_t batch = 1;
  for (int d = 0; d < a.batch_ndim; ++d) batch *= a.batch[d];
  if (batch * a.m * a.n == 0 || gemm_in_bf16(a)) return;
  if (is_floating(a.dtype)) {
    dispatch_float(a.dtype, [&]<class S>(Type<S>) { multiply<accumulate_type<S>, S>(a, batch); });
  } else {
    dispatch_bytes(a.dtype, [&]<class U>(Type<U>) { multiply_integers<U>(a, batch); });
  }
}

}  // namespace skipway::SW_ISA
