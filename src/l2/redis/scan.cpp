#include "l2/redis/scan.h"

#include <string>
#include <utility>

#include "l2/redis/batch.h"
#include "l2/redis/servers.h"

namespace smartcache::redis {
namespace {

// Keys looked at in one step, which takes the server less than a millisecond.
constexpr std::string_view kStep = "1000";

void AddScan(Batch& batch, std::string_view cursor, std::string_view pattern) {
  batch.Add(0, {"SCAN", cursor, "MATCH", pattern, "COUNT", kStep});
}

}  // namespace

Status DeleteMatching(Connection& connection, std::string_view pattern, Duration step_timeout,
                      const Clock& clock) {
  Batch batch, next;
  AddScan(batch, "0", pattern);
  for (bool last = false;; std::swap(batch, next)) {
    Status status = RunOn(connection, batch, After(clock.Now(), step_timeout));
    if (!status.ok()) return status;
    for (const ReplyPtr& reply : batch.replies) {
      if (reply->type == VALKEY_REPLY_ERROR) {
        return Unavailable("server: " + std::string(Text(*reply)));
      }
    }
    if (last) return Ok();
    const valkeyReply& scan = batch.reply(0);
    if (scan.type != VALKEY_REPLY_ARRAY || scan.elements != 2) return Unavailable("no scan reply");
    const std::string_view cursor = Text(*scan.element[0]);
    const valkeyReply& found = *scan.element[1];
    last = cursor == "0";
    // The next step goes along with the deletion of what this one has found.
    next.Clear();
    if (!last) AddScan(next, cursor, pattern);
    // One by one: a cluster takes no keys of different slots in one command.
    for (std::size_t i = 0; i < found.elements; ++i) {
      next.Add(0, {"UNLINK", Text(*found.element[i])});
    }
    if (next.size() == 0) return Ok();
  }
}

}  // namespace smartcache::redis
