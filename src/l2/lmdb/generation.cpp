#include "l2/lmdb/generation.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <set>
#include <utility>

#include "base/mutex.h"
#include "base/per_process.h"
#include "base/random.h"

namespace smartcache::lmdb {
namespace {

constexpr std::int64_t kSweepEvery = 10'000;  // milliseconds
constexpr std::size_t kMinBytes = 1u << 20;
constexpr std::size_t kGranularity = 64u << 10;  // the largest page size in use
// Tokens are small and worth more than entries: a lost token costs every entry that has it.
constexpr std::size_t kTokensShare = 8;

std::string DataPath(const Folder& folder) { return folder.path() + "/data"; }

Layout NewLayout(std::size_t max_bytes) {
  const std::size_t total = std::max(max_bytes, kMinBytes);
  const std::size_t tokens =
      std::max(total / kTokensShare / kGranularity, std::size_t{2}) * kGranularity;
  const std::size_t entries = (total - tokens) / kGranularity * kGranularity;
  return {RandomU64(), {RandomU64(), RandomU64()}, tokens, entries};
}

// Moves what lies at `data` out of the way and removes it. Others that have it open keep it until
// they look; its control page has told them not to trust it.
void PutAway(const Folder& folder, const std::string& data) {
  if (auto control = Control::Open(data + "/control"); control.ok()) control.value()->Retire();
  const std::string old = folder.path() + "/old-" + std::to_string(RandomU64());
  if (std::rename(data.c_str(), old.c_str()) != 0) return;
  if (unlink(old.c_str()) != 0) RemoveFolder(old);
}

// What processes left that died here.
void RemoveLeftovers(const Folder& folder) {
  DIR* const directory = opendir(folder.path().c_str());
  if (directory == nullptr) return;
  while (const dirent* const member =
             readdir(directory)) {  // NOLINT(concurrency-mt-unsafe): own stream
    const std::string name = member->d_name;
    if (name.starts_with("old-") || name.starts_with("new-")) {
      RemoveFolder(folder.path() + "/" + name);
    }
  }
  closedir(directory);
}

// Makes the folder under another name first: who finds it finds it whole.
Status MakeData(const Folder& folder, const std::string& data, std::size_t max_bytes) {
  RemoveLeftovers(folder);
  const std::string fresh = folder.path() + "/new-" + std::to_string(RandomU64());
  if (mkdir(fresh.c_str(), 0700) != 0) {
    return Unavailable("lmdb: cannot make " + fresh + ": " + std::strerror(errno));
  }
  Status status = Control::Create(fresh + "/control", NewLayout(max_bytes));
  if (status.ok() && std::rename(fresh.c_str(), data.c_str()) != 0) {
    status =
        Unavailable("lmdb: cannot move " + fresh + " to " + data + ": " + std::strerror(errno));
  }
  if (!status.ok()) RemoveFolder(fresh);
  return status;
}

// The generations that this process has open. Opening and closing is done under its mutex: closing
// a file of LMDB's drops this process' locks on it, also those of another opening of the same file.
struct Registry {
  using File = std::pair<std::uint64_t, std::uint64_t>;  // device and inode of a control page
  Mutex mutex;
  CondVar closed;
  std::map<std::string, std::weak_ptr<Generation>> present GUARDED_BY(mutex);  // by folder
  std::set<File> open GUARDED_BY(mutex);
};
PerProcess<Registry>& Registries() {
  static auto* const registries = new PerProcess<Registry>;  // outlives all stores
  return *registries;
}

}  // namespace

Generation::Generation(std::unique_ptr<Folder> folder, std::shared_ptr<Control> control,
                       std::unique_ptr<Environment> tokens, std::unique_ptr<Environment> entries)
    : folder_(std::move(folder)),
      control_(std::move(control)),
      tokens_(std::move(tokens)),
      entries_(std::move(entries), control_->layout()) {}

Result<std::unique_ptr<Generation>> Generation::OpenFiles(std::unique_ptr<Folder>& folder) {
  const std::string data = DataPath(*folder);
  auto control = Control::Open(data + "/control");
  if (!control.ok()) return control.status();
  std::shared_ptr<Control> shared = std::move(control).value();
  if (shared->retired()) return Corrupt("lmdb: retired: " + data);
  auto tokens = Environment::Open(data + "/tokens", shared->layout().tokens_bytes);
  if (!tokens.ok()) return tokens.status();
  auto entries = Environment::Open(data + "/entries", shared->layout().entries_bytes);
  if (!entries.ok()) return entries.status();
  shared->Watch(data + "/tokens");
  shared->Watch(data + "/entries");
  return std::unique_ptr<Generation>(new Generation(
      std::move(folder), std::move(shared), std::move(tokens).value(), std::move(entries).value()));
}

Result<std::unique_ptr<Generation>> Generation::Open(const Location& location) {
  auto opened = Folder::Open(location.directory, location.prefix);
  if (!opened.ok()) return opened.status();
  std::unique_ptr<Folder> folder = std::move(opened).value();
  const auto door = folder->Enter(location.timeout);
  if (!door.ok()) return door.status();
  const std::string data = DataPath(*folder);
  struct stat status{};
  if (lstat(data.c_str(), &status) == 0) {
    auto found = OpenFiles(folder);
    // Only what is known to be bad is wiped, not what cannot be opened just now.
    if (found.ok() || found.status().code() != Code::kCorrupt) return found;
    PutAway(*folder, data);
  }
  if (Status made = MakeData(*folder, data, location.max_bytes); !made.ok()) return made;
  return OpenFiles(folder);
}

Result<std::shared_ptr<Generation>> Generation::Acquire(const Location& location) {
  Registry& registry = Registries().Get();
  const auto name = FolderName(location.prefix);
  if (!name.ok()) return name.status();
  const std::string path = location.directory + "/" + *name;
  std::shared_ptr<Generation> known;  // outlives the lock: letting go of the last one takes it
  MutexLock lock(registry.mutex);
  for (;;) {
    known = registry.present[path].lock();
    if (known != nullptr && known->control_->Usable()) return known;
    FileMark mark;
    if (!MarkFile(path + "/data/control", mark) ||
        !registry.open.contains({mark.device, mark.inode})) {
      break;
    }
    // Retired in place, or about to be closed by the thread that has let it go.
    if (known != nullptr) break;
    registry.closed.wait(registry.mutex);
  }
  auto opened = Open(location);
  if (!opened.ok()) return opened.status();
  Generation* const fresh = std::move(opened).value().release();
  const FileMark& mark = fresh->control_->mark();
  registry.open.insert({mark.device, mark.inode});
  std::shared_ptr<Generation> shared(fresh, [&registry, mark](Generation* generation) {
    MutexLock closing(registry.mutex);
    delete generation;
    registry.open.erase({mark.device, mark.inode});
    registry.closed.notify_all();
  });
  registry.present[path] = shared;
  return shared;
}

void Generation::Sweep() {
  const std::int64_t now = CoarseMilliseconds();
  std::int64_t sweep_at = sweep_at_.load(std::memory_order_relaxed);
  if (now < sweep_at || !sweep_at_.compare_exchange_strong(sweep_at, now + kSweepEvery)) return;
  tokens_.environment().DropDeadReaders();
  entries_.environment().DropDeadReaders();
}

}  // namespace smartcache::lmdb
