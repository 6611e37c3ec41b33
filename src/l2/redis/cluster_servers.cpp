#include "l2/redis/cluster_servers.h"

#include <algorithm>
#include <utility>

#include "base/random.h"

namespace smartcache::redis {

struct ClusterServers::Node {
  Node(Endpoint at, Login how)
      : endpoint(std::move(at)), login(std::move(how)), breaker(login.timeout) {}
  const Endpoint endpoint;
  const Login login;
  Pool pool;
  Breaker breaker;
  std::atomic<std::uint64_t> epoch{0};  // 0: to be learnt
};

struct ClusterServers::Map {
  std::vector<std::shared_ptr<Node>> primaries;
  std::vector<std::uint64_t> epochs;  // of the primaries
  std::array<std::uint16_t, kBuckets> primary_of{};
  std::uint64_t epoch = 0;
};

struct ClusterServers::State {
  explicit State(Duration timeout) : breaker(timeout) {}
  SocketList sockets;  // outlives the connections
  Breaker breaker;     // of making maps
  std::atomic<std::uint64_t> expected_epoch{0};
  std::atomic<bool> doubted{false};
  Mutex mutex;
  MapRef map GUARDED_BY(mutex);
  std::unique_ptr<State> left_behind;

  MapRef GetMap() {
    MutexLock lock(mutex);
    return map;
  }
};

struct ClusterServers::Share {
  std::size_t primary = 0;  // its position in the map
  Batch batch;
  std::vector<std::size_t> positions;  // of the commands in the whole batch
  std::unique_ptr<Connection> connection;
  bool was_idle = false;
  Breaker::Permit permit = Breaker::Permit::kCall;
};

ClusterServers::ClusterServers(std::vector<Endpoint> seeds, Login login, const Keys& keys,
                               const Clock& clock)
    : seeds_(std::move(seeds)),
      login_(std::move(login)),
      keys_(keys),
      clock_(clock),
      state_(std::make_unique<State>(login_.timeout)) {}

ClusterServers::~ClusterServers() {
  // What a fork left behind is never destroyed: its mutexes may be locked, its sockets are closed.
  (void)state_->left_behind.release();
}

Status ClusterServers::Run(Batch& batch, Retry retry) {
  // The first map may be old; the second is what the cluster says now. More tries would be for a
  // cluster in motion, whose callers are better off computing.
  constexpr int kTries = 2;
  const Instant start = clock_.Now();
  const Instant deadline = After(start, login_.timeout);
  batch.replies.clear();
  batch.replies.resize(batch.size());
  batch.sent = start;
  const auto answered = [](const ReplyPtr& reply) { return reply != nullptr; };
  Status status;
  for (int i = 0; i < kTries; ++i) {
    const Result<MapRef> map = CurrentMap(deadline);
    if (!map.ok()) return map.status();
    const bool begun = std::any_of(batch.replies.begin(), batch.replies.end(), answered);
    if (begun && batch.epoch != (*map)->epoch) {
      return Unavailable("the cluster has changed meanwhile");
    }
    batch.epoch = (*map)->epoch;
    const Outcome outcome = RunPending(**map, batch, retry, deadline, status);
    if (outcome == Outcome::kDone) return Ok();
    if (outcome == Outcome::kFailed) return status;
  }
  return status;
}

std::vector<ClusterServers::Share> ClusterServers::Divide(const Map& map, const Batch& batch) {
  std::vector<Share> shares;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    if (batch.replies[i] != nullptr) continue;
    const std::size_t primary = map.primary_of[batch.command(i).bucket];
    auto share = std::find_if(shares.begin(), shares.end(),
                              [&](const Share& each) { return each.primary == primary; });
    if (share == shares.end()) {
      share = shares.emplace(share);
      share->primary = primary;
    }
    share->batch.AddCopy(batch, i);
    share->positions.push_back(i);
  }
  return shares;
}

ClusterServers::Outcome ClusterServers::RunPending(const Map& map, Batch& batch, Retry retry,
                                                   Instant deadline, Status& status) {
  std::vector<Share> shares = Divide(map, batch);
  // Until all are connected nothing is sent, so that all may be tried again.
  for (Share& share : shares) {
    Node& node = *map.primaries[share.primary];
    share.permit = node.breaker.Ask(clock_.Now());
    if (share.permit == Breaker::Permit::kRefused) {
      status = node.breaker.Refusal(ToString(node.endpoint));
      return Outcome::kFailed;
    }
    share.connection = node.pool.TakeIdle(clock_.Now(), retry);
    share.was_idle = share.connection != nullptr;
    if (share.was_idle) continue;
    status = Connect(node, map.epochs[share.primary], deadline, share.connection);
    if (status.ok()) continue;
    node.breaker.Failed(share.permit, clock_.Now(), RandomU64(), status.message());
    return Outcome::kAgain;
  }
  for (Share& share : shares) {
    status = share.connection->SendBatch(share.batch, deadline);
    // A failed sending shows itself in receiving, where it may be mended.
  }
  for (Share& share : shares) {
    Node& node = *map.primaries[share.primary];
    status = Receive(map, share, retry, deadline);
    if (!status.ok()) {
      node.breaker.Failed(share.permit, clock_.Now(), RandomU64(), status.message());
      node.pool.Renew();
      Doubt();
      return Outcome::kFailed;
    }
    node.breaker.Succeeded();
    node.pool.Put(std::move(share.connection));
    status = Collect(map, share, batch, deadline);
    if (!status.ok()) return Outcome::kFailed;
  }
  const auto missing = [](const ReplyPtr& reply) { return reply == nullptr; };
  if (std::none_of(batch.replies.begin(), batch.replies.end(), missing)) return Outcome::kDone;
  status = Unavailable("the cluster is moving its slots");
  return Outcome::kAgain;
}

Status ClusterServers::Receive(const Map& map, Share& share, Retry retry, Instant deadline) {
  Status status = share.connection->ReceiveAll(share.batch, deadline);
  if (!status.ok() && share.was_idle && retry == Retry::kIfClosed &&
      share.connection->closed_by_server()) {
    Node& node = *map.primaries[share.primary];
    node.pool.Renew();
    status = Connect(node, map.epochs[share.primary], deadline, share.connection);
    if (!status.ok()) return status;
    return RunOn(*share.connection, share.batch, deadline);
  }
  if (!status.ok()) return status;
  return ResendUnknownScripts(*share.connection, share.batch, deadline);
}

Status ClusterServers::Collect(const Map& map, Share& share, Batch& batch, Instant deadline) {
  for (std::size_t i = 0; i < share.positions.size(); ++i) {
    ReplyPtr& reply = share.batch.replies[i];
    if (IsError(*reply, "TRYAGAIN")) return Unavailable("the cluster is moving these keys");
    if (IsError(*reply, "MOVED")) {
      Doubt();
      continue;
    }
    if (IsError(*reply, "ASK")) {
      Result<ReplyPtr> asked = RunAsking(map, share, i, deadline);
      if (!asked.ok()) return asked.status();
      reply = *std::move(asked);
    }
    batch.replies[share.positions[i]] = std::move(reply);
  }
  return Ok();
}

Result<ReplyPtr> ClusterServers::RunAsking(const Map& map, const Share& share, std::size_t i,
                                           Instant deadline) {
  const Result<Endpoint> target =
      ReadRedirection(Text(share.batch.reply(i)), map.primaries[share.primary]->endpoint);
  if (!target.ok()) return target.status();
  const auto node = std::find_if(map.primaries.begin(), map.primaries.end(),
                                 [&](const auto& each) { return each->endpoint == *target; });
  // A primary without a bucket so far: its state is not part of the epoch yet.
  if (node == map.primaries.end()) return Unavailable("the cluster is moving these keys");
  const auto position = static_cast<std::size_t>(node - map.primaries.begin());
  std::unique_ptr<Connection> connection;
  Status status = Connect(**node, map.epochs[position], deadline, connection);
  for (const bool with_source : {false, true}) {
    if (!status.ok()) return status;
    Batch asking;
    asking.Add(share.batch.command(i).bucket, {"ASKING"});
    if (with_source) {
      asking.AddWithSource(share.batch, i);
    } else {
      asking.AddCopy(share.batch, i);
    }
    status = connection->Exchange(asking, deadline);
    if (!status.ok()) return status;
    ReplyPtr reply = std::move(asking.replies[1]);
    if (!with_source && IsError(*reply, "NOSCRIPT")) continue;
    (*node)->pool.Put(std::move(connection));
    if (IsError(*reply, "TRYAGAIN")) return Unavailable("the cluster is moving these keys");
    return reply;
  }
  return status;
}

Status ClusterServers::Connect(Node& node, std::uint64_t epoch, Instant deadline,
                               std::unique_ptr<Connection>& connection) {
  Result<std::unique_ptr<Connection>> opened = Open(node, deadline);
  if (!opened.ok()) {
    Doubt();
    return opened.status();
  }
  if ((*opened)->epoch() != epoch) {
    node.epoch.store((*opened)->epoch());
    node.pool.Renew();
    Doubt();
    return Unavailable(ToString(node.endpoint) + " is not in the state it was");
  }
  connection = *std::move(opened);
  return Ok();
}

Result<std::unique_ptr<Connection>> ClusterServers::Open(Node& node, Instant deadline) {
  const std::uint64_t generation = node.pool.generation();
  auto opened = Connection::Open(node.endpoint, node.login, clock_, state_->sockets, deadline);
  if (opened.ok()) (*opened)->generation = generation;
  return opened;
}

void ClusterServers::Doubt() { state_->doubted.store(true, std::memory_order_release); }

Result<ClusterServers::MapRef> ClusterServers::CurrentMap(Instant deadline) {
  MapRef map = state_->GetMap();
  if (map == nullptr || state_->doubted.load(std::memory_order_acquire)) {
    const Breaker::Permit permit = state_->breaker.Ask(clock_.Now());
    if (permit != Breaker::Permit::kRefused) {
      Result<MapRef> made = MakeMap(deadline);
      if (made.ok()) {
        state_->breaker.Succeeded();
        map = *std::move(made);
      } else {
        state_->breaker.Failed(permit, clock_.Now(), RandomU64(), made.status().message());
        if (map == nullptr) return made.status();
      }
    }
  }
  if (map == nullptr) return state_->breaker.Refusal("the cluster");
  const std::uint64_t expected = state_->expected_epoch.load(std::memory_order_acquire);
  if (expected != 0 && map->epoch != expected) {
    Doubt();
    return Unavailable("the cluster is not in the state that is listened to");
  }
  return map;
}

Result<ClusterServers::MapRef> ClusterServers::MakeMap(Instant deadline) {
  const MapRef old = state_->GetMap();
  state_->doubted.store(false, std::memory_order_release);
  const auto fail = [this](Status status) {
    Doubt();
    return status;
  };
  const Result<SlotMap> slots = AskForSlots(old.get(), deadline);
  if (!slots.ok()) return fail(slots.status());
  auto map = std::make_shared<Map>();
  map->primary_of = slots->primary_of;
  for (std::size_t i = 0; i < slots->primaries.size(); ++i) {
    const auto first = std::find(map->primary_of.begin(), map->primary_of.end(), i);
    Login login = login_;
    login.probe_key = keys_.Probe(static_cast<unsigned>(first - map->primary_of.begin()));
    std::shared_ptr<Node> node;
    for (std::size_t n = 0; old != nullptr && n < old->primaries.size(); ++n) {
      const auto& known = old->primaries[n];
      const bool same =
          known->endpoint == slots->primaries[i] && known->login.probe_key == login.probe_key;
      if (same) node = known;
    }
    if (node == nullptr) node = std::make_shared<Node>(slots->primaries[i], login);
    if (node->epoch.load() == 0) {
      auto opened = Open(*node, deadline);
      if (!opened.ok()) return fail(opened.status());
      node->epoch.store((*opened)->epoch());
      node->pool.Put(*std::move(opened));
    }
    map->epochs.push_back(node->epoch.load());
    map->primaries.push_back(std::move(node));
  }
  map->epoch = CombineEpochs(map->epochs);
  MutexLock lock(state_->mutex);
  state_->map = map;
  return MapRef(map);
}

Result<SlotMap> ClusterServers::AskForSlots(const Map* old, Instant deadline) {
  std::vector<Endpoint> candidates;
  for (std::size_t i = 0; old != nullptr && i < old->primaries.size(); ++i) {
    candidates.push_back(old->primaries[i]->endpoint);
  }
  candidates.insert(candidates.end(), seeds_.begin(), seeds_.end());
  Login login = login_;
  login.role = Role::kAny;
  Batch batch;
  batch.Add(0, {"CLUSTER", "SLOTS"});
  Status status;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const Instant now = clock_.Now();
    if (now >= deadline) return Unavailable("the cluster did not answer in time");
    // Each gets its part of the time left, and so does what has to be done afterwards.
    const Instant limit =
        now + (deadline - now) / static_cast<std::int64_t>(candidates.size() - i + 1);
    auto connection = Connection::Open(candidates[i], login, clock_, state_->sockets, limit);
    status = connection.ok() ? RunOn(**connection, batch, limit) : connection.status();
    if (!status.ok()) continue;
    Result<SlotMap> slots = ReadSlotMap(batch.reply(0), candidates[i]);
    if (slots.ok()) return slots;
    status = slots.status();
  }
  return status;
}

Result<std::vector<ClusterServers::Primary>> ClusterServers::FindPrimaries(Instant deadline) {
  const Result<MapRef> made = MakeMap(deadline);
  if (!made.ok()) return made.status();
  const Map& map = **made;
  std::vector<Primary> primaries;
  for (const auto& node : map.primaries) {
    primaries.push_back({node->endpoint, node->login.probe_key, {}});
  }
  for (unsigned bucket = 0; bucket < kBuckets; ++bucket) {
    primaries[map.primary_of[bucket]].buckets.push_back(bucket);
  }
  return primaries;
}

Status ClusterServers::ForEachPrimary(const Visitor& visit) {
  const Instant deadline = After(clock_.Now(), login_.timeout);
  const Result<MapRef> map = CurrentMap(deadline);
  if (!map.ok()) return map.status();
  for (std::size_t i = 0; i < (*map)->primaries.size(); ++i) {
    Node& node = *(*map)->primaries[i];
    std::unique_ptr<Connection> connection;
    Status status =
        Connect(node, (*map)->epochs[i], After(clock_.Now(), login_.timeout), connection);
    if (status.ok()) status = visit(*connection);
    if (!status.ok()) return status;
    node.pool.Put(std::move(connection));
  }
  return Ok();
}

bool ClusterServers::Available() const {
  const Instant now = clock_.Now();
  const MapRef map = state_->GetMap();
  if (map == nullptr) return state_->breaker.WouldPermit(now);
  return std::any_of(map->primaries.begin(), map->primaries.end(),
                     [&](const auto& node) { return node->breaker.WouldPermit(now); });
}

void ClusterServers::Expect(std::uint64_t epoch) {
  state_->expected_epoch.store(epoch, std::memory_order_release);
  if (const MapRef map = state_->GetMap(); map != nullptr) {
    for (const auto& node : map->primaries) {
      node->pool.Renew();
      node->epoch.store(0);
    }
  }
  Doubt();
}

void ClusterServers::AfterFork() {
  state_->sockets.CloseAll();
  auto fresh = std::make_unique<State>(login_.timeout);
  fresh->left_behind = std::move(state_);
  state_ = std::move(fresh);
}

}  // namespace smartcache::redis
