// A buffer of kernel randomness for each thread, so that one system call serves 32 numbers.
#include "base/random.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdlib>

#include "base/forks.h"

namespace smartcache {
namespace {

struct Buffer {
  std::array<std::uint64_t, 32> numbers;  // getentropy gives at most 256 bytes a call
  std::size_t used = 32;
  // A forked child would otherwise go on with its parent's, and both would mint the same tokens.
  std::uint64_t forks = 0;
};

}  // namespace

std::uint64_t RandomU64() {
  thread_local Buffer buffer;
  const std::uint64_t now = Forks();
  for (;;) {
    if (buffer.used == buffer.numbers.size() || buffer.forks != now) {
      while (getentropy(buffer.numbers.data(), sizeof buffer.numbers) != 0) {
        // Without entropy tokens could repeat, and a stale entry be served.
        if (errno != EINTR) std::abort();
      }
      buffer.used = 0;
      buffer.forks = now;
    }
    std::uint64_t& number = buffer.numbers[buffer.used++];
    const std::uint64_t result = number;
    number = 0;  // what has been given out does not stay in memory
    if (result != 0) return result;
  }
}

}  // namespace smartcache
