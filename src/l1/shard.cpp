#include "l1/shard.h"

#include <algorithm>
#include <utility>

namespace smartcache {

namespace {

constexpr std::size_t kFewestCells = 16;
constexpr std::size_t kSmallShare = 10;   // the small queue's part of the bytes: one in so many
constexpr std::uint8_t kMostUses = 3;     // two bits
constexpr std::uint8_t kProvenUses = 2;   // used again this often on trial: on to main
constexpr std::size_t kLeastWindow = 16;  // evictions remembered where there are few entries

}  // namespace

Shard::Shard(std::size_t max_bytes) : max_bytes_(max_bytes), cells_(kFewestCells) {}

// The upper half of a product depends on all lower bits; the lower bits of it are the home place.
std::uint32_t Shard::Mix(Tag hash) {
  return static_cast<std::uint32_t>((hash * 0x9E3779B97F4A7C15u) >> 32);
}

std::size_t Shard::WeightOf(const LocalEntry& entry) {
  return std::max<std::size_t>(entry.weight, 1);
}

const LocalRef* Shard::Find(Tag hash, std::string_view key) {
  const std::uint32_t mixed = Mix(hash);
  const Place mask = static_cast<Place>(cells_.size() - 1);
  for (Place place = mixed & mask;; place = (place + 1) & mask) {
    Cell& cell = cells_[place];
    if (cell.entry == nullptr) return nullptr;
    if (cell.hash != mixed || cell.entry->key.view() != key) continue;
    if (cell.uses < kMostUses) ++cell.uses;
    return &cell.entry;
  }
}

Shard::Place Shard::PlaceOf(std::uint32_t hash, std::string_view key) const {
  for (Place place = Home(hash); cells_[place].entry != nullptr; place = Next(place)) {
    if (cells_[place].hash == hash && cells_[place].entry->key.view() == key) return place;
  }
  return kNowhere;
}

void Shard::Link(Place place, In in) {
  Queue& queue = QueueOf(in);
  Cell& cell = cells_[place];
  cell.in = in;
  cell.newer = kNowhere;
  cell.older = queue.newest;
  (queue.newest == kNowhere ? queue.oldest : cells_[queue.newest].newer) = place;
  queue.newest = place;
  queue.bytes += WeightOf(*cell.entry);
}

void Shard::Unlink(Place place) {
  const Cell& cell = cells_[place];
  Queue& queue = QueueOf(cell.in);
  (cell.newer == kNowhere ? queue.newest : cells_[cell.newer].older) = cell.older;
  (cell.older == kNowhere ? queue.oldest : cells_[cell.older].newer) = cell.newer;
  queue.bytes -= WeightOf(*cell.entry);
}

// Moves an entry's cell to a free place, and its neighbours' links with it.
void Shard::Move(Place from, Place to) {
  Cell& cell = cells_[to];
  cell = std::exchange(cells_[from], Cell());
  Queue& queue = QueueOf(cell.in);
  (cell.newer == kNowhere ? queue.newest : cells_[cell.newer].older) = to;
  (cell.older == kNowhere ? queue.oldest : cells_[cell.older].newer) = to;
}

LocalRef Shard::Take(Place place) {
  Unlink(place);
  LocalRef entry = std::move(cells_[place].entry);
  --entries_;
  // Who was displaced by the taken one moves up, so that no probe ends too early.
  const Place mask = static_cast<Place>(cells_.size() - 1);
  for (Place next = Next(place); cells_[next].entry != nullptr; next = Next(next)) {
    const Place displaced_by = (next - Home(cells_[next].hash)) & mask;
    if (displaced_by < ((next - place) & mask)) continue;
    Move(next, place);
    place = next;
  }
  return entry;
}

Shard::Place Shard::Put(LocalRef entry, std::uint32_t hash) {
  Place place = Home(hash);
  while (cells_[place].entry != nullptr) place = Next(place);
  cells_[place] = Cell();
  cells_[place].entry = std::move(entry);
  cells_[place].hash = hash;
  ++entries_;
  return place;
}

void Shard::Grow() {
  std::vector<Cell> old(cells_.size() * 2);
  old.swap(cells_);
  entries_ = 0;
  for (Queue* queue : {&small_, &main_}) {
    const Queue before = std::exchange(*queue, Queue());
    for (Place place = before.oldest; place != kNowhere; place = old[place].newer) {
      const Place moved = Put(std::move(old[place].entry), old[place].hash);
      cells_[moved].uses = old[place].uses;
      Link(moved, old[place].in);
    }
  }
}

std::size_t Shard::Insert(LocalRef entry, Victims& victims) {
  const std::size_t weight = WeightOf(*entry);
  const std::uint32_t hash = Mix(entry->hash);
  In in = In::kSmall;
  std::uint8_t uses = 0;
  bool known = true;
  if (const Place place = PlaceOf(hash, entry->key.view()); place != kNowhere) {
    in = cells_[place].in;
    uses = cells_[place].uses;
    victims.push_back(Take(place));
  } else if (ghosts_.Take(hash)) {
    in = In::kMain;
  } else {
    known = false;
  }
  // One that would fill the small queue alone, and drive out many, has to come twice.
  const bool drives_out = bytes() + weight > max_bytes_ && weight > max_bytes_ / kSmallShare;
  if (weight > max_bytes_ || (drives_out && !known)) {
    ghosts_.Add(hash);
    victims.push_back(std::move(entry));
    return 0;
  }
  const std::size_t before = victims.size();
  while (bytes() + weight > max_bytes_) EvictOne(victims);
  const std::size_t evicted = victims.size() - before;
  if ((entries_ + 1) * 8 > cells_.size() * 5) Grow();
  const Place place = Put(std::move(entry), hash);
  cells_[place].uses = uses;
  Link(place, in);
  ghosts_.SetWindow(std::max(entries_, kLeastWindow));
  return evicted;
}

void Shard::EvictOne(Victims& victims) {
  if (small_.oldest != kNowhere &&
      (small_.bytes > max_bytes_ / kSmallShare || main_.oldest == kNowhere)) {
    const Place place = small_.oldest;
    if (cells_[place].uses >= kProvenUses) {
      Unlink(place);
      cells_[place].uses = 0;
      Link(place, In::kMain);
      return;
    }
    ghosts_.Add(cells_[place].hash);
    victims.push_back(Take(place));
    return;
  }
  const Place place = main_.oldest;
  if (cells_[place].uses > 0) {
    Unlink(place);
    --cells_[place].uses;
    Link(place, In::kMain);
    return;
  }
  victims.push_back(Take(place));
}

void Shard::Erase(const LocalEntry& entry, Victims& victims) {
  const Place place = PlaceOf(Mix(entry.hash), entry.key.view());
  if (place != kNowhere && cells_[place].entry.get() == &entry) victims.push_back(Take(place));
}

void Shard::Erase(Tag hash, Victims& victims) {
  const std::uint32_t mixed = Mix(hash);
  Place place = Home(mixed);
  while (cells_[place].entry != nullptr) {
    // Taking one moves the next ones up to here.
    if (cells_[place].entry->hash == hash) {
      victims.push_back(Take(place));
    } else {
      place = Next(place);
    }
  }
}

void Shard::Clear(Victims& victims) {
  victims.reserve(victims.size() + entries_);
  for (Cell& cell : cells_) {
    if (cell.entry != nullptr) victims.push_back(std::move(cell.entry));
  }
  cells_.assign(kFewestCells, Cell());
  entries_ = 0;
  small_ = main_ = Queue();
  ghosts_.Clear();
}

}  // namespace smartcache
