// An entry as L1 holds it. Immutable once inserted, shared by readers, freed by the last of them.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "l1/local_key.h"
#include "smartcache/cache.h"
#include "smartcache/entry.h"
#include "tags/slots.h"

namespace smartcache {

struct LocalEntry {
  // What every hit looks at comes first: with the reference count before it, two cache lines.
  std::uint64_t identity = 0;
  Instant soft_deadline = kNever;
  Instant hard_deadline = kNever;
  // A shortcut past the slots. Listener: the Slots::changes() at which all tags were last seen
  // fresh. Embedded: the store's change counter, likewise. Only set while no slot's deadline comes
  // before ours.
  mutable std::atomic<std::uint64_t> checked{0};
  std::unique_ptr<Value> value;
  void* immutable = nullptr;  // value->immutable()
  LocalKey key;

  Tag hash = 0;             // KeyTag(key)
  std::size_t weight = 0;   // bytes charged: this struct, key, tags and value
  std::uint64_t epoch = 0;  // of the store that its tokens belong to
  Duration cost{};
  std::vector<SlotToken> tags;
  // A plain entry (stored by an explicit set) has no token of its own key: it is good while the
  // key's slot has not been dropped and the stamp stands. Null for computed entries.
  SlotRef key_slot;
  std::uint64_t key_version = 0;
  std::uint64_t stamp = 0;
};

}  // namespace smartcache
