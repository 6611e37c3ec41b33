// What reads come to, as Python sees it: Answer, and the Lead of whoever has to compute.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/unique_ptr.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "smartcache/cache.h"

namespace smartcache::binding {

namespace nb = nanobind;

// The public names of AnswerKind: what is kStored inside is a hit or stale outside.
enum PublicKind : int { kPublicHit = 0, kPublicStale, kPublicLead, kPublicWait, kPublicBypass };

// Singleton MISS, new reference.
[[nodiscard]] nb::object Miss();

class PyLead {
 public:
  PyLead(std::shared_ptr<Cache> cache, Lead lead);
  ~PyLead();
  PyLead(const PyLead&) = delete;
  PyLead& operator=(const PyLead&) = delete;

  [[nodiscard]] nb::bytes key() const { return nb::bytes(key_.data(), key_.size()); }
  [[nodiscard]] Token key_token() const { return key_token_; }
  bool Fill(const nb::object& value, nb::handle tags, nb::handle ttl, double stale, double cost,
            std::uint64_t identity, bool local, const nb::object& encoded);
  void Abandon(bool retry);

 private:
  // The lead, which this object has no more; none if it has been given away before.
  std::optional<Lead> Take();

  std::shared_ptr<Cache> cache_;
  std::optional<Lead> lead_;
  std::string key_;
  Token key_token_;
};

class PyAnswer {
 public:
  // Cache.find: asks once more if what lies in the store cannot be decoded. Needs the GIL, and
  // gives it away meanwhile. Waits end when a signal's handler raises, or `patience`, a callable or
  // null, gives something false.
  static std::unique_ptr<PyAnswer> Find(const std::shared_ptr<Cache>& cache, std::string_view key,
                                        FindOptions options, PyObject* patience);
  // Decodes what has to be decoded, and lets L1 have it; what cannot be decoded is a miss.
  static std::unique_ptr<PyAnswer> Of(const std::shared_ptr<Cache>& cache, Answer answer);

  int kind = kPublicBypass;
  nb::object value;
  nb::object lead;
  const char* source = "";
  [[nodiscard]] nb::list Tags() const;
  [[nodiscard]] nb::object Remaining() const;
  [[nodiscard]] bool Elsewhere() const { return kind == kPublicWait && !flight_; }
  void Subscribe(nb::object callback);

 private:
  void TakeLocal(Answer& answer);
  bool TakeStored(const std::shared_ptr<Cache>& cache, Answer& answer);

  LocalRef local_;
  bool undecodable_ = false;
  TagVector tags_;
  Duration remaining_ = kNever;
  std::shared_ptr<Flight> flight_;
};

// Cache.find for the call path: gives the value of a hit, new reference, and sets `hit`; of
// anything else the Answer. Gives the GIL away meanwhile.
[[nodiscard]] PyObject* FindForCall(std::string_view key, const FindOptions& options, bool& hit);

// Seconds of Python as nanoseconds; None and what is beyond 290 years: kNever.
[[nodiscard]] Duration SecondsOf(nb::handle seconds);
[[nodiscard]] Duration SecondsOf(double seconds);
// None for kNever.
[[nodiscard]] nb::object ToSeconds(Duration span);
[[nodiscard]] TagVector TagTokensOf(nb::handle pairs);

void AddAnswers(nb::module_& module);

}  // namespace smartcache::binding
