#pragma once
#include "cuda_emulator/interface.h"

namespace emulator {

float matrix_element(MatrixType type, uint32_t word, int half);  // of a word with one tf32 or two 16-bit elements

}  // namespace emulator
