// Host code that touches device memory gets SIGSEGV, as with a real device. The message says why.
#include <signal.h>
#include <unistd.h>

#include <cstdio>

#include "cuda_emulator/emulator/memory.h"

namespace emulator {
namespace {

struct sigaction before;

void on_violation(int number, siginfo_t* info, void*) {
  if (space && is_device(space_offset(info->si_addr))) {
    char text[160];
    const int length = snprintf(text, sizeof text, "CUDA emulator: host code touched device memory, at %p%s\n",
                                info->si_addr, running ? " (from a kernel)" : "");
    [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, text, size_t(length));
  }
  sigaction(number, &before, nullptr);  // the access is made again, and handled as it was before
}

}  // namespace

void watch_host_accesses() {
  struct sigaction action = {};
  action.sa_sigaction = on_violation;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigaction(SIGSEGV, &action, &before);
}

}  // namespace emulator
