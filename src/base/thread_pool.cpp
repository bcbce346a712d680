#include "base/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <chrono>

#include "base/cpu.h"

namespace twofold {
namespace {

// How long an idle worker polls before it sleeps: longer than the gaps between the matrices of one
// token, short enough that an idle program uses no processor time.
constexpr std::chrono::microseconds kSpinTime{100};

void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

/// Polls `done` for at most kSpinTime (a pause takes 10 to 150 cycles, depending on the CPU).
template <class Done>
bool spin_until(const Done& done) {
  constexpr int kPausesPerLook = 32;
  const auto start = std::chrono::steady_clock::now();
  do {
    for (int i = 0; i < kPausesPerLook; ++i) {
      if (done()) return true;
      pause_cpu();
    }
  } while (std::chrono::steady_clock::now() - start < kSpinTime);
  return done();
}

void pin_to(int cpu) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  CPU_SET(cpu, &mask);
  pthread_setaffinity_np(pthread_self(), sizeof(mask), &mask);  // refused in some containers: fine
}

}  // namespace

ThreadPool::ThreadPool(int threads, bool pin) {
  const int count = threads > 0 ? threads : default_threads();
  const bool wants_cpus = pin && count > 1;  // finding them reads files
  const std::vector<int> cpus = wants_cpus ? usable_cpus() : std::vector<int>();
  workers_.reserve(static_cast<size_t>(count - 1));
  const bool can_pin = pin && static_cast<size_t>(count) <= cpus.size();
  bound_cpus_.assign(static_cast<size_t>(count), -1);
  for (int i = 1; i < count; ++i) {
    if (can_pin) bound_cpus_[static_cast<size_t>(i)] = cpus[static_cast<size_t>(i)];
    workers_.emplace_back(&ThreadPool::worker_loop, this, i, bound_cpus_[static_cast<size_t>(i)]);
  }
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(mutex_);
    stop_.store(true);
    phase_.fetch_add(1);
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::worker_loop(int worker, int cpu) {
  if (cpu >= 0) pin_to(cpu);
  uint64_t seen = 0;
  while (true) {
    if (!spin_until([&] { return phase_.load(std::memory_order_acquire) != seen; })) {
      std::unique_lock lock(mutex_);
      sleepers_.fetch_add(1);
      wake_.wait(lock, [&] { return phase_.load() != seen; });
      sleepers_.fetch_sub(1);
    }
    seen = phase_.load(std::memory_order_acquire);
    if (stop_.load()) return;
    run_task(worker);
    running_.fetch_sub(1, std::memory_order_acq_rel);
  }
}

void ThreadPool::run_task(int worker) noexcept {
  try {
    (*task_)(worker);
  } catch (...) {
    std::lock_guard lock(error_mutex_);
    if (!error_) error_ = std::current_exception();
    failed_.store(true);
  }
}

void ThreadPool::start(const std::function<void(int)>& task) {
  task_ = &task;
  error_ = nullptr;
  failed_.store(false);
  running_.store(static_cast<int>(workers_.size()));
  if (!workers_.empty()) {
    phase_.fetch_add(1);
    if (sleepers_.load() > 0) {
      { std::lock_guard lock(mutex_); }
      wake_.notify_all();
    }
  }
  run_task(0);
  const auto finished = [&] { return running_.load(std::memory_order_acquire) == 0; };
  // With more threads than processors, spinning would take the time the workers need.
  while (!spin_until(finished)) sched_yield();
  task_ = nullptr;
  if (error_) std::rethrow_exception(error_);
}

void ThreadPool::run(int64_t items, const std::function<void(int64_t, int)>& body) {
  if (items <= 0) return;
  if (items == 1 || workers_.empty()) {  // nobody needs to be woken
    for (int64_t item = 0; item < items; ++item) body(item, 0);
    return;
  }
  std::atomic<int64_t> next{0};
  const auto take = [&](int worker) {
    while (!failed_.load(std::memory_order_relaxed)) {
      const int64_t item = next.fetch_add(1, std::memory_order_relaxed);
      if (item >= items) return;
      body(item, worker);
    }
  };
  start(take);
}

void ThreadPool::run_static(int64_t items, const std::function<void(int64_t, int64_t, int)>& body) {
  if (items <= 0) return;
  if (items == 1 || workers_.empty()) {
    body(0, items, 0);
    return;
  }
  const int64_t threads = size();
  const auto take = [&](int worker) {
    const int64_t begin = items * worker / threads;
    const int64_t end = items * (worker + 1) / threads;
    if (begin < end) body(begin, end, worker);
  };
  start(take);
}

}  // namespace twofold
