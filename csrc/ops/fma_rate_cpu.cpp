#include "ops/fma_rate.h"

#include "core/parallel.h"
#include "kernels/gemm.h"

namespace skipway::SW_ISA {

void fma_rate(const FmaRateArgs& a) {
  using Tile = MicroTile<float>;
  constexpr int vecs = 2, rows = Tile::rows(vecs), width = vecs * Lanes<float>::n, inner = 128;
  parallel_tasks(a.tasks, [&](int64_t) {
    float* memory =
        static_cast<float*>(thread_scratch(0, size_t((rows + width) * inner + rows * width) * sizeof(float)));
    for (int i = 0; i < (rows + width) * inner; ++i) memory[i] = 1;  // a denormal would be slow
    MicroArgs<float> m{};
    m.a = memory;
    m.a_row = inner;
    m.a_step = 1;
    m.b = memory + rows * inner;
    m.b_step = width;
    m.inner = inner;
    m.outer = 1;
    m.c = memory + (rows + width) * inner;
    m.c_row = width;
    for (int64_t i = 0; i < a.tiles; ++i) micro_by_rows<float>(rows, vecs)(m);
  });
  *a.flops = 2.0 * rows * width * inner * double(a.tiles) * double(a.tasks);
}

}  // namespace skipway::SW_ISA
