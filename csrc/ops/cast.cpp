#include "ops/cast.h"

#include "autograd/tape.h"
#include "ops/copy.h"

namespace skipway {

Tensor cast_made_before(const Tensor& x, const Tensor& cast) {
  check_floating("cast", "input", x);
  check_floating("cast", "cast", cast);
  SW_CHECK_SHAPE(x.shape() == cast.shape(), "cast: expected a cast of shape ", x.shape(), ", got ", cast.shape());
  SW_CHECK_AS(DeviceError, x.device() == cast.device(), "cast: expected a cast on ", x.device(), ", got ",
              cast.device());
  const Tensor y = cast.alias();
  tape::record("to", {y}, {x}, {}, [dtype = x.dtype()](tape::Backward& b) { b.give(0, to(b.grad(), dtype)); });
  return y;
}

}  // namespace skipway
