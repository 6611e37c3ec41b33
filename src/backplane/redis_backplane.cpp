#include "backplane/redis_backplane.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <utility>

#include "backplane/fences.h"
#include "backplane/listen_link.h"
#include "base/random.h"
#include "base/thread.h"
#include "l2/redis/dial.h"
#include "l2/redis/message.h"
#include "l2/redis/socket_list.h"

namespace smartcache {
namespace {

using redis::Connection;
using redis::MessageKind;

constexpr Duration kFirstBackoff = std::chrono::milliseconds(50);
constexpr Duration kLastBackoff = std::chrono::seconds(1);
// Heartbeats in the time that an L1 trusts itself, so that a late one costs no trust.
constexpr int kBeatsPerBound = 4;

}  // namespace

// The thread and all it owns. A forked child leaves its parent's behind.
class RedisBackplane::Listener {
 public:
  Listener(const RedisBackplane& owner, BackplaneSink& sink)
      : config_(owner.config_),
        servers_(*owner.servers_),
        peers_(*owner.peers_),
        clock_(owner.clock_),
        sink_(sink),
        wake_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (wake_fd_ >= 0) thread_ = StartThread("smartcache-bus", [this] { Run(); });
  }
  ~Listener() {
    stopping_.store(true);
    Wake();
    if (thread_.joinable()) thread_.join();
    if (wake_fd_ >= 0) close(wake_fd_);
  }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // False: the system had no thread or no descriptor for it.
  [[nodiscard]] bool running() const { return thread_.joinable(); }
  void Wake() const {
    const std::uint64_t one = 1;
    // Can only fail when the counter is full, and then the thread is about to wake anyway.
    [[maybe_unused]] const ssize_t written = write(wake_fd_, &one, sizeof one);
  }
  Fences& fences() { return fences_; }
  // In a child: closes the copies of the parent's descriptors.
  void Abandon() {
    sockets_.CloseAll();
    close(wake_fd_);
  }

 private:
  void Run();
  // Connections to all targets, subscribed; false when some cannot be had.
  bool Connect();
  // Listens until a connection is lost or the end has come.
  void Serve();
  // Waits for input on the links until `until`, and reads it.
  [[nodiscard]] Status ReadLinks(Instant until, const ListenLink::OnMessage& on_message);
  [[nodiscard]] Status SendBeat(ListenLink::Beat beat);
  void Deliver(std::string_view bytes);
  void Sleep(Duration span);
  [[nodiscard]] std::uint64_t Epoch() const;

  const Config& config_;
  redis::Servers& servers_;
  redis::Peers& peers_;
  const Clock& clock_;
  BackplaneSink& sink_;
  const int wake_fd_;
  std::atomic<bool> stopping_{false};
  Fences fences_;
  redis::SocketList sockets_;  // outlives the links
  std::vector<ListenLink> links_;
  struct Sent {
    Fences::Number number;
    Instant at;
  };
  std::deque<Sent> sent_;  // fences that some link has not answered
  std::thread thread_;
};

void RedisBackplane::Listener::Run() {
  Duration backoff = kFirstBackoff;
  while (!stopping_.load()) {
    if (Connect()) {
      backoff = kFirstBackoff;
      const std::uint64_t epoch = Epoch();
      servers_.Expect(epoch);
      sink_.OnConnected(epoch);
      peers_.board().SetListening(true);
      fences_.SetConnected(true);
      Serve();
      fences_.SetConnected(false);
      peers_.board().SetListening(false);
      servers_.Expect(0);
      if (!stopping_.load()) sink_.OnDisconnected();
    }
    links_.clear();
    sent_.clear();
    // Half to one and a half, so that the processes of a restarted server do not return in step.
    const auto half = backoff.count() / 2;
    Sleep(Duration(half +
                   static_cast<std::int64_t>(RandomU64() % static_cast<std::uint64_t>(2 * half))));
    backoff = std::min(2 * backoff, kLastBackoff);
  }
}

bool RedisBackplane::Listener::Connect() {
  const Instant deadline = After(clock_.Now(), config_.login.timeout);
  const auto targets = config_.find_targets(deadline);
  if (!targets.ok()) return false;
  for (const Target& target : *targets) {
    redis::Login login = config_.login;
    login.probe_key = target.probe_key;
    auto opened = Connection::Open(target.endpoint, login, clock_, sockets_, deadline);
    if (!opened.ok()) return false;
    links_.emplace_back(*std::move(opened), config_.sharded_channels);
    if (!links_.back().Subscribe(target.channels, clock_.Now(), deadline).ok()) return false;
  }
  const auto subscribed = [](const ListenLink& link) { return link.subscribed(); };
  while (!std::all_of(links_.begin(), links_.end(), subscribed)) {
    if (stopping_.load() || clock_.Now() >= deadline) return false;
    // What is heard before the sink knows of the connection says nothing to it.
    if (!ReadLinks(deadline, [](std::string_view) {}).ok()) return false;
  }
  return !links_.empty();
}

void RedisBackplane::Listener::Serve() {
  const Duration beat = config_.trust_bound / kBeatsPerBound;
  const ListenLink::OnMessage deliver = [this](std::string_view bytes) { Deliver(bytes); };
  Instant next_beat = clock_.Now();
  while (!stopping_.load()) {
    const Instant now = clock_.Now();
    Status status;
    if (now >= next_beat) {
      next_beat = now + beat;
      status = SendBeat(ListenLink::Beat::kCheckAndFence);
    } else if (fences_.Wanted()) {
      status = SendBeat(ListenLink::Beat::kFence);
    }
    if (status.ok()) status = ReadLinks(next_beat, deliver);
    if (!status.ok()) return;
    Fences::Number answered = links_.front().answered();
    for (const ListenLink& link : links_) {
      answered = std::min(answered, link.answered());
      if (link.waiting_since() != kNever &&
          clock_.Now() - link.waiting_since() > config_.trust_bound) {
        return;
      }
    }
    while (!sent_.empty() && sent_.front().number <= answered) {
      sink_.OnFence(sent_.front().at);
      fences_.Answered(sent_.front().number);
      sent_.pop_front();
    }
  }
}

Status RedisBackplane::Listener::ReadLinks(Instant until, const ListenLink::OnMessage& on_message) {
  std::vector<pollfd> ready{{wake_fd_, POLLIN, 0}};
  for (const ListenLink& link : links_) ready.push_back({link.fd(), POLLIN, 0});
  if (poll(ready.data(), ready.size(), redis::PollMillis(clock_.Now(), until)) <= 0) return Ok();
  if (ready[0].revents != 0) {
    std::uint64_t count;
    [[maybe_unused]] const ssize_t drained = read(wake_fd_, &count, sizeof count);
  }
  for (std::size_t i = 0; i < links_.size(); ++i) {
    if (ready[i + 1].revents == 0) continue;
    if (Status status = links_[i].Read(on_message); !status.ok()) return status;
  }
  return Ok();
}

Status RedisBackplane::Listener::SendBeat(ListenLink::Beat beat) {
  const Instant now = clock_.Now();
  const Fences::Number number = fences_.Send();
  sent_.push_back({number, now});
  for (ListenLink& link : links_) {
    // A server that does not even take a few bytes is as good as gone.
    Status status = link.Send(beat, number, now, After(now, config_.login.timeout));
    if (!status.ok()) return status;
  }
  return Ok();
}

void RedisBackplane::Listener::Deliver(std::string_view bytes) {
  const auto message = redis::DecodeMessage(bytes);
  // Not understood, so perhaps a newer version's bump: nothing that is known is safe.
  if (!message) return sink_.OnClear();
  switch (message->kind) {
    case MessageKind::kBump:
      if (message->origin != peers_.origin()) sink_.OnBump(message->tags);
      return;
    case MessageKind::kClear:
      if (message->tags == std::vector<Tag>{peers_.key_space()}) sink_.OnClear();
      return;
    case MessageKind::kUnlock:
      for (Tag tag : message->tags) peers_.board().Wake(tag);
      return;
  }
}

void RedisBackplane::Listener::Sleep(Duration span) {
  const Instant until = After(clock_.Now(), span);
  while (!stopping_.load() && clock_.Now() < until) {
    if (!ReadLinks(until, [](std::string_view) {}).ok()) return;
  }
}

std::uint64_t RedisBackplane::Listener::Epoch() const {
  std::vector<std::uint64_t> epochs;
  for (const ListenLink& link : links_) epochs.push_back(link.epoch());
  return redis::CombineEpochs(epochs);
}

RedisBackplane::RedisBackplane(Config config, std::shared_ptr<redis::Servers> servers,
                               std::shared_ptr<redis::Peers> peers, const Clock& clock)
    : config_(std::move(config)),
      servers_(std::move(servers)),
      peers_(std::move(peers)),
      clock_(clock) {}

RedisBackplane::~RedisBackplane() = default;

bool RedisBackplane::Start(BackplaneSink& sink) {
  if (listener_ != nullptr) return true;
  auto listener = std::make_unique<Listener>(*this, sink);
  if (!listener->running()) return false;
  listener_ = std::move(listener);
  return true;
}

void RedisBackplane::Stop() { listener_.reset(); }

Status RedisBackplane::Fence(Duration timeout) {
  if (listener_ == nullptr) return Unavailable("no listener");
  Fences& fences = listener_->fences();
  const Fences::Number number = fences.Ask();
  if (number == 0) return Unavailable("the listener is not connected");
  listener_->Wake();
  return fences.Await(number, timeout) ? Ok() : Unavailable("the fence was not answered");
}

void RedisBackplane::AfterFork() {
  if (listener_ == nullptr) return;
  listener_->Abandon();
  // Its thread is not in this process and its mutexes may be locked: it is never destroyed.
  (void)listener_.release();
}

}  // namespace smartcache
