// A validated read against the same value read through a bare socket, side by side on one server
// (SMARTCACHE_TEST_REDIS_PORT, SMARTCACHE_TEST_REDIS_SOCKET). Compare the medians as ratios.
#include <benchmark/benchmark.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "smartcache/cache.h"

namespace smartcache {
namespace {

constexpr std::size_t kValueBytes = 200;

std::string Port() {
  const char* port = std::getenv("SMARTCACHE_TEST_REDIS_PORT");
  return port == nullptr ? "6379" : port;
}

std::string UnixPath() {
  const char* path = std::getenv("SMARTCACHE_TEST_REDIS_SOCKET");
  return path == nullptr ? "" : path;
}

int BareSocket(bool local) {
  int fd = -1, failed = -1;
  if (local) {
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    UnixPath().copy(address.sun_path, sizeof address.sun_path - 1);
    failed = connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  } else {
    fd = socket(AF_INET, SOCK_STREAM, 0);
    const int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<std::uint16_t>(std::stoi(Port())));
    failed = connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  }
  if (failed == 0) return fd;
  close(fd);
  return -1;
}

std::string Exchange(int fd, std::string_view command, std::size_t reply_bytes) {
  std::string reply(reply_bytes, '\0');
  if (send(fd, command.data(), command.size(), 0) != static_cast<ssize_t>(command.size())) {
    return {};
  }
  for (std::size_t got = 0; got < reply.size();) {
    const ssize_t count = recv(fd, reply.data() + got, reply.size() - got, 0);
    if (count <= 0) return {};
    got += static_cast<std::size_t>(count);
  }
  return reply;
}

double Median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Both reads in turn, so that whatever else the machine does strikes both alike.
void ValidatedGetAgainstBareGet(benchmark::State& state) {
  const bool local = state.range(0) != 0;
  const int fd = BareSocket(local);
  if (fd < 0) return state.SkipWithError("no server");
  const std::string value(kValueBytes, 'v');
  Exchange(fd, "SET bare:key " + value + "\r\n", 5);
  const std::string command = "*2\r\n$3\r\nGET\r\n$8\r\nbare:key\r\n";

  Options options;
  options.prefix = "bench";
  options.start_listener = state.range(2) != 0;
  const std::string url = local ? "unix://" + UnixPath() : "redis://127.0.0.1:" + Port();
  auto parts = OpenRedis(url, options, Clock::System());
  if (!parts.ok()) return state.SkipWithError(parts.status().message().c_str());
  Store& store = *parts->store;
  std::vector<Tag> tags;
  for (std::int64_t i = 0; i < state.range(1); ++i) {
    tags.push_back(KeyTag("tag" + std::to_string(i)));
  }
  const bool ready =
      store.Put("key", value, std::chrono::minutes(10), PutCondition::kAlways).ok() &&
      store.Mint(tags, {}).ok();
  if (!ready) return state.SkipWithError("no server");

  std::vector<double> bare, validated;
  const Clock& clock = Clock::System();
  for (auto _ : state) {
    const Instant start = clock.Now();
    benchmark::DoNotOptimize(Exchange(fd, command, 6 + kValueBytes + 2));
    const Instant middle = clock.Now();
    const auto reply = store.Get("key", tags);
    const Instant end = clock.Now();
    if (!reply.ok() || !reply->entry) return state.SkipWithError("no entry");
    bare.push_back(static_cast<double>((middle - start).count()));
    validated.push_back(static_cast<double>((end - middle).count()));
  }
  close(fd);
  if (bare.empty()) return;
  state.counters["bare_us"] = Median(bare) / 1000;
  state.counters["validated_us"] = Median(validated) / 1000;
  state.counters["ratio"] = Median(validated) / Median(bare);
}
BENCHMARK(ValidatedGetAgainstBareGet)
    ->ArgNames({"unix", "tags", "ttls"})
    ->ArgsProduct({{0, 1}, {0, 1, 3, 6}, {0, 1}})
    ->UseRealTime();

}  // namespace
}  // namespace smartcache
