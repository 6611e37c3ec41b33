// Commands in wire format, to be sent together, and the replies to them. Reused, so that a call
// allocates nothing for its request.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <valkey/valkey.h>

#include "smartcache/clock.h"

namespace smartcache::redis {

struct Script {
  std::string_view source;
  std::string_view sha1;  // 40 hexadecimal digits
};

struct FreeReply {
  void operator()(valkeyReply* reply) const { freeReplyObject(reply); }
};
using ReplyPtr = std::unique_ptr<valkeyReply, FreeReply>;

class Batch {
 public:
  struct Command {
    std::size_t begin, end;  // its bytes
    unsigned bucket;         // whose server is to run it
    const Script* script;    // null: a plain command
  };

  void Clear();
  // Starts a command of `args` arguments, its name among them.
  void Start(unsigned bucket, std::size_t args);
  // Starts a call of `script`; `keys` keys and then `args` arguments must follow.
  void StartScript(unsigned bucket, const Script& script, std::size_t keys, std::size_t args);
  // One argument, given in up to three pieces.
  void Arg(std::string_view a, std::string_view b = {}, std::string_view c = {});
  void Number(std::int64_t value);
  // A whole command.
  void Add(unsigned bucket, std::initializer_list<std::string_view> args);
  // Command `i` of `other` again, with the script's source in place of its hash.
  void AddWithSource(const Batch& other, std::size_t i);
  // Command `i` of `other` as it is.
  void AddCopy(const Batch& other, std::size_t i);

  [[nodiscard]] std::size_t size() const { return commands_.size(); }
  [[nodiscard]] const Command& command(std::size_t i) const { return commands_[i]; }
  [[nodiscard]] std::string_view bytes() const { return bytes_; }
  [[nodiscard]] const valkeyReply& reply(std::size_t i) const { return *replies[i]; }

  // Filled by whoever runs the batch.
  std::vector<ReplyPtr> replies;
  Instant sent{};
  std::uint64_t epoch = 0;

 private:
  std::string bytes_;
  std::vector<Command> commands_;
};

[[nodiscard]] inline std::string_view Text(const valkeyReply& reply) {
  return reply.str == nullptr ? std::string_view() : std::string_view(reply.str, reply.len);
}
// True when `reply` is an error whose code is `code` ("NOSCRIPT").
[[nodiscard]] bool IsError(const valkeyReply& reply, std::string_view code);

}  // namespace smartcache::redis
