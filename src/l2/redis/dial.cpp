#include "l2/redis/dial.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <system_error>
#include <thread>
#include <vector>

#include "base/mutex.h"

namespace smartcache::redis {
namespace {

struct Address {
  sockaddr_storage bytes{};
  socklen_t size = 0;
};

struct Resolved {
  std::string error;
  std::vector<Address> addresses;
};

std::string ErrorText(int error) { return std::generic_category().message(error); }

Resolved Resolve(const std::string& host, int port, int flags) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (error != 0) return {gai_strerror(error), {}};
  Resolved out;
  for (const addrinfo* info = found; info != nullptr; info = info->ai_next) {
    Address address;
    std::memcpy(&address.bytes, info->ai_addr, info->ai_addrlen);
    address.size = info->ai_addrlen;
    out.addresses.push_back(address);
  }
  freeaddrinfo(found);
  return out;
}

// getaddrinfo takes no time limit, so it runs in a thread of its own, which is left to end by
// itself.
Resolved ResolveWithin(const std::string& host, int port, Duration limit) {
  if (Resolved numeric = Resolve(host, port, AI_NUMERICHOST); numeric.error.empty()) return numeric;
  struct Shared {
    Mutex mutex;
    CondVar done;
    bool finished GUARDED_BY(mutex) = false;
    Resolved result GUARDED_BY(mutex);
  };
  auto shared = std::make_shared<Shared>();
  try {
    std::thread([shared, host, port] {
      Resolved result = Resolve(host, port, 0);
      MutexLock lock(shared->mutex);
      shared->result = std::move(result);
      shared->finished = true;
      shared->done.notify_all();
    }).detach();
  } catch (const std::system_error&) {
    return {"no thread to resolve the name", {}};
  }
  const auto until = std::chrono::steady_clock::now() + limit;
  MutexLock lock(shared->mutex);
  while (!shared->finished) {
    if (shared->done.wait_until(shared->mutex, until) == std::cv_status::timeout) break;
  }
  if (!shared->finished) return {"resolving the name took too long", {}};
  return std::move(shared->result);
}

// 0 or an errno.
int ConnectWithin(int fd, const Address& address, const Clock& clock, Instant deadline) {
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address.bytes), address.size) == 0) return 0;
  // A unix socket whose backlog is full says EAGAIN: there is nothing to wait on.
  if (errno != EINPROGRESS && errno != EINTR) return errno;
  for (;;) {
    pollfd ready{fd, POLLOUT, 0};
    const int count = poll(&ready, 1, PollMillis(clock.Now(), deadline));
    if (count == 0) return ETIMEDOUT;
    if (count < 0 && errno != EINTR) return errno;
    if (count < 0) continue;
    int error = 0;
    socklen_t size = sizeof error;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
  }
}

}  // namespace

int PollMillis(Instant now, Instant deadline) {
  if (deadline <= now) return 0;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - now).count();
  return static_cast<int>(std::min<std::int64_t>(left, INT_MAX));
}

Result<int> Dial(const Endpoint& endpoint, const Clock& clock, Instant deadline) {
  Resolved resolved;
  if (endpoint.path.empty()) {
    resolved = ResolveWithin(endpoint.host, endpoint.port, deadline - clock.Now());
  } else {
    auto address = Address{};
    auto* local = reinterpret_cast<sockaddr_un*>(&address.bytes);
    local->sun_family = AF_UNIX;
    if (endpoint.path.size() >= sizeof local->sun_path) {
      resolved.error = "the path of the socket is too long";
    } else {
      endpoint.path.copy(local->sun_path, endpoint.path.size());
      address.size = sizeof(sockaddr_un);
      resolved.addresses.push_back(address);
    }
  }
  std::string error = resolved.error;
  for (std::size_t i = 0; i < resolved.addresses.size(); ++i) {
    const Address& address = resolved.addresses[i];
    const Instant now = clock.Now();
    if (now >= deadline) {
      error = "timed out";
      break;
    }
    const int fd = socket(address.bytes.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
      error = ErrorText(errno);
      continue;
    }
    // One address that swallows packets must not use up the time of the others.
    const auto others = static_cast<std::int64_t>(resolved.addresses.size() - i);
    const int failed = ConnectWithin(fd, address, clock, now + (deadline - now) / others);
    if (failed == 0) {
      const int one = 1;
      if (endpoint.path.empty()) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
      if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK) == 0) return fd;
    }
    error = ErrorText(failed);
    close(fd);
  }
  return Unavailable("cannot connect to " + ToString(endpoint) + ": " + error);
}

}  // namespace smartcache::redis
