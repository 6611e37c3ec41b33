#include "python/answers.h"

#include <nanobind/stl/unique_ptr.h>

#include <cmath>
#include <utility>

#include "base/leave_behind.h"
#include "python/errors.h"
#include "python/gil.h"
#include "python/hooks.h"
#include "python/interrupts.h"
#include "python/payload.h"
#include "python/py_cache.h"
#include "python/py_value.h"
#include "python/waiting.h"

namespace smartcache::binding {
namespace {

struct MissType {};

PyObject* miss = nullptr;  // lives as long as the module

// A subscriber's callable, which the core may copy and drop on any thread.
class Callback final : public Owner {
 public:
  explicit Callback(nb::object call) : call_(std::move(call)) {}
  void operator()() const {
    const nb::object kept = call_;
    PyObject* result = PyObject_CallNoArgs(kept.ptr());
    if (result == nullptr) ReportException(kept.ptr());
    Py_XDECREF(result);
  }

 private:
  nb::object call_;
};

// What `encode` gave.
Payload PayloadOf(nb::handle encoded) {
  const auto bytes = nb::cast<nb::bytes>(encoded[0]);
  return {std::string(bytes.c_str(), bytes.size()), nb::cast<std::uint8_t>(encoded[1])};
}

}  // namespace

nb::object Miss() { return nb::borrow(miss); }

Duration SecondsOf(double seconds) {
  constexpr double kLongest = 9.2e9;  // what 64 bits of nanoseconds hold
  if (std::isnan(seconds) || seconds >= kLongest) return kNever;
  return Duration(static_cast<std::int64_t>(std::fmax(seconds, 0) * 1e9));
}

Duration SecondsOf(nb::handle seconds) {
  return seconds.is_none() ? kNever : SecondsOf(nb::cast<double>(seconds));
}

nb::object ToSeconds(Duration span) {
  return span == kNever ? nb::none() : nb::cast(std::chrono::duration<double>(span).count());
}

TagVector TagTokensOf(nb::handle pairs) {
  TagVector tags;
  for (const nb::handle pair : pairs) {
    tags.push_back({nb::cast<Tag>(pair[0]), nb::cast<Token>(pair[1])});
  }
  return tags;
}

PyLead::PyLead(std::shared_ptr<Cache> cache, Lead lead)
    : cache_(std::move(cache)),
      lead_(std::move(lead)),
      key_(lead_->key()),
      key_token_(lead_->key_token()) {}

PyLead::~PyLead() {
  if (InterpreterGone()) {
    // Ending it would ask the store with Python's lock held. Its lock's lease ends by itself.
    LeaveBehind(std::move(lead_));
    LeaveBehind(std::move(cache_));
    return;
  }
  if (!lead_) return;
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);  // callbacks may run
  WithoutGil([this] { cache_->Abandon(*Take(), /*retry=*/true); });
  PyErr_Restore(type, value, traceback);
}

std::optional<Lead> PyLead::Take() {
  std::optional<Lead> taken = std::move(lead_);
  lead_.reset();
  return taken;
}

bool PyLead::Fill(const nb::object& value, nb::handle tags, nb::handle ttl, double stale,
                  double cost, std::uint64_t identity, bool local, const nb::object& encoded) {
  DrainDropped();
  // Taken at once: user code below may run, and another thread may call.
  std::optional<Lead> lead = Take();
  if (!lead) return false;
  const auto abandon = [&] {
    WithoutGil([&] { cache_->Abandon(*std::move(lead), /*retry=*/false); });
  };
  try {
    Computed computed;
    computed.ttl = SecondsOf(ttl);
    computed.stale = SecondsOf(stale);
    computed.cost = SecondsOf(cost);
    computed.identity = identity;
    computed.tags = TagTokensOf(tags);
    if (computed.ttl <= Duration::zero()) {
      abandon();
      return false;
    }
    std::optional<Payload> payload =
        encoded.is_none() ? EncodeValue(value.ptr()) : PayloadOf(encoded);
    if (!payload) nb::raise_python_error();
    if (local && process.keeps_local &&
        payload->bytes.size() <= cache_->options().max_payload_bytes) {
      computed.value = PyValue::Make(value.ptr(), payload->bytes, payload->codec);
    }
    computed.payload = std::move(payload->bytes);
    computed.codec = payload->codec;
    return WithoutGil([&] {
      return cache_->Fill(*std::move(lead), std::move(computed)) == FillOutcome::kStored;
    });
  } catch (nb::python_error&) {
    abandon();
    throw;
  } catch (nb::cast_error&) {
    abandon();
    throw;
  }
}

void PyLead::Abandon(bool retry) {
  DrainDropped();
  std::optional<Lead> lead = Take();
  if (lead) WithoutGil([&] { cache_->Abandon(*std::move(lead), retry); });
}

std::unique_ptr<PyAnswer> PyAnswer::Find(const std::shared_ptr<Cache>& cache, std::string_view key,
                                         FindOptions options, PyObject* patience) {
  Waiting waiting(patience);
  const Patience asked = [&waiting] { return waiting.GoesOn(); };
  options.patience = &asked;
  const auto find = [&] {
    Answer answer = WithoutGil([&] { return cache->Find(key, options); });
    waiting.RaiseWhatEndedIt();
    return Of(cache, std::move(answer));
  };
  auto made = find();
  if (!made->undecodable_) return made;
  options.distrust = true;
  return find();
}

std::unique_ptr<PyAnswer> PyAnswer::Of(const std::shared_ptr<Cache>& cache, Answer answer) {
  auto made = std::make_unique<PyAnswer>();
  made->value = Miss();
  made->lead = nb::none();
  switch (answer.kind) {
    case AnswerKind::kHit:
    case AnswerKind::kStale:
      made->kind = answer.kind == AnswerKind::kHit ? kPublicHit : kPublicStale;
      made->TakeLocal(answer);
      if (made->value.is(Miss())) made->kind = kPublicBypass;
      break;
    case AnswerKind::kLead:
      made->kind = kPublicLead;
      // First: an interrupt abandons it.
      made->lead = nb::cast(std::make_unique<PyLead>(cache, *std::move(answer.lead)));
      if (answer.local) {
        made->TakeLocal(answer);
      } else if (answer.stored) {
        const EntryView& entry = answer.stored->entry;
        if (PyObject* old = DecodeValue(entry.payload, entry.header.codec)) {
          made->value = nb::steal(old);
        } else if (PyErr_Occurred() != nullptr) {
          nb::raise_python_error();
        }
      }
      made->source = "";
      break;
    case AnswerKind::kWait:
      made->kind = kPublicWait;
      made->flight_ = std::move(answer.flight);
      break;
    case AnswerKind::kStored:
      made->undecodable_ = !made->TakeStored(cache, answer);
      break;
    case AnswerKind::kBypass:
      break;
  }
  return made;
}

void PyAnswer::TakeLocal(Answer& answer) {
  local_ = std::move(answer.local);
  PyObject* copy = PyValue::Copy(*local_);
  if (copy == nullptr) {
    if (!ClearException()) nb::raise_python_error();
    return;
  }
  value = nb::steal(copy);
  source = "local";
  if (local_->hard_deadline != kNever) {
    remaining_ = std::max(Duration::zero(), local_->hard_deadline - Clock::System().Now());
  }
}

bool PyAnswer::TakeStored(const std::shared_ptr<Cache>& cache, Answer& answer) {
  const StoredValue& stored = *answer.stored;
  const EntryView& entry = stored.entry;
  PyObject* decoded = DecodeValue(entry.payload, entry.header.codec);
  if (decoded == nullptr) {
    std::optional<PyLead> abandoned;
    if (answer.lead) abandoned.emplace(cache, *std::move(answer.lead));
    abandoned.reset();
    if (PyErr_Occurred() != nullptr) nb::raise_python_error();
    return false;
  }
  value = nb::steal(decoded);
  kind = stored.stale ? kPublicStale : kPublicHit;
  source = "store";
  remaining_ = stored.remaining;
  std::unique_ptr<Value> local;
  if (stored.draft) local = PyValue::Make(decoded, entry.payload, entry.header.codec);
  if (local || answer.lead) WithoutGil([&] { cache->Admit(answer, std::move(local)); });
  tags_ = std::move(answer.stored->entry.header.tags);
  return true;
}

PyObject* FindForCall(std::string_view key, const FindOptions& options, bool& hit) {
  std::unique_ptr<PyAnswer> answer = PyAnswer::Find(CurrentCache(), key, options, nullptr);
  hit = answer->kind == kPublicHit;
  return hit ? answer->value.release().ptr() : nb::cast(std::move(answer)).release().ptr();
}

nb::list PyAnswer::Tags() const {
  nb::list list;
  if (local_) {
    for (const SlotToken& slot : local_->tags) {
      list.append(nb::make_tuple(slot.tag_token.tag, slot.tag_token.token));
    }
  }
  for (const TagToken& tag : tags_) list.append(nb::make_tuple(tag.tag, tag.token));
  return list;
}

nb::object PyAnswer::Remaining() const { return ToSeconds(remaining_); }

void PyAnswer::Subscribe(nb::object callback) {
  if (!flight_) throw nb::value_error("only an answer of kind WAIT can be subscribed to");
  // Copies of the function share one callback, dropped where Python's lock is held.
  const std::shared_ptr<Callback> shared(new Callback(std::move(callback)), [](Callback* last) {
    DropLater(std::unique_ptr<Owner>(last));
  });
  WithoutGil([&] {
    flight_->Subscribe([shared] {
      const GilHold gil;
      if (gil) (*shared)();
    });
  });
}

void AddAnswers(nb::module_& module) {
  nb::class_<MissType>(module, "MissType", nb::is_final())
      .def("__bool__", [](const MissType&) { return false; })
      .def("__repr__", [](const MissType&) { return "MISS"; })
      .def("__reduce__", [](const MissType&) { return "MISS"; });
  const nb::object made = nb::cast(MissType());
  miss = Py_NewRef(made.ptr());
  module.attr("MISS") = made;

  module.attr("HIT") = static_cast<int>(kPublicHit);
  module.attr("STALE") = static_cast<int>(kPublicStale);
  module.attr("LEAD") = static_cast<int>(kPublicLead);
  module.attr("WAIT") = static_cast<int>(kPublicWait);
  module.attr("BYPASS") = static_cast<int>(kPublicBypass);

  nb::class_<PyLead>(module, "Lead")
      .def_prop_ro("key", &PyLead::key)
      .def_prop_ro("key_token", &PyLead::key_token)
      .def("fill", &PyLead::Fill, nb::arg("value").none(), nb::kw_only(), nb::arg("tags"),
           nb::arg("ttl").none(), nb::arg("stale") = 0.0, nb::arg("cost") = 0.0,
           nb::arg("identity") = 0, nb::arg("local") = true, nb::arg("encoded") = nb::none())
      .def("abandon", &PyLead::Abandon, nb::kw_only(), nb::arg("retry"));

  nb::class_<PyAnswer>(module, "Answer")
      .def_ro("kind", &PyAnswer::kind)
      .def_ro("value", &PyAnswer::value)
      .def_ro("lead", &PyAnswer::lead)
      .def_ro("source", &PyAnswer::source)
      .def_prop_ro("tags", &PyAnswer::Tags)
      .def_prop_ro("remaining", &PyAnswer::Remaining)
      .def_prop_ro("elsewhere", &PyAnswer::Elsewhere)
      .def("subscribe", &PyAnswer::Subscribe, nb::arg("callback"));
}

}  // namespace smartcache::binding
