// One logged-in connection to one primary. Not thread-safe. Any failure leaves it unusable.
// Sockets are read and written here, with deadlines; libvalkey parses the replies (RESP3). Closing
// sends nothing, not even the end of a TLS session, so that a forked child may close its copies.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <valkey/valkey.h>

#include "l2/redis/batch.h"
#include "l2/redis/redis_url.h"
#include "l2/redis/socket_list.h"
#include "smartcache/clock.h"
#include "smartcache/result.h"
#include "smartcache/tls.h"

namespace smartcache::redis {

// What a server is to be. Any: a sentinel, a replica; such a connection has neither database nor
// epoch.
enum class Role : std::uint8_t { kPrimary, kAny };

// How to open connections to one server.
struct Login {
  Role role = Role::kPrimary;
  std::string user, password;
  int database = 0;
  Duration timeout{};                 // of one call, connecting included
  Duration check_interval{};          // how often a used connection makes sure of its server
  std::string probe_key;              // deleted by the check; never exists
  std::shared_ptr<tls::Context> tls;  // null: without
};

class Connection {
 public:
  // Connects, logs in and learns the server's epoch. Refuses replicas and servers older than 7.0.
  [[nodiscard]] static Result<std::unique_ptr<Connection>> Open(const Endpoint& endpoint,
                                                                const Login& login,
                                                                const Clock& clock,
                                                                SocketList& sockets,
                                                                Instant deadline);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Sends the batch and reads all its replies. Where the last check is too long ago, the batch
  // takes the next one along, in the same round trip.
  [[nodiscard]] Status Exchange(Batch& batch, Instant deadline);
  // The two halves of Exchange, for asking several servers at once.
  [[nodiscard]] Status SendBatch(Batch& batch, Instant deadline);
  [[nodiscard]] Status ReceiveAll(Batch& batch, Instant deadline);
  // Bytes as they are; their replies are read with Next.
  [[nodiscard]] Status Send(std::string_view bytes, Instant deadline);

  // For a listener, which waits by itself: reads what has arrived, without blocking. Afterwards
  // nothing is kept back that the socket would not tell of.
  [[nodiscard]] Status ReadAvailable();
  // The next whole reply or push out of what was read; null when there is none.
  [[nodiscard]] Result<ReplyPtr> Next();

  // Commands by which the server shows that it is still the primary it was, and takes writes.
  static constexpr std::size_t kCheckReplies = 2;
  [[nodiscard]] std::string_view check_commands() const { return check_commands_; }
  [[nodiscard]] Status Verify(const valkeyReply& probe, const valkeyReply& replication) const;

  // False when the server has closed it, or sent what nobody asked for.
  [[nodiscard]] bool SeemsAlive() const;
  // True when the last failure came before anything of the replies: the server had closed an idle
  // connection, and did not run the commands.
  [[nodiscard]] bool closed_by_server() const { return closed_by_server_; }
  [[nodiscard]] int fd() const { return fd_; }
  // Hash of what distinguishes this state of this server: its run and its replication history.
  [[nodiscard]] std::uint64_t epoch() const { return epoch_; }
  Instant last_used{};
  std::uint64_t generation = 0;  // of the pool when it was opened

 private:
  Connection(int fd, const Login& login, const Clock& clock, SocketList& sockets);
  // Does the TLS handshake, and from there on all goes through `session_`.
  [[nodiscard]] Status Secure(tls::Context& context, const std::string& host, Instant deadline);
  [[nodiscard]] Status LogIn(const Login& login, Instant deadline);
  [[nodiscard]] Result<ReplyPtr> Receive(Instant deadline);
  [[nodiscard]] Status SendAsItIs(std::string_view bytes, Instant deadline);
  // Returns when a read would not block, or would end by itself before `deadline`.
  [[nodiscard]] Status AwaitInput(Instant deadline);
  [[nodiscard]] Status ReadSome(int flags);
  [[nodiscard]] Status ReadEncrypted(int flags);
  // One read of the socket; 0: there was nothing yet.
  [[nodiscard]] Result<std::size_t> ReadSocket(char* space, std::size_t size, int flags);
  // Hands what the session can read to the parser.
  [[nodiscard]] Status Decrypt();
  [[nodiscard]] Status Fail(int error);

  struct FreeReader {
    void operator()(valkeyReader* reader) const { valkeyReaderFree(reader); }
  };

  const int fd_;
  const Clock& clock_;
  SocketList& sockets_;
  std::unique_ptr<valkeyReader, FreeReader> reader_;
  std::unique_ptr<tls::Session> session_;  // null: without TLS
  Duration socket_timeout_{};
  Duration check_interval_;
  Instant checked_at_{};
  bool check_due_ = false;  // in the batch under way
  bool received_ = false;   // anything, of the batch under way
  bool closed_by_server_ = false;
  std::uint64_t epoch_ = 0;
  std::string replication_id_;
  std::string check_commands_;
};

// The value of "name:value" in an INFO reply; empty when it has none.
[[nodiscard]] std::string_view InfoField(std::string_view info, std::string_view name);

// Errors after which a connection is of no use: another server has to be found, or this one is not
// ready.
[[nodiscard]] bool IsFatalError(const valkeyReply& reply);

}  // namespace smartcache::redis
