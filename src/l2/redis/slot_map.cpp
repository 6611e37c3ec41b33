#include "l2/redis/slot_map.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace smartcache::redis {
namespace {

constexpr unsigned kSlots = 16384;
constexpr std::uint16_t kCrcPolynomial =
    0x1021;  // CRC-16/XMODEM, as the cluster specification says

std::optional<Endpoint> ReadNode(const valkeyReply& node, const Endpoint& asked) {
  if (node.type != VALKEY_REPLY_ARRAY || node.elements < 2) return std::nullopt;
  const valkeyReply &host = *node.element[0], &port = *node.element[1];
  if (port.type != VALKEY_REPLY_INTEGER || port.integer < 1 || port.integer > 65535) {
    return std::nullopt;
  }
  const bool unknown = Text(host).empty() || Text(host) == "?";
  return Endpoint{.host = unknown ? asked.host : std::string(Text(host)),
                  .port = static_cast<int>(port.integer),
                  .path = {}};
}

}  // namespace

std::uint16_t SlotOf(unsigned bucket) {
  const std::string tag = Keys::HashTag(bucket);
  std::uint16_t crc = 0;
  for (char c : std::string_view(tag).substr(1, tag.size() - 2)) {
    crc = static_cast<std::uint16_t>(crc ^ (static_cast<unsigned char>(c) << 8));
    for (int bit = 0; bit < 8; ++bit) {
      const bool high = (crc & 0x8000) != 0;
      crc = static_cast<std::uint16_t>(crc << 1);
      if (high) crc ^= kCrcPolynomial;
    }
  }
  return crc % kSlots;
}

Result<SlotMap> ReadSlotMap(const valkeyReply& reply, const Endpoint& asked) {
  if (reply.type != VALKEY_REPLY_ARRAY) return Unavailable("server: " + std::string(Text(reply)));
  SlotMap map;
  for (unsigned bucket = 0; bucket < kBuckets; ++bucket) {
    const std::uint16_t slot = SlotOf(bucket);
    std::optional<Endpoint> primary;
    for (std::size_t i = 0; i < reply.elements && !primary; ++i) {
      const valkeyReply& range = *reply.element[i];
      if (range.type != VALKEY_REPLY_ARRAY || range.elements < 3) continue;
      if (range.element[0]->integer > slot || range.element[1]->integer < slot) continue;
      primary = ReadNode(*range.element[2], asked);
    }
    if (!primary) return Unavailable("the cluster does not serve all slots");
    const auto found = std::find(map.primaries.begin(), map.primaries.end(), *primary);
    map.primary_of[bucket] = static_cast<std::uint16_t>(found - map.primaries.begin());
    if (found == map.primaries.end()) map.primaries.push_back(*std::move(primary));
  }
  return map;
}

Result<Endpoint> ReadRedirection(std::string_view error, const Endpoint& asked) {
  const std::string_view address = error.substr(error.rfind(' ') + 1);
  const std::size_t colon = address.rfind(':');
  Endpoint endpoint{.host = std::string(address.substr(0, colon)), .port = 0, .path = {}};
  if (endpoint.host.empty()) endpoint.host = asked.host;
  if (colon != address.npos) {
    const std::string_view port = address.substr(colon + 1);
    std::from_chars(port.data(), port.data() + port.size(), endpoint.port);
  }
  if (endpoint.port < 1 || endpoint.port > 65535) {
    return Unavailable("unintelligible: " + std::string(error));
  }
  return endpoint;
}

}  // namespace smartcache::redis
