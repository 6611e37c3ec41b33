#include "l2/lmdb/folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/vfs.h>
#else
#include <sys/mount.h>
#include <sys/param.h>
#include <sys/sysctl.h>
#include <sys/time.h>
#endif

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/hash.h"

namespace smartcache::lmdb {
namespace {

// Of all that is written in the folder; another one is another folder. The pointer's width is part
// of it.
constexpr int kFormat = 1;
constexpr std::string_view kFolderPrefix = "djsmartcache-";
constexpr const char* kPresence = "/users";  // shared lock: somebody uses the folder
constexpr const char* kDoor = "/door";

Status Invalid(const std::string& directory, const std::string& why) {
  return {Code::kInvalidArgument, "SMARTCACHE_DIR " + directory + " " + why};
}

// What the system did not let us do in the directory: for want of something that may be there
// later, or because it is not ours to use.
Status Cannot(const std::string& directory, const std::string& what) {
  const int error = errno;
  const std::string why = "cannot be " + what + ": " + std::strerror(error);
  for (const int wanting : {ENOSPC, EDQUOT, EMFILE, ENFILE, ENOMEM, EINTR, EIO}) {
    if (error == wanting) return Unavailable("lmdb: " + directory + " " + why);
  }
  return Invalid(directory, why);
}

std::string Errno() { return std::strerror(errno); }

std::string Hex(std::uint64_t value) {
  std::array<char, 17> text{};
  std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(value));
  return text.data();
}

#if defined(__linux__)

Result<std::string> BootName() {
  static constexpr const char* kPath = "/proc/sys/kernel/random/boot_id";
  std::ifstream file(kPath);
  std::string id;
  if (!std::getline(file, id) || id.empty()) {
    return Unavailable(std::string("lmdb: cannot read ") + kPath + ": " + Errno());
  }
  return id;
}

// "pid:[4026531836]": its number.
Result<std::string> NamespaceName() {
  static constexpr const char* kPath = "/proc/self/ns/pid";
  std::array<char, 64> link{};
  const ssize_t size = readlink(kPath, link.data(), link.size() - 1);
  if (size < 0 && errno != ENOENT) {  // that is a kernel without such namespaces
    return Unavailable(std::string("lmdb: cannot read ") + kPath + ": " + Errno());
  }
  std::string digits;
  for (ssize_t i = 0; i < size; ++i) {
    const char c = link[static_cast<std::size_t>(i)];
    if (c >= '0' && c <= '9') digits.push_back(c);
  }
  return digits.empty() ? "0" : digits;
}

// File systems whose memory maps or locks are not shared between machines, or not at all
// (linux/magic.h and the file systems' own sources).
bool IsLocal(const std::string& directory, std::string& name) {
  struct Remote {
    std::uint32_t magic;
    const char* name;
  };
  static constexpr Remote kRemote[] = {
      {0x6969, "NFS"},        {0x517B, "SMB"},        {0xFF534D42, "CIFS"},
      {0xFE534D42, "SMB2"},   {0x01021997, "9P"},     {0x65735546, "FUSE"},
      {0x00C36400, "Ceph"},   {0x5346414F, "AFS"},    {0x6B414653, "AFS"},
      {0x73757245, "Coda"},   {0x0BD00BD0, "Lustre"}, {0x47504653, "GPFS"},
      {0x7461636F, "OCFS2"},  {0x01161970, "GFS2"},   {0x20030528, "OrangeFS"},
      {0x786F4256, "vboxsf"}, {0xBACBACBC, "vmhgfs"}, {0x564C, "NCP"},
  };
  struct statfs status{};
  if (statfs(directory.c_str(), &status) != 0) return true;
  for (const Remote& remote : kRemote) {
    if (static_cast<std::uint32_t>(status.f_type) != remote.magic) continue;
    name = remote.name;
    return false;
  }
  return true;
}

#else

Result<std::string> BootName() {
  timeval boot{};
  std::size_t size = sizeof boot;
  if (sysctlbyname("kern.boottime", &boot, &size, nullptr, 0) != 0) {
    return Unavailable("lmdb: cannot read kern.boottime: " + Errno());
  }
  return std::to_string(boot.tv_sec);
}

Result<std::string> NamespaceName() { return std::string("0"); }

bool IsLocal(const std::string& directory, std::string& name) {
  struct statfs status{};
  if (statfs(directory.c_str(), &status) != 0 || (status.f_flags & MNT_LOCAL) != 0) return true;
  name = status.f_fstypename;
  return false;
}

#endif

// What the name says of format, boot and namespace.
Result<std::string> Incarnation() {
  const auto boot = BootName();
  if (!boot.ok()) return boot.status();
  const auto name = NamespaceName();
  if (!name.ok()) return name.status();
  return std::to_string(kFormat) + "x" + std::to_string(8 * sizeof(void*)) + "-" + *boot + "-" +
         *name;
}

// mkdir -p, new folders for us alone. False: errno says why.
bool MakeDirectories(const std::string& path) {
  for (std::size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    const std::string part = path.substr(0, slash);
    if (mkdir(part.c_str(), 0700) != 0 && errno != EEXIST && errno != EISDIR) {
      const int error = errno;
      struct stat status{};
      const bool there = stat(part.c_str(), &status) == 0;
      errno = error;
      if (!there) return false;
    }
    if (slash == std::string::npos) return true;
  }
}

int OpenLockFile(const std::string& path) {
  return open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
}

bool SameFile(int file, const std::string& path) {
  struct stat opened{}, present{};
  return fstat(file, &opened) == 0 && lstat(path.c_str(), &present) == 0 &&
         opened.st_ino == present.st_ino && opened.st_dev == present.st_dev;
}

std::vector<std::string> NamesIn(const std::string& path) {
  std::vector<std::string> names;
  DIR* const directory = opendir(path.c_str());
  if (directory == nullptr) return names;
  while (const dirent* const member =
             readdir(directory)) {  // NOLINT(concurrency-mt-unsafe): own stream
    const std::string_view name(member->d_name);
    if (name != "." && name != "..") names.emplace_back(name);
  }
  closedir(directory);
  return names;
}

// Removes folders that this version in this boot and namespace would not open and nobody else has
// open.
void RemoveAbandoned(const std::string& directory, const std::string& our_folder) {
  const std::string ours = our_folder.substr(our_folder.rfind('.'));
  for (const std::string& name : NamesIn(directory)) {
    if (!name.starts_with(kFolderPrefix) || name.ends_with(ours)) continue;
    const std::string path = directory + "/" + name;
    const FileLock alone(Handle(open((path + kPresence).c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW)),
                         Duration(0));
    if (alone.held()) RemoveFolder(path);
  }
}

}  // namespace

Result<std::string> FolderName(std::string_view prefix) {
  const auto incarnation = Incarnation();
  if (!incarnation.ok()) return incarnation.status();
  return std::string(kFolderPrefix) + Hex(Hash64(prefix)) + "." + *incarnation;
}

Handle::Handle(Handle&& other) noexcept : file_(std::exchange(other.file_, -1)) {}

Handle& Handle::operator=(Handle&& other) noexcept {
  std::swap(file_, other.file_);
  return *this;
}

Handle::~Handle() {
  if (file_ >= 0) close(file_);
}

FileLock::FileLock(Handle file, Duration timeout) : file_(std::move(file)), held_(false) {
  const auto end = std::chrono::steady_clock::now() + timeout;
  while (file_.get() >= 0 && !(held_ = flock(file_.get(), LOCK_EX | LOCK_NB) == 0)) {
    if (std::chrono::steady_clock::now() >= end) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

FileLock::~FileLock() {
  if (held_ && file_.get() >= 0) flock(file_.get(), LOCK_UN);
}

Status CheckDirectory(const std::string& directory) {
  struct stat status{};
  if (lstat(directory.c_str(), &status) != 0) {
    return Cannot(directory, "read");
  }
  if (S_ISLNK(status.st_mode)) {
    return Invalid(directory, "is a symbolic link: name the folder itself");
  }
  if (!S_ISDIR(status.st_mode)) return Invalid(directory, "is not a folder");
  if (status.st_uid != geteuid()) {
    return Invalid(directory, "belongs to user " + std::to_string(status.st_uid) + ", not to " +
                                  std::to_string(geteuid()) +
                                  " who runs this process: name a folder of its own");
  }
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return Invalid(directory, "may be written to by other users: chmod go-w it, or name another");
  }
  std::string name;
  if (!IsLocal(directory, name)) {
    return Invalid(directory, "is on a " + name +
                                  " file system, which shares no memory between processes: "
                                  "name a folder on a local disk, or use Redis");
  }
  return Ok();
}

void RemoveFolder(const std::string& path) {
  for (const std::string& name : NamesIn(path)) {
    const std::string member = path + "/" + name;
    if (unlink(member.c_str()) == 0) continue;
    for (const std::string& inner : NamesIn(member)) unlink((member + "/" + inner).c_str());
    rmdir(member.c_str());
  }
  rmdir(path.c_str());
}

Result<std::unique_ptr<Folder>> Folder::Open(std::string directory, std::string_view prefix) {
  if (directory.empty() || directory[0] != '/') {
    return Invalid("'" + directory + "'", "is not an absolute path");
  }
  while (directory.size() > 1 && directory.back() == '/') {
    directory.pop_back();  // lstat would follow a link
  }
  if (!MakeDirectories(directory)) return Cannot(directory, "made");
  if (Status status = CheckDirectory(directory); !status.ok()) return status;
  const auto name = FolderName(prefix);
  if (!name.ok()) return name.status();
  RemoveAbandoned(directory, *name);
  const std::string path = directory + "/" + *name;
  // Again when somebody has cleared the folder away between the making and the locking.
  for (int attempt = 0; attempt < 10; ++attempt) {
    if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
      return Cannot(directory, "written to");
    }
    if (Status status = CheckDirectory(path); !status.ok()) return status;
    Handle presence(OpenLockFile(path + kPresence));
    if (presence.get() < 0) {
      if (errno == ENOENT) continue;
      return Unavailable("lmdb: cannot open " + path + kPresence + ": " + Errno());
    }
    if (flock(presence.get(), LOCK_SH | LOCK_NB) == 0 &&
        SameFile(presence.get(), path + kPresence)) {
      return std::unique_ptr<Folder>(new Folder(path, std::move(presence)));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return Unavailable("lmdb: " + path + " is being cleared away");
}

Result<FileLock> Folder::Enter(Duration timeout) const {
  Handle file(OpenLockFile(path_ + kDoor));
  if (file.get() < 0) return Unavailable("lmdb: cannot open " + path_ + kDoor + ": " + Errno());
  FileLock door(std::move(file), timeout);
  if (door.held()) return door;
  return Unavailable("lmdb: another process has been opening " + path_ + " for too long");
}

}  // namespace smartcache::lmdb
