// The arguments of configure(), checked.
#pragma once

#include <nanobind/nanobind.h>

#include <optional>
#include <string>

#include "smartcache/options.h"

namespace smartcache::binding {

namespace nb = nanobind;

struct Settings {
  std::optional<std::string> url;  // none: the embedded store
  Options options;
  nb::object dumps, loads, model_of, label_of;
};

// Raises TypeError for one that is missing, unknown or of a wrong type.
[[nodiscard]] Settings SettingsOf(nb::handle arguments);
// Raises ValueError unless it is 32 bytes.
[[nodiscard]] Secret SecretOf(nb::handle bytes);

}  // namespace smartcache::binding
