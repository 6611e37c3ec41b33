// What an operation came to: a value, or a code that says what the caller should do about it.
// A miss is not an error. Errors never cross the binding as C++ exceptions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace smartcache {

// Grouped by what the caller does next.
enum class Code : std::uint8_t {
  kOk = 0,
  kUnavailable,  // The store cannot be reached or did not answer in time: compute, do not store.
  kTooLarge,     // The value exceeds a limit: compute, do not store, count it.
  kCorrupt,      // Damaged, foreign or tampered bytes: a miss and a counter.
  kInvalidArgument,  // The caller's mistake: raise at once, naming the thing and what is allowed.
};

[[nodiscard]] std::string_view CodeName(Code code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  [[nodiscard]] bool ok() const { return code_ == Code::kOk; }
  [[nodiscard]] Code code() const { return code_; }
  [[nodiscard]] const std::string& message() const { return message_; }

 private:
  Code code_ = Code::kOk;
  std::string message_;
};

inline Status Ok() { return {}; }
inline Status Unavailable(std::string message) { return {Code::kUnavailable, std::move(message)}; }
inline Status Corrupt(std::string message) { return {Code::kCorrupt, std::move(message)}; }

// Either a T or a Status that is not ok.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}         // NOLINT(google-explicit-constructor)
  Result(Status status) : state_(std::move(status)) {}  // NOLINT(google-explicit-constructor)

  [[nodiscard]] bool ok() const { return std::holds_alternative<T>(state_); }
  [[nodiscard]] const T& value() const& { return std::get<T>(state_); }
  [[nodiscard]] T& value() & { return std::get<T>(state_); }
  [[nodiscard]] T&& value() && { return std::get<T>(std::move(state_)); }
  const T& operator*() const& { return value(); }
  T& operator*() & { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  const T* operator->() const { return &value(); }
  T* operator->() { return &value(); }
  [[nodiscard]] Status status() const { return ok() ? Status() : std::get<Status>(state_); }

 private:
  std::variant<Status, T> state_;
};

}  // namespace smartcache
