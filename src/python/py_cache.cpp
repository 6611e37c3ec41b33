#include "python/py_cache.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/leave_behind.h"
#include "python/answers.h"
#include "python/class_table.h"
#include "python/configure.h"
#include "python/context.h"
#include "python/errors.h"
#include "python/gil.h"
#include "python/hooks.h"
#include "python/py_value.h"
#include "smartcache/cache.h"
#include "smartcache/tls.h"

namespace smartcache::binding {
namespace {

std::string TextOfKey(nb::handle key) {
  char* data = nullptr;
  Py_ssize_t size = 0;
  if (PyBytes_AsStringAndSize(key.ptr(), &data, &size) != 0) nb::raise_python_error();
  return {data, static_cast<std::size_t>(size)};
}

std::vector<std::string> KeysOf(nb::handle keys) {
  std::vector<std::string> made;
  for (const nb::handle key : keys) made.push_back(TextOfKey(key));
  return made;
}

PutCondition ConditionOf(std::string_view name) {
  if (name == "always") return PutCondition::kAlways;
  if (name == "if_absent") return PutCondition::kIfAbsent;
  if (name == "if_present") return PutCondition::kIfPresent;
  throw nb::value_error("condition is one of 'always', 'if_absent', 'if_present'");
}

std::vector<SchemeKnowledge> KnowledgeOf(nb::handle schemes) {
  std::vector<SchemeKnowledge> known;
  for (const nb::handle scheme : schemes) {
    known.push_back(
        {nb::cast<Tag>(scheme[0]), nb::cast<Tag>(scheme[1]), nb::cast<std::uint64_t>(scheme[2])});
  }
  return known;
}

// What Python holds of a writer's marks.
class PyMark {
 public:
  explicit PyMark(std::unique_ptr<Marked> marked) : marked_(std::move(marked)) {}
  ~PyMark() {
    if (InterpreterGone()) {
      LeaveBehind(std::move(marked_));
    } else {
      WithoutGil([this] { marked_.reset(); });
    }
  }
  PyMark(const PyMark&) = delete;
  PyMark& operator=(const PyMark&) = delete;
  [[nodiscard]] std::unique_ptr<Marked> Take() { return std::move(marked_); }

 private:
  std::unique_ptr<Marked> marked_;
};

class PyCache {
 public:
  explicit PyCache(std::shared_ptr<Cache> cache) : cache_(std::move(cache)) {}
  ~PyCache() {
    if (InterpreterGone()) {
      LeaveBehind(std::move(cache_));  // its threads and values end with the process
    } else {
      WithoutGil([this] { cache_.reset(); });
    }
  }
  PyCache(const PyCache&) = delete;
  PyCache& operator=(const PyCache&) = delete;
  [[nodiscard]] const std::shared_ptr<Cache>& core() const { return cache_; }

  nb::object Peek(nb::handle key, std::uint64_t identity) const {
    DrainDropped();
    char* data = nullptr;
    Py_ssize_t size = 0;
    if (PyBytes_AsStringAndSize(key.ptr(), &data, &size) != 0) nb::raise_python_error();
    const std::string_view text(data, static_cast<std::size_t>(size));
    if (ProofNow() == Proof::kStore) return Miss();
    const LocalRef entry = cache_->Peek(KeyTag(text), text, identity);
    if (!entry) return Miss();
    PyObject* copy = PyValue::Copy(*entry);
    if (copy != nullptr) return nb::steal(copy);
    if (PyErr_Occurred() != nullptr) nb::raise_python_error();
    return Miss();
  }

  std::unique_ptr<PyAnswer> Find(nb::handle key, std::uint64_t identity, std::uint64_t owner,
                                 bool lock, bool wait, bool linger, bool nested, bool stale,
                                 nb::handle patience) const {
    DrainDropped();
    const std::string text = TextOfKey(key);
    FindOptions options;
    options.identity = identity;
    options.owner = owner;
    options.lock = lock;
    options.wait = wait;
    options.linger = linger;
    options.nested = nested;
    options.stale = stale;
    options.proof = ProofNow();
    return PyAnswer::Find(cache_, text, options, patience.is_none() ? nullptr : patience.ptr());
  }

  std::unique_ptr<PyAnswer> GetAnswer(nb::handle key, std::uint64_t identity) const {
    DrainDropped();
    const std::string text = TextOfKey(key);
    const Proof proof = ProofNow();
    return PyAnswer::Of(cache_, WithoutGil([&] { return cache_->Get(text, identity, proof); }));
  }

  nb::object Get(nb::handle key, std::uint64_t identity) const {
    nb::object local = Peek(key, identity);
    return local.is(Miss()) ? GetAnswer(key, identity)->value : local;
  }

  nb::dict GetMany(nb::handle keys) const {
    DrainDropped();
    const std::vector<std::string> texts = KeysOf(keys);
    const Proof proof = ProofNow();
    std::vector<Answer> answers = WithoutGil([&] { return cache_->GetMany(texts, proof); });
    nb::dict found;
    for (std::size_t i = 0; i < answers.size(); ++i) {
      nb::object value = PyAnswer::Of(cache_, std::move(answers[i]))->value;
      if (!value.is(Miss())) found[nb::bytes(texts[i].data(), texts[i].size())] = value;
    }
    return found;
  }

  bool Fence() const {
    return WithoutGil([&] { return cache_->Fence(); });
  }

  nb::object Ttl(nb::handle key) const {
    const std::string text = TextOfKey(key);
    const auto left = WithoutGil([&] { return cache_->Ttl(text); });
    if (!left) throw nb::key_error("no such entry");
    return ToSeconds(*left);
  }

  nb::object Take(nb::handle tags, nb::handle schemes) const {
    DrainDropped();
    const auto wanted = nb::cast<std::vector<Tag>>(tags);
    std::vector<SchemeRequest> requests;
    for (const nb::handle scheme : schemes) {
      requests.push_back(
          {nb::cast<Tag>(scheme[0]), nb::cast<Tag>(scheme[1]), nb::cast<std::string>(scheme[2])});
    }
    const auto tokens = WithoutGil([&] { return cache_->Take(wanted, requests); });
    return tokens ? nb::cast(*tokens) : nb::none();
  }

  bool Fresh(nb::handle tags) const {
    const TagVector known = TagTokensOf(tags);
    return WithoutGil([&] { return cache_->Fresh(known); });
  }

  std::unique_ptr<PyMark> Mark(nb::handle tags, nb::handle schemes) const {
    const auto wanted = nb::cast<std::vector<Tag>>(tags);
    const std::vector<SchemeKnowledge> known = KnowledgeOf(schemes);
    auto marked = WithoutGil([&] { return cache_->Mark(wanted, known); });
    return marked ? std::make_unique<PyMark>(std::move(marked)) : nullptr;
  }

  std::unique_ptr<PyMark> Stand(nb::handle tables) const {
    std::vector<CoarseTags> coarse;
    for (const nb::handle table : tables) {
      coarse.push_back({nb::cast<Tag>(table[0]), nb::cast<Tag>(table[1]), nb::cast<Tag>(table[2])});
    }
    auto marked = WithoutGil([&] { return cache_->Stand(coarse); });
    return marked ? std::make_unique<PyMark>(std::move(marked)) : nullptr;
  }

  nb::object Bump(nb::handle tags, nb::handle schemes, PyMark* mark) const {
    DrainDropped();
    const auto bumped = nb::cast<std::vector<Tag>>(tags);
    const std::vector<SchemeKnowledge> known = KnowledgeOf(schemes);
    std::unique_ptr<Marked> marked = mark == nullptr ? nullptr : mark->Take();
    const auto reply = WithoutGil([&] { return cache_->Bump(bumped, known, std::move(marked)); });
    if (!reply) return nb::none();
    nb::list list;
    for (const Schemes& present : reply->schemes) {
      list.append(nb::make_tuple(present.version, nb::cast(present.columns)));
    }
    return list;
  }

  bool Put(nb::handle key, nb::handle value, nb::handle ttl, nb::handle tags,
           const std::string& condition, std::uint64_t identity) const {
    DrainDropped();
    const std::string text = TextOfKey(key);
    const PutCondition when = ConditionOf(condition);
    Computed computed;
    computed.ttl = SecondsOf(ttl);
    computed.tags = TagTokensOf(tags);
    computed.identity = identity;
    std::optional<Payload> payload = EncodeValue(value.ptr());
    if (!payload) nb::raise_python_error();
    computed.payload = std::move(payload->bytes);
    computed.codec = payload->codec;
    const auto stored = WithoutGil([&] { return cache_->Put(text, std::move(computed), when); });
    if (!stored.ok() && stored.status().code() == Code::kInvalidArgument) Raise(stored.status());
    return stored.ok() && *stored;
  }

  std::size_t Delete(nb::handle keys) const {
    DrainDropped();
    const std::vector<std::string> texts = KeysOf(keys);
    return ValueOf(WithoutGil([&] { return cache_->Delete(texts); }));
  }

  bool Touch(nb::handle key, nb::handle ttl) const {
    const std::string text = TextOfKey(key);
    const Duration span = SecondsOf(ttl);
    return ValueOf(WithoutGil([&] { return cache_->Touch(text, span); }));
  }

  void Clear() const {
    const Status status = WithoutGil([&] { return cache_->Clear(); });
    DrainDropped();
    if (!status.ok()) Raise(status);
  }

  bool TryUserLock(nb::handle key, std::uint64_t owner, double lease) const {
    const std::string text = TextOfKey(key);
    return ValueOf(WithoutGil([&] { return cache_->TryUserLock(text, owner, SecondsOf(lease)); }));
  }
  bool UserUnlock(nb::handle key, std::uint64_t owner) const {
    const std::string text = TextOfKey(key);
    return ValueOf(WithoutGil([&] { return cache_->UserUnlock(text, owner); }));
  }

  nb::dict Statistics() const {
    nb::dict counts;
    for (std::size_t i = 0; i < kCounterNames.size(); ++i) {
      const nb::str name(kCounterNames[i].data(), kCounterNames[i].size());
      counts[name] = cache_->stats().Get(static_cast<Counter>(i));
    }
    const Cache::LocalUse use = WithoutGil([&] { return cache_->local_use(); });
    counts["local_entries"] = use.entries;
    counts["local_bytes"] = use.bytes;
    counts["local_slots"] = use.slots;
    return counts;
  }

  std::string Describe() const {
    return WithoutGil([&] { return cache_->Describe(); });
  }
  bool Trusted() const {
    return WithoutGil([&] { return cache_->trusted(); });
  }
  nb::object LastFailure() const {
    const auto failure = WithoutGil([&] { return cache_->LastFailure(); });
    if (!failure) return nb::none();
    return nb::make_tuple(failure->message, ToSeconds(Clock::System().Now() - failure->at));
  }
  bool Pending() const {
    return WithoutGil([&] { return cache_->pending(); });
  }
  bool Available() const {
    return WithoutGil([&] { return cache_->available(); });
  }

 private:
  std::shared_ptr<Cache> cache_;
};

PyObject* current = nullptr;  // the PyCache in use

void Replace(PyObject*& kept, nb::object value) {
  PyObject* old = std::exchange(kept, value.release().ptr());
  Py_XDECREF(old);
}

nb::object Configure(const nb::kwargs& settings) {
  DrainDropped();
  const Settings wanted = SettingsOf(settings);
  // Made before the old one is closed, so that a bad URL changes nothing.
  std::optional<RedisParts> redis;
  if (wanted.url) {
    redis = ValueOf(
        WithoutGil([&] { return OpenRedis(*wanted.url, wanted.options, Clock::System()); }));
  }
  CloseCache();
  RedisParts parts;
  if (redis) {
    parts = *std::move(redis);
  } else {
    parts.store = OpenLmdbStore(wanted.options);
  }
  std::shared_ptr<Cache> made = WithoutGil([&] {
    return Cache::Make(wanted.options, std::move(parts.store), std::move(parts.backplane));
  });
  Replace(hooks.dumps, wanted.dumps);
  Replace(hooks.loads, wanted.loads);
  Replace(hooks.model_of, wanted.model_of);
  Replace(hooks.label_of, wanted.label_of);
  ForgetClasses();
  nb::object handle = nb::cast(std::make_unique<PyCache>(std::move(made)));
  process.cache = nb::cast<PyCache&>(handle).core().get();
  process.keeps_local = wanted.options.local_max_bytes != 0;
  Replace(current, handle);
  return handle;
}

}  // namespace

Proof ProofNow() {
  if (!process.asks_fenced() || hooks.fenced == nullptr) return Proof::kSlots;
  const nb::object hook = nb::borrow(hooks.fenced);  // a set_fenced() meanwhile must not free it
  const nb::object fenced = nb::steal(PyObject_CallNoArgs(hook.ptr()));
  if (!fenced.is_valid()) nb::raise_python_error();
  return nb::cast<bool>(fenced) ? Proof::kSlots : Proof::kStore;
}

std::shared_ptr<Cache> CurrentCache() {
  return current == nullptr ? nullptr : nb::cast<PyCache&>(nb::handle(current)).core();
}

void CloseCache() {
  process.cache = nullptr;
  const nb::object old = nb::steal(std::exchange(current, nullptr));
  if (!old.is_valid()) return;
  const std::shared_ptr<Cache> core = nb::cast<PyCache&>(old).core();
  WithoutGil([&] { core->Close(); });
  DrainDropped();
}

void AddCache(nb::module_& module) {
  const nb::tuple none = nb::make_tuple();
  [[maybe_unused]] const nb::class_<PyMark> mark(module, "Mark");
  nb::class_<PyCache>(module, "Cache")
      .def("peek", &PyCache::Peek, nb::arg("key"), nb::arg("identity") = 0)
      .def("find", &PyCache::Find, nb::arg("key"), nb::kw_only(), nb::arg("identity") = 0,
           nb::arg("owner") = 0, nb::arg("lock") = true, nb::arg("wait") = true,
           nb::arg("linger") = true, nb::arg("nested") = false, nb::arg("stale") = false,
           nb::arg("patience") = nb::none())
      .def("get", &PyCache::Get, nb::arg("key"), nb::arg("identity") = 0)
      .def("get_answer", &PyCache::GetAnswer, nb::arg("key"), nb::arg("identity") = 0)
      .def("get_many", &PyCache::GetMany, nb::arg("keys"))
      .def("fence", &PyCache::Fence)
      .def("ttl", &PyCache::Ttl, nb::arg("key"))
      .def("take", &PyCache::Take, nb::arg("tags"), nb::arg("schemes") = none)
      .def("fresh", &PyCache::Fresh, nb::arg("tags"))
      .def("mark", &PyCache::Mark, nb::arg("tags"), nb::arg("schemes") = none)
      .def("stand", &PyCache::Stand, nb::arg("tables"))
      .def("bump", &PyCache::Bump, nb::arg("tags"), nb::arg("schemes") = none,
           nb::arg("mark") = nb::none())
      .def("put", &PyCache::Put, nb::arg("key"), nb::arg("value").none(), nb::kw_only(),
           nb::arg("ttl").none(), nb::arg("tags") = none, nb::arg("condition") = "always",
           nb::arg("identity") = 0)
      .def("delete", &PyCache::Delete, nb::arg("keys"))
      .def("touch", &PyCache::Touch, nb::arg("key"), nb::arg("ttl").none())
      .def("clear", &PyCache::Clear)
      .def("try_user_lock", &PyCache::TryUserLock, nb::arg("key"), nb::arg("owner"),
           nb::arg("lease"))
      .def("user_unlock", &PyCache::UserUnlock, nb::arg("key"), nb::arg("owner"))
      .def("stats", &PyCache::Statistics)
      .def("describe", &PyCache::Describe)
      .def("trusted", &PyCache::Trusted)
      .def("last_failure", &PyCache::LastFailure)
      .def_prop_ro("pending", &PyCache::Pending)
      .def_prop_ro("available", &PyCache::Available);

  module.def("configure", &Configure);
  module.def(
      "check_folder",
      [](const std::string& directory, const std::string& prefix) {
        const Status status = WithoutGil([&] { return CheckLmdbFolder(directory, prefix); });
        if (!status.ok()) Raise(status);
      },
      nb::arg("directory"), nb::arg("prefix"));
  module.def(
      "register_tls",
      [](const nb::capsule& capsule) {
        void* const made =
            PyCapsule_IsValid(capsule.ptr(), tls::kCapsule) != 0 ? capsule.data() : nullptr;
        if (made == nullptr) throw nb::import_error("_tls is of another version than _core");
        tls::Register(*static_cast<const tls::MakeContext*>(made));
      },
      nb::arg("capsule"));
  module.def(
      "check_tls",
      [](const std::string& url) {
        const Status status = WithoutGil([&] { return CheckRedisTls(url); });
        if (!status.ok()) Raise(status);
      },
      nb::arg("url"));
  module.def("current", [] { return current == nullptr ? nb::none() : nb::borrow(current); });
  module.def("close", &CloseCache);
  module.def("after_fork", [] {
    // The GIL stays: the child has this one thread, and nothing here waits.
    KeepOwnContexts();
    if (process.cache != nullptr) process.cache->AfterFork();
  });
  module.def(
      "set_prefix",
      [](nb::object prefix) {
        if (!PyBytes_CheckExact(prefix.ptr()) && PyCallable_Check(prefix.ptr()) == 0) {
          throw nb::type_error("prefix must be bytes or a callable that returns them");
        }
        Replace(hooks.prefix, std::move(prefix));
      },
      nb::arg("prefix"));
  module.def(
      "set_fenced",
      [](nb::object fenced) {
        if (PyCallable_Check(fenced.ptr()) == 0) throw nb::type_error("fenced must be callable");
        Replace(hooks.fenced, std::move(fenced));
      },
      nb::arg("fenced"));
  module.def("count_fences", [](long change) { process.fences += change; }, nb::arg("change"));
  module.def(
      "enable",
      [](bool enabled, bool strict) {
        process.enabled = enabled;
        process.strict = strict;
      },
      nb::arg("enabled"), nb::arg("strict") = false);
}

}  // namespace smartcache::binding
