// Whatever a server may reply, in the types of RESP3, through libvalkey into every decoder of the
// store on Redis and of the cluster's map: no fault, and an answer has what was asked or is an
// error.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "expect.h"
#include "l2/redis/redis_store.h"
#include "l2/redis/slot_map.h"
#include "l2/redis/values.h"
#include "reply_writer.h"

namespace {

using namespace smartcache;
using namespace smartcache::redis;

struct FreeReader {
  void operator()(valkeyReader* reader) const { valkeyReaderFree(reader); }
};

// Answers each command with the next reply of the input; down when there is none.
class Replies final : public Servers {
 public:
  void Begin(ReplyWriter& writer) {
    reader_.reset(valkeyReaderCreate());
    writer_ = &writer;
  }

  ReplyPtr Next() {
    if (writer_->empty()) return nullptr;
    const std::string bytes = writer_->Write();
    valkeyReaderFeed(reader_.get(), bytes.data(), bytes.size());
    void* reply = nullptr;
    if (valkeyReaderGetReply(reader_.get(), &reply) != VALKEY_OK) return nullptr;
    return ReplyPtr(static_cast<valkeyReply*>(reply));
  }

  [[nodiscard]] unsigned GroupOf(unsigned bucket) const override { return bucket % 2; }
  [[nodiscard]] Status Run(Batch& batch, Retry) override {
    for (std::size_t i = 0; i < batch.size(); ++i) {
      ReplyPtr reply = Next();
      if (reply == nullptr) return Unavailable("the input is over");
      batch.replies.push_back(std::move(reply));
    }
    return Ok();
  }
  [[nodiscard]] Status ForEachPrimary(const Visitor&) override { return Ok(); }
  [[nodiscard]] bool Available() const override { return true; }
  void Expect(std::uint64_t) override {}
  void AfterFork() override {}

 private:
  std::unique_ptr<valkeyReader, FreeReader> reader_;
  ReplyWriter* writer_ = nullptr;
};

void ReadCluster(Replies& replies) {
  const Endpoint asked{.host = "asked", .port = 1, .path = {}};
  while (const ReplyPtr reply = replies.Next()) {
    if (const auto map = ReadSlotMap(*reply, asked); map.ok()) {
      for (const std::uint16_t primary : map->primary_of) Expect(primary < map->primaries.size());
      for (const Endpoint& primary : map->primaries) Expect(!primary.host.empty());
    }
    const auto target = ReadRedirection(Text(*reply), asked);
    if (target.ok()) Expect(target->port > 0 && target->port < 65536 && !target->host.empty());
    (void)Unexpected(*reply);
    (void)IsFatalError(*reply);
  }
}

void AskStore(RedisStore& store, int question) {
  const Tag tags[] = {1, std::uint64_t{1} << 56, 2};
  const std::string keys[] = {"a", "b", "c"};
  switch (question) {
    case 0:
      if (const auto reply = store.Get("key", tags); reply.ok()) Expect(reply->tokens.size() == 3);
      break;
    case 1:
      if (const auto replies = store.GetMany(keys); replies.ok()) Expect(replies->size() == 3);
      break;
    case 2:
      if (const auto reply = store.Tokens(tags); reply.ok()) Expect(reply->tokens.size() == 3);
      break;
    case 3: {
      const SchemeRequest schemes[] = {{tags[0], tags[1], "a,b"}};
      const auto reply = store.Mint(tags, schemes);
      if (!reply.ok()) break;
      Expect(reply->tokens.size() == 3);
      for (const TokenReply& token : reply->tokens) Expect(token.token != kNoToken);
      break;
    }
    case 4: {
      const auto reply = store.Begin("key", 1, std::chrono::seconds(1));
      if (reply.ok()) Expect(reply->key_token.token != kNoToken);
      break;
    }
    case 5: {
      const SchemeKnowledge schemes[] = {{tags[0], tags[1], 7}, {tags[1], tags[2], 0}};
      const auto reply = store.Bump(tags, schemes);
      if (reply.ok()) Expect(reply->schemes.size() == 2 && reply->also_bumped.size() <= 2);
      break;
    }
    case 6:
      (void)store.Fill({.key = "key", .envelope = "value", .key_token = 1, .lock_owner = 2});
      break;
    case 7:
      (void)store.Put("key", "value", kNever, PutCondition::kAlways);
      break;
    case 8:
      (void)store.Delete(keys);
      break;
    case 9:
      (void)store.AwaitUnlock("key", Duration(0));
      break;
    case 10:
      (void)store.TryUserLock("name", 1, std::chrono::seconds(1));
      break;
    default:
      (void)store.RenewLock("key", 1, std::chrono::seconds(1));
      (void)store.Touch("key", kNever);
      (void)store.UserUnlock("name", 1);
      (void)store.Clear();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto replies = std::make_shared<Replies>();
  static RedisStore store({.prefix = "p", .channel = "c", .description = "fuzzed"}, replies,
                          std::make_shared<Peers>(1), Clock::System());
  ReplyWriter writer({reinterpret_cast<const char*>(data), size});
  const int question = writer.Byte() % 13;
  replies->Begin(writer);
  if (question == 12) {
    ReadCluster(*replies);
  } else {
    AskStore(store, question);
  }
  return 0;
}
