// Deletes all keys of one server that match a pattern, in steps that hold nobody up.
#pragma once

#include <string_view>

#include "l2/redis/connection.h"
#include "smartcache/clock.h"
#include "smartcache/result.h"

namespace smartcache::redis {

// Every key that is there from before the call until it is found is gone when this returns ok. Each
// step may take `step_timeout`; how many there are depends on the number of keys of the whole
// database.
[[nodiscard]] Status DeleteMatching(Connection& connection, std::string_view pattern,
                                    Duration step_timeout, const Clock& clock);

}  // namespace smartcache::redis
