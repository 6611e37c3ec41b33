#include "l2/redis/connection.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <system_error>

#include "base/hash.h"
#include "l2/redis/dial.h"

namespace smartcache::redis {
namespace {

constexpr std::string_view kClientName = "djsmartcache";
constexpr int kOldestMajorVersion = 7;  // scripts with flags
constexpr std::size_t kReadBytes = 16 << 10;
constexpr std::size_t kEncryptBytes = 64 << 10;  // at a time, so that a large value needs no copy

Status ServerError(const valkeyReply& reply) {
  return Unavailable("server: " + std::string(Text(reply)));
}

int MajorVersion(std::string_view text) {
  int major = 0;
  std::from_chars(text.data(), text.data() + text.size(), major);
  return major;
}

}  // namespace

std::string_view InfoField(std::string_view info, std::string_view name) {
  for (std::size_t at = info.find(name); at != info.npos; at = info.find(name, at + 1)) {
    const bool starts_line = at == 0 || info[at - 1] == '\n';
    if (!starts_line || info.substr(at + name.size(), 1) != ":") continue;
    const std::string_view value = info.substr(at + name.size() + 1);
    return value.substr(0, value.find_first_of("\r\n"));
  }
  return {};
}

bool IsFatalError(const valkeyReply& reply) {
  if (reply.type != VALKEY_REPLY_ERROR) return false;
  for (std::string_view code :
       {"LOADING", "READONLY", "MASTERDOWN", "NOAUTH", "NOREPLICAS", "BUSY", "CLUSTERDOWN"}) {
    if (IsError(reply, code)) return true;
  }
  return false;
}

Result<std::unique_ptr<Connection>> Connection::Open(const Endpoint& endpoint, const Login& login,
                                                     const Clock& clock, SocketList& sockets,
                                                     Instant deadline) {
  Result<int> fd = Dial(endpoint, clock, deadline);
  if (!fd.ok()) return fd.status();
  std::unique_ptr<Connection> connection(new Connection(*fd, login, clock, sockets));
  if (connection->reader_ == nullptr) return Unavailable("out of memory");
  Status status;
  if (login.tls != nullptr) status = connection->Secure(*login.tls, endpoint.host, deadline);
  if (status.ok()) status = connection->LogIn(login, deadline);
  if (!status.ok()) return Unavailable(ToString(endpoint) + ": " + status.message());
  return connection;
}

Connection::Connection(int fd, const Login& login, const Clock& clock, SocketList& sockets)
    : fd_(fd),
      clock_(clock),
      sockets_(sockets),
      reader_(valkeyReaderCreate()),
      check_interval_(login.check_interval) {
  sockets_.Add(fd_);
  // A blocking read is one system call less than poll and read. It is used while more than this is
  // left of the time for the call, so that the limit holds.
  socket_timeout_ = std::max<Duration>(login.timeout / 16 * 15, std::chrono::milliseconds(1));
  const auto micros =
      std::chrono::duration_cast<std::chrono::microseconds>(socket_timeout_).count();
  const timeval limit{.tv_sec = micros / 1'000'000, .tv_usec = micros % 1'000'000};
  setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  Batch check;
  check.Add(0, {"DEL", login.probe_key});
  check.Add(0, {"INFO", "replication"});
  check_commands_ = check.bytes();
}

Connection::~Connection() {
  sockets_.Remove(fd_);
  close(fd_);
}

Status Connection::Secure(tls::Context& context, const std::string& host, Instant deadline) {
  const auto fail = [](const Status& status, const char* hint = "") {
    return Unavailable("TLS: " + status.message() + hint);
  };
  Result<std::unique_ptr<tls::Session>> session = context.Start(host);
  if (!session.ok()) return fail(session.status());
  session_ = *std::move(session);
  for (;;) {
    const Result<bool> done = session_->Handshake();
    // Also what tells the server why it came to nothing.
    Status status = SendAsItIs(session_->outgoing(), deadline);
    session_->DropOutgoing();
    if (!done.ok()) return fail(done.status());
    if (status.ok() && *done) return Decrypt();
    if (status.ok()) status = AwaitInput(deadline);
    char space[kReadBytes];
    const Result<std::size_t> count = status.ok() ? ReadSocket(space, sizeof space, 0) : status;
    // A server without TLS waits for the end of a line, or hangs up.
    if (!count.ok()) return fail(count.status(), " (is TLS spoken there?)");
    session_->Feed({space, *count});
  }
}

Status Connection::LogIn(const Login& login, Instant deadline) {
  Batch batch;
  if (login.password.empty()) {
    batch.Add(0, {"HELLO", "3", "SETNAME", kClientName});
  } else {
    const std::string_view user = login.user.empty() ? "default" : std::string_view(login.user);
    batch.Add(0, {"HELLO", "3", "AUTH", user, login.password, "SETNAME", kClientName});
  }
  if (login.role == Role::kPrimary) {
    batch.Add(0, {"INFO", "server"});
    batch.Add(0, {"INFO", "replication"});
    if (login.database != 0) batch.Add(0, {"SELECT", std::to_string(login.database)});
  }
  batch.sent = clock_.Now();
  Status status = Send(batch.bytes(), deadline);
  // Our certificate may be refused only now: what the server said before it hung up tells more.
  if (status.ok() || session_ != nullptr) status = ReceiveAll(batch, deadline);
  if (!status.ok()) return status;
  for (const ReplyPtr& reply : batch.replies) {
    if (reply->type != VALKEY_REPLY_ERROR) continue;
    // A server that does not know the command says its arguments, of which one is the password.
    const std::string_view said = Text(*reply);
    return Unavailable("server: " + std::string(said.substr(0, said.find(", with args"))));
  }
  checked_at_ = batch.sent;
  if (login.role == Role::kAny) return Ok();
  const std::string_view server = Text(batch.reply(1)), replication = Text(batch.reply(2));
  if (MajorVersion(InfoField(server, "redis_version")) < kOldestMajorVersion) {
    return Unavailable("Redis 7.0 or later, or Valkey, is needed");
  }
  if (InfoField(replication, "role") != "master") return Unavailable("the server is a replica");
  replication_id_ = InfoField(replication, "master_replid");
  epoch_ = Hash64(std::string(InfoField(server, "run_id")) + ":" + replication_id_);
  return Ok();
}

Status Connection::Exchange(Batch& batch, Instant deadline) {
  if (Status status = SendBatch(batch, deadline); !status.ok()) return status;
  return ReceiveAll(batch, deadline);
}

Status Connection::SendBatch(Batch& batch, Instant deadline) {
  batch.sent = clock_.Now();
  check_due_ = batch.sent - checked_at_ >= check_interval_;
  if (check_due_) {
    // First, so that nothing is run by a server that takes no writes without being found out.
    if (Status status = Send(check_commands_, deadline); !status.ok()) return status;
  }
  return Send(batch.bytes(), deadline);
}

Status Connection::Send(std::string_view bytes, Instant deadline) {
  received_ = false;
  if (session_ == nullptr) return SendAsItIs(bytes, deadline);
  while (!bytes.empty()) {
    const std::string_view part = bytes.substr(0, kEncryptBytes);
    Status status = session_->Write(part);
    if (status.ok()) status = SendAsItIs(session_->outgoing(), deadline);
    session_->DropOutgoing();
    if (!status.ok()) return status;
    bytes.remove_prefix(part.size());
  }
  return Ok();
}

Status Connection::SendAsItIs(std::string_view bytes, Instant deadline) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(sent));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return Fail(errno);
    pollfd ready{fd_, POLLOUT, 0};
    const int count = poll(&ready, 1, PollMillis(clock_.Now(), deadline));
    if (count == 0) return Fail(ETIMEDOUT);
    if (count < 0 && errno != EINTR) return Fail(errno);
  }
  return Ok();
}

Status Connection::ReceiveAll(Batch& batch, Instant deadline) {
  if (check_due_) {
    ReplyPtr check[kCheckReplies];
    for (ReplyPtr& reply : check) {
      Result<ReplyPtr> received = Receive(deadline);
      if (!received.ok()) return received.status();
      reply = *std::move(received);
    }
    if (Status status = Verify(*check[0], *check[1]); !status.ok()) return status;
    checked_at_ = batch.sent;
    check_due_ = false;
  }
  batch.epoch = epoch_;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    Result<ReplyPtr> reply = Receive(deadline);
    if (!reply.ok()) return reply.status();
    if (IsFatalError(**reply)) return ServerError(**reply);
    batch.replies.push_back(*std::move(reply));
  }
  last_used = batch.sent;
  return Ok();
}

Status Connection::Verify(const valkeyReply& probe, const valkeyReply& replication) const {
  if (probe.type != VALKEY_REPLY_INTEGER) return ServerError(probe);
  const std::string_view info = Text(replication);
  if (InfoField(info, "role") != "master" || InfoField(info, "master_replid") != replication_id_) {
    return Unavailable("the server is not the primary it was");
  }
  return Ok();
}

Result<ReplyPtr> Connection::Receive(Instant deadline) {
  for (;;) {
    Result<ReplyPtr> reply = Next();
    if (!reply.ok() || (*reply != nullptr && (*reply)->type != VALKEY_REPLY_PUSH)) return reply;
    if (*reply != nullptr) continue;  // a push that nobody here waits for
    if (Status status = AwaitInput(deadline); !status.ok()) return status;
    if (Status status = ReadSome(0); !status.ok()) return status;
  }
}

Status Connection::AwaitInput(Instant deadline) {
  for (;;) {
    const Instant now = clock_.Now();
    if (deadline - now >= socket_timeout_) return Ok();
    pollfd ready{fd_, POLLIN, 0};
    const int count = now >= deadline ? 0 : poll(&ready, 1, PollMillis(now, deadline));
    if (count > 0) return Ok();
    if (count == 0) return Fail(ETIMEDOUT);
    if (errno != EINTR) return Fail(errno);
  }
}

Status Connection::ReadSome(int flags) {
  if (session_ != nullptr) return ReadEncrypted(flags);
  char* space = nullptr;
  std::size_t size = 0;
  if (valkeyReaderGetReadBuf(reader_.get(), &space, &size, kReadBytes) != VALKEY_OK) {
    return Unavailable("out of memory");
  }
  const Result<std::size_t> count = ReadSocket(space, size, flags);
  if (!count.ok()) return count.status();
  if (*count > 0) {
    received_ = true;
    valkeyReaderCommitRead(reader_.get(), *count);
  }
  return Ok();
}

Result<std::size_t> Connection::ReadSocket(char* space, std::size_t size, int flags) {
  const ssize_t count = recv(fd_, space, size, flags);
  if (count > 0) return static_cast<std::size_t>(count);
  if (count == 0) return Fail(ECONNRESET);
  if (errno == EINTR) return std::size_t{0};
  if (errno == EAGAIN) {
    return (flags & MSG_DONTWAIT) != 0 ? Result(std::size_t{0}) : Fail(ETIMEDOUT);
  }
  return Fail(errno);
}

Status Connection::ReadEncrypted(int flags) {
  char space[kReadBytes];
  const Result<std::size_t> count = ReadSocket(space, sizeof space, flags);
  if (!count.ok()) return count.status();
  if (*count == 0) return Ok();
  session_->Feed({space, *count});
  return Decrypt();
}

Status Connection::Decrypt() {
  for (bool read = false;; read = true) {
    char* space = nullptr;
    std::size_t size = 0;
    if (valkeyReaderGetReadBuf(reader_.get(), &space, &size, kReadBytes) != VALKEY_OK) {
      return Unavailable("out of memory");
    }
    const Result<std::size_t> count = session_->Read({space, size});
    if (!count.ok()) return Unavailable("connection lost: TLS: " + count.status().message());
    if (*count == 0) {
      // The end of an idle session is no part of a reply.
      if (session_->ended() && !read) return Fail(ECONNRESET);
      received_ = true;
      return Ok();
    }
    valkeyReaderCommitRead(reader_.get(), *count);
  }
}

Status Connection::ReadAvailable() { return ReadSome(MSG_DONTWAIT); }

Result<ReplyPtr> Connection::Next() {
  void* reply = nullptr;
  if (valkeyReaderGetReply(reader_.get(), &reply) != VALKEY_OK) {
    return Unavailable(std::string("unintelligible reply: ") + reader_->errstr);
  }
  return ReplyPtr(static_cast<valkeyReply*>(reply));
}

bool Connection::SeemsAlive() const {
  char byte;
  return recv(fd_, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EINTR);
}

Status Connection::Fail(int error) {
  closed_by_server_ = !received_ && (error == ECONNRESET || error == EPIPE);
  if (error == ETIMEDOUT) return Unavailable("the server did not answer in time");
  return Unavailable("connection lost: " + std::generic_category().message(error));
}

}  // namespace smartcache::redis
