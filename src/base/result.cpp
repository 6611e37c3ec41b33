#include "smartcache/result.h"

namespace smartcache {

std::string_view CodeName(Code code) {
  switch (code) {
    case Code::kOk:
      return "ok";
    case Code::kUnavailable:
      return "unavailable";
    case Code::kTooLarge:
      return "too large";
    case Code::kCorrupt:
      return "corrupt";
    case Code::kInvalidArgument:
      return "invalid argument";
  }
  return "unknown";
}

}  // namespace smartcache
