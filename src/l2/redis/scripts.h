// The Lua scripts of scripts/, embedded by the build (cmake/LuaScripts.cmake).
#pragma once

#include "l2/redis/batch.h"

namespace smartcache::redis::scripts {

extern const Script kAwait, kBegin, kBump, kDelete, kFill, kMark, kMint, kPut, kRenew, kTouch,
    kUnlock, kUserUnlock;

}  // namespace smartcache::redis::scripts
