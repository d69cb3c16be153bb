// cuBLASLt by its C interface (https://docs.nvidia.com/cuda/cublas/#using-the-cublaslt-api), declared here because a
// machine that builds skipway need not have its headers.
#include "ops/matmul_cublas.cuh"

#include <dlfcn.h>
#include <glob.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "kernels/cuda/launch.cuh"

namespace skipway::cuda {
namespace {

#ifdef SW_CUDA_EMULATED
constexpr bool kEmulated = true;
#else
constexpr bool kEmulated = false;
#endif

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
enum : int { kFloat32 = 0, kFloat16 = 2, kBFloat16 = 14 };  // cudaDataType
enum : int { kCompute32F = 68, kCompute32FFastTF32 = 77 };
enum : int { kDescTransA = 3, kDescTransB = 4, kDescEpilogue = 7, kDescBiasPointer = 8, kDescBiasType = 26 };
enum : int { kLayoutBatchCount = 5, kLayoutBatchStride = 6 };
enum : int { kPreferenceWorkspace = 1 };
enum : uint32_t { kEpilogueDefault = 1, kEpilogueRelu = 2, kEpilogueBias = 4 };  // the last two may be added
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

  // SKIPWAY_CUBLAS if it is a path, or else by name (the system's, or one that another package has loaded), then in the
  // folders where the wheels nvidia-cublas put it, beside the package that this library belongs to.
  static void* open_library() {
    if (const char* path = std::getenv("SKIPWAY_CUBLAS"); path && std::strchr(path, '/')) {
      if (void* lib = dlopen(path, RTLD_NOW | RTLD_LOCAL)) return lib;
      throw DeviceError(concat("cuda: SKIPWAY_CUBLAS names a library that cannot be opened: ", dlerror()));
    }
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
  bool usable = false, applies_relu = false;
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
Plan make_plan(Library& l, Handle handle, const GemmArgs& g, int type, const Layout& a, const Layout& b, int64_t count,
               bool relu) {
  Plan p;
  p.applies_relu = relu;
  const int scale = kFloat32;
  check(l.desc_create(&p.desc, g.tf32 ? kCompute32FFastTF32 : kCompute32F, scale), "creating a product");
  const int32_t first = b.transposed ? kTranspose : kNoTranspose, second = a.transposed ? kTranspose : kNoTranspose;
  check(l.desc_set(p.desc, kDescTransA, &first, sizeof first), "setting an operand");
  check(l.desc_set(p.desc, kDescTransB, &second, sizeof second), "setting an operand");
  if (g.bias || relu) {
    const uint32_t epilogue = (g.bias ? kEpilogueBias : 0u) | (relu ? kEpilogueRelu : 0u);
    check(l.desc_set(p.desc, kDescEpilogue, &epilogue, sizeof epilogue), "setting the epilogue");
  }
  if (g.bias) {
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

void run(Library& l, Handle handle, const Plan& p, const GemmArgs& g, const Stream& stream) {
  if (g.bias) check(l.desc_set(p.desc, kDescBiasPointer, &g.bias, sizeof g.bias), "setting the bias");
  const float one = 1, zero = 0;
  const Workspace workspace(stream, p.workspace);
  check(l.matmul(handle, p.desc, &one, g.b, p.b, g.a, p.a, &zero, g.c, p.c, g.c, p.c, &p.algorithm,
                 workspace.as<void>(), p.workspace, stream.handle),
        "a product");
}

// Does the library's ReLU keep NaN? Its documentation says max(x, 0), which may lose it, so it is asked once, with a
// product of NaNs; this waits for the device. Where it does not, ReLU is a pass of its own.
bool relu_keeps_nan(Library& l, Handle handle, DType dtype, int type, const Stream& stream) {
  constexpr int64_t n = 16;
  const size_t bytes = size_t(n * n) * size_of(dtype);
  const Workspace values(stream, 2 * bytes);
  char *nan = values.as<char>(), *result = nan + bytes;
  const auto queue = static_cast<cudaStream_t>(stream.handle);
  GemmArgs g{};
  g.m = g.n = g.k = n;
  g.dtype = dtype;
  g.a = g.b = nan, g.c = result;
  Layout plain;
  plain.leading = n;
  const Plan p = make_plan(l, handle, g, type, plain, plain, 1, true);
  if (!p.usable) return false;
  uint32_t first = 0;
  bool fine = cudaMemsetAsync(nan, 0xff, bytes, queue) == cudaSuccess;  // NaN in every dtype
  if (fine) run(l, handle, p, g, stream);
  fine = fine && cudaMemcpyAsync(&first, result, size_of(dtype), cudaMemcpyDeviceToHost, queue) == cudaSuccess &&
         cudaStreamSynchronize(queue) == cudaSuccess;
  const uint32_t infinity = type == kFloat32 ? 0x7f800000u : type == kBFloat16 ? 0x7f80u : 0x7c00u;
  const uint32_t magnitude = first & (type == kFloat32 ? 0x7fffffffu : 0x7fffu);
  return fine && magnitude > infinity;
}

struct Cache {
  std::mutex mutex;
  std::map<int, Handle> handles;
  std::map<std::pair<int, int>, bool> relu_keeps_nan;  // of (device, type)
  std::map<Key, Plan> plans;                           // a program has few shapes; they live as long as the process
};
Cache& cache() {
  static Cache* const c = new Cache;
  return *c;
}

bool enabled() {
  static const bool on = [] {
    const char* value = std::getenv("SKIPWAY_CUBLAS");
    return value ? std::strcmp(value, "0") != 0 : !kEmulated;  // the emulator has a model of it for tests
  }();
  return on;
}

// How far a pointer is aligned decides which kernels may be chosen.
int64_t alignment(const void* p) {
  const auto bits = reinterpret_cast<uintptr_t>(p);
  return bits % 16 == 0 ? 16 : int64_t(bits & (~bits + 1));
}

}  // namespace

CublasResult multiply_cublas(const GemmArgs& args, const Stream& stream) {
  GemmArgs g = args;
  g.tf32 = g.tf32 && g.dtype == DType::Float32 && stream.compute_capability >= 80;
  const int type = g.dtype == DType::Float32    ? kFloat32
                   : g.dtype == DType::BFloat16 ? kBFloat16
                   : g.dtype == DType::Float16  ? kFloat16
                                                : -1;
  if (type < 0 || !enabled()) return CublasResult::None;
  if (g.dtype == DType::BFloat16 && stream.compute_capability < 80) return CublasResult::None;
  Layout a, b;
  int64_t count = 1;
  if (!as_layout(g.m, g.k, g.a_strides, a) || !as_layout(g.k, g.n, g.b_strides, b) ||
      !one_batch(g, count, a.batch_stride, b.batch_stride)) {
    return CublasResult::None;
  }
  Library& l = library();
  Cache& c = cache();
  std::lock_guard<std::mutex> lock(c.mutex);
  Handle& handle = c.handles[stream.device];
  if (!handle) check(l.create(&handle), "starting");
  bool relu = g.activation == FusedAct::Relu;
  if (relu) {
    const auto [known, is_new] = c.relu_keeps_nan.try_emplace({stream.device, type}, false);
    if (is_new) known->second = relu_keeps_nan(l, handle, g.dtype, type, stream);
    relu = known->second;
  }
  const Key key{g.m,
                g.n,
                g.k,
                type,
                a.leading,
                b.leading,
                a.batch_stride,
                b.batch_stride,
                count,
                a.transposed * 2 + b.transposed + (g.bias ? 4 : 0) + (relu ? 8 : 0) + (g.tf32 ? 16 : 0),
                stream.device,
                alignment(g.a) * 100 + alignment(g.b),
                alignment(g.c) * 100 + alignment(g.bias)};
  auto place = c.plans.find(key);
  if (place == c.plans.end()) place = c.plans.emplace(key, make_plan(l, handle, g, type, a, b, count, relu)).first;
  const Plan& p = place->second;
  if (!p.usable) return CublasResult::None;
  run(l, handle, p, g, stream);
  return g.activation == FusedAct::None || p.applies_relu ? CublasResult::Done : CublasResult::WithoutActivation;
}

}  // namespace skipway::cuda
