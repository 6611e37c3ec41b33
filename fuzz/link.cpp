// Bytes as they come from a server, read from a real socket: by the login, by the listener with its
// messages, by the search for a primary and by the scan of Clear. No fault, no hang.
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "backplane/listen_link.h"
#include "expect.h"
#include "l2/redis/message.h"
#include "l2/redis/scan.h"
#include "l2/redis/sentinel.h"
#include "reply_writer.h"

namespace {

using namespace smartcache;
using namespace smartcache::redis;

constexpr std::string_view kLogin =
    "+OK\r\n"
    "$31\r\nredis_version:7.0.0\r\nrun_id:1\r\n\r\n"
    "$28\r\nrole:master\r\nmaster_replid:a\r\n";
constexpr std::string_view kSentinelLogin = "+OK\r\n";

// A thread that says to who connects what it is told, and hangs up.
class Speaker {
 public:
  Speaker() : listener_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    path_ = "/tmp/smartcache-fuzz-" + std::to_string(getpid());
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    unlink(path_.c_str());
    Expect(bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    Expect(listen(listener_, 8) == 0);
    std::atexit([] { unlink(Get().path_.c_str()); });
    std::thread([this] { Speak(); }).detach();
  }
  static Speaker& Get() {
    static auto* const speaker = new Speaker;
    return *speaker;
  }
  // One connection is made for each call.
  Endpoint Say(std::string words) {
    said_.wait(false);
    said_ = false;
    words_ = std::move(words);
    return {.host = {}, .port = 0, .path = path_};
  }

 private:
  [[noreturn]] void Speak() {
    for (;;) {
      const int peer = accept(listener_, nullptr, nullptr);
      Expect(peer >= 0);
      (void)!send(peer, words_.data(), words_.size(), MSG_NOSIGNAL);
      shutdown(peer, SHUT_WR);
      char heard[1024];
      while (recv(peer, heard, sizeof heard, 0) > 0) {
      }
      close(peer);
      said_ = true;
      said_.notify_one();
    }
  }

  const int listener_;
  std::string path_;
  std::string words_;
  std::atomic<bool> said_{true};  // the last connection is closed
};

void OnMessage(std::string_view bytes) {
  const auto message = DecodeMessage(bytes);
  if (!message) return;
  Expect(EncodeMessage(message->kind, message->origin, message->tags) == bytes);
}

void Listen(std::unique_ptr<Connection> connection, bool sharded, Instant deadline) {
  ListenLink link(std::move(connection), sharded);
  const std::string channels[] = {"a", "b"};
  const Clock& clock = Clock::System();
  Status status = link.Subscribe(channels, clock.Now(), deadline);
  while (status.ok()) {
    pollfd ready{link.fd(), POLLIN, 0};
    Expect(poll(&ready, 1, 10'000) == 1);
    status = link.Read(OnMessage);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const int use = data[0] % 5;
  std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] < 200) {  // else the bytes as they are
    const std::string choices = std::exchange(bytes, {});
    ReplyWriter writer(choices);
    while (!writer.empty()) bytes += writer.Write();
  }
  const Clock& clock = Clock::System();
  const Instant deadline = clock.Now() + std::chrono::seconds(10);
  Login login{.timeout = std::chrono::seconds(10),
              .check_interval = std::chrono::hours(1),
              .probe_key = "probe"};
  if (use == 0) {
    login.role = Role::kAny;
    const Endpoint sentinel = Speaker::Get().Say(std::string(kSentinelLogin) + bytes);
    (void)Sentinels({sentinel}, "service", login, clock).FindPrimary(deadline);
    return 0;
  }
  SocketList sockets;
  const Endpoint server = Speaker::Get().Say((use == 1 ? "" : std::string(kLogin)) + bytes);
  auto connection = Connection::Open(server, login, clock, sockets, deadline);
  if (use != 1) Expect(connection.ok());
  if (!connection.ok()) return 0;
  if (use == 2) {
    (void)DeleteMatching(**connection, "p:*", std::chrono::seconds(10), clock);
  } else {
    Listen(*std::move(connection), use == 3, deadline);
  }
  return 0;
}
