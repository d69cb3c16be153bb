// cuBLASLt by its C interface (https://docs.nvidia.com/cuda/cublas/#using-the-cublaslt-api), declared here because a
// machine that builds skipway need not have its headers.
#include "ops/matmul_cublas.cuh"

#include "kernels/cuda/launch.cuh"

#ifdef SW_CUDA_EMULATED

namespace skipway::cuda {
bool multiply_cublas(const GemmArgs&, const Stream&) { return false; }  // the emulator runs our own kernels only
}  // namespace skipway::cuda

#else

#include <dlfcn.h>
#include <glob.h>
#include <library_types.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace skipway::cuda {
namespace {

using Handle = void*;
struct Algorithm {
  uint64_t data[8];
};
struct Heuristic {
  Algorithm algorithm;
  size_t workspace;
  int status;
  float waves;
  int reserved[4];
};
enum : int { kNoTranspose = 0, kTranspose = 1 };
enum : int { kCompute32F = 68 };
enum : int { kDescTransA = 3, kDescTransB = 4, kDescEpilogue = 7, kDescBiasPointer = 8, kDescBiasType = 26 };
enum : int { kLayoutBatchCount = 5, kLayoutBatchStride = 6 };
enum : int { kPreferenceWorkspace = 1 };
enum : int { kEpilogueBias = 4 };
constexpr size_t kWorkspaceBytes = size_t(32) << 20;

// The functions that are used, and the handle of each device.
struct Library {
  int (*create)(Handle*);
  int (*matmul)(Handle, void*, const void*, const void*, void*, const void*, void*, const void*, const void*, void*,
                void*, void*, const Algorithm*, void*, size_t, void*);
  int (*desc_create)(void**, int compute, int scale);
  int (*desc_set)(void*, int, const void*, size_t);
  int (*desc_destroy)(void*);
  int (*layout_create)(void**, int type, uint64_t rows, uint64_t columns, int64_t ld);
  int (*layout_set)(void*, int, const void*, size_t);
  int (*layout_destroy)(void*);
  int (*preference_create)(void**);
  int (*preference_set)(void*, int, const void*, size_t);
  int (*preference_destroy)(void*);
  int (*heuristic)(Handle, void*, void*, void*, void*, void*, void*, int, Heuristic*, int*);

  Library() {
    void* lib = open_library();
    get(lib, "cublasLtCreate", create);
    get(lib, "cublasLtMatmul", matmul);
    get(lib, "cublasLtMatmulDescCreate", desc_create);
    get(lib, "cublasLtMatmulDescSetAttribute", desc_set);
    get(lib, "cublasLtMatmulDescDestroy", desc_destroy);
    get(lib, "cublasLtMatrixLayoutCreate", layout_create);
    get(lib, "cublasLtMatrixLayoutSetAttribute", layout_set);
    get(lib, "cublasLtMatrixLayoutDestroy", layout_destroy);
    get(lib, "cublasLtMatmulPreferenceCreate", preference_create);
    get(lib, "cublasLtMatmulPreferenceSetAttribute", preference_set);
    get(lib, "cublasLtMatmulPreferenceDestroy", preference_destroy);
    get(lib, "cublasLtMatmulAlgoGetHeuristic", heuristic);
  }

 private:
  template <class F>
  static void get(void* lib, const char* name, F& f) {
    f = reinterpret_cast<F>(dlsym(lib, name));
    if (!f) throw DeviceError(concat("cuda: cuBLASLt has no function ", name, "; install nvidia-cublas anew"));
  }

  // By name first (the system's, or one that another package has loaded), then in the folders where the wheels
  // nvidia-cublas put it, beside the package that this library belongs to.
  static void* open_library() {
    std::vector<std::string> names{"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"};
    Dl_info here;
    if (dladdr(reinterpret_cast<const void*>(&multiply_cublas), &here) && here.dli_fname) {
      std::string packages = here.dli_fname;  // .../site-packages/skipway/_cuda.so
      for (int i = 0; i < 2; ++i) packages.resize(packages.rfind('/') == std::string::npos ? 0 : packages.rfind('/'));
      glob_t found;
      if (glob((packages + "/nvidia/*/lib/libcublasLt.so.*").c_str(), 0, nullptr, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc; ++i) names.push_back(found.gl_pathv[i]);
      globfree(&found);
    }
    for (const std::string& name : names)
      if (void* lib = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL)) return lib;
    throw DeviceError(
        "cuda: matrix products need cuBLAS, which was not found: pip install nvidia-cublas, or set SKIPWAY_CUBLAS=0 to "
        "use skipway's own, slower kernels");
  }
};

void check(int status, const char* what) {
  if (status != 0) throw DeviceError(concat("cuda: cuBLASLt: ", what, " failed with status ", status));
}

// An operand as cuBLAS sees it: column-major, `leading` elements from column to column.
struct Layout {
  bool transposed = false;
  int64_t leading = 0, batch_stride = 0;
};

// A row-major matrix of (rows, columns) with these strides is column-major (columns, rows).
bool as_layout(int64_t rows, int64_t columns, const int64_t (&strides)[2], Layout& layout) {
  if (strides[1] == 1 && (strides[0] >= columns || rows == 1)) {
    layout.leading = rows == 1 ? columns : strides[0];
    return true;
  }
  layout.transposed = true;
  layout.leading = columns == 1 ? rows : strides[1];
  return strides[0] == 1 && (strides[1] >= rows || columns == 1);
}

// The batch dimensions as one, if their strides allow it.
bool one_batch(const GemmArgs& g, int64_t& count, int64_t& a_stride, int64_t& b_stride) {
  count = 1;
  a_stride = b_stride = 0;
  for (int d = g.batch_ndim - 1; d >= 0; --d) {
    if (g.batch[d] == 1) continue;
    if (count == 1) {
      a_stride = g.a_batch[d], b_stride = g.b_batch[d];
    } else if (g.a_batch[d] != a_stride * count || g.b_batch[d] != b_stride * count) {
      return false;
    }
    count *= g.batch[d];
  }
  return count < (int64_t(1) << 31);
}

// Everything that a product's plan depends on.
using Key = std::array<int64_t, 13>;

struct Plan {
  void *desc = nullptr, *a = nullptr, *b = nullptr, *c = nullptr;
  Algorithm algorithm{};
  size_t workspace = 0;
  bool usable = false;
};

Library& library() {
  static Library* const l = new Library;
  return *l;
}

void* make_layout(Library& l, int type, int64_t rows, int64_t columns, int64_t leading, int64_t count, int64_t stride) {
  void* layout = nullptr;
  check(l.layout_create(&layout, type, uint64_t(rows), uint64_t(columns), leading), "creating a layout");
  const int32_t batches = int32_t(count);
  check(l.layout_set(layout, kLayoutBatchCount, &batches, sizeof batches), "setting the batch count");
  check(l.layout_set(layout, kLayoutBatchStride, &stride, sizeof stride), "setting the batch stride");
  return layout;
}

// c^T = b^T a^T in column-major terms: cuBLAS's first operand is our b.
Plan make_plan(Library& l, Handle handle, const GemmArgs& g, int type, const Layout& a, const Layout& b,
               int64_t count) {
  Plan p;
  const int scale = CUDA_R_32F;
  check(l.desc_create(&p.desc, kCompute32F, scale), "creating a product");
  const int32_t first = b.transposed ? kTranspose : kNoTranspose, second = a.transposed ? kTranspose : kNoTranspose;
  check(l.desc_set(p.desc, kDescTransA, &first, sizeof first), "setting an operand");
  check(l.desc_set(p.desc, kDescTransB, &second, sizeof second), "setting an operand");
  if (g.bias) {
    const uint32_t epilogue = kEpilogueBias;
    check(l.desc_set(p.desc, kDescEpilogue, &epilogue, sizeof epilogue), "setting the epilogue");
    check(l.desc_set(p.desc, kDescBiasPointer, &g.bias, sizeof g.bias), "setting the bias");
    const int32_t bias_type = type;
    check(l.desc_set(p.desc, kDescBiasType, &bias_type, sizeof bias_type), "setting the bias's type");
  }
  p.b = make_layout(l, type, b.transposed ? g.k : g.n, b.transposed ? g.n : g.k, b.leading, count, b.batch_stride);
  p.a = make_layout(l, type, a.transposed ? g.m : g.k, a.transposed ? g.k : g.m, a.leading, count, a.batch_stride);
  p.c = make_layout(l, type, g.n, g.m, g.n, count, g.m * g.n);
  void* preference = nullptr;
  check(l.preference_create(&preference), "creating a preference");
  check(l.preference_set(preference, kPreferenceWorkspace, &kWorkspaceBytes, sizeof kWorkspaceBytes),
        "setting the workspace");
  Heuristic found{};
  int count_found = 0;
  const int status = l.heuristic(handle, p.desc, p.b, p.a, p.c, p.c, preference, 1, &found, &count_found);
  l.preference_destroy(preference);
  p.usable = status == 0 && count_found > 0 && found.status == 0;
  p.algorithm = found.algorithm;
  p.workspace = found.workspace;
  return p;
}

struct Cache {
  std::mutex mutex;
  std::map<int, Handle> handles;
  std::map<Key, Plan> plans;  // a program has few shapes; they live as long as the process
};
Cache& cache() {
  static Cache* const c = new Cache;
  return *c;
}

bool enabled() {
  static const bool on = [] {
    const char* value = std::getenv("SKIPWAY_CUBLAS");
    return !value || std::strcmp(value, "0") != 0;
  }();
  return on;
}

// How far a pointer is aligned decides which kernels may be chosen.
int64_t alignment(const void* p) {
  const auto bits = reinterpret_cast<uintptr_t>(p);
  return bits % 16 == 0 ? 16 : int64_t(bits & (~bits + 1));
}

}  // namespace

bool multiply_cublas(const GemmArgs& g, const Stream& stream) {
  const int type = g.dtype == DType::Float32    ? CUDA_R_32F
                   : g.dtype == DType::BFloat16 ? CUDA_R_16BF
                   : g.dtype == DType::Float16  ? CUDA_R_16F
                                                : -1;
  if (type < 0 || !enabled()) return false;
  if (g.dtype == DType::BFloat16 && stream.compute_capability < 80) return false;
  Layout a, b;
  int64_t count = 1;
  if (!as_layout(g.m, g.k, g.a_strides, a) || !as_layout(g.k, g.n, g.b_strides, b) ||
      !one_batch(g, count, a.batch_stride, b.batch_stride)) {
    return false;
  }
  Library& l = library();
  Cache& c = cache();
  std::lock_guard<std::mutex> lock(c.mutex);
  Handle& handle = c.handles[stream.device];
  if (!handle) check(l.create(&handle), "starting");
  const Key key{g.m,
                g.n,
                g.k,
                type,
                a.leading,
                b.leading,
                a.batch_stride,
                b.batch_stride,
                count,
                a.transposed * 2 + b.transposed + (g.bias ? 4 : 0),
                stream.device,
                alignment(g.a) * 100 + alignment(g.b),
                alignment(g.c) * 100 + alignment(g.bias)};
  auto place = c.plans.find(key);
  if (place == c.plans.end()) place = c.plans.emplace(key, make_plan(l, handle, g, type, a, b, count)).first;
  Plan& p = place->second;
  if (!p.usable) return false;
  if (g.bias) check(l.desc_set(p.desc, kDescBiasPointer, &g.bias, sizeof g.bias), "setting the bias");
  const float one = 1, zero = 0;
  const Workspace workspace(stream, p.workspace);
  check(l.matmul(handle, p.desc, &one, g.b, p.b, g.a, p.a, &zero, g.c, p.c, g.c, p.c, &p.algorithm,
                 workspace.as<void>(), p.workspace, stream.handle),
        "a product");
  return true;
}

}  // namespace skipway::cuda

#endif
