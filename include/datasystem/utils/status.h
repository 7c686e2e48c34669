/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status.h - the outcome of a call: a code and a message.
 *
 * Ownership: a value; copies share the message. A success owns no memory, nor does a failure whose
 *            message is a detail::Literal, such as a miss.
 * Threads:   as for any value.
 * Codes:     one table, below. Where the C API has the code too (ds/error.h), number and text are
 *            the same.
 */
#ifndef DS_DATASYSTEM_UTILS_STATUS_H
#define DS_DATASYSTEM_UTILS_STATUS_H

#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <utility>

/* X(name, number, text) */
#define DATASYSTEM_STATUS_CODE_MAP(X)                                                              \
    X(K_OK, 0, "OK")                                                                               \
    X(K_DUPLICATED, 1, "Duplicated")                                                               \
    X(K_INVALID, 2, "Invalid parameter")                                                           \
    X(K_NOT_FOUND, 3, "Key not found")                                                             \
    X(K_KVSTORE_ERROR, 4, "Metadata store error")                                                  \
    X(K_RUNTIME_ERROR, 5, "Runtime error")                                                         \
    X(K_OUT_OF_MEMORY, 6, "Out of memory")                                                         \
    X(K_IO_ERROR, 7, "IO error")                                                                   \
    X(K_NOT_READY, 8, "Not ready")                                                                 \
    X(K_NOT_AUTHORIZED, 9, "Not authorized")                                                       \
    X(K_UNKNOWN_ERROR, 10, "Unknown error")                                                        \
    X(K_INTERRUPTED, 11, "Interrupted")                                                            \
    X(K_OUT_OF_RANGE, 12, "Out of range")                                                          \
    X(K_NO_SPACE, 13, "No space available")                                                        \
    X(K_NOT_LEADER_MASTER, 14, "Not the leader")                                                   \
    X(K_RECOVERY_ERROR, 15, "Recovery failed")                                                     \
    X(K_RECOVERY_IN_PROGRESS, 16, "Recovery in progress")                                          \
    X(K_FILE_NAME_TOO_LONG, 17, "File name too long")                                              \
    X(K_FILE_LIMIT_REACHED, 18, "File limit reached")                                              \
    X(K_TRY_AGAIN, 19, "Try again")                                                                \
    X(K_DATA_INCONSISTENCY, 20, "Data inconsistency")                                              \
    X(K_SHUTTING_DOWN, 21, "Shutting down")                                                        \
    X(K_WORKER_ABNORMAL, 22, "Worker abnormal")                                                    \
    X(K_CLIENT_WORKER_DISCONNECT, 23, "Client and worker disconnected")                            \
    X(K_WORKER_TIMEOUT, 24, "Worker timed out")                                                    \
    X(K_MASTER_TIMEOUT, 25, "Master timed out")                                                    \
    X(K_NOT_FOUND_IN_L2CACHE, 26, "Not found in the second-level cache")                           \
    X(K_REPLICA_NOT_READY, 27, "Replica not ready")                                                \
    X(K_CLIENT_WORKER_VERSION_MISMATCH, 28, "Client and worker versions differ")                   \
    X(K_SERVER_FD_CLOSED, 29, "Shared memory of the worker is gone")                               \
    X(K_RETRY_IF_LEAVING, 30, "Retry elsewhere, the worker is leaving")                            \
    X(K_SCALE_DOWN, 31, "Cluster is shrinking")                                                    \
    X(K_SCALING, 32, "Cluster is changing size")                                                   \
    X(K_CLIENT_DEADLOCK, 33, "Deadlock")                                                           \
    X(K_LRU_HARD_LIMIT, 34, "Memory above the hard limit")                                         \
    X(K_LRU_SOFT_LIMIT, 35, "Memory above the soft limit")                                         \
    X(K_NOT_SUPPORTED, 36, "Not supported")                                                        \
    X(K_NO_AVAILABLE_WORKER, 37, "No worker available")                                            \
    X(K_NOT_OWNER, 38, "Not the owner of the key")                                                 \
    X(K_METADATA_OWNER_UNAVAILABLE, 39, "Owner of the key unavailable")                            \
    X(K_RPC_CANCELLED, 1000, "Request cancelled")                                                  \
    X(K_RPC_DEADLINE_EXCEEDED, 1001, "Deadline exceeded")                                          \
    X(K_RPC_UNAVAILABLE, 1002, "RPC unavailable")                                                  \
    X(K_RPC_STREAM_END, 1003, "End of the stream of replies")                                      \
    X(K_URMA_ERROR, 1004, "URMA error")                                                            \
    X(K_RDMA_ERROR, 1005, "RDMA error")                                                            \
    X(K_URMA_NEED_CONNECT, 1006, "URMA not connected")                                             \
    X(K_RDMA_NEED_CONNECT, 1007, "RDMA not connected")                                             \
    X(K_URMA_TRY_AGAIN, 1008, "URMA busy, try again")                                              \
    X(K_URMA_CONNECT_FAILED, 1009, "URMA connection failed")                                       \
    X(K_URMA_WAIT_TIMEOUT, 1010, "URMA timed out")                                                 \
    X(K_RPC_PEER_DEAD, 1011, "Peer is dead")                                                       \
    X(K_RPC_NETWORK_BLIP, 1012, "Connection lost, try again")                                      \
    X(K_OC_ALREADY_SEALED, 2000, "Object already sealed")                                          \
    X(K_OC_OBJECT_NOT_IN_USED, 2001, "Object not in use")                                          \
    X(K_OC_REMOTE_GET_NOT_ENOUGH, 2002, "Remote get came back short")                              \
    X(K_WRITE_BACK_QUEUE_FULL, 2003, "Write back queue is full")                                   \
    X(K_OC_KEY_ALREADY_EXIST, 2004, "Key already exists")                                          \
    X(K_WORKER_PULL_OBJECT_NOT_FOUND, 2005, "Object gone while it was fetched")                    \
    X(K_BUFFER_DEPRECATED, 2006, "Buffer deprecated")                                              \
    X(K_URMA_WORKER_UNAVAILABLE, 2007, "Worker unreachable by URMA")                               \
    X(K_URMA_DATA_WORKER_UNAVAILABLE, 2008, "Data worker unreachable by URMA")                     \
    X(K_URMA_READ_SOURCE_DENIED, 2009, "Source refused the URMA read")                             \
    X(K_SC_STREAM_NOT_FOUND, 3000, "Stream not found")                                             \
    X(K_SC_PRODUCER_NOT_FOUND, 3001, "Producer not found")                                         \
    X(K_SC_CONSUMER_NOT_FOUND, 3002, "Consumer not found")                                         \
    X(K_SC_END_OF_PAGE, 3003, "End of page")                                                       \
    X(K_SC_STREAM_IN_RESET_STATE, 3004, "Stream is being reset")                                   \
    X(K_SC_WORKER_WAS_LOST, 3005, "Worker of the stream was lost")                                 \
    X(K_SC_STREAM_IN_USE, 3006, "Stream in use by another thread")                                 \
    X(K_SC_STREAM_DELETE_IN_PROGRESS, 3007, "Stream is being deleted")                             \
    X(K_SC_STREAM_RESOURCE_ERROR, 3008, "Stream resources exhausted")                              \
    X(K_SC_ALREADY_CLOSED, 3009, "Already closed")                                                 \
    X(K_SC_STREAM_NOTIFICATION_PENDING, 3010, "Stream notification pending")                       \
    X(K_ACL_ERROR, 5000, "ACL error")                                                              \
    X(K_HCCL_ERROR, 5001, "HCCL error")                                                            \
    X(K_FUTURE_TIMEOUT, 5002, "Future timed out")                                                  \
    X(K_CUDA_ERROR, 5003, "CUDA error")                                                            \
    X(K_NCCL_ERROR, 5004, "NCCL error")

namespace datasystem {
enum StatusCode : uint32_t {
#define DATASYSTEM_STATUS_ENUM_(name, number, text) name = number,
    DATASYSTEM_STATUS_CODE_MAP(DATASYSTEM_STATUS_ENUM_)
#undef DATASYSTEM_STATUS_ENUM_
};

namespace detail {
/* A string that lives as long as the program: a Status with it needs no memory. */
struct Literal {
    constexpr explicit Literal(const char *string) noexcept : text(string) {}
    const char *text;
};

struct StatusCodeRow {
    StatusCode code;
    const char *name;
    const char *text;
};

#define DATASYSTEM_STATUS_ROW_(name, number, text) {name, #name, text},
inline constexpr StatusCodeRow kStatusCodes[] = {
    DATASYSTEM_STATUS_CODE_MAP(DATASYSTEM_STATUS_ROW_)};
#undef DATASYSTEM_STATUS_ROW_
} // namespace detail

/* K_UNKNOWN_ERROR for a name that is none. Takes "K_NOT_FOUND" and "Key not found". */
inline StatusCode GetStatusCodeByName(const std::string &name)
{
    for (const auto &row : detail::kStatusCodes) {
        if (name == row.name || name == row.text) {
            return row.code;
        }
    }
    return K_UNKNOWN_ERROR;
}

class Status {
public:
    Status() noexcept = default;
    Status(const Status &) noexcept = default;
    Status &operator=(const Status &) noexcept = default;
    ~Status() noexcept = default;

    Status(Status &&other) noexcept
        : code_(std::exchange(other.code_, K_OK)), literal_(std::exchange(other.literal_, "")),
          message_(std::move(other.message_))
    {}

    Status &operator=(Status &&other) noexcept
    {
        code_ = std::exchange(other.code_, K_OK);
        literal_ = std::exchange(other.literal_, "");
        message_ = std::move(other.message_);
        return *this;
    }

    Status(StatusCode code, std::string message)
        : code_(code), message_(std::make_shared<const std::string>(std::move(message)))
    {}

    Status(StatusCode code, detail::Literal message) noexcept : code_(code), literal_(message.text)
    {}

    Status(StatusCode code, int line, const std::string &file, const std::string &extra = "")
        : Status(code, extra + " (" + file + ":" + std::to_string(line) + ")")
    {}

    static Status OK() { return Status(); }

    /* "code: [Key not found], msg: [...]" */
    std::string ToString() const
    {
        return "code: [" + StatusCodeName(code_) + "], msg: [" + GetMsg() + "]";
    }

    StatusCode GetCode() const noexcept { return code_; }
    std::string GetMsg() const { return message_ != nullptr ? *message_ : std::string(literal_); }
    void AppendMsg(const std::string &text)
    {
        message_ = std::make_shared<const std::string>(GetMsg() + text);
    }

    bool IsOk() const noexcept { return code_ == K_OK; }
    bool IsError() const noexcept { return code_ != K_OK; }
    explicit operator bool() const noexcept { return IsOk(); }

    /* By code only. */
    bool operator==(const Status &other) const noexcept { return code_ == other.code_; }
    bool operator!=(const Status &other) const noexcept { return code_ != other.code_; }

    /* "Key not found" for K_NOT_FOUND. */
    static std::string StatusCodeName(StatusCode code)
    {
        for (const auto &row : detail::kStatusCodes) {
            if (row.code == code) {
                return row.text;
            }
        }
        return "Unknown code " + std::to_string(static_cast<uint32_t>(code));
    }

    friend std::ostream &operator<<(std::ostream &os, const Status &status)
    {
        return os << status.ToString();
    }

private:
    StatusCode code_ = K_OK;
    const char *literal_ = "";                   /* the message, unless message_ is set */
    std::shared_ptr<const std::string> message_; /* shared by copies, never changed */
};
} // namespace datasystem

#endif
