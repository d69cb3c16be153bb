// What the headers for kernels call in the emulator. The functions are compiled without instrumentation; they take the
// line of the kernel from their return address, so everything between a kernel and them is always inlined.
#pragma once
#include <cstddef>
#include <cstdint>

#include "cuda_emulator/vector_types.h"

#define EMULATOR_INLINE inline __attribute__((always_inline))

namespace emulator {

// Built-in variables. A thread always gets the same values, so calls may be merged.
[[gnu::const]] uint3 thread_index() noexcept;
[[gnu::const]] uint3 block_index() noexcept;
[[gnu::const]] dim3 block_dimensions() noexcept;
[[gnu::const]] dim3 grid_dimensions() noexcept;
[[gnu::const]] unsigned lane_index() noexcept;

// Barriers and fences
enum class BlockVote : uint8_t { None, Count, And, Or };
int sync_block(BlockVote vote, int predicate);
void sync_warp(uint32_t mask);
void fence();  // __threadfence and __threadfence_system

// Operations of a whole warp. A shuffle copies `bytes` (at most 8) from lane `source`.
void shuffle(uint32_t mask, const void* value, void* result, size_t bytes, unsigned source);
uint32_t ballot(uint32_t mask, int predicate);
uint32_t match_any(uint32_t mask, uint64_t value);
uint32_t reduce_bits(uint32_t mask, uint32_t value,
                     char operation);  // '+', 'm'in, 'M'ax (signed: 'i', 'I'), '&', '|', '^'
uint32_t active_mask();

// Atomic operations, instantiated in atomics.cpp for the types that CUDA has.
template <class T>
T atomic_add(T* p, T value);
template <class T>
T atomic_min(T* p, T value);
template <class T>
T atomic_max(T* p, T value);
template <class T>
T atomic_and(T* p, T value);
template <class T>
T atomic_or(T* p, T value);
template <class T>
T atomic_xor(T* p, T value);
template <class T>
T atomic_exchange(T* p, T value);
template <class T>
T atomic_compare_and_swap(T* p, T compare, T value);

// Shared memory. Static memory is one object per type and block, as __shared__ in a function template is.
void* static_shared(const void* key, size_t bytes, size_t alignment);
void* dynamic_shared(size_t bytes, size_t alignment);
template <class T>
inline char static_shared_key = 0;

// Asynchronous copies and matrices (see ptx.h)
void async_copy(void* shared, const void* global, int bytes, int valid_bytes);
void async_commit();
void async_wait(int pending_groups);
uint32_t shared_address(const void* p);
void load_matrices(uint32_t* registers, const void* row, int count, bool transposed);
enum class MatrixType { Float16, BFloat16, TFloat32 };
void multiply_matrices(MatrixType type, float* d, const uint32_t* a, const uint32_t* b);

// Barriers in shared memory, TMA and warpgroups' matrices (see ptx_sm90.h)
struct alignas(64) TensorMap {
  const char* data;
  int dims;
  uint64_t size[5], pitch[5];  // elements; bytes
  uint32_t box[5];
  char rest[8];
};
struct Coordinates {
  int dims;
  int at[5];
};
void mbarrier_init(void* barrier, int count);
void mbarrier_arrive(void* barrier, int expected_bytes);
void mbarrier_wait(void* barrier, int parity);
void fence_proxy_async();
void tensor_load(void* shared, const TensorMap* map, const Coordinates& from, void* barrier);
void warpgroup_fence();
void warpgroup_multiply(MatrixType type, float* d, int registers, uint64_t a, uint64_t b, bool accumulate);
void warpgroup_commit();
void warpgroup_wait(int pending_groups, const float* d);

// Launches: throws std::runtime_error with a report if anything went wrong.
struct LaunchRequest {
  const void* kernel;
  dim3 grid, block;
  size_t dynamic_shared_bytes;
  void* stream;
  void (*call)(void* arguments);  // calls the kernel as one thread
  void* arguments;
  size_t arguments_bytes;   // of the whole object that `arguments` points to
  size_t parameters_bytes;  // as CUDA counts them
};
void launch(const LaunchRequest& request);

}  // namespace emulator
