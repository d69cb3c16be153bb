#include "ops/dropout.h"

#include "bindings/bindings.h"

namespace skipway::bindings {

SW_BINDINGS(dropout) {
  const auto bind = [&](const char* name, auto f, bool training, const char* doc) {
    function(m, name, f, "input"_a, "p"_a = 0.5, "training"_a = training, "inplace"_a = false, doc);
  };
  bind("dropout", &dropout, true,
       "Zeroes elements with probability p and divides the others by 1 - p (Srivastava et al. 2014).");
  bind("dropout1d", &dropout1d, true, "Dropout of whole channels of (N, C, L) or (C, L) (Tompson et al. 2015).");
  bind("dropout2d", &dropout2d, true, "Dropout of whole channels of (N, C, H, W) (Tompson et al. 2015).");
  bind("dropout3d", &dropout3d, true,
       "Dropout of whole channels of (N, C, D, H, W) or (C, D, H, W) (Tompson et al. 2015).");
  bind("alpha_dropout", &alpha_dropout, false,
       "Dropout for SELU networks: keeps mean 0 and variance 1 (Klambauer et al. 2017).");
  bind("feature_alpha_dropout", &feature_alpha_dropout, false,
       "Alpha dropout (Klambauer et al. 2017) of whole channels of (N, C, ...).");
}

}  // namespace skipway::bindings
