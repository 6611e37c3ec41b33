// Replies of a server that says anything, for fuzzers.
#pragma once

#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>

// Takes an input for choices, and writes replies in the types of RESP3: a fuzzer that had to find
// their form by itself would seldom get past it.
class ReplyWriter {
 public:
  explicit ReplyWriter(std::string_view input) : input_(input) {}

  std::uint8_t Byte() {
    if (input_.empty()) return 0;
    const auto byte = static_cast<std::uint8_t>(input_.front());
    input_.remove_prefix(1);
    return byte;
  }
  [[nodiscard]] bool empty() const { return input_.empty(); }

  // One reply, or one message that nobody asked for.
  std::string Write() {
    std::string out;
    Write(out, 4);
    return out;
  }

 private:
  void Write(std::string& out, int depth) {
    switch (const std::uint8_t choice = Byte(); choice % 16) {
      case 0:
      case 1:
        return Aggregate(out, '*', 1, depth);
      case 2:
        return Aggregate(out, '>', 1, depth);
      case 3:
        return Aggregate(out, '%', 2, depth);
      case 4:
        return Aggregate(out, '~', 1, depth);
      case 5:
        return Line(out, ':', std::to_string(static_cast<std::int8_t>(Byte())));
      case 6:
        return Line(out, ':', std::to_string(static_cast<std::int64_t>(Word())));
      case 7:
        return Line(out, '_', "");
      case 8:
        return Line(out, '#', (Byte() & 1) != 0 ? "t" : "f");
      case 9:
        return Line(out, ',', (Byte() & 1) != 0 ? "inf" : "1.5");
      case 10:
        return Line(out, '-', kErrors[Byte() % std::size(kErrors)] + Text());
      case 11:
        return Line(out, '+', Text());
      case 12:
        return Bulk(out, '=', "txt:" + Text());
      case 13:
        return Bulk(out, '$', std::to_string(static_cast<std::int64_t>(Word())));
      case 14:
        return Bulk(out, '$', kWords[Byte() % std::size(kWords)]);
      default:
        return Bulk(out, '$', Text());
    }
  }

  static constexpr const char* kErrors[] = {"MOVED 1 ", "ASK 1 ", "OOM ", "NOSCRIPT ", "ERR "};
  static constexpr const char* kWords[] = {
      "",        "?",        "v",         "ca,b",       "host",         "0",   "-1",
      "message", "smessage", "subscribe", "ssubscribe", "sunsubscribe", "PONG"};

  std::uint64_t Word() {
    std::uint64_t word = 0;
    for (int i = 0; i < 8; ++i) word = word << 8 | Byte();
    return word;
  }
  std::string Text() {
    std::string text(input_.substr(0, Byte() % 32));
    input_.remove_prefix(text.size() < input_.size() ? text.size() : input_.size());
    for (char& c : text) c = c == '\r' || c == '\n' ? ' ' : c;
    return text;
  }
  static void Line(std::string& out, char type, std::string_view text) {
    out += type;
    out += text;
    out += "\r\n";
  }
  static void Bulk(std::string& out, char type, std::string_view text) {
    Line(out, type, std::to_string(text.size()));
    out += text;
    out += "\r\n";
  }
  void Aggregate(std::string& out, char type, int width, int depth) {
    const int count = depth == 0 ? 0 : Byte() % 8;
    Line(out, type, std::to_string(count));
    for (int i = 0; i < count * width; ++i) Write(out, depth - 1);
  }

  std::string_view input_;
};
