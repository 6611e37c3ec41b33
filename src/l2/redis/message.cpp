#include "l2/redis/message.h"

#include <cstddef>

namespace smartcache::redis {
namespace {

constexpr char kVersion = 1;
constexpr std::size_t kNumberBytes = 8;
constexpr std::size_t kHeadBytes = 2 + kNumberBytes;

std::uint64_t ReadNumber(std::string_view bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < kNumberBytes; ++i) {
    value |= std::uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  }
  return value;
}

}  // namespace

std::string MessageHead(MessageKind kind, std::uint64_t origin) {
  std::string message{kVersion, static_cast<char>(kind)};
  AppendTag(message, origin);
  return message;
}

void AppendTag(std::string& message, Tag tag) {
  char bytes[kNumberBytes];
  for (char& byte : bytes) {
    byte = static_cast<char>(tag & 0xff);
    tag >>= 8;
  }
  message.append(bytes, sizeof bytes);
}

std::string EncodeMessage(MessageKind kind, std::uint64_t origin, std::span<const Tag> tags) {
  std::string message = MessageHead(kind, origin);
  message.reserve(kHeadBytes + kNumberBytes * tags.size());
  for (Tag tag : tags) AppendTag(message, tag);
  return message;
}

std::optional<Message> DecodeMessage(std::string_view bytes) {
  if (bytes.size() < kHeadBytes || bytes[0] != kVersion) return std::nullopt;
  if ((bytes.size() - kHeadBytes) % kNumberBytes != 0) return std::nullopt;
  Message message;
  message.kind = static_cast<MessageKind>(bytes[1]);
  switch (message.kind) {
    case MessageKind::kBump:
    case MessageKind::kClear:
    case MessageKind::kUnlock:
      break;
    default:
      return std::nullopt;
  }
  message.origin = ReadNumber(bytes.substr(2));
  message.tags.reserve((bytes.size() - kHeadBytes) / kNumberBytes);
  for (std::size_t at = kHeadBytes; at < bytes.size(); at += kNumberBytes) {
    message.tags.push_back(ReadNumber(bytes.substr(at)));
  }
  return message;
}

}  // namespace smartcache::redis
