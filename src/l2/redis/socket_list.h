// Which sockets this process has open to servers, so that a forked child can close its copies
// without sending anything. Lock-free, because another thread may have been anywhere when the
// process forked.
#pragma once

#include <array>
#include <atomic>

namespace smartcache::redis {

class SocketList {
 public:
  SocketList();
  void Add(int fd);
  // Before the socket is closed, so that a number used again is never closed by mistake.
  void Remove(int fd);
  // In a child: closes all. The objects that held them must not be used any more.
  void CloseAll();

 private:
  // Far more than the threads of a process; further sockets stay open in children, which harms
  // nothing but the server's count of connections.
  static constexpr int kCapacity = 1024;
  std::array<std::atomic<int>, kCapacity> fds_;
};

}  // namespace smartcache::redis
