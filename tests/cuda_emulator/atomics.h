// CUDA's atomic functions, each for the types that CUDA has it for.
#pragma once
#include "cuda_emulator/interface.h"

#define EMULATOR_ATOMIC(name, function, T) \
  EMULATOR_INLINE T name(T* p, T value) { return emulator::function(p, value); }
#define EMULATOR_ATOMIC_BITS(name, function) \
  EMULATOR_ATOMIC(name, function, int)       \
  EMULATOR_ATOMIC(name, function, unsigned)  \
  EMULATOR_ATOMIC(name, function, unsigned long long)
#define EMULATOR_ATOMIC_CAS(T) \
  EMULATOR_INLINE T atomicCAS(T* p, T compare, T value) { return emulator::atomic_compare_and_swap(p, compare, value); }

EMULATOR_ATOMIC_BITS(atomicAdd, atomic_add)
EMULATOR_ATOMIC(atomicAdd, atomic_add, float)
EMULATOR_ATOMIC(atomicAdd, atomic_add, double)
EMULATOR_INLINE int atomicSub(int* p, int value) { return emulator::atomic_add(p, -value); }
EMULATOR_INLINE unsigned atomicSub(unsigned* p, unsigned value) { return emulator::atomic_add(p, 0u - value); }
EMULATOR_ATOMIC_BITS(atomicMin, atomic_min)
EMULATOR_ATOMIC(atomicMin, atomic_min, long long)
EMULATOR_ATOMIC_BITS(atomicMax, atomic_max)
EMULATOR_ATOMIC(atomicMax, atomic_max, long long)
EMULATOR_ATOMIC_BITS(atomicAnd, atomic_and)
EMULATOR_ATOMIC_BITS(atomicOr, atomic_or)
EMULATOR_ATOMIC_BITS(atomicXor, atomic_xor)
EMULATOR_ATOMIC_BITS(atomicExch, atomic_exchange)
EMULATOR_ATOMIC(atomicExch, atomic_exchange, float)
EMULATOR_ATOMIC_CAS(int)
EMULATOR_ATOMIC_CAS(unsigned)
EMULATOR_ATOMIC_CAS(unsigned long long)
EMULATOR_ATOMIC_CAS(unsigned short)

#undef EMULATOR_ATOMIC
#undef EMULATOR_ATOMIC_BITS
#undef EMULATOR_ATOMIC_CAS
