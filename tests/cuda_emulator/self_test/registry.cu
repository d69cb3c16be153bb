// Runs a test by name; for Python.
#include <cstring>
#include <string>

#include "cuda_emulator/self_test/self_test.h"

namespace self_test {
namespace {
std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}
}  // namespace
Test::Test(const char* name, void (*run)(bool right)) : name(name), run(run) { tests().push_back(*this); }
}  // namespace self_test

#pragma GCC visibility push(default)
extern "C" {

// One name per line
const char* self_test_names() {
  static std::string names;
  names.clear();
  for (const self_test::Test& t : self_test::tests()) names += std::string(t.name) + "\n";
  return names.c_str();
}

// What was thrown, or an empty text
const char* self_test_run(const char* name, int right) {
  static std::string thrown;
  thrown = std::string("no such test: ") + name;
  for (const self_test::Test& t : self_test::tests()) {
    if (std::strcmp(t.name, name) != 0) continue;
    thrown.clear();
    try {
      t.run(right != 0);
    } catch (const std::exception& error) {
      thrown = error.what();
    }
  }
  return thrown.c_str();
}

// 1 if a fault was reported
int self_test_on_own_thread(int right) {
  for (const self_test::Test& t : self_test::tests()) {
    if (std::strcmp(t.name, "last_block_sums") != 0) continue;
    try {
      t.run(right != 0);
    } catch (const std::runtime_error&) {
      return 1;
    }
  }
  return 0;
}

// An address that host code must not touch
void* self_test_device_memory() {
  void* p;
  return cudaMalloc(&p, 64) == cudaSuccess ? p : nullptr;
}

}  // extern "C"
#pragma GCC visibility pop
