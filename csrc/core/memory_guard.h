// For tests. While the guard is on, new CPU memory is filled with ones (NaN in floating types) and followed by bytes
// that nobody may change; blocks behind which something was written are counted as they are freed.
#pragma once
#include <cstdint>

namespace skipway {

void set_memory_guard(bool on);
int64_t memory_guard_errors();

}  // namespace skipway
