// A model of the part of cuBLASLt that the project calls (https://docs.nvidia.com/cuda/cublas/#using-the-cublaslt-api):
// products of column-major matrices with a bias and ReLU, on emulated device memory, computed on the host when they are
// called. It is stricter than the library: sizes of attributes, leading dimensions, addresses and uninitialised
// operands are checked. SKIPWAY_CUBLAS=<path of this library> makes the project use it.
#include <cstring>
#include <string>

#include "core/dtype.h"
#include "cuda_emulator/emulator/launches.h"
#include "cuda_emulator/emulator/memory.h"
#include "cuda_emulator/emulator/report.h"

using namespace emulator;

namespace {

enum Status : int { kSuccess = 0, kInvalidValue = 7, kNotSupported = 15 };
enum DataType : int { kFloat32 = 0, kFloat16 = 2, kBFloat16 = 14 };
enum Compute : int { kCompute32F = 68, kCompute32FFastTF32 = 77 };
enum : uint32_t { kDefault = 1, kRelu = 2, kBias = 4 };

bool relu_keeps_nan = true;
int calls = 0, calls_with_relu = 0, calls_in_tf32 = 0;

struct Description {
  bool tf32 = false;
  int32_t transpose_a = 0, transpose_b = 0, bias_type = -1;
  uint32_t epilogue = kDefault;
  const void* bias = nullptr;
};
struct Layout {
  int type;
  uint64_t rows, columns;
  int64_t leading;
  int32_t count = 1;
  int64_t stride = 0;
};
struct Preference {
  uint64_t workspace = 0;
};
struct Heuristic {
  uint64_t algorithm[8];
  size_t workspace;
  int status;
  float waves;
  int reserved[4];
};
constexpr uint64_t kAlgorithm = 0x736b6970776179;  // what heuristic() found, to be handed to matmul()
constexpr size_t kWorkspace = 256;

size_t size_of_type(int type) { return type == kFloat32 ? 4 : 2; }

template <class T>
int set(T& to, const void* from, size_t bytes) {
  if (bytes != sizeof(T)) return kInvalidValue;
  std::memcpy(&to, from, bytes);
  return kSuccess;
}

// To 10 bits of fraction, halves away from zero. How the library rounds is its own business.
float as_tf32(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if ((bits & 0x7f800000u) != 0x7f800000u) bits = (bits + 0x1000u) & ~0x1fffu;
  std::memcpy(&x, &bits, 4);
  return x;
}

double load(const char* p, int type, bool tf32 = false) {
  if (type == kFloat32) {
    float value;
    std::memcpy(&value, p, 4);
    return tf32 ? as_tf32(value) : value;
  }
  if (type == kBFloat16) {
    skipway::bfloat16 value;
    std::memcpy(&value, p, 2);
    return float(value);
  }
  skipway::float16 value;
  std::memcpy(&value, p, 2);
  return float(value);
}
void store(char* p, int type, float value) {
  const skipway::bfloat16 as_bfloat16(value);
  const skipway::float16 as_float16(value);
  if (type == kFloat32) std::memcpy(p, &value, 4);
  if (type == kBFloat16) std::memcpy(p, &as_bfloat16, 2);
  if (type == kFloat16) std::memcpy(p, &as_float16, 2);
}

void check_bytes(const char* what, const char* p, size_t bytes, bool read) {
  const size_t offset = space_offset(p);
  for (size_t i = offset; i < offset + bytes; ++i) {
    const bool there = offset < kSpaceBytes && is_device(i) && (shadow.state[i] & kAddressable);
    if (there && (!read || (shadow.state[i] & kInitialised))) continue;
    report(
        "cublasLtMatmul touches memory that it may not", nullptr, nullptr,
        std::string(what) + (there ? ", uninitialised: " : ": ") + (offset < kSpaceBytes ? describe_address(i) : ""));
    throw_faults();
  }
}

// The elements of one matrix of a batch, column after column.
struct Matrix {
  char* data;
  const Layout& layout;
  size_t size = size_of_type(layout.type);
  Matrix(const void* p, const Layout& of, int32_t index)
      : data(static_cast<char*>(const_cast<void*>(p)) + int64_t(index) * of.stride * int64_t(size_of_type(of.type))),
        layout(of) {}
  char* at(uint64_t row, uint64_t column) const { return data + (uint64_t(layout.leading) * column + row) * size; }
  void check(const char* what, bool read) const {
    for (uint64_t c = 0; c < layout.columns; ++c) check_bytes(what, at(0, c), layout.rows * size, read);
  }
};

// d = act(op(a) op(b) + bias), sums in float64, rounded to float32 and then to d's type
void multiply(const Description& desc, const Matrix& a, const Matrix& b, const Matrix& d) {
  const uint64_t depth = desc.transpose_a ? a.layout.rows : a.layout.columns;
  for (uint64_t column = 0; column < d.layout.columns; ++column)
    for (uint64_t row = 0; row < d.layout.rows; ++row) {
      double sum = 0;
      for (uint64_t k = 0; k < depth; ++k)
        sum += load(desc.transpose_a ? a.at(k, row) : a.at(row, k), a.layout.type, desc.tf32) *
               load(desc.transpose_b ? b.at(column, k) : b.at(k, column), b.layout.type, desc.tf32);
      if (desc.epilogue & kBias)
        sum += load(static_cast<const char*>(desc.bias) + row * size_of_type(desc.bias_type), desc.bias_type);
      if (desc.epilogue & kRelu) sum = sum < 0 || (sum != sum && !relu_keeps_nan) ? 0 : sum;
      store(d.at(row, column), d.layout.type, float(sum));
    }
  for (uint64_t c = 0; c < d.layout.columns; ++c) mark_initialised(space_offset(d.at(0, c)), d.layout.rows * d.size);
}

bool fits(const Description& desc, const Layout& a, const Layout& b, const Layout& d) {
  const uint64_t m = desc.transpose_a ? a.columns : a.rows, k = desc.transpose_a ? a.rows : a.columns;
  const uint64_t k_of_b = desc.transpose_b ? b.columns : b.rows, n = desc.transpose_b ? b.rows : b.columns;
  return m == d.rows && n == d.columns && k == k_of_b && a.type == b.type && a.type == d.type && a.count == b.count &&
         a.count == d.count && (!desc.tf32 || a.type == kFloat32) &&
         (!(desc.epilogue & kBias) || desc.bias_type == d.type);
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

void emulator_cublaslt_relu_keeps_nan(int keeps) { relu_keeps_nan = keeps != 0; }
int emulator_cublaslt_calls() { return calls; }
int emulator_cublaslt_calls_with_relu() { return calls_with_relu; }
int emulator_cublaslt_calls_in_tf32() { return calls_in_tf32; }

int cublasLtCreate(void** handle) {
  static int any;
  *handle = &any;
  return kSuccess;
}

int cublasLtMatmulDescCreate(void** desc, int compute, int scale) {
  if ((compute != kCompute32F && compute != kCompute32FFastTF32) || scale != kFloat32) return kNotSupported;
  *desc = new Description{compute == kCompute32FFastTF32};
  return kSuccess;
}
int cublasLtMatmulDescDestroy(void* desc) {
  delete static_cast<Description*>(desc);
  return kSuccess;
}
int cublasLtMatmulDescSetAttribute(void* desc, int attribute, const void* value, size_t bytes) {
  Description& d = *static_cast<Description*>(desc);
  switch (attribute) {
    case 3:
      return set(d.transpose_a, value, bytes);
    case 4:
      return set(d.transpose_b, value, bytes);
    case 7:
      return set(d.epilogue, value, bytes);
    case 8:
      return set(d.bias, value, bytes);
    case 26:
      return set(d.bias_type, value, bytes);
    default:
      return kInvalidValue;
  }
}

int cublasLtMatrixLayoutCreate(void** layout, int type, uint64_t rows, uint64_t columns, int64_t leading) {
  if (type != kFloat32 && type != kFloat16 && type != kBFloat16) return kNotSupported;
  if (rows == 0 || columns == 0 || leading < int64_t(rows)) return kInvalidValue;
  *layout = new Layout{type, rows, columns, leading};
  return kSuccess;
}
int cublasLtMatrixLayoutDestroy(void* layout) {
  delete static_cast<Layout*>(layout);
  return kSuccess;
}
int cublasLtMatrixLayoutSetAttribute(void* layout, int attribute, const void* value, size_t bytes) {
  Layout& l = *static_cast<Layout*>(layout);
  return attribute == 5 ? set(l.count, value, bytes) : attribute == 6 ? set(l.stride, value, bytes) : kInvalidValue;
}

int cublasLtMatmulPreferenceCreate(void** preference) {
  *preference = new Preference;
  return kSuccess;
}
int cublasLtMatmulPreferenceDestroy(void* preference) {
  delete static_cast<Preference*>(preference);
  return kSuccess;
}
int cublasLtMatmulPreferenceSetAttribute(void* preference, int attribute, const void* value, size_t bytes) {
  return attribute == 1 ? set(static_cast<Preference*>(preference)->workspace, value, bytes) : kInvalidValue;
}

int cublasLtMatmulAlgoGetHeuristic(void*, void* desc, void* a, void* b, void* c, void* d, void* preference, int wanted,
                                   Heuristic* found, int* count) {
  const auto layout = [](void* p) -> const Layout& { return *static_cast<const Layout*>(p); };
  *count = 0;
  if (wanted < 1 || c != d || !fits(*static_cast<Description*>(desc), layout(a), layout(b), layout(d)))
    return kInvalidValue;
  if (static_cast<Preference*>(preference)->workspace < kWorkspace) return kNotSupported;
  *found = Heuristic{{kAlgorithm}, kWorkspace, kSuccess, 1, {}};
  *count = 1;
  return kSuccess;
}

int cublasLtMatmul(void*, void* desc, const void* alpha, const void* a, void* a_layout, const void* b, void* b_layout,
                   const void* beta, const void*, void* c_layout, void* d, void* d_layout, const uint64_t* algorithm,
                   void* workspace, size_t workspace_bytes, void* stream) {
  const DeviceMemoryOpen open;
  throw_faults();
  const Description& description = *static_cast<Description*>(desc);
  const Layout &of_a = *static_cast<Layout*>(a_layout), &of_b = *static_cast<Layout*>(b_layout);
  const Layout& of_d = *static_cast<Layout*>(d_layout);
  const float one = 1, zero = 0;
  if (std::memcmp(alpha, &one, 4) != 0 || std::memcmp(beta, &zero, 4) != 0 || c_layout != d_layout)
    return kNotSupported;
  if (*algorithm != kAlgorithm || workspace_bytes < kWorkspace || !stream_usable(stream) ||
      !fits(description, of_a, of_b, of_d)) {
    return kInvalidValue;
  }
  check_bytes("the workspace", static_cast<char*>(workspace), workspace_bytes, false);
  if (description.epilogue & kBias)
    check_bytes("the bias", static_cast<const char*>(description.bias), of_d.rows * size_of_type(of_d.type), true);
  for (int32_t i = 0; i < of_d.count; ++i) {
    const Matrix ma(a, of_a, i), mb(b, of_b, i), md(d, of_d, i);
    ma.check("the first operand", true);
    mb.check("the second operand", true);
    md.check("the result", false);
    multiply(description, ma, mb, md);
  }
  ++calls;
  calls_with_relu += (description.epilogue & kRelu) != 0;
  calls_in_tf32 += description.tf32;
  return kSuccess;
}

}  // extern "C"
#pragma GCC visibility pop
