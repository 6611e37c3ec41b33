// Where the files lie: DIRECTORY/djsmartcache-<prefix>.<format>-<boot>-<process ids' namespace>, so
// that nothing is trusted after a reboot or from another container, and stores of other prefixes
// are apart. Holding a Folder keeps others from clearing it away as abandoned. Thread-safe.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "smartcache/clock.h"
#include "smartcache/result.h"

namespace smartcache::lmdb {

// The name of the folder for `prefix` in this boot and namespace. An error where the system does
// not say which these are: another name would be another store, and an old one might be trusted.
[[nodiscard]] Result<std::string> FolderName(std::string_view prefix);

// A file handle, closed with it.
class Handle {
 public:
  explicit Handle(int file = -1) : file_(file) {}
  Handle(Handle&& other) noexcept;
  Handle& operator=(Handle&& other) noexcept;
  ~Handle();
  [[nodiscard]] int get() const { return file_; }

 private:
  int file_;
};

// An exclusive lock on a file. Given back in so many words: a child forked meanwhile has the file
// open as well, and would hold the lock for as long as it lives.
class FileLock {
 public:
  // Waits for it; not held when `timeout` is over, or the file is not open.
  FileLock(Handle file, Duration timeout);
  FileLock(FileLock&&) noexcept = default;
  FileLock& operator=(FileLock&&) = delete;
  ~FileLock();
  [[nodiscard]] bool held() const { return held_; }

 private:
  Handle file_;
  bool held_;
};

class Folder {
 public:
  // Makes what is missing of `directory` and the folder in it, and removes folders of other boots,
  // namespaces and formats that nobody uses. kInvalidArgument: the directory is not ours alone, or
  // on a network file system.
  static Result<std::unique_ptr<Folder>> Open(std::string directory, std::string_view prefix);

  [[nodiscard]] const std::string& path() const { return path_; }
  // For making, opening and retiring the files: one at a time among all processes, until the handle
  // goes.
  [[nodiscard]] Result<FileLock> Enter(Duration timeout) const;

 private:
  Folder(std::string path, Handle presence)
      : path_(std::move(path)), presence_(std::move(presence)) {}

  const std::string path_;
  const Handle presence_;
};

// Checks a directory: ours, not writable by others, not a link, on a local file system.
[[nodiscard]] Status CheckDirectory(const std::string& directory);
// Removes a folder of ours, two levels at the most. Never follows links.
void RemoveFolder(const std::string& path);

}  // namespace smartcache::lmdb
