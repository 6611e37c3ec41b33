// How processes hear of each other's changes. A backplane has one connection whose replies and
// messages come in one order, so that an answered fence proves that all that was announced before
// it has arrived.
#pragma once

#include <cstdint>
#include <span>

#include "smartcache/clock.h"
#include "smartcache/result.h"
#include "smartcache/tag.h"

namespace smartcache {

// Told by the backplane's thread, one call at a time, in the order of arrival. Must not block.
class BackplaneSink {
 public:
  virtual ~BackplaneSink() = default;
  // Connected and subscribed to a store in state `epoch`: what was known before is not to be
  // trusted.
  virtual void OnConnected(std::uint64_t epoch) = 0;
  // A fence sent at `sent` was answered: slots may be trusted until `sent` + the bound.
  virtual void OnFence(Instant sent) = 0;
  // These tags' tokens were dropped.
  virtual void OnBump(std::span<const Tag> tags) = 0;
  // Everything was dropped.
  virtual void OnClear() = 0;
  // The connection is gone, silent for too long, or the store's epoch changed: trust nothing.
  virtual void OnDisconnected() = 0;
};

class Backplane {
 public:
  virtual ~Backplane() = default;
  // Starts the listener thread; returns at once. Connects and reconnects by itself. False: the
  // system had no thread to give; to be tried again. Not at the same time as Stop.
  [[nodiscard]] virtual bool Start(BackplaneSink& sink) = 0;
  // Stops and joins the thread. No call to the sink is made after it returns. Start may be called
  // again.
  virtual void Stop() = 0;
  // Sends a fence and waits for its answer, shared with other callers waiting; kUnavailable after
  // timeout.
  virtual Status Fence(Duration timeout) = 0;
  // Forgets thread and socket without touching them, in a forked child; Start may be called again.
  virtual void AfterFork() = 0;
};

}  // namespace smartcache
