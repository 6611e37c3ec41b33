// Fences asked for by callers, sent by the listener. One fence serves all who asked before it was
// sent. Thread-safe, no I/O.
#pragma once

#include <cstdint>

#include "base/mutex.h"
#include "smartcache/clock.h"

namespace smartcache {

class Fences {
 public:
  using Number = std::uint64_t;  // 0: none

  // Caller: the fence to wait for, which has not been sent yet. 0 while there is no connection.
  [[nodiscard]] Number Ask();
  // Caller: true when fence `number` or a later one was answered; false after `limit`, and when the
  // connection was lost.
  [[nodiscard]] bool Await(Number number, Duration limit);

  // Listener: whether somebody has asked.
  [[nodiscard]] bool Wanted();
  // Listener: the number of the fence that it is about to send.
  [[nodiscard]] Number Send();
  void Answered(Number number);
  void SetConnected(bool connected);

 private:
  Mutex mutex_;
  CondVar changed_;
  bool connected_ GUARDED_BY(mutex_) = false;
  std::uint64_t losses_ GUARDED_BY(mutex_) = 0;
  Number wanted_ GUARDED_BY(mutex_) = 0;
  Number sent_ GUARDED_BY(mutex_) = 0;
  Number answered_ GUARDED_BY(mutex_) = 0;
};

}  // namespace smartcache
