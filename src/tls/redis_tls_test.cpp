// The store and the backplane over TLS: a real server, and what goes wrong on the way to it.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "base/fork_test.h"
#include "l2/redis/test_server.h"
#include "l2/store_conformance.h"
#include "smartcache/cache.h"
#include "tls/context.h"
#include "tls/test_certificates.h"

namespace smartcache {
namespace {

using redis::Eventually;
using redis::TestServer;
using std::chrono::milliseconds;
using tls::TestAuthority;
using Tags = std::vector<Tag>;

constexpr Duration kLong = std::chrono::minutes(5);
// Far more than a call may take on a slow machine, far less than waiting without limit.
constexpr Duration kGenerous = std::chrono::seconds(10);

using Arguments = std::vector<std::string>;

Arguments operator+(Arguments left, const Arguments& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

// A server that speaks TLS on one port, and without on another, where the test looks at it.
class TlsServer {
 public:
  explicit TlsServer(const Arguments& arguments = {}, const std::string& settings = "",
                     const TestAuthority::Issued& issued = TestAuthority::SharedServer())
      : server_(settings,
                Arguments{"--tls-port", std::to_string(port_), "--tls-cert-file", issued.certfile,
                          "--tls-key-file", issued.keyfile, "--tls-ca-cert-file",
                          TestAuthority::Shared().ca_path(), "--tls-auth-clients", "no"} +
                    arguments) {}
  TestServer& plain() { return server_; }
  [[nodiscard]] int port() const { return port_; }
  [[nodiscard]] std::string place() const { return "127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] std::string url(const std::string& options = "") const {
    return "rediss://" + place() + "/0?ssl_ca_certs=" + TestAuthority::Shared().ca_path() + options;
  }

  static TlsServer& Shared() {
    static TlsServer server;
    return server;
  }

 private:
  const int port_ = redis::FreePort();
  TestServer server_;
};

Options TestOptions() {
  Options options;
  options.prefix = options.channel = TestServer::NewPrefix();
  options.redis_timeout = std::chrono::seconds(5);
  options.trust_bound = std::chrono::seconds(20);
  return options;
}

RedisParts OpenParts(const std::string& url, const Options& options = TestOptions()) {
  tls::Register(&tls::MakeOpenSslContext);
  auto parts = OpenRedis(url, options, Clock::System());
  EXPECT_TRUE(parts.ok()) << parts.status().message();
  return parts.ok() ? *std::move(parts) : RedisParts{};
}

std::unique_ptr<Store> Open(const std::string& url, const Options& options = TestOptions()) {
  return OpenParts(url, options).store;
}

// What a call to the store of `url` comes to.
std::string Outcome(const std::string& url, const Options& options = TestOptions()) {
  const auto reply = Open(url, options)->Get("k", {});
  return reply.ok() ? "reached" : reply.status().message();
}

bool Put(Store& store, std::string_view key, std::string_view value) {
  const auto reply = store.Put(key, value, kLong, PutCondition::kAlways);
  return reply.ok() && reply->stored;
}

std::string Read(Store& store, std::string_view key) {
  const auto reply = store.Get(key, {});
  if (!reply.ok()) return "(" + reply.status().message() + ")";
  return reply->entry ? reply->entry->envelope : "(none)";
}

Duration TimeOf(const std::function<void()>& work) {
  const Instant start = Clock::System().Now();
  work();
  return Clock::System().Now() - start;
}

struct TlsHarness {
  static constexpr bool kEmbedded = false;
  ~TlsHarness() { EXPECT_TRUE(Open({})->Clear().ok()); }
  std::unique_ptr<Store> Open(const Options& asked) {
    Options options = asked;
    options.prefix = options.channel = prefix;
    options.start_listener = false;
    options.redis_timeout = std::chrono::seconds(10);
    return smartcache::Open(TlsServer::Shared().url(), options);
  }
  bool Eventually(Duration span, const std::function<bool()>& condition) {
    return redis::Eventually(condition, span + std::chrono::seconds(20));
  }
  const std::string prefix = TestServer::NewPrefix();
};
INSTANTIATE_TYPED_TEST_SUITE_P(RedisTls, StoreConformance, TlsHarness);

// What a process hears.
struct Listening final : BackplaneSink {
  explicit Listening(const std::string& url, const Options& options)
      : parts(OpenParts(url, options)) {
    EXPECT_TRUE(parts.backplane->Start(*this));
    EXPECT_TRUE(Eventually([&] { return connects == 1; }));
  }
  ~Listening() override { parts.backplane->Stop(); }
  void OnConnected(std::uint64_t) override { ++connects; }
  void OnFence(Instant) override {}
  void OnBump(std::span<const Tag> tags) override { heard += tags.size(); }
  void OnClear() override {}
  void OnDisconnected() override { ++losses; }
  bool Fence() { return parts.backplane->Fence(kGenerous).ok(); }

  RedisParts parts;
  std::atomic<int> connects{0}, losses{0};
  std::atomic<std::size_t> heard{0};
};

TEST(RedisTls, ListenerHearsAllThatComesInOneRecordOrInMany) {
  const Options options = TestOptions();
  Listening one(TlsServer::Shared().url(), options), two(TlsServer::Shared().url(), options);
  std::size_t told = 0;
  for (const std::size_t count : {1u, 200u, 20'000u}) {
    Tags tags(count);
    for (std::size_t i = 0; i < count; ++i) tags[i] = i + 1;
    for (int round = 0; round < 20; ++round) {
      ASSERT_TRUE(one.parts.store->Bump(tags, {}).ok());
      told += count;
      if (round % 5 == 0) {
        ASSERT_TRUE(two.Fence());
      }
    }
    ASSERT_TRUE(two.Fence());
    EXPECT_EQ(two.heard, told);
  }
  EXPECT_EQ(two.losses, 0);
  EXPECT_EQ(one.heard, 0u);
}

TEST(RedisTls, ListenerComesBackToARestartedServer) {
  TlsServer server;
  Listening listening(server.url(), TestOptions());
  server.plain().Kill();
  ASSERT_TRUE(Eventually([&] { return listening.losses == 1; }));
  server.plain().Start();
  ASSERT_TRUE(Eventually([&] { return listening.connects == 2; }));
  EXPECT_TRUE(Eventually([&] { return Put(*listening.parts.store, "k", "v"); }));
}

TEST(RedisTls, LargeValuesGoBothWays) {
  const auto store = Open(TlsServer::Shared().url());
  std::string large(8 << 20, '\0');
  for (std::size_t i = 0; i < large.size(); ++i) {
    large[i] = static_cast<char>(i * 2654435761u >> 24);
  }
  ASSERT_TRUE(Put(*store, "k", large));
  EXPECT_EQ(Read(*store, "k"), large);
}

TEST(RedisTls, SaysWhyAServerIsNotTrusted) {
  TestAuthority stranger;
  const std::string place = TlsServer::Shared().place();
  const std::string by_system = "rediss://:secret@" + place;
  const std::string by_stranger = by_system + "?ssl_ca_certs=" + stranger.ca_path();
  for (const std::string& url : {by_system, by_stranger}) {
    const std::string outcome = Outcome(url);
    EXPECT_TRUE(outcome.starts_with(place + ": TLS: certificate verify failed: ")) << outcome;
  }
  TlsServer server({}, "", TestAuthority::Shared().Issue("DNS:another.example"));
  EXPECT_EQ(Outcome(server.url()),
            server.place() + ": TLS: certificate verify failed: IP address mismatch");
  EXPECT_EQ(Outcome(server.url("&ssl_check_hostname=false")), "reached");
  EXPECT_EQ(Outcome("rediss://" + server.place() + "?ssl_cert_reqs=none"), "reached");
  EXPECT_EQ(Outcome(server.url("&ssl_certfile=/none")),
            server.place() + ": TLS: ssl_certfile '/none': No such file or directory");
}

TEST(RedisTls, ShowsItsCertificateAndIsToldWhereOneIsMissing) {
  TlsServer server({"--tls-auth-clients", "yes"});
  const auto own = TestAuthority::Shared().Issue("DNS:client");
  const std::string with = "&ssl_certfile=" + own.certfile + "&ssl_keyfile=" + own.keyfile;
  EXPECT_EQ(Outcome(server.url(with)), "reached");
  for (int i = 0; i < 10; ++i) {
    EXPECT_NE(Outcome(server.url()).find("certificate required"), std::string::npos)
        << Outcome(server.url());
  }
}

TEST(RedisTls, LogsIn) {
  TlsServer server;
  const auto set = [&](std::string_view password) {
    return redis::AskText(server.plain().endpoint(), {"CONFIG", "SET", "requirepass", password});
  };
  ASSERT_EQ(set("secret"), "OK");
  std::string url = server.url();
  EXPECT_NE(Outcome(url).find("NOAUTH"), std::string::npos) << Outcome(url);
  const std::string wrong = Outcome(url.insert(9, ":opensesame@"));
  EXPECT_NE(wrong.find("NOAUTH"), std::string::npos) << wrong;
  EXPECT_EQ(wrong.find("opensesame"), std::string::npos) << wrong;
  EXPECT_EQ(Outcome(server.url().insert(9, ":secret@")), "reached");
}

TEST(RedisTls, ServerWithoutTlsIsFoundOutInTime) {
  Options options = TestOptions();
  options.redis_timeout = milliseconds(200);
  for (int i = 0; i < 5; ++i) {
    std::string outcome;
    EXPECT_LT(
        TimeOf([&] { outcome = Outcome("rediss://" + ToString(TestServer::Shared()), options); }),
        kGenerous);
    EXPECT_NE(outcome.find(": TLS: "), std::string::npos) << outcome;
    EXPECT_NE(outcome.find("is TLS spoken there?"), std::string::npos) << outcome;
  }
}

// Accepts connections, answers each with what it is told, byte by byte, and leaves them open.
class Stalling {
 public:
  explicit Stalling(std::string answer, Duration pause = {}) : answer_(std::move(answer)) {
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(listen(fd_, 16), 0);
    getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    url_ = "rediss://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    thread_ = std::thread([this, pause] {
      for (int client; (client = accept(fd_, nullptr, nullptr)) >= 0; clients_.push_back(client)) {
        for (const char& byte : answer_) {
          if (send(client, &byte, 1, MSG_NOSIGNAL) != 1) break;
          std::this_thread::sleep_for(pause);
        }
      }
    });
  }
  ~Stalling() {
    shutdown(fd_, SHUT_RDWR);
    thread_.join();
    close(fd_);
    for (int client : clients_) close(client);
  }
  Stalling(const Stalling&) = delete;
  Stalling& operator=(const Stalling&) = delete;
  [[nodiscard]] const std::string& url() const { return url_; }

 private:
  const std::string answer_;
  int fd_;
  std::string url_;
  std::vector<int> clients_;
  std::thread thread_;
};

TEST(RedisTls, StalledHandshakeCostsOneTimeout) {
  Options options = TestOptions();
  options.redis_timeout = milliseconds(200);
  // The beginning of a long handshake record.
  const std::string beginning("\x16\x03\x03\x3f\xff\x02\x00\x3f\xf0", 9);
  const Stalling silent(""), begins(beginning);
  const Stalling trickles(beginning + std::string(2000, 'x'), milliseconds(20));
  for (const Stalling* server : {&silent, &begins, &trickles}) {
    std::string outcome;
    const Duration took = TimeOf([&] { outcome = Outcome(server->url(), options); });
    EXPECT_GE(took, milliseconds(180));
    EXPECT_LT(took, kGenerous);
    EXPECT_NE(outcome.find("did not answer in time"), std::string::npos) << outcome;
  }
}

TEST(RedisTls, HungServerCostsOneTimeoutAndIsUsedAgain) {
  TlsServer server;
  Options options = TestOptions();
  options.redis_timeout = milliseconds(300);
  const auto store = Open(server.url(), options);
  ASSERT_TRUE(Put(*store, "k", "v"));
  server.plain().Pause();
  EXPECT_LT(TimeOf([&] { EXPECT_FALSE(store->Get("k", {}).ok()); }), kGenerous);
  const std::string large(64 << 20, 'x');
  ASSERT_TRUE(Eventually([&] { return store->Available(); }));
  EXPECT_LT(TimeOf([&] { EXPECT_FALSE(Put(*store, "k", large)); }), kGenerous);
  server.plain().Resume();
  EXPECT_TRUE(Eventually([&] { return Read(*store, "k") == "v"; }));
}

TEST(RedisTls, LargeValueToAHungServerIsGivenUpInTime) {
  TlsServer server;
  Options options = TestOptions();
  options.redis_timeout = milliseconds(300);
  const auto store = Open(server.url(), options);
  ASSERT_TRUE(Put(*store, "k", "v"));
  server.plain().Pause();
  const std::string large(64 << 20, 'x');
  EXPECT_LT(TimeOf([&] { EXPECT_FALSE(Put(*store, "k", large)); }), kGenerous);
  server.plain().Resume();
}

TEST(RedisTls, ConnectionsThatTheServerClosesAreReplacedUnnoticed) {
  TlsServer server;
  const auto store = Open(server.url());
  ASSERT_TRUE(Put(*store, "k", "v"));
  for (int i = 0; i < 20; ++i) {
    ASSERT_NE(redis::Ask(server.plain().endpoint(), {"CLIENT", "KILL", "TYPE", "normal"}), nullptr);
    EXPECT_EQ(Read(*store, "k"), "v") << i;
  }
  server.plain().Kill();
  server.plain().Start();
  EXPECT_EQ(Read(*store, "k"), "(none)");
}

TEST(RedisTls, WritingToAClosedConnectionRaisesNoSignal) {
  TlsServer server;
  redis::SocketList sockets;
  redis::Login login;
  login.role = redis::Role::kAny;
  login.timeout = std::chrono::seconds(5);
  login.check_interval = kLong;
  login.probe_key = "none";
  login.tls = tls::MakeOpenSslContext({.ca_certs = TestAuthority::Shared().ca_path()});
  const Instant deadline = After(Clock::System().Now(), kGenerous);
  const redis::Endpoint endpoint{.host = "127.0.0.1", .port = server.port(), .path = {}};
  const auto opened = redis::Connection::Open(endpoint, login, Clock::System(), sockets, deadline);
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  const auto before = signal(SIGPIPE, SIG_DFL);  // would end this process
  server.plain().Kill();
  EXPECT_TRUE(Eventually([&] { return !(*opened)->Send("*1\r\n$4\r\nPING\r\n", deadline).ok(); }));
  EXPECT_FALSE((*opened)->Send("*1\r\n$4\r\nPING\r\n", deadline).ok());
  signal(SIGPIPE, before);
}

TEST(RedisTls, ForkedChildOpensItsOwnAndSpoilsNothing) {
  SMARTCACHE_SKIP_FORK_AMID_THREADS();
  Listening listening(TlsServer::Shared().url(), TestOptions());
  Store& store = *listening.parts.store;
  ASSERT_TRUE(Put(store, "k", "of the parent"));
  for (int i = 0; i < 5; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(30);
      store.AfterFork();
      listening.parts.backplane->AfterFork();
      const bool fine = Read(store, "k") == "of the parent" && Put(store, "child", "c");
      _exit(fine ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
    EXPECT_EQ(Read(store, "child"), "c");
    EXPECT_TRUE(listening.Fence());
  }
  EXPECT_EQ(listening.losses, 0);
}

TEST(RedisTls, SentinelsAndTheirPrimaryAreSpokenToOverTls) {
  TlsServer primary;
  TlsServer sentinel({"--sentinel", "--tls-replication", "yes"},
                     "sentinel monitor main 127.0.0.1 " + std::to_string(primary.port()) + " 1\n");
  const std::string options = "?ssl_ca_certs=" + TestAuthority::Shared().ca_path();
  const std::string url = "rediss+sentinel://" + sentinel.place() + "/main/1" + options;
  Listening listening(url, TestOptions());
  EXPECT_TRUE(Put(*listening.parts.store, "k", "v"));
  EXPECT_TRUE(listening.Fence());
  // Each of the two is asked for its certificate.
  EXPECT_NE(Outcome("rediss+sentinel://" + sentinel.place() + "/main").find("verify failed"),
            std::string::npos);
  EXPECT_NE(Outcome("redis+sentinel://" + ToString(sentinel.plain().endpoint()) + "/main"),
            "reached");
}

TEST(RedisTls, ClusterIsSpokenToOverTls) {
  const auto node = [](const char* first, const char* last) {
    auto server = std::make_unique<TlsServer>(Arguments{
        "--cluster-enabled", "yes", "--cluster-port", std::to_string(redis::FreePort()),
        "--cluster-node-timeout", "500", "--tls-cluster", "yes", "--tls-replication", "yes"});
    EXPECT_EQ(redis::AskText(server->plain().endpoint(), {"CLUSTER", "ADDSLOTSRANGE", first, last}),
              "OK");
    return server;
  };
  const auto one = node("0", "8191"), two = node("8192", "16383");
  const redis::ReplyPtr bus =
      redis::Ask(two->plain().endpoint(), {"CONFIG", "GET", "cluster-port"});
  ASSERT_EQ(redis::AskText(one->plain().endpoint(),
                           {"CLUSTER", "MEET", "127.0.0.1", std::to_string(two->port()),
                            redis::Text(*bus->element[1])}),
            "OK");
  for (const auto* each : {&one, &two}) {
    ASSERT_TRUE(Eventually([&] {
      const auto endpoint = (*each)->plain().endpoint();
      return redis::AskText(endpoint, {"CLUSTER", "INFO"}).find("cluster_state:ok") !=
             std::string::npos;
    }));
  }
  const std::string options = "?ssl_ca_certs=" + TestAuthority::Shared().ca_path();
  const std::string url = "valkeys+cluster://" + one->place() + options;
  const Options shared = TestOptions();
  Listening listening(url, shared), other(url, shared);
  Tags tags;
  for (Tag bucket = 0; bucket < 256; ++bucket) tags.push_back(bucket << 56 | 1);
  ASSERT_TRUE(other.parts.store->Bump(tags, {}).ok());
  ASSERT_TRUE(listening.Fence());
  EXPECT_EQ(listening.heard, tags.size());
  for (int i = 0; i < 20; ++i) {
    const std::string key = "k" + std::to_string(i);
    EXPECT_TRUE(Put(*listening.parts.store, key, "v"));
    EXPECT_EQ(Read(*other.parts.store, key), "v");
  }
}

TEST(RedisTls, WithoutItsModuleAUrlIsRefused) {
  tls::Register(nullptr);
  for (const std::string scheme : {"rediss://h", "valkeys+cluster://h", "rediss+sentinel://h/s"}) {
    const auto parts = OpenRedis(scheme, TestOptions(), Clock::System());
    EXPECT_EQ(parts.status().code(), Code::kInvalidArgument) << scheme;
    EXPECT_NE(parts.status().message().find("needs the TLS module"), std::string::npos);
  }
  EXPECT_TRUE(OpenRedis("redis://h", TestOptions(), Clock::System()).ok());
}

TEST(RedisTls, ChecksTheFilesOfAUrl) {
  tls::Register(&tls::MakeOpenSslContext);
  EXPECT_TRUE(CheckRedisTls("redis://h").ok());
  EXPECT_TRUE(CheckRedisTls("rediss://h").ok());
  EXPECT_TRUE(CheckRedisTls(TlsServer::Shared().url()).ok());
  const Status status = CheckRedisTls("rediss://:secret@h?ssl_ca_certs=/none");
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_EQ(status.message(),
            "SMARTCACHE_REDIS_URL: ssl_ca_certs '/none': No such file or directory");
}

}  // namespace
}  // namespace smartcache
