// Weights in the order in which a convolution's kernel reads them, kept while they do not change: packing them takes
// longer than a small batch. Used where the tape is not recording; optimizers change weights after each use anyway.
#pragma once
#include "ops/conv.h"

namespace skipway {

struct PackedWeights {
  std::shared_ptr<void> memory;  // null: pack anew
  bool ready = false;
};
// What is kept for this weight, or fresh memory for the kernel to fill.
PackedWeights packed_weights(const Tensor& weight, const ConvForwardArgs& args);
// After the kernel has filled fresh memory. Held until the weight changes or is freed, or 256 MB more have been kept.
void keep_packed(const Tensor& weight, const ConvForwardArgs& args, const PackedWeights& packed);
// Memory that others may change without raising its version (an array exported to NumPy) is never kept from now on.
void share_memory(const StoragePtr& storage);

}  // namespace skipway
