#include "ops/dropout.h"

#include "bindings/bindings.h"

namespace skipway::bindings {

SW_BINDINGS(dropout) {
  const auto bind = [&](const char* name, auto f, bool training, const char* doc) {
    function(m, name, f, "input"_a, "p"_a = 0.5, "training"_a = training, "inplace"_a = false, doc);
  };
  bind("dropout", &dropout, true, "Zeroes elements with probability p and divides the others by 1 - p.");
  bind("dropout1d", &dropout1d, true, "Dropout of whole channels of (N, C, L) or (C, L).");
  bind("dropout2d", &dropout2d, true, "Dropout of whole channels of (N, C, H, W).");
  bind("dropout3d", &dropout3d, true, "Dropout of whole channels of (N, C, D, H, W) or (C, D, H, W).");
  bind("alpha_dropout", &alpha_dropout, false, "Dropout for SELU networks: keeps mean 0 and variance 1.");
  bind("feature_alpha_dropout", &feature_alpha_dropout, false, "Alpha dropout of whole channels of (N, C, ...).");
}

}  // namespace skipway::bindings
