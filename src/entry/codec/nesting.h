// What a payload still owes: for each open container, how many members are to come. The writer
// checks its caller by it, the reader its input.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace smartcache::codec {

class Nesting {
 public:
  static constexpr std::size_t kMaxDepth = 64;

  Nesting() { Reset(); }
  // Back to the payload's one value. The frames above stay as they are: a kilobyte not worth
  // clearing.
  void Reset() {
    frames_[0] = {1, 0, false};
    depth_ = 0;
    owed_ = 1;
    ok_ = true;
  }

  [[nodiscard]] bool ok() const { return ok_; }
  void Fail() { ok_ = false; }
  // Values and columns that must still come; each takes at least one byte.
  [[nodiscard]] std::uint64_t owed() const { return owed_; }
  [[nodiscard]] bool complete() const { return ok_ && owed_ == 0; }

  // A value begins. False, and failed, if none is due here.
  bool Value() { return Member(/*column=*/false); }
  // A column of the innermost rows block begins.
  bool Column() { return Member(/*column=*/true); }
  // Rows of the block whose column has just begun.
  [[nodiscard]] std::uint32_t rows() const { return frames_[depth_].rows; }

  // The value or column that has just begun has `members` of its own.
  bool Open(std::uint64_t members) { return Push({members, 0, false}); }
  // The value that has just begun is a rows block.
  bool OpenRows(std::uint64_t columns, std::uint32_t rows) { return Push({columns, rows, true}); }

 private:
  struct Frame {
    std::uint64_t left;
    std::uint32_t rows;
    bool columns;
  };

  bool Member(bool column) {
    while (frames_[depth_].left == 0 && depth_ > 0) --depth_;
    Frame& frame = frames_[depth_];
    if (!ok_ || frame.left == 0 || frame.columns != column) return ok_ = false;
    --frame.left;
    --owed_;
    return true;
  }
  bool Push(Frame frame) {
    if (!ok_ || depth_ == kMaxDepth) return ok_ = false;
    frames_[++depth_] = frame;
    owed_ += frame.left;
    return true;
  }

  std::array<Frame, kMaxDepth + 1> frames_;
  std::size_t depth_;
  std::uint64_t owed_;
  bool ok_;
};

}  // namespace smartcache::codec
