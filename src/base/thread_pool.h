// ThreadPool: a fixed set of pinned workers; the calling thread is worker 0. Idle workers spin
// for some microseconds, then sleep. One caller at a time may use a pool (calls do not nest).
// Work is cut by the caller into items whose number depends on shapes only, so results never
// depend on the number of threads.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace twofold {

class ThreadPool {
 public:
  /// @param threads number of workers including the caller; 0 means default_threads().
  /// @param pin     bind worker i > 0 to the i-th usable processor, physical cores first.
  explicit ThreadPool(int threads = 0, bool pin = true);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }
  /// The processor that each worker is bound to, -1 if it is not: [size()]. The caller's thread is
  /// left as it is.
  const std::vector<int>& bound_cpus() const { return bound_cpus_; }

  /// Calls body(item, worker) once for each item in [0, items), handed out one by one (dynamic).
  /// The first exception is rethrown here after all workers have stopped; later items are skipped.
  void run(int64_t items, const std::function<void(int64_t item, int worker)>& body);

  /// Like `run`, but worker w gets one contiguous range of items of nearly equal length, the same
  /// in every call: body(begin, end, worker). For memory-bound work.
  void run_static(int64_t items,
                  const std::function<void(int64_t begin, int64_t end, int worker)>& body);

 private:
  void start(const std::function<void(int worker)>& task);
  void worker_loop(int worker, int cpu);
  void run_task(int worker) noexcept;

  std::vector<int> bound_cpus_;
  std::vector<std::thread> workers_;
  const std::function<void(int)>* task_ = nullptr;
  alignas(128) std::atomic<uint64_t> phase_{0};
  alignas(128) std::atomic<int> running_{0};
  alignas(128) std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::mutex error_mutex_;
  std::exception_ptr error_;
  std::atomic<bool> failed_{false};
  std::atomic<bool> stop_{false};
};

}  // namespace twofold
