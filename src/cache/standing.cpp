#include "cache/standing.h"

#include "base/random.h"

namespace smartcache {

Standing::Standing(Store& store, const Clock& clock, Keeper& keeper, Duration lease)
    : store_(store), clock_(clock), keeper_(keeper), lease_(lease) {}

bool Standing::Covers(std::span<const CoarseTags> tables) {
  State& state = state_.Get();
  const Instant now = clock_.Now();
  const MutexLock lock(state.mutex);
  for (const CoarseTags& table : tables) {
    const auto found = state.marks.find(table.table);
    if (found == state.marks.end() || now >= After(found->second.renewed, lease_ / 2)) return false;
    found->second.used = now;
  }
  return true;
}

Status Standing::Place(std::span<const CoarseTags> tables) {
  State& state = state_.Get();
  for (const CoarseTags& table : tables) {
    if (Covers(std::span(&table, 1))) continue;
    const Instant now = clock_.Now();
    const Mark mark{table, RandomU64(), now, now};
    if (Status status = Send(mark); !status.ok()) return status;
    const MutexLock lock(state.mutex);
    // One that another thread has placed meanwhile, or that was not renewed in time, is left to its
    // lease: somebody may rely on it.
    state.marks[table.table] = mark;
  }
  if (!state.kept.exchange(true)) (void)keeper_.Add([this] { Renew(); });
  return Ok();
}

void Standing::Forsake() {
  State& state = state_.Get();
  const MutexLock lock(state.mutex);
  state.marks.clear();
}

void Standing::TakeBack() {
  State& state = state_.Get();
  std::unordered_map<Tag, Mark> left;
  {
    const MutexLock lock(state.mutex);
    left.swap(state.marks);
  }
  for (const auto& [table, mark] : left) Withdraw(mark);
}

void Standing::Renew() {
  State& state = state_.Get();
  std::vector<Mark> due, idle;
  {
    const MutexLock lock(state.mutex);
    const Instant now = clock_.Now();
    std::erase_if(state.marks, [&](const auto& placed) {
      const Mark& mark = placed.second;
      const bool over = now >= After(mark.used, kIdleLeases * lease_);
      (over ? idle : due).push_back(mark);
      return over;
    });
  }
  for (const Mark& mark : idle) Withdraw(mark);
  for (const Mark& mark : due) {
    const Instant now = clock_.Now();
    if (!Send(mark).ok()) continue;  // it is not relied on any more when it gets old
    const MutexLock lock(state.mutex);
    const auto found = state.marks.find(mark.tags.table);
    if (found != state.marks.end() && found->second.writer == mark.writer) {
      found->second.renewed = now;
    }
  }
}

Status Standing::Send(const Mark& mark) {
  return store_.Mark(mark.writer, lease_, mark.tags.All(), {});
}

void Standing::Withdraw(const Mark& mark) {
  const auto tags = mark.tags.All();
  (void)store_.Bump({}, {}, {mark.writer, tags});
}

}  // namespace smartcache
