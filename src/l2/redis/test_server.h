// For tests: real redis-server processes on free ports, in temporary folders, that die with the
// test.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "l2/redis/connection.h"
#include "smartcache/clock.h"

namespace smartcache::redis {

// Polls until `condition` holds, at most `limit`.
inline bool Eventually(const std::function<bool()>& condition,
                       Duration limit = std::chrono::seconds(20)) {
  const Instant end = After(Clock::System().Now(), limit);
  while (!condition()) {
    if (Clock::System().Now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

inline int FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  close(fd);
  return ntohs(address.sin_port);
}

// Runs commands on a connection of their own, sent together. Empty when that fails.
using Words = std::initializer_list<std::string_view>;
inline std::vector<ReplyPtr> AskAll(const Endpoint& endpoint,
                                    std::initializer_list<Words> commands) {
  SocketList sockets;
  Login login;
  login.role = Role::kAny;  // asks nothing of the server: it may be a replica
  login.timeout = std::chrono::seconds(10);
  login.check_interval = std::chrono::hours(1);
  login.probe_key = "none";
  const Instant deadline = After(Clock::System().Now(), login.timeout);
  auto connection = Connection::Open(endpoint, login, Clock::System(), sockets, deadline);
  if (!connection.ok()) return {};
  Batch batch;
  for (Words command : commands) batch.Add(0, command);
  if (!(*connection)->Exchange(batch, deadline).ok()) return {};
  return std::move(batch.replies);
}

// The reply to one command, or null.
inline ReplyPtr Ask(const Endpoint& endpoint, Words command) {
  auto replies = AskAll(endpoint, {command});
  return replies.empty() ? nullptr : std::move(replies[0]);
}

inline std::string AskText(const Endpoint& endpoint, Words command) {
  const ReplyPtr reply = Ask(endpoint, command);
  return reply == nullptr ? "(no reply)" : std::string(Text(*reply));
}

class TestServer {
 public:
  explicit TestServer(std::vector<std::string> arguments = {})
      : TestServer({}, std::move(arguments)) {}
  // A server with a file of settings, which it may rewrite: what a sentinel needs.
  TestServer(const std::string& settings, std::vector<std::string> arguments)
      : arguments_(std::move(arguments)), port_(FreePort()) {
    std::string pattern = (std::filesystem::temp_directory_path() / "smartcache-XXXXXX").string();
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    std::ofstream(settings_path()) << settings;
    Start();
  }
  ~TestServer() {
    Kill();
    std::filesystem::remove_all(folder_);
  }
  TestServer(const TestServer&) = delete;
  TestServer& operator=(const TestServer&) = delete;

  void Start() {
    std::vector<std::string> command = {"redis-server", settings_path(),
                                        "--port",       std::to_string(port_),
                                        "--bind",       "127.0.0.1",
                                        "--dir",        folder_,
                                        "--save",       "",
                                        "--appendonly", "no",
                                        "--unixsocket", socket_path(),
                                        "--loglevel",   "warning"};
    command.insert(command.end(), arguments_.begin(), arguments_.end());
    std::vector<char*> argv;
    for (std::string& word : command) argv.push_back(word.data());
    argv.push_back(nullptr);
    const std::string log = folder_ + "/log";
    pid_ = fork();
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      const int out = open(log.c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
      dup2(out, 1);
      dup2(out, 2);
      execvp(argv[0], argv.data());
      _exit(127);
    }
    EXPECT_TRUE(Eventually([&] { return Ask(endpoint(), {"PING"}) != nullptr; }))
        << "no redis-server";
  }
  void Kill() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  void Pause() const { kill(pid_, SIGSTOP); }
  void Resume() const { kill(pid_, SIGCONT); }

  [[nodiscard]] int port() const { return port_; }
  [[nodiscard]] std::string settings_path() const { return folder_ + "/settings"; }
  [[nodiscard]] std::string socket_path() const { return folder_ + "/socket"; }
  [[nodiscard]] Endpoint endpoint() const {
    return {.host = "127.0.0.1", .port = port_, .path = {}};
  }
  [[nodiscard]] std::string url() const {
    return "redis://127.0.0.1:" + std::to_string(port_) + "/0";
  }

  // One server for the tests that leave it as it is: the runner's, else one of this process.
  static const Endpoint& Shared() {
    static const char* const port = std::getenv("SMARTCACHE_TEST_REDIS_PORT");
    static const auto own = port == nullptr ? std::make_unique<TestServer>() : nullptr;
    static const Endpoint shared = {
        .host = "127.0.0.1", .port = port == nullptr ? own->port() : std::stoi(port), .path = {}};
    return shared;
  }
  static std::string SharedUrl() { return "redis://" + ToString(Shared()) + "/0"; }
  // A prefix that no other test uses, in whatever process.
  static std::string NewPrefix() {
    static int count = 0;
    return "test" + std::to_string(getpid()) + "-" + std::to_string(++count);
  }

 private:
  const std::vector<std::string> arguments_;
  const int port_;
  std::string folder_;
  pid_t pid_ = 0;
};

}  // namespace smartcache::redis
