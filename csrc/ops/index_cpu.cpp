#include "ops/index.h"

#include "core/parallel.h"
#include "kernels/simd.h"

namespace skipway {
namespace SW_ISA {
namespace {

// Steps through all but the last of `dims` dimensions, keeping two element offsets.
struct Counter {
  int64_t at[kMaxDims] = {};
  int64_t x = 0, v = 0;

  SW_INLINE void start(int64_t i, int dims, const int64_t* sizes, const int64_t* sx, const int64_t* sv) {
    for (int d = dims - 1; d >= 0; --d) {
      at[d] = i % sizes[d];
      i /= sizes[d];
      x += at[d] * sx[d];
      v += at[d] * sv[d];
    }
  }
  SW_INLINE void next(int dims, const int64_t* sizes, const int64_t* sx, const int64_t* sv) {
    for (int d = dims - 1; d >= 0; --d) {
      x += sx[d];
      v += sv[d];
      if (++at[d] < sizes[d]) return;
      x -= sizes[d] * sx[d];
      v -= sizes[d] * sv[d];
      at[d] = 0;
    }
  }
};

template <class T, MoveMode kMode>
SW_INLINE void move_run(T* x, T* v, int64_t n, int64_t sx, int64_t sv) {
  if (kMode != MoveMode::Add && sx == 1 && sv == 1) {
    if constexpr (kMode == MoveMode::Get) {
      __builtin_memcpy(v, x, size_t(n) * sizeof(T));
    } else {
      __builtin_memcpy(x, v, size_t(n) * sizeof(T));
    }
    return;
  }
  if (kMode == MoveMode::Add && sx == 1 && sv == 1) {
    for (int64_t i = 0; i < n; ++i) x[i] = T(x[i] + v[i]);
    return;
  }
  for (int64_t i = 0; i < n; ++i) {
    if constexpr (kMode == MoveMode::Get) {
      v[i * sv] = x[i * sx];
    } else if constexpr (kMode == MoveMode::Put) {
      x[i * sx] = v[i * sv];
    } else {
      x[i * sx] = T(x[i * sx] + v[i * sv]);
    }
  }
}

template <class T, MoveMode kMode>
void move_as(const MoveArgs& a) {
  T *x = static_cast<T*>(a.x), *v = static_cast<T*>(a.values);
  const int last = a.inner_dims - 1;
  int64_t outer = 1, runs = 1;
  for (int d = 0; d < a.outer_dims; ++d) outer *= a.outer_sizes[d];
  for (int d = 0; d < last; ++d) runs *= a.inner_sizes[d];
  const int64_t n = last >= 0 ? a.inner_sizes[last] : 1;
  const int64_t sx = last >= 0 ? a.inner_x[last] : 1, sv = last >= 0 ? a.inner_v[last] : 1;

  const auto positions = [&](int64_t from_x, int64_t from_v, int64_t begin, int64_t end) {
    if (runs == 1 && n == 1) {
      for (int64_t i = begin; i < end; ++i)
        move_run<T, kMode>(x + from_x + (a.offsets ? a.offsets[i] : 0), v + from_v + i * a.stride_v, 1, 1, 1);
      return;
    }
    for (int64_t i = begin; i < end; ++i) {
      Counter c;
      T *px = x + from_x + (a.offsets ? a.offsets[i] : 0), *pv = v + from_v + i * a.stride_v;
      for (int64_t r = 0; r < runs; ++r) {
        move_run<T, kMode>(px + c.x, pv + c.v, n, sx, sv);
        c.next(last, a.inner_sizes, a.inner_x, a.inner_v);
      }
    }
  };
  const bool split = kMode == MoveMode::Get || a.distinct;
  const int64_t wanted = 32768 / (runs * n + 1) + 1;
  const int64_t piece = split && wanted < a.count ? wanted : a.count, pieces = (a.count + piece - 1) / piece;
  const int64_t together = wanted / piece > 1 ? wanted / piece : 1;  // tasks in one chunk
  parallel_for(outer * pieces, together, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      Counter c;
      c.start(task / pieces, a.outer_dims, a.outer_sizes, a.outer_x, a.outer_v);
      const int64_t first = task % pieces * piece;
      positions(c.x, c.v, first, first + piece < a.count ? first + piece : a.count);
    }
  });
}

}  // namespace

void index_offsets(const OffsetArgs& a) {
  int64_t at[kMaxDims] = {}, base = 0;
  for (int64_t i = 0; i < a.count; ++i) {
    int64_t offset = base;
    for (int d = 0; d < a.indices; ++d) {
      const int64_t k = a.index[d][i], size = a.size[d];
      if (k < (a.wrap ? -size : 0) || k >= size) {
        *a.fault_at = d;
        *a.fault_value = k;
        return;
      }
      offset += (k < 0 ? k + size : k) * a.stride[d];
    }
    a.offsets[i] = offset;
    for (int d = a.base_dims - 1; d >= 0; --d) {
      base += a.base_strides[d];
      if (++at[d] < a.base_sizes[d]) break;
      base -= a.base_strides[d] * a.base_sizes[d];
      at[d] = 0;
    }
  }
}

void move_elements(const MoveArgs& a) {
  if (a.mode == MoveMode::Add) {
    dispatch_all(a.dtype, [&]<class T>(Type<T>) { move_as<T, MoveMode::Add>(a); });
    return;
  }
  dispatch_bytes(a.dtype, [&]<class T>(Type<T>) {
    if (a.mode == MoveMode::Get) {
      move_as<T, MoveMode::Get>(a);
    } else {
      move_as<T, MoveMode::Put>(a);
    }
  });
}

}  // namespace SW_ISA
}  // namespace skipway
