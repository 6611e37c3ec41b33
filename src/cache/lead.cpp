#include <utility>

#include "cache/cache_impl.h"

namespace smartcache {

Lead::Lead(std::unique_ptr<State> state) : state_(std::move(state)) {}
Lead::Lead(Lead&&) noexcept = default;
Lead& Lead::operator=(Lead&&) noexcept = default;
std::unique_ptr<Lead::State> Lead::Release() { return std::move(state_); }

Lead::~Lead() = default;

Lead::State::~State() {
  // Whatever went wrong, nobody waits for ever.
  if (cache) cache->AbandonState(*this, /*retry=*/true);
}

std::string_view Lead::key() const { return state_->key; }
Token Lead::key_token() const { return state_->key_token; }

}  // namespace smartcache
