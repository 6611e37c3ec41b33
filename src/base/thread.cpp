#include "base/thread.h"

#include <pthread.h>
#include <signal.h>

#include <system_error>
#include <utility>

namespace smartcache {
namespace {

class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

}  // namespace

std::thread StartThread(const char* name, std::function<void()> run) {
  const SignalsBlocked blocked;  // inherited by the thread
  try {
    std::thread thread(std::move(run));
#if defined(__linux__)
    pthread_setname_np(thread.native_handle(), name);
#else
    (void)name;
#endif
    return thread;
  } catch (const std::system_error&) {
    return {};
  }
}

void StoppableThread::Stop() {
  std::thread ending;
  {
    const MutexLock lock(mutex);
    stopping = true;
    ending = std::move(thread);
  }
  changed.notify_all();
  if (ending.joinable()) ending.join();
}

}  // namespace smartcache
