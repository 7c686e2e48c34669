/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kv_client.h - values under keys.
 *
 * Ownership: copies of a KVClient share one connection. Buffers and values may outlive it.
 * Threads:   any, except that no call may start in the moment of ShutDown() or destruction.
 * Keys:      1 to 1024 letters, digits and .-_!@#%^*()+=:; else K_INVALID. At most 10000 in a call
 *            (Exist: 100000).
 * Values:    at least one byte, else K_INVALID; with allowEmpty none, too.
 * Batches:   K_OK if at least one key succeeded; which ones failed is said by failedKeys, by an
 *            empty value or by an empty Optional at the key's place. All missing: K_NOT_FOUND.
 * Waiting:   subTimeoutMs is how long to wait for a key that does not exist yet. Each call ends
 *            within the connection's requestTimeoutMs, too: K_RPC_DEADLINE_EXCEEDED.
 */
#ifndef DS_DATASYSTEM_KV_CLIENT_H
#define DS_DATASYSTEM_KV_CLIENT_H

#include <ds/kv.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "datasystem/context/context.h"
#include "datasystem/detail/access.h"
#include "datasystem/detail/batch.h"
#include "datasystem/detail/connection.h"
#include "datasystem/kv/read_only_buffer.h"
#include "datasystem/object/buffer.h"
#include "datasystem/object/object_enum.h"
#include "datasystem/utils/connection.h"
#include "datasystem/utils/cuda_funcs.h"
#include "datasystem/utils/device_blob.h"
#include "datasystem/utils/embedded_config.h"
#include "datasystem/utils/kv_client_config.h"
#include "datasystem/utils/optional.h"
#include "datasystem/utils/sensitive_value.h"
#include "datasystem/utils/status.h"
#include "datasystem/utils/string_view.h"

namespace datasystem {
/* NX: an existing key is left as it is, and that is a success. */
enum class ExistenceOpt : int { NONE = 0, NX = 1 };

struct SetParam {
    WriteMode writeMode = WriteMode::NONE_L2_CACHE;
    uint32_t ttlSecond = 0; /* 0 = no expiry */
    ExistenceOpt existence = ExistenceOpt::NONE;
    CacheType cacheType = CacheType::MEMORY;
    bool allowEmpty = false; /* accepts values of no bytes */
};

struct MSetParam {
    WriteMode writeMode = WriteMode::NONE_L2_CACHE;
    uint32_t ttlSecond = 0;
    ExistenceOpt existence = ExistenceOpt::NONE;
    CacheType cacheType = CacheType::MEMORY;
    bool allowEmpty = false; /* accepts values of no bytes */
};

/* [offset, offset + size) of the value; size 0 = to the end. */
struct ReadParam {
    std::string key;
    uint64_t offset = 0;
    uint64_t size = 0;
};

struct AsyncResult {
    Status status;
    std::vector<std::string> failedList;
};

namespace detail {
/* P: SetParam or MSetParam. */
template <typename P> struct ds_set_options SetOptions(const P &param)
{
    struct ds_set_options options = {};
    options.mode = static_cast<enum ds_write_mode>(param.writeMode);
    options.ttl_ms = uint64_t{param.ttlSecond} * 1000;
    options.only_if_absent = param.existence == ExistenceOpt::NX;
    options.cache_type = static_cast<enum ds_cache_type>(param.cacheType);
    options.allow_empty = param.allowEmpty;
    return options;
}

template <typename P> bool IsValue(const StringView &val, const P &param) noexcept
{
    return val.empty() ? param.allowEmpty : val.data() != nullptr;
}

/* A write that failed because its mode wants a second level that the worker does not have. */
inline Status WriteFailure(WriteMode mode, Status status)
{
    const bool second_level = mode == WriteMode::WRITE_THROUGH_L2_CACHE ||
                              mode == WriteMode::WRITE_BACK_L2_CACHE ||
                              mode == WriteMode::WRITE_BACK_L2_CACHE_EVICT;
    if (second_level && status.GetCode() == K_NOT_SUPPORTED) {
        return Status(K_INVALID, Literal("L2_cache_type is set to none, so the write mode needs to "
                                         "be NONE_L2_CACHE or NONE_L2_CACHE_EVICT"));
    }
    return status;
}

inline Status GetValue(const Connection &connection, const std::string &key, int32_t timeout_ms,
                       Value *ret)
{
    Status status;
    struct ds_client *client = Admit(connection, key, &status);
    if (client == nullptr || timeout_ms < 0) {
        return client == nullptr ? status : CheckTimeout(timeout_ms);
    }
    struct ds_view view;
    int rc = ds_kv_get(client, key.data(), key.size(), timeout_ms, &view);
    if (rc < 0) {
        return Failure(rc, &key);
    }
    *ret = Value(view);
    return status;
}

/* The views of a batch, to be taken one by one; gives back those that are left. */
class LentViews {
public:
    LentViews(struct ds_view *views, size_t n) noexcept : next_(views), end_(views + n) {}
    ~LentViews() { ds_view_release_many(next_, static_cast<size_t>(end_ - next_)); }
    LentViews(const LentViews &) = delete;
    LentViews &operator=(const LentViews &) = delete;

    Value Next() noexcept { return Value(*next_++); }

private:
    struct ds_view *next_;
    struct ds_view *end_;
};

/* Calls take(i, Value) for each key that was found. */
template <typename Take>
Status GetValues(const Connection &connection, const std::vector<std::string> &keys,
                 int32_t timeout_ms, Take take)
{
    Batch batch(connection, keys);
    Status status = batch.Refusal().IsError() ? batch.Refusal() : CheckTimeout(timeout_ms);
    if (status.IsError()) {
        return status;
    }
    Array<struct ds_view> views(keys.size());
    int rc = ds_kv_mget(batch.Client(), batch.Keys(), batch.Size(), timeout_ms, views.data(),
                        batch.Results());
    if (rc < 0) {
        return batch.Finish(rc);
    }
    LentViews lent(views.data(), keys.size());
    for (size_t i = 0; i < keys.size(); i++) {
        Value value = lent.Next();
        if (batch.Ok(i)) {
            take(i, std::move(value));
        }
    }
    return Status::OK();
}
} // namespace detail

class KVClient {
public:
    explicit KVClient(const ConnectOptions &connectOptions = {})
        : connection_(std::make_shared<detail::Connection>(connectOptions))
    {}

    /* Connects. Other calls are K_NOT_READY before. */
    Status Init() { return connection_->Open(); }
    Status Init(const KVClientConfig &) { return Init(); }
    Status ShutDown()
    {
        connection_->Close();
        return Status::OK();
    }

    /* No worker runs inside the application's process. */
    static Status InitEmbedded(const EmbeddedConfig &)
    {
        return Status(K_NOT_SUPPORTED, detail::Literal("There is no worker inside the process: "
                                                       "start one with dscli, then use Init()"));
    }
    static KVClient &EmbeddedInstance()
    {
        static KVClient client;
        return client;
    }

    /* --- writing --- */

    Status Set(const std::string &key, const StringView &val, const SetParam &param = {})
    {
        bool written;
        return Set(key, val, param, written);
    }

    /* Says whether it was written: false after a failure, and with NX for an existing key. */
    Status Set(const std::string &key, const StringView &val, const SetParam &param,
               bool &outWritten)
    {
        outWritten = false;
        Status status;
        struct ds_client *client = detail::Admit(*connection_, key, &status);
        if (client == nullptr) {
            return status;
        }
        if (!detail::IsValue(val, param)) {
            return Status(K_INVALID, detail::kEmptyValue);
        }
        const struct ds_set_options options = detail::SetOptions(param);
        int rc = ds_kv_set(client, key.data(), key.size(), val.data(), val.size(), &options);
        outWritten = rc == 0;
        return rc >= 0 ? status : detail::WriteFailure(param.writeMode, detail::Failure(rc, &key));
    }

    /* Under a new key, which it returns; "" if that failed. */
    std::string Set(const StringView &val, const SetParam &param = {})
    {
        std::string key = detail::NewKey();
        return Set(key, val, param).IsOk() ? key : std::string();
    }

    /* A buffer to fill, invisible until Set(buffer). With NX and an existing key: an empty one. */
    Status Create(const std::string &key, uint64_t size, const SetParam &param,
                  std::shared_ptr<Buffer> &buffer)
    {
        buffer.reset();
        Status status;
        struct ds_client *client = detail::Admit(*connection_, key, &status);
        if (client == nullptr) {
            return status;
        }
        return CreateOne(client, key, size, param, buffer);
    }

    /* Publishes what Create() made. The buffer stays readable; a pointer that its MutableData()
     * gave must not be written through any more. */
    Status Set(const std::shared_ptr<Buffer> &buffer) { return Publish(&buffer, 1); }

    /* As Create(), for each key; all or none. */
    Status MCreate(const std::vector<std::string> &keys, const std::vector<uint64_t> &sizes,
                   const SetParam &param, std::vector<std::shared_ptr<Buffer>> &buffers)
    {
        buffers.clear();
        detail::Batch batch(*connection_, keys);
        if (batch.Refusal().IsError()) {
            return batch.Refusal();
        }
        if (sizes.size() != keys.size()) {
            return CountsDiffer();
        }
        std::vector<std::shared_ptr<Buffer>> created(keys.size());
        for (size_t i = 0; i < keys.size(); i++) {
            Status status = CreateOne(batch.Client(), keys[i], sizes[i], param, created[i]);
            if (status.IsError()) {
                return status;
            }
        }
        buffers = std::move(created);
        return Status::OK();
    }

    /* Publishes what MCreate() made, as Set() does; empty buffers are skipped. */
    Status MSet(const std::vector<std::shared_ptr<Buffer>> &buffers)
    {
        return Publish(buffers.data(), buffers.size());
    }

    /* Of equal keys the first is set, the others are among the failed ones. */
    Status MSet(const std::vector<std::string> &keys, const std::vector<StringView> &vals,
                std::vector<std::string> &outFailedKeys, const MSetParam &param = {})
    {
        std::vector<std::string> existing;
        return MSet(keys, vals, outFailedKeys, param, existing);
    }

    /* Says with NX which keys existed: these are not written and have not failed. */
    Status MSet(const std::vector<std::string> &keys, const std::vector<StringView> &vals,
                std::vector<std::string> &outFailedKeys, const MSetParam &param,
                std::vector<std::string> &outExistingKeys)
    {
        outFailedKeys.clear();
        outExistingKeys.clear();
        detail::Batch batch(*connection_, keys, DS_BATCH_MAX, detail::KeyRule::kFirst);
        if (batch.Refusal().IsError()) {
            return batch.Refusal();
        }
        if (vals.size() != keys.size()) {
            return CountsDiffer();
        }
        if (!batch.AllLegal()) {
            return MSetLegal(keys, vals, outFailedKeys, param, outExistingKeys);
        }
        detail::Array<struct ds_bytes> values(vals.size());
        for (size_t i = 0; i < vals.size(); i++) {
            if (!detail::IsValue(vals[i], param)) {
                return Status(K_INVALID, detail::kEmptyValue);
            }
            values[i] = {vals[i].data(), vals[i].size()};
        }
        const struct ds_set_options options = detail::SetOptions(param);
        int rc = ds_kv_mset(batch.Client(), batch.Keys(), values.data(), batch.Size(), &options,
                            batch.Results());
        for (size_t i = 0; i < keys.size(); i++) {
            if (batch.Results()[i] == DS_UNCHANGED) {
                outExistingKeys.push_back(keys[i]);
            }
        }
        Status status = batch.Finish(rc, outFailedKeys);
        return rc >= 0 ? status : detail::WriteFailure(param.writeMode, std::move(status));
    }

    /* There are no transactions: K_RUNTIME_ERROR. */
    Status MSetTx(const std::vector<std::string> &, const std::vector<StringView> &,
                  const MSetParam & = {})
    {
        return Status(K_RUNTIME_ERROR, detail::Literal("MSetTx is a deprecated API, use MSet"));
    }

    /* --- reading --- */

    /* Copies once. */
    Status Get(const std::string &key, std::string &val, int32_t subTimeoutMs = 0)
    {
        detail::Value value;
        Status status = detail::GetValue(*connection_, key, subTimeoutMs, &value);
        if (status.IsOk()) {
            val.assign(static_cast<const char *>(value.Data()), value.Size());
        }
        return status;
    }

    /* In place, as the other forms with buffers; allocates nothing. */
    Status Get(const std::string &key, Optional<ReadOnlyBuffer> &readOnlyBuffer,
               int32_t subTimeoutMs = 0)
    {
        return GetInPlace(key, readOnlyBuffer, subTimeoutMs);
    }

    Status Get(const std::string &key, Optional<Buffer> &buffer, int32_t subTimeoutMs = 0)
    {
        return GetInPlace(key, buffer, subTimeoutMs);
    }

    Status Get(const std::vector<std::string> &keys, std::vector<std::string> &vals,
               int32_t subTimeoutMs = 0)
    {
        vals.resize(keys.size());
        for (std::string &val : vals) {
            val.clear();
        }
        return detail::GetValues(
            *connection_, keys, subTimeoutMs, [&](size_t i, const detail::Value &value) {
                vals[i].assign(static_cast<const char *>(value.Data()), value.Size());
            });
    }

    Status Get(const std::vector<std::string> &keys, std::vector<Optional<Buffer>> &buffers,
               int32_t subTimeoutMs = 0)
    {
        return MGetInPlace(keys, buffers, subTimeoutMs);
    }

    Status Get(const std::vector<std::string> &keys,
               std::vector<Optional<ReadOnlyBuffer>> &readOnlyBuffers, int32_t subTimeoutMs = 0)
    {
        return MGetInPlace(keys, readOnlyBuffers, subTimeoutMs);
    }

    /* Parts of values. K_OUT_OF_RANGE: an offset behind the end of its value. */
    Status Read(const std::vector<ReadParam> &readParams,
                std::vector<Optional<ReadOnlyBuffer>> &readOnlyBuffers)
    {
        readOnlyBuffers.clear();
        struct ds_client *client = connection_->Client();
        if (client == nullptr) {
            return connection_->Refusal();
        }
        Status status = detail::CheckCount(readParams.size(), DS_BATCH_MAX);
        for (size_t i = 0; i < readParams.size() && status.IsOk(); i++) {
            if (!detail::IsKey(readParams[i].key)) {
                status = detail::KeyFault(readParams[i].key);
            }
        }
        if (status.IsError()) {
            return status;
        }
        const size_t n = readParams.size();
        detail::Array<struct ds_part> parts(n);
        detail::Array<struct ds_view> views(n);
        detail::Array<int> results(n);
        for (size_t i = 0; i < n; i++) {
            const ReadParam &part = readParams[i];
            parts[i] = {part.key.data(), part.key.size(), part.offset, part.size};
        }
        (void)!ds_kv_mread(client, parts.data(), n, 0, views.data(), results.data());
        readOnlyBuffers.resize(n);
        bool any = false;
        for (size_t i = 0; i < n; i++) {
            if (results[i] >= 0) {
                readOnlyBuffers[i] = detail::Access::Lend<ReadOnlyBuffer>(detail::Value(views[i]));
                any = true;
            } else if (status.IsOk() && (results[i] == DS_ERANGE || results[i] == DS_EAGAIN)) {
                status = Status(K_OUT_OF_RANGE,
                                results[i] == DS_ERANGE ? detail::kOffset : detail::kManyViews);
            } else if (status.IsOk()) {
                status = detail::Failure(results[i], &readParams[i].key);
            }
        }
        return any ? Status() : status;
    }

    /* Device memory is not supported yet. */
    Status MGetH2D(const std::vector<std::string> &keys, const std::vector<Blob> &,
                   std::vector<std::string> &outFailedKeys, void * = nullptr,
                   std::vector<Optional<ReadOnlyBuffer>> * = nullptr)
    {
        outFailedKeys = keys;
        return NoDevices();
    }
    static void RegisterCudaFuncs(const CudaFuncs &) {}
    Status DsCudaMemcpyAsync(void *, const void *, size_t, DsCudaMemcpyKind, void *)
    {
        return NoDevices();
    }

    /* --- keys --- */

    /* A key that does not exist counts as deleted. */
    Status Del(const std::string &key)
    {
        Status status;
        struct ds_client *client = detail::Admit(*connection_, key, &status);
        if (client == nullptr) {
            return status;
        }
        const struct ds_bytes bytes = {key.data(), key.size()};
        return detail::Result(ds_kv_delete(client, &bytes, 1, nullptr), &key);
    }

    Status Del(const std::vector<std::string> &keys, std::vector<std::string> &failedKeys)
    {
        return detail::Delete(*connection_, keys, failedKeys);
    }

    Status Exist(const std::vector<std::string> &keys, std::vector<bool> &exists)
    {
        return detail::Exist(*connection_, keys, exists);
    }

    /* From now; 0 = no expiry. A missing key fails. */
    Status Expire(const std::vector<std::string> &keys, uint32_t ttlSeconds,
                  std::vector<std::string> &failedKeys)
    {
        failedKeys.clear();
        detail::Batch batch(*connection_, keys);
        if (batch.Refusal().IsError()) {
            return batch.Refusal();
        }
        return batch.Finish(ds_kv_expire(batch.Client(), batch.Keys(), batch.Size(),
                                         uint64_t{ttlSeconds} * 1000, batch.Results()),
                            failedKeys);
    }

    /* 0 for a missing key. */
    Status QuerySize(const std::vector<std::string> &objectKeys, std::vector<uint64_t> &outSizes)
    {
        return detail::Sizes(*connection_, objectKeys, DS_BATCH_MAX, outSizes);
    }

    /* The prefix itself; for "" a random UUID. */
    std::string GenerateKey(const std::string &prefixKey = "") { return detail::NewKey(prefixKey); }
    Status GenerateKey(const std::string &prefixKey, std::string &key)
    {
        key = detail::NewKey(prefixKey);
        return Status::OK();
    }

    /* --- the connection --- */

    Status HealthCheck() { return connection_->Health(); }

    /* Calls back with HealthCheck()'s status every intervalMs, in a thread of its own; nullptr ends
     * that. The callback must not call the client. */
    Status SetWorkerHealthCallback(std::function<void(const Status &)> callback,
                                   uint32_t intervalMs = 3000)
    {
        return connection_->Probe(std::move(callback), intervalMs);
    }

    /* Credentials are not used: the worker admits by user id. */
    Status UpdateToken(SensitiveValue) { return Status::OK(); }
    Status UpdateAkSk(const std::string, SensitiveValue) { return Status::OK(); }

    Status UpdateConfig(const std::string &)
    {
        return Status(K_NOT_SUPPORTED, detail::Literal("The client has no settings to change"));
    }

private:
    friend class DsClient;

    static Status CountsDiffer()
    {
        return Status(K_INVALID, detail::Literal("There should be as many values as keys."));
    }

    static Status NoDevices()
    {
        return Status(K_NOT_SUPPORTED, detail::Literal("Device memory is not supported yet"));
    }

    static Status CreateOne(struct ds_client *client, const std::string &key, uint64_t size,
                            const SetParam &param, std::shared_ptr<Buffer> &ret)
    {
        if (size == 0 && !param.allowEmpty) {
            return Status(K_INVALID, detail::kEmptyValue);
        }
        const struct ds_set_options options = detail::SetOptions(param);
        struct ds_buffer *buffer = nullptr;
        int rc = ds_kv_create(client, key.data(), key.size(), size, &options, &buffer);
        if (rc < 0) {
            return detail::WriteFailure(param.writeMode, detail::Failure(rc, &key));
        }
        ret = detail::Access::WrapShared(buffer);
        return Status::OK();
    }

    Status Publish(const std::shared_ptr<Buffer> *buffers, size_t n)
    {
        struct ds_client *client = connection_->Client();
        Status status = client == nullptr ? connection_->Refusal() : CheckBuffers(buffers, n);
        if (status.IsError()) {
            return status;
        }
        detail::Array<struct ds_buffer *> handles(n);
        bool any = false;
        for (size_t i = 0; i < n; i++) {
            handles[i] = detail::Access::Handle(*buffers[i]);
            any = any || handles[i] != nullptr;
        }
        return any ? detail::Result(ds_kv_publish(client, handles.data(), n, nullptr), DS_EINVAL,
                                    detail::kPublished)
                   : status;
    }

    static Status CheckBuffers(const std::shared_ptr<Buffer> *buffers, size_t n)
    {
        for (size_t i = 0; i < n; i++) {
            if (buffers[i] == nullptr) {
                return Status(K_INVALID, detail::Literal("The buffer should not be nullptr."));
            }
        }
        return detail::CheckCount(n, DS_BATCH_MAX);
    }

    /* MSet of the legal keys; the others have failed. */
    Status MSetLegal(const std::vector<std::string> &keys, const std::vector<StringView> &vals,
                     std::vector<std::string> &failed, const MSetParam &param,
                     std::vector<std::string> &existing)
    {
        std::vector<std::string> legal_keys, legal_failed;
        std::vector<StringView> legal_vals;
        for (size_t i = 0; i < keys.size(); i++) {
            if (detail::IsKey(keys[i])) {
                legal_keys.push_back(keys[i]);
                legal_vals.push_back(vals[i]);
            } else {
                failed.push_back(keys[i]);
            }
        }
        Status status = MSet(legal_keys, legal_vals, legal_failed, param, existing);
        failed.insert(failed.end(), legal_failed.begin(), legal_failed.end());
        return status;
    }

    template <typename T>
    Status GetInPlace(const std::string &key, Optional<T> &ret, int32_t timeout_ms)
    {
        detail::Value value;
        Status status = detail::GetValue(*connection_, key, timeout_ms, &value);
        ret = status.IsOk() ? detail::Access::Lend<T>(std::move(value)) : Optional<T>();
        return status;
    }

    template <typename T>
    Status MGetInPlace(const std::vector<std::string> &keys, std::vector<Optional<T>> &ret,
                       int32_t timeout_ms)
    {
        ret.clear();
        ret.resize(keys.size());
        return detail::GetValues(*connection_, keys, timeout_ms,
                                 [&](size_t i, detail::Value &&value) {
                                     ret[i] = detail::Access::Lend<T>(std::move(value));
                                 });
    }

    std::shared_ptr<detail::Connection> connection_;
};
} // namespace datasystem

#endif
