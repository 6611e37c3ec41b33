#include "l2/redis/socket_list.h"

#include <unistd.h>

namespace smartcache::redis {

SocketList::SocketList() {
  for (auto& slot : fds_) slot.store(-1, std::memory_order_relaxed);
}

void SocketList::Add(int fd) {
  for (auto& slot : fds_) {
    int none = -1;
    if (slot.compare_exchange_strong(none, fd)) return;
  }
}

void SocketList::Remove(int fd) {
  for (auto& slot : fds_) {
    int expected = fd;
    if (slot.compare_exchange_strong(expected, -1)) return;
  }
}

void SocketList::CloseAll() {
  for (auto& slot : fds_) {
    const int fd = slot.exchange(-1);
    if (fd >= 0) close(fd);
  }
}

}  // namespace smartcache::redis
