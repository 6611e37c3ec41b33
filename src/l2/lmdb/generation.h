// One set of files: the control page and the two environments. When in doubt of it, it is retired:
// told to all processes, moved away and made anew, empty, with another epoch. Thread-safe.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "l2/lmdb/control.h"
#include "l2/lmdb/entry_table.h"
#include "l2/lmdb/folder.h"
#include "l2/lmdb/token_table.h"
#include "smartcache/result.h"

namespace smartcache::lmdb {

struct Location {
  std::string directory;
  std::string prefix;
  std::size_t max_bytes = 0;  // of both maps; fixed by the process that makes the files
  Duration timeout{};         // for other processes that are opening
};

class Generation {
 public:
  // The usable generation at `location`; one object for all of this process, as LMDB demands.
  static Result<std::shared_ptr<Generation>> Acquire(const Location& location);

  // May be kept longer than the rest, which has the maps and most of the disk space.
  [[nodiscard]] const std::shared_ptr<Control>& control() const { return control_; }
  [[nodiscard]] TokenTable& tokens() { return tokens_; }
  [[nodiscard]] EntryTable& entries() { return entries_; }
  [[nodiscard]] std::uint64_t epoch() const { return control_->layout().epoch; }
  // Now and then drops what dead readers left in the environments. For writers.
  void Sweep();

 private:
  Generation(std::unique_ptr<Folder> folder, std::shared_ptr<Control> control,
             std::unique_ptr<Environment> tokens, std::unique_ptr<Environment> entries);
  // Opens what is there if it can be trusted, else makes it anew.
  static Result<std::unique_ptr<Generation>> Open(const Location& location);
  static Result<std::unique_ptr<Generation>> OpenFiles(std::unique_ptr<Folder>& folder);

  const std::unique_ptr<Folder> folder_;
  const std::shared_ptr<Control> control_;
  TokenTable tokens_;
  EntryTable entries_;
  std::atomic<std::int64_t> sweep_at_{0};
};

}  // namespace smartcache::lmdb
