/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connection.h - what KVClient, ObjectClient and HeteroClient have in common: options and a
 * session.
 *
 * Ownership: a session is one ds_client; connections that were opened together share it, and the
 *            last to close ends it.
 * Threads:   any. Close() may run beside calls that wait: they end with K_SHUTTING_DOWN; calls that
 *            start after it are K_NOT_READY. As with ds_client_close(), the application sees to it
 *            that no call starts in the same moment.
 */
#ifndef DS_DATASYSTEM_DETAIL_CONNECTION_H
#define DS_DATASYSTEM_DETAIL_CONNECTION_H

#include <ds/client.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "datasystem/detail/error.h"
#include "datasystem/detail/health_probe.h"
#include "datasystem/detail/thread_context.h"
#include "datasystem/utils/connection.h"
#include "datasystem/utils/status.h"

namespace datasystem::detail {
class Connection {
public:
    explicit Connection(ConnectOptions options) : options_(std::move(options)) {}
    ~Connection() { Close(); }
    Connection(const Connection &) = delete;
    Connection &operator=(const Connection &) = delete;

    /* A second one is a no-op; in a child made by fork() it opens a session of its own. */
    Status Open()
    {
        std::lock_guard<std::mutex> lock(mutex_);
        if (session_ != nullptr && !ds_client_forked(session_.get())) {
            return Status::OK();
        }
        struct ds_client *client = nullptr;
        Status status = Connect(&client);
        if (status.IsOk()) {
            Adopt(std::shared_ptr<struct ds_client>(client, ds_client_close));
        }
        return status;
    }

    /* Uses the session of another connection. */
    void Share(const Connection &other)
    {
        std::shared_ptr<struct ds_client> session;
        {
            std::lock_guard<std::mutex> lock(other.mutex_);
            session = other.session_;
        }
        std::lock_guard<std::mutex> lock(mutex_);
        Adopt(std::move(session));
    }

    /* A second one is a no-op. */
    void Close()
    {
        probe_.Stop();
        std::shared_ptr<struct ds_client> session;
        std::lock_guard<std::mutex> lock(mutex_);
        client_.store(nullptr, std::memory_order_release);
        session.swap(session_);
    }

    /* For calls on keys; nullptr: Refusal() says why. */
    struct ds_client *Client() const noexcept
    {
        return ThreadHasTenant() ? nullptr : client_.load(std::memory_order_acquire);
    }

    [[gnu::cold, gnu::noinline]] Status Refusal() const
    {
        if (client_.load(std::memory_order_acquire) == nullptr) {
            return Status(K_NOT_READY, Literal("The client is not connected: call Init() first"));
        }
        return Status(K_NOT_SUPPORTED, Literal("There are no tenants yet: SetTenantId(\"\")"));
    }

    Status Health() const
    {
        struct ds_client *client = client_.load(std::memory_order_acquire);
        return client == nullptr ? Refusal() : Result(ds_client_health(client));
    }

    /* Replaces the callback; nullptr ends the probing. */
    Status Probe(HealthProbe::Callback callback, uint32_t interval_ms)
    {
        if (callback == nullptr) {
            probe_.Stop();
            return Status::OK();
        }
        if (client_.load(std::memory_order_acquire) == nullptr) {
            return Refusal();
        }
        if (interval_ms == 0) {
            return Status(K_INVALID, Literal("The intervalMs should be bigger than zero."));
        }
        probe_.Start([this] { return Health(); }, std::move(callback), interval_ms);
        return Status::OK();
    }

    /* "host:port" of the worker as far as it was given. */
    std::string Address() const
    {
        std::lock_guard<std::mutex> lock(mutex_);
        return options_.host + ":" + std::to_string(options_.port);
    }

private:
    void Adopt(std::shared_ptr<struct ds_client> session)
    {
        session_ = std::move(session);
        client_.store(session_.get(), std::memory_order_release);
    }

    Status CheckOptions() const
    {
        if (options_.port < 0 || options_.port > UINT16_MAX) {
            return Status(K_INVALID, "The port is out of range: " + std::to_string(options_.port));
        }
        if (options_.connectTimeoutMs < 500) {
            return Status(K_INVALID, Literal("The connectTimeoutMs should be at least 500."));
        }
        if (options_.requestTimeoutMs < 0) {
            return Status(K_INVALID, Literal("The requestTimeoutMs should not be negative."));
        }
        if (!options_.tenantId.empty()) {
            return Status(K_NOT_SUPPORTED,
                          Literal("There are no tenants yet: leave tenantId empty"));
        }
        return Status::OK();
    }

    Status Connect(struct ds_client **ret)
    {
        if (options_.serviceDiscovery != nullptr) {
            int port = 0;
            Status status = options_.serviceDiscovery->SelectWorker(options_.host, port);
            if (status.IsError()) {
                return status;
            }
            options_.port = port;
        }
        Status status = CheckOptions();
        if (status.IsError()) {
            return status;
        }
        struct ds_client_options options;
        ds_client_options_init(&options);
        if (!options_.host.empty()) {
            options.host = options_.host.c_str();
        }
        if (options_.port != 0) {
            options.port = static_cast<uint16_t>(options_.port);
        }
        if (options_.connectTimeoutMs != ConnectOptions().connectTimeoutMs) {
            options.connect_timeout_ms = options_.connectTimeoutMs; /* else the environment's */
        }
        options.request_timeout_ms = options_.requestTimeoutMs;
        char reason[DS_REASON_SIZE] = "";
        options.ret_reason = reason;
        options.reason_size = sizeof(reason);
        int rc = ds_client_open(&options, ret);
        return rc >= 0
                   ? Status()
                   : Status(static_cast<StatusCode>(-rc), std::string("Cannot connect: ") + reason);
    }

    ConnectOptions options_; /* changed by Open() only, under mutex_ */
    mutable std::mutex mutex_;
    std::shared_ptr<struct ds_client> session_;       /* under mutex_ */
    std::atomic<struct ds_client *> client_{nullptr}; /* session_.get(), for calls */
    HealthProbe probe_;
};
} // namespace datasystem::detail

#endif
