// parallel_for over a pool of threads that is our own, because it has to survive fork, carry exceptions out, and notice
// Ctrl-C. Work is cut by its shape alone, never by the number of threads, so results do not depend on that number.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/dtype.h"

namespace skipway {

int num_threads();
void set_num_threads(int n);  // 1 to 256; throws ValueError
// Called about every 20 ms from the thread that entered parallel_run, between tasks; it may throw, which cancels the
// tasks that have not started.
void set_interrupt_poll(void (*poll)());

// Runs fn(context, task) for task in [0, tasks), on any thread, in any order; tasks of a nested call run in order on
// the caller. The first exception is rethrown here.
void parallel_run(int64_t tasks, void (*fn)(void* context, int64_t task), void* context);

// Memory of the calling thread that lasts until its next call with the same slot (0 to 7), 64-byte aligned, not
// cleared.
void* thread_scratch(int slot, size_t bytes);

// f(task) for each of `tasks` tasks. A kernel states the size of its tasks so that one takes about 20 us or more.
template <class F>
SW_INLINE void parallel_tasks(int64_t tasks, const F& f) {
  if (tasks == 1) return f(int64_t(0));
  parallel_run(
      tasks, [](void* context, int64_t task) { (*static_cast<const F*>(context))(task); },
      const_cast<void*>(static_cast<const void*>(&f)));
}

// f(begin, end) over [0, n) in chunks of `grain` (the last one shorter).
template <class F>
SW_INLINE void parallel_for(int64_t n, int64_t grain, const F& f) {
  if (n <= 0) return;
  if (n <= grain) return f(int64_t(0), n);
  parallel_tasks((n + grain - 1) / grain, [&](int64_t task) {
    const int64_t begin = task * grain;
    f(begin, begin + grain < n ? begin + grain : n);
  });
}

}  // namespace skipway
