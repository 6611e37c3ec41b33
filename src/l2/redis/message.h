// What processes tell each other through the channel: one version byte, one kind byte, eight bytes
// of the sender's origin, then tags of eight bytes; numbers are little endian. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "smartcache/tag.h"

namespace smartcache::redis {

enum class MessageKind : std::uint8_t {
  kBump = 'b',    // these tags' tokens were dropped
  kClear = 'c',   // all keys of one key space were dropped; its only tag is the key space's hash
  kUnlock = 'u',  // the locks of the keys with these tags were released
};

struct Message {
  MessageKind kind = MessageKind::kBump;
  std::uint64_t origin = 0;  // random for each process; 0: meant for the sender, too
  std::vector<Tag> tags;
};

// Starts a message; tags may be appended with AppendTag, here or by a script.
[[nodiscard]] std::string MessageHead(MessageKind kind, std::uint64_t origin);
void AppendTag(std::string& message, Tag tag);
[[nodiscard]] std::string EncodeMessage(MessageKind kind, std::uint64_t origin,
                                        std::span<const Tag> tags);

// nullopt: damaged, or of another version.
[[nodiscard]] std::optional<Message> DecodeMessage(std::string_view bytes);

}  // namespace smartcache::redis
