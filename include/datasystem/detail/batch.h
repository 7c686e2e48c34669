/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch.h - calls on many keys: checks, the C API's arrays, and which keys failed.
 *
 * A batch is a success if one key is. A batch with an illegal key is refused as a whole, except by
 * MSet (KeyRule::kFirst), where only the first key can refuse it; another illegal one just fails.
 */
#ifndef DS_DATASYSTEM_DETAIL_BATCH_H
#define DS_DATASYSTEM_DETAIL_BATCH_H

#include <ds/kv.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "datasystem/detail/array.h"
#include "datasystem/detail/connection.h"
#include "datasystem/detail/error.h"
#include "datasystem/detail/key.h"
#include "datasystem/utils/status.h"

namespace datasystem::detail {
enum class KeyRule { kAll, kFirst };

inline Status CheckTimeout(int32_t timeout_ms)
{
    return timeout_ms >= 0
               ? Status()
               : Status(K_INVALID, Literal("The subTimeoutMs should be in [0, INT32_MAX]."));
}

inline Status CheckCount(size_t n, size_t limit)
{
    if (n == 0) {
        return Status(K_INVALID, Literal("The objectKeys should not be empty."));
    }
    if (n > limit) {
        return Status(K_INVALID, "The objectKeys size exceed " + std::to_string(limit));
    }
    return Status::OK();
}

/* The client for a call on one key, or nullptr and *why. */
inline struct ds_client *Admit(const Connection &connection, const std::string &key, Status *why)
{
    struct ds_client *client = connection.Client();
    if (client != nullptr && IsKey(key)) {
        return client;
    }
    *why = client == nullptr ? connection.Refusal() : KeyFault(key);
    return nullptr;
}

class Batch {
public:
    /* `keys` stays the caller's and must outlive this. */
    Batch(const Connection &connection, const std::vector<std::string> &keys,
          size_t limit = DS_BATCH_MAX, KeyRule rule = KeyRule::kAll)
        : source_(keys), keys_(keys.size()), results_(keys.size())
    {
        client_ = connection.Client();
        if (client_ == nullptr) {
            refusal_ = connection.Refusal();
            return;
        }
        refusal_ = CheckCount(keys.size(), limit);
        for (size_t i = 0; i < keys.size() && refusal_.IsOk(); i++) {
            const bool fine = IsKey(keys[i]);
            if (!fine && (i == 0 || rule == KeyRule::kAll)) {
                refusal_ = KeyFault(keys[i]);
            }
            all_legal_ = all_legal_ && fine;
            keys_[i] = {keys[i].data(), keys[i].size()};
        }
    }

    /* Before anything else: not OK ends the call. */
    const Status &Refusal() const noexcept { return refusal_; }

    /* Always, unless KeyRule::kFirst has let one pass. */
    bool AllLegal() const noexcept { return all_legal_; }

    struct ds_client *Client() const noexcept { return client_; }
    const struct ds_bytes *Keys() noexcept { return keys_.data(); }
    size_t Size() const noexcept { return source_.size(); }
    int *Results() noexcept { return results_.data(); }
    bool Ok(size_t i) noexcept { return results_[i] >= 0; }

    Status Finish(int rc) const { return Result(rc, &source_[0]); }

    Status Finish(int rc, std::vector<std::string> &failed)
    {
        for (size_t i = 0; i < source_.size(); i++) {
            if (!Ok(i)) {
                failed.push_back(source_[i]);
            }
        }
        return Finish(rc);
    }

private:
    const std::vector<std::string> &source_;
    Array<struct ds_bytes> keys_;
    Array<int> results_;
    struct ds_client *client_ = nullptr;
    bool all_legal_ = true;
    Status refusal_;
};

/* The calls that more than one class offers. */

inline Status Delete(const Connection &connection, const std::vector<std::string> &keys,
                     std::vector<std::string> &failed)
{
    failed.clear();
    Batch batch(connection, keys);
    if (batch.Refusal().IsError()) {
        return batch.Refusal();
    }
    return batch.Finish(ds_kv_delete(batch.Client(), batch.Keys(), batch.Size(), batch.Results()),
                        failed);
}

inline Status Exist(const Connection &connection, const std::vector<std::string> &keys,
                    std::vector<bool> &exists)
{
    exists.clear();
    Batch batch(connection, keys, DS_BATCH_EXIST_MAX);
    if (batch.Refusal().IsError()) {
        return batch.Refusal();
    }
    Array<bool> found(keys.size());
    int rc = ds_kv_exist(batch.Client(), batch.Keys(), batch.Size(), found.data());
    if (rc >= 0) {
        exists.assign(found.data(), found.data() + keys.size());
    }
    return batch.Finish(rc);
}

/* 0 for a key that does not exist. */
inline Status Sizes(const Connection &connection, const std::vector<std::string> &keys,
                    size_t limit, std::vector<uint64_t> &sizes)
{
    sizes.clear();
    Batch batch(connection, keys, limit);
    if (batch.Refusal().IsError()) {
        return batch.Refusal();
    }
    sizes.resize(keys.size());
    return batch.Finish(
        ds_kv_size(batch.Client(), batch.Keys(), batch.Size(), sizes.data(), batch.Results()));
}
} // namespace datasystem::detail

#endif
