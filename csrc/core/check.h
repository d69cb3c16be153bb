// Errors. Each C++ class becomes the Python exception of the same name (see bindings/module.cpp). A message starts with
// the op's name, names the argument, and says what was expected and what came.
#pragma once
#include <sstream>
#include <stdexcept>
#include <string>

#include "core/dtype.h"
#include "core/shape.h"

namespace skipway {

struct Error : std::runtime_error {  // RuntimeError
  using std::runtime_error::runtime_error;
};
struct ShapeError : Error {
  using Error::Error;
};  // skipway.ShapeError(ValueError)
struct ValueError : Error {
  using Error::Error;
};  // ValueError
struct TypeError : Error {
  using Error::Error;
};  // TypeError
struct IndexError : Error {
  using Error::Error;
};  // IndexError
struct DeviceError : Error {
  using Error::Error;
};  // skipway.DeviceError(RuntimeError)
struct OutOfMemoryError : Error {
  using Error::Error;
};  // skipway.OutOfMemoryError(RuntimeError)

inline std::ostream& operator<<(std::ostream& s, const Shape& shape) { return s << shape.str(); }
inline std::ostream& operator<<(std::ostream& s, DType d) { return s << name_of(d); }

template <class... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream s;
  (s << ... << parts);
  return s.str();
}

}  // namespace skipway

#define SW_CHECK_AS(E, cond, ...)                                                         \
  do {                                                                                    \
    if (__builtin_expect(!(cond), 0)) throw ::skipway::E(::skipway::concat(__VA_ARGS__)); \
  } while (0)
#define SW_CHECK_SHAPE(cond, ...) SW_CHECK_AS(ShapeError, cond, __VA_ARGS__)
#define SW_CHECK_VALUE(cond, ...) SW_CHECK_AS(ValueError, cond, __VA_ARGS__)
#define SW_CHECK_TYPE(cond, ...) SW_CHECK_AS(TypeError, cond, __VA_ARGS__)
#define SW_CHECK_INDEX(cond, ...) SW_CHECK_AS(IndexError, cond, __VA_ARGS__)
#define SW_CHECK(cond, ...) SW_CHECK_AS(Error, cond, __VA_ARGS__)
