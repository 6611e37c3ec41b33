#include "l2/redis/batch.h"

#include <charconv>

namespace smartcache::redis {
namespace {

constexpr std::size_t kBytesKept = 64 << 10;  // of a buffer that one large value has grown
constexpr std::string_view kEvalSha = "$7\r\nEVALSHA\r\n$40\r\n";

void AppendHeader(std::string& out, char type, std::size_t number) {
  char text[24];
  text[0] = type;
  char* end = std::to_chars(text + 1, text + 22, number).ptr;
  *end++ = '\r';
  *end++ = '\n';
  out.append(text, static_cast<std::size_t>(end - text));
}

}  // namespace

void Batch::Clear() {
  commands_.clear();
  replies.clear();
  bytes_.clear();
  if (bytes_.capacity() > kBytesKept) bytes_.shrink_to_fit();
}

void Batch::Start(unsigned bucket, std::size_t args) {
  commands_.push_back({bytes_.size(), bytes_.size(), bucket, nullptr});
  AppendHeader(bytes_, '*', args);
}

void Batch::StartScript(unsigned bucket, const Script& script, std::size_t keys, std::size_t args) {
  Start(bucket, 3 + keys + args);
  commands_.back().script = &script;
  bytes_ += kEvalSha;
  bytes_ += script.sha1;
  bytes_ += "\r\n";
  Number(static_cast<std::int64_t>(keys));
}

void Batch::Arg(std::string_view a, std::string_view b, std::string_view c) {
  const std::size_t size = a.size() + b.size() + c.size();
  if (size > kBytesKept) bytes_.reserve(bytes_.size() + size + kBytesKept);  // grow once
  AppendHeader(bytes_, '$', size);
  bytes_ += a;
  bytes_ += b;
  bytes_ += c;
  bytes_ += "\r\n";
  commands_.back().end = bytes_.size();
}

void Batch::Number(std::int64_t value) {
  char text[24];
  Arg({text, static_cast<std::size_t>(std::to_chars(text, text + 24, value).ptr - text)});
}

void Batch::Add(unsigned bucket, std::initializer_list<std::string_view> args) {
  Start(bucket, args.size());
  for (std::string_view arg : args) Arg(arg);
}

void Batch::AddWithSource(const Batch& other, std::size_t i) {
  const Command& command = other.commands_[i];
  std::string_view text(other.bytes_);
  text = text.substr(command.begin, command.end - command.begin);
  const std::size_t head = text.find('\n') + 1;
  const std::size_t tail = head + kEvalSha.size() + command.script->sha1.size() + 2;
  commands_.push_back({bytes_.size(), 0, command.bucket, command.script});
  bytes_ += text.substr(0, head);
  bytes_ += "$4\r\nEVAL\r\n";
  Arg(command.script->source);
  bytes_ += text.substr(tail);
  commands_.back().end = bytes_.size();
}

void Batch::AddCopy(const Batch& other, std::size_t i) {
  Command command = other.commands_[i];
  const std::size_t size = command.end - command.begin;
  const std::size_t begin = bytes_.size();
  bytes_.append(other.bytes_, command.begin, size);
  commands_.push_back({begin, begin + size, command.bucket, command.script});
}

bool IsError(const valkeyReply& reply, std::string_view code) {
  if (reply.type != VALKEY_REPLY_ERROR) return false;
  const std::string_view text = Text(reply);
  return text.starts_with(code) && (text.size() == code.size() || text[code.size()] == ' ');
}

}  // namespace smartcache::redis
