// A parameter's values in a narrower dtype, made once and used until the parameter changes.
#pragma once
#include "core/tensor.h"

namespace skipway {

// What to(x, cast.dtype()) is, where `cast` holds its values already: cast's memory, with x's history.
Tensor cast_made_before(const Tensor& x, const Tensor& cast);

}  // namespace skipway
