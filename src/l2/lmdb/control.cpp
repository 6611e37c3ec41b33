#include "l2/lmdb/control.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <new>

#include "base/random.h"

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#else
#include <thread>
#endif

namespace smartcache::lmdb {
namespace {

constexpr std::uint64_t kMagic = 0x6c6f72746e6f4373;  // "sControl"

Status Failed(const std::string& path, const char* what) {
  return Unavailable("lmdb: cannot " + std::string(what) + " " + path + ": " +
                     std::strerror(errno));
}

// Blocks for all of the file. Where the file system cannot reserve them, zeros are written.
bool Reserve(int file, std::size_t bytes) {
  const int result = posix_fallocate(file, 0, static_cast<off_t>(bytes));
  if (result != 0) errno = result;
  return result == 0;
}

bool IsStill(const FileMark& mark, const FileMark& present) {
  return present.inode == mark.inode && present.device == mark.device && present.size >= mark.size;
}

}  // namespace

bool MarkFile(const std::string& path, FileMark& mark) {
  struct stat status{};
  if (lstat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return false;
  mark = {static_cast<std::uint64_t>(status.st_dev), static_cast<std::uint64_t>(status.st_ino),
          static_cast<std::int64_t>(status.st_size)};
  return true;
}

Status Control::Create(const std::string& path, const Layout& layout) {
  const int file = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file < 0) return Failed(path, "create");
  void* const memory =
      Reserve(file, sizeof(Page))
          ? mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)
          : MAP_FAILED;
  Status status = memory == MAP_FAILED ? Failed(path, "reserve") : Ok();
  close(file);
  if (memory == MAP_FAILED) return status;
  auto* const page = new (memory) Page{};
  page->layout = layout;
  page->changes = RandomU64() >> 2 << 1 | 2;  // even, not 0, far from the bit of the retired
  if (!Gate::Init(page->tokens_gate) || !Gate::Init(page->entries_gate)) {
    status = Unavailable("lmdb: this system has no robust mutexes between processes");
  }
  page->version = sizeof(Page);
  page->magic = kMagic;
  munmap(memory, sizeof(Page));
  return status;
}

Result<std::unique_ptr<Control>> Control::Open(const std::string& path) {
  const int file = open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (file < 0) {
    const bool foreign = errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == EISDIR;
    return foreign ? Corrupt("lmdb: no control file: " + path) : Failed(path, "open");
  }
  struct stat status{};
  if (fstat(file, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size != sizeof(Page)) {
    close(file);
    return Corrupt("lmdb: not a control file: " + path);
  }
  void* const memory = mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (memory == MAP_FAILED) {
    const Status failed = Failed(path, "map");
    close(file);
    return failed;
  }
  auto* const page = std::launder(static_cast<Page*>(memory));
  if (page->magic != kMagic || page->version != sizeof(Page)) {
    munmap(memory, sizeof(Page));
    close(file);
    return Corrupt("lmdb: not a control file of this version: " + path);
  }
  int gates[2] = {-1, -1};
#if !SMARTCACHE_ROBUST_GATES
  for (int i = 0; i < 2; ++i) {
    gates[i] = open((path + (i == 0 ? ".tokens" : ".entries")).c_str(),
                    O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  }
#endif
  return std::unique_ptr<Control>(new Control(page, path, file, gates[0], gates[1]));
}

Control::Control(Page* page, const std::string& path, int file, int tokens_file, int entries_file)
    : page_(page),
      file_(file),
      tokens_file_(tokens_file),
      entries_file_(entries_file),
      layout_(page->layout),
      tokens_gate_(page->tokens_gate, tokens_file),
      entries_gate_(page->entries_gate, entries_file) {
  Watch(path);
}

Control::~Control() {
  munmap(page_, sizeof(Page));
  for (const int file : {file_, tokens_file_, entries_file_}) {
    if (file >= 0) close(file);
  }
}

void Control::Mend() {
  // Whether its transaction took effect or not, the one who died has ended.
  if ((page_->changes.load(std::memory_order_acquire) & kOdd) != 0) EndChange();
}

void Control::Watch(const std::string& path) {
  FileMark mark;
  if (!MarkFile(path, mark)) Retire();
  watched_.push_back({path, mark});
}

bool Control::UsableNow() {
  FileMark present;
  const Watched& self = watched_[0];
  if (!MarkFile(self.path, present) || !IsStill(self.mark, present)) Retire();
  return !retired();
}

void Control::Look() {
  for (const Watched& watched : watched_) {
    FileMark present;
    if (!MarkFile(watched.path, present) || !IsStill(watched.mark, present)) return Retire();
  }
}

std::uint32_t Control::UnlockCount(Tag key) const {
  return page_->unlocks[key % kUnlockWords].load(std::memory_order_acquire);
}

#if defined(__linux__)

static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t));

void Control::AnnounceUnlock(Tag key) {
  auto& word = page_->unlocks[key % kUnlockWords];
  word.fetch_add(1, std::memory_order_seq_cst);
  syscall(SYS_futex, &word, FUTEX_WAKE, INT32_MAX, nullptr, nullptr, 0);
}

void Control::AwaitUnlock(Tag key, std::uint32_t seen, Duration timeout) const {
  const auto nanoseconds = std::max<std::int64_t>(0, timeout.count());
  const timespec span{
      static_cast<time_t>(nanoseconds / 1'000'000'000),
      static_cast<long>(nanoseconds % 1'000'000'000)};  // NOLINT(google-runtime-int)
  syscall(SYS_futex, &page_->unlocks[key % kUnlockWords], FUTEX_WAIT, seen, &span, nullptr, 0);
}

#else

void Control::AnnounceUnlock(Tag key) { page_->unlocks[key % kUnlockWords].fetch_add(1); }

void Control::AwaitUnlock(Tag key, std::uint32_t seen, Duration timeout) const {
  const auto end = std::chrono::steady_clock::now() + timeout;
  while (UnlockCount(key) == seen && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

#endif

}  // namespace smartcache::lmdb
