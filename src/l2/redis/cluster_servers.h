// Servers when there is a Redis Cluster: each bucket is at one of its primaries. Commands for
// several primaries are sent to all before the first reply is read.
//
// The epoch of a reply is that of all primaries together: should any of them lose what it has
// acknowledged, no entry stored before is believed. Each connection is compared with the epoch that
// the map of the cluster was made with, and the map is made anew where they differ, where a primary
// does not answer, and where it says that a bucket has moved.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <vector>

#include "base/mutex.h"
#include "l2/redis/breaker.h"
#include "l2/redis/keys.h"
#include "l2/redis/pool.h"
#include "l2/redis/servers.h"
#include "l2/redis/slot_map.h"

namespace smartcache::redis {

class ClusterServers final : public Servers {
 public:
  ClusterServers(std::vector<Endpoint> seeds, Login login, const Keys& keys, const Clock& clock);
  ~ClusterServers() override;

  [[nodiscard]] unsigned GroupOf(unsigned bucket) const override { return bucket; }
  [[nodiscard]] Status Run(Batch& batch, Retry retry) override;
  [[nodiscard]] Status ForEachPrimary(const Visitor& visit) override;
  [[nodiscard]] bool Available() const override;
  void Expect(std::uint64_t epoch) override;
  void AfterFork() override;

  // The primaries as the cluster has them now, and the buckets of each.
  struct Primary {
    Endpoint endpoint;
    std::string probe_key;
    std::vector<unsigned> buckets;
  };
  [[nodiscard]] Result<std::vector<Primary>> FindPrimaries(Instant deadline);

 private:
  struct Node;   // a primary: its connections, its breaker, its epoch
  struct Map;    // which node has which bucket
  struct State;  // all that a fork spoils
  struct Share;  // of a batch: what one node is to run
  using MapRef = std::shared_ptr<const Map>;
  // kAgain: nothing of what has no reply was run, and the map is doubted.
  enum class Outcome : std::uint8_t { kDone, kAgain, kFailed };

  // The map, made if there is none, made anew if it is doubted and that is possible.
  [[nodiscard]] Result<MapRef> CurrentMap(Instant deadline);
  [[nodiscard]] Result<MapRef> MakeMap(Instant deadline);
  [[nodiscard]] Result<SlotMap> AskForSlots(const Map* old, Instant deadline);
  void Doubt();
  // A new connection to `node`; fails unless that is in the state `epoch`.
  [[nodiscard]] Status Connect(Node& node, std::uint64_t epoch, Instant deadline,
                               std::unique_ptr<Connection>& connection);
  [[nodiscard]] Result<std::unique_ptr<Connection>> Open(Node& node, Instant deadline);
  // Runs the commands of `batch` that have no reply yet.
  [[nodiscard]] Outcome RunPending(const Map& map, Batch& batch, Retry retry, Instant deadline,
                                   Status& status);
  [[nodiscard]] static std::vector<Share> Divide(const Map& map, const Batch& batch);
  [[nodiscard]] Status Receive(const Map& map, Share& share, Retry retry, Instant deadline);
  // Hands the replies of `share` over to `batch`, but those that say that the command was not run.
  [[nodiscard]] Status Collect(const Map& map, Share& share, Batch& batch, Instant deadline);
  // Command `i` of `share`, whose bucket is on its way to another primary, as its reply says.
  [[nodiscard]] Result<ReplyPtr> RunAsking(const Map& map, const Share& share, std::size_t i,
                                           Instant deadline);

  const std::vector<Endpoint> seeds_;
  const Login login_;
  const Keys keys_;
  const Clock& clock_;
  std::unique_ptr<State> state_;
};

}  // namespace smartcache::redis
