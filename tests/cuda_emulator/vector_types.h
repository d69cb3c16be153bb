// CUDA's built-in vector types, with their alignments, and make_*.
#pragma once

#define EMULATOR_VECTOR_TYPES(Scalar, Name, align2, align4)                            \
  struct Name##1 { Scalar x; };                                                        \
  struct alignas(align2) Name##2 { Scalar x, y; };                                     \
  struct Name##3 { Scalar x, y, z; };                                                  \
  struct alignas(align4) Name##4 { Scalar x, y, z, w; };                               \
  constexpr Name##1 make_##Name##1(Scalar x) { return {x}; }                           \
  constexpr Name##2 make_##Name##2(Scalar x, Scalar y) { return {x, y}; }              \
  constexpr Name##3 make_##Name##3(Scalar x, Scalar y, Scalar z) { return {x, y, z}; } \
  constexpr Name##4 make_##Name##4(Scalar x, Scalar y, Scalar z, Scalar w) { return {x, y, z, w}; }

EMULATOR_VECTOR_TYPES(signed char, char, 2, 4)
EMULATOR_VECTOR_TYPES(unsigned char, uchar, 2, 4)
EMULATOR_VECTOR_TYPES(short, short, 4, 8)
EMULATOR_VECTOR_TYPES(unsigned short, ushort, 4, 8)
EMULATOR_VECTOR_TYPES(int, int, 8, 16)
EMULATOR_VECTOR_TYPES(unsigned, uint, 8, 16)
EMULATOR_VECTOR_TYPES(long, long, 16, 16)
EMULATOR_VECTOR_TYPES(unsigned long, ulong, 16, 16)
EMULATOR_VECTOR_TYPES(long long, longlong, 16, 16)
EMULATOR_VECTOR_TYPES(unsigned long long, ulonglong, 16, 16)
EMULATOR_VECTOR_TYPES(float, float, 8, 16)
EMULATOR_VECTOR_TYPES(double, double, 16, 16)
#undef EMULATOR_VECTOR_TYPES

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
  constexpr operator uint3() const { return {x, y, z}; }
};
