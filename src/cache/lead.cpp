#include <utility>

#include "cache/cache_impl.h"

namespace smartcache {

Lead::Lead(std::unique_ptr<State> state) : state_(std::move(state)) {}
Lead::Lead(Lead&&) noexcept = default;
std::unique_ptr<Lead::State> Lead::Release() { return std::move(state_); }

Lead& Lead::operator=(Lead&& other) noexcept {
  if (this != &other) {
    const Lead abandoned(std::move(state_));
    state_ = std::move(other.state_);
  }
  return *this;
}

Lead::~Lead() {
  if (state_) state_->cache->AbandonState(*state_, /*retry=*/true);
}

std::string_view Lead::key() const { return state_->key; }
Token Lead::key_token() const { return state_->key_token; }

}  // namespace smartcache
