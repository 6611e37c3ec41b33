#include "flight/flights.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <barrier>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/fork_test.h"

namespace smartcache {
namespace {

using Role = Flights::Role;
using std::chrono::milliseconds;

constexpr Tag kHash = 9;
constexpr Duration kShort = milliseconds(1);

// Waits without patience: what has ended tells its end at once, what has not is not waited for.
FlightEnd EndOf(FlightState& flight) {
  FlightEnd end{};
  EXPECT_TRUE(Flights::Wait(flight, 0, Duration(0), end));
  return end;
}

TEST(Flights, TheFirstLeadsAndTheRestWaitForIt) {
  Flights flights;
  const auto leader = flights.Join(kHash, "k", 1);
  ASSERT_EQ(leader.role, Role::kLeader);
  const auto waiter = flights.Join(kHash, "k", 2);
  EXPECT_EQ(waiter.role, Role::kWaiter);
  EXPECT_EQ(waiter.flight, leader.flight);
  flights.End(leader.flight, FlightEnd::kUnshared);
  EXPECT_EQ(EndOf(*waiter.flight), FlightEnd::kUnshared);
  const auto next = flights.Join(kHash, "k", 2);
  EXPECT_EQ(next.role, Role::kLeader);
  flights.End(next.flight, FlightEnd::kShared);
}

TEST(Flights, KeysOfOneHashFlyApart) {
  Flights flights;
  const auto one = flights.Join(kHash, "a", 1);
  const auto other = flights.Join(kHash, "b", 2);
  EXPECT_EQ(one.role, Role::kLeader);
  EXPECT_EQ(other.role, Role::kLeader);
  flights.End(one.flight, FlightEnd::kShared);
  EXPECT_EQ(flights.Join(kHash, "b", 3).flight, other.flight);
  flights.End(other.flight, FlightEnd::kShared);
}

TEST(Flights, OnlyTheFirstEndCounts) {
  Flights flights;
  const auto leader = flights.Join(kHash, "k", 1);
  flights.End(leader.flight, FlightEnd::kShared);
  const auto next = flights.Join(kHash, "k", 2);
  flights.End(leader.flight, FlightEnd::kFailed);
  EXPECT_EQ(EndOf(*leader.flight), FlightEnd::kShared);
  EXPECT_EQ(flights.Join(kHash, "k", 3).flight, next.flight);
  flights.End(next.flight, FlightEnd::kShared);
}

TEST(Flights, AWaitEndsWithItsTimeout) {
  Flights flights;
  const auto leader = flights.Join(kHash, "k", 1);
  const auto waiter = flights.Join(kHash, "k", 2);
  FlightEnd end{};
  EXPECT_FALSE(Flights::Wait(*waiter.flight, 2, kShort, end));
  flights.End(leader.flight, FlightEnd::kShared);
}

TEST(Flights, AWaitEndsWithThePatienceOfTheWaiter) {
  Flights flights;
  const auto leader = flights.Join(kHash, "k", 1);
  const auto waiter = flights.Join(kHash, "k", 2);
  int asked = 0;
  const Patience patience = [&] { return ++asked < 3; };
  FlightEnd end{};
  EXPECT_FALSE(Flights::Wait(*waiter.flight, 2, kNever, end, &patience));
  EXPECT_EQ(asked, 3);
  asked = 0;
  EXPECT_FALSE(Flights::Wait(*waiter.flight, 2, kShort, end, &patience));
  EXPECT_EQ(asked, 0);  // its time was over before
  flights.End(leader.flight, FlightEnd::kShared);
  EXPECT_TRUE(Flights::Wait(*waiter.flight, 2, kNever, end, &patience));
  EXPECT_EQ(end, FlightEnd::kShared);
}

TEST(Flights, WakesEachSleeper) {
  constexpr int kSleepers = 8;
  Flights flights;
  const auto leader = flights.Join(kHash, "k", 1);
  std::barrier joined(kSleepers + 1);
  std::atomic<int> shared{0};
  std::vector<std::thread> threads;
  for (std::uint64_t owner = 2; owner < 2 + kSleepers; ++owner) {
    threads.emplace_back([&, owner] {
      const auto waiter = flights.Join(kHash, "k", owner);
      joined.arrive_and_wait();
      FlightEnd end{};
      const bool ended = Flights::Wait(*waiter.flight, owner, kNever, end);
      if (waiter.role == Role::kWaiter && ended && end == FlightEnd::kShared) ++shared;
    });
  }
  joined.arrive_and_wait();
  flights.End(leader.flight, FlightEnd::kShared);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(shared, kSleepers);
}

// --- subscriptions

TEST(Flights, CallsASubscriberOnceAtTheEnd) {
  Flights flights;
  const auto leader = flights.Join(kHash, "k", 1);
  int calls = 0;
  leader.flight->Subscribe([&calls] { ++calls; });
  EXPECT_EQ(calls, 0);
  flights.End(leader.flight, FlightEnd::kFailed);
  EXPECT_EQ(calls, 1);
  flights.End(leader.flight, FlightEnd::kFailed);
  EXPECT_EQ(calls, 1);
}

TEST(Flights, CallsALateSubscriberAtOnce) {
  Flights flights;
  const auto leader = flights.Join(kHash, "k", 1);
  flights.End(leader.flight, FlightEnd::kFailed);
  int calls = 0;
  leader.flight->Subscribe([&calls] { ++calls; });
  EXPECT_EQ(calls, 1);
}

TEST(Flights, SubscribersMayComeBackToTheFlights) {
  Flights flights;
  const auto leader = flights.Join(kHash, "k", 1);
  Role role = Role::kWaiter;
  leader.flight->Subscribe([&] {
    const auto next = flights.Join(kHash, "k", 2);
    role = next.role;
    flights.End(next.flight, FlightEnd::kShared);
  });
  flights.End(leader.flight, FlightEnd::kFailed);
  EXPECT_EQ(role, Role::kLeader);
}

TEST(Flights, AFlightMayOutliveTheFlights) {
  std::shared_ptr<FlightState> flight;
  {
    Flights flights;
    flight = flights.Join(kHash, "k", 1).flight;
  }
  FlightEnd end{};
  EXPECT_FALSE(Flights::Wait(*flight, 2, kShort, end));
}

// --- circles

TEST(Flights, NobodyWaitsForItself) {
  Flights flights;
  const auto leader = flights.Join(kHash, "k", 1);
  const auto again = flights.Join(kHash, "k", 1);
  EXPECT_EQ(again.role, Role::kReentrant);
  EXPECT_EQ(again.flight, nullptr);
  flights.End(leader.flight, FlightEnd::kShared);
}

TEST(Flights, NobodyClosesACircleOfTwo) {
  Flights flights;
  const auto a = flights.Join(1, "a", 1);
  const auto b = flights.Join(2, "b", 2);
  EXPECT_EQ(flights.Join(2, "b", 1).role, Role::kWaiter);
  EXPECT_EQ(flights.Join(1, "a", 2).role, Role::kReentrant);
  EXPECT_EQ(flights.Join(1, "a", 3).role, Role::kWaiter);
  flights.End(a.flight, FlightEnd::kShared);
  flights.End(b.flight, FlightEnd::kShared);
}

TEST(Flights, NobodyClosesACircleOfThree) {
  Flights flights;
  std::vector<std::shared_ptr<FlightState>> led;
  for (std::uint64_t owner = 1; owner <= 3; ++owner) {
    led.push_back(flights.Join(owner, std::to_string(owner), owner).flight);
  }
  EXPECT_EQ(flights.Join(2, "2", 1).role, Role::kWaiter);
  EXPECT_EQ(flights.Join(3, "3", 2).role, Role::kWaiter);
  EXPECT_EQ(flights.Join(1, "1", 3).role, Role::kReentrant);
  for (const auto& flight : led) flights.End(flight, FlightEnd::kShared);
}

TEST(Flights, WhoStoppedWaitingClosesNoCircle) {
  Flights flights;
  const auto a = flights.Join(1, "a", 1);
  const auto b = flights.Join(2, "b", 2);
  const auto waiting = flights.Join(2, "b", 1);
  FlightEnd end{};
  EXPECT_FALSE(Flights::Wait(*waiting.flight, 1, kShort, end));
  EXPECT_EQ(flights.Join(1, "a", 2).role, Role::kWaiter);
  flights.End(a.flight, FlightEnd::kShared);
  flights.End(b.flight, FlightEnd::kShared);
}

TEST(Flights, AnEndedFlightClosesNoCircle) {
  Flights flights;
  const auto a = flights.Join(1, "a", 1);
  const auto b = flights.Join(2, "b", 2);
  EXPECT_EQ(flights.Join(2, "b", 1).role, Role::kWaiter);
  flights.End(b.flight, FlightEnd::kShared);
  EXPECT_EQ(flights.Join(1, "a", 2).role, Role::kWaiter);
  flights.End(a.flight, FlightEnd::kShared);
}

TEST(Flights, NobodyInParticularIsNeverInACircle) {
  Flights flights;
  const auto leader = flights.Join(kHash, "k", 0);
  EXPECT_EQ(flights.Join(kHash, "k", 0).role, Role::kWaiter);
  flights.End(leader.flight, FlightEnd::kShared);
}

// --- forks

TEST(Flights, AFlightFromBeforeAForkIsForgottenQuietly) {
  Flights flights;
  const auto old_leader = flights.Join(kHash, "k", 1);
  int calls = 0;
  old_leader.flight->Subscribe([&calls] { ++calls; });
  flights.AfterFork();
  EXPECT_EQ(EndOf(*old_leader.flight), FlightEnd::kFailed);
  const auto leader = flights.Join(kHash, "k", 1);
  EXPECT_EQ(leader.role, Role::kLeader);
  flights.End(old_leader.flight, FlightEnd::kShared);
  EXPECT_EQ(calls, 0);
  EXPECT_EQ(flights.Join(kHash, "k", 2).role, Role::kWaiter);
  flights.End(leader.flight, FlightEnd::kShared);
}

TEST(Flights, AForkedChildLeadsWhateverOtherThreadsHeld) {
  SMARTCACHE_SKIP_FORK_AMID_THREADS();
  Flights flights;
  const auto held = flights.Join(kHash, "held", 100);
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (std::uint64_t owner = 1; owner <= 2; ++owner) {
    threads.emplace_back([&flights, &stop, owner] {
      while (!stop) {
        const auto joined = flights.Join(owner, "k", owner);
        flights.End(joined.flight, FlightEnd::kShared);
      }
    });
  }
  for (int forks = 0; forks < 50; ++forks) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      alarm(10);
      flights.AfterFork();
      const auto leader = flights.Join(kHash, "held", 3);
      flights.End(held.flight, FlightEnd::kShared);
      FlightEnd end{};
      const bool right =
          leader.role == Role::kLeader && Flights::Wait(*held.flight, 3, kNever, end);
      _exit(right && end == FlightEnd::kFailed ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  flights.End(held.flight, FlightEnd::kShared);
}

// --- many threads

TEST(Flights, EachFlightHasOneLeaderAndLosesNobody) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 3'000;
  Flights flights;
  std::array<std::atomic<int>, 2> leading{};
  std::atomic<int> wrong{0};
  std::atomic<int> led{0};
  std::vector<std::thread> threads;
  for (std::uint64_t owner = 1; owner <= kThreads; ++owner) {
    threads.emplace_back([&, owner] {
      for (unsigned round = 0; round < kRounds; ++round) {
        const Tag key = (round + owner) % leading.size();
        const auto joined = flights.Join(key, std::to_string(key), owner);
        if (joined.role == Role::kLeader) {
          if (++leading[key] != 1) ++wrong;
          ++led;
          std::this_thread::yield();
          --leading[key];
          flights.End(joined.flight, FlightEnd::kShared);
        } else if (joined.role == Role::kWaiter) {
          FlightEnd end{};
          if (!Flights::Wait(*joined.flight, owner, kNever, end)) ++wrong;
          if (end != FlightEnd::kShared) ++wrong;
        } else {
          ++wrong;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(led, 0);
}

// Threads that lead one key and then ask for the other's: without looking for circles all of them
// hang.
TEST(Flights, NestedCallersNeverDeadlock) {
  constexpr int kRounds = 2'000;
  Flights flights;
  std::atomic<int> circles{0};
  std::vector<std::thread> threads;
  std::barrier start(2);
  for (std::uint64_t owner = 1; owner <= 2; ++owner) {
    threads.emplace_back([&, owner] {
      for (int round = 0; round < kRounds; ++round) {
        start.arrive_and_wait();
        const auto outer = flights.Join(owner, "outer", owner);
        const auto inner = flights.Join(3 - owner, "outer", owner);
        if (inner.role == Role::kWaiter) {
          FlightEnd end{};
          EXPECT_TRUE(Flights::Wait(*inner.flight, owner, kNever, end));
        } else if (inner.role == Role::kLeader) {
          flights.End(inner.flight, FlightEnd::kShared);
        } else {
          ++circles;
        }
        if (outer.role == Role::kLeader) flights.End(outer.flight, FlightEnd::kShared);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(circles, kRounds);
}

}  // namespace
}  // namespace smartcache
