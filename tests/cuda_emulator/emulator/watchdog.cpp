// Ends launches that run for too long. Memory accesses and switches are counted and look at the clock now and then; a
// signal reaches loops that do neither.
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ctime>

#include "cuda_emulator/emulator/report.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

namespace emulator {
namespace {

constexpr const char* kKind = "the kernel does not end";

// Of this thread on a core: a busy machine, or a process that is stopped for a while, ends no launch.
double seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return double(now.tv_sec) + 1e-9 * double(now.tv_nsec);
}

int signal_number() { return SIGRTMAX - 3; }

// On the stack of whatever runs. Where that is a kernel's own code, no lock is held and no memory is being allocated,
// so the thread can be left here as well as anywhere else. In the emulator's code, count_event will come to it.
void on_signal(int) {
  Thread* self = running;
  if (!self || seconds() < current_launch.deadline) return;
  running = nullptr;
  report(kKind, nullptr, self, format("it has run for %.1f s, now without touching memory", settings.time_limit_s));
  abort_block();
}

// One timer for each OS thread that launches
class Timer {
 public:
  Timer() {
    struct sigaction action = {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART | SA_NODEFER;  // the handler may never return
    sigaction(signal_number(), &action, nullptr);
    sigevent event = {};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = signal_number();
    event.sigev_notify_thread_id = int(syscall(SYS_gettid));
    valid_ = timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer_) == 0;
  }
  ~Timer() {
    if (valid_) timer_delete(timer_);
  }
  void set(double delay) {
    itimerspec when = {};
    when.it_value.tv_sec = time_t(delay);
    when.it_value.tv_nsec = long((delay - double(time_t(delay))) * 1e9);
    if (delay > 0) when.it_interval = {0, 100'000'000};
    if (valid_) timer_settime(timer_, 0, &when, nullptr);
  }

 private:
  timer_t timer_{};
  bool valid_ = false;
};
thread_local Timer timer;

}  // namespace

void start_watchdog() {
  current_launch.events = 0;
  current_launch.deadline = seconds() + settings.time_limit_s;
  timer.set(settings.time_limit_s + 0.1);
}
void stop_watchdog() { timer.set(0); }

void check_watchdog(Thread& self, const void* pc) {
  const bool too_long = seconds() > current_launch.deadline;
  if (!too_long && !(settings.event_limit && current_launch.events > settings.event_limit)) return;
  report(kKind, pc, &self,
         too_long ? format("it has run for %.1f s", settings.time_limit_s)
                  : format("after %llu memory accesses and switches", (unsigned long long)current_launch.events));
  abort_block();
}

}  // namespace emulator
