/* SPDX-License-Identifier: Apache-2.0 */
/*
 * object_client.h - objects: buffers that are published, changed, sealed and reference counted.
 *
 * Ownership, threads, keys, batches and waiting as in kv_client.h. Objects and values share one
 * name space.
 */
#ifndef DS_DATASYSTEM_OBJECT_CLIENT_H
#define DS_DATASYSTEM_OBJECT_CLIENT_H

#include <ds/object.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "datasystem/context/context.h"
#include "datasystem/detail/access.h"
#include "datasystem/detail/batch.h"
#include "datasystem/detail/connection.h"
#include "datasystem/object/buffer.h"
#include "datasystem/object/object_enum.h"
#include "datasystem/utils/connection.h"
#include "datasystem/utils/optional.h"
#include "datasystem/utils/sensitive_value.h"
#include "datasystem/utils/status.h"
#include "datasystem/utils/string_view.h"

namespace datasystem {
struct CreateParam {
    ConsistencyType consistencyType = ConsistencyType::PRAM;
    CacheType cacheType = CacheType::MEMORY;
};

struct ObjMetaInfo {
    uint64_t objSize{0};                /* 0 if there is no such object */
    std::vector<std::string> locations; /* workers that hold it, as "host:port" */
};

class ObjectClient : public std::enable_shared_from_this<ObjectClient> {
public:
    explicit ObjectClient(const ConnectOptions &connectOptions = {})
        : connection_(std::make_shared<detail::Connection>(connectOptions))
    {}

    /* Connects. Other calls are K_NOT_READY before. */
    Status Init() { return connection_->Open(); }
    Status ShutDown()
    {
        connection_->Close();
        return Status::OK();
    }

    /* A buffer to fill, invisible until its Publish() or Seal(). */
    Status Create(const std::string &objectKey, uint64_t size, const CreateParam &param,
                  std::shared_ptr<Buffer> &buffer)
    {
        buffer.reset();
        Status status;
        struct ds_client *client = detail::Admit(*connection_, objectKey, &status);
        if (client == nullptr) {
            return status;
        }
        if (size == 0) {
            return Status(K_INVALID, detail::kEmptyValue);
        }
        const struct ds_create_options options = Options(param);
        struct ds_buffer *created = nullptr;
        int rc =
            ds_object_create(client, objectKey.data(), objectKey.size(), size, &options, &created);
        if (rc < 0) {
            return detail::Failure(rc, &objectKey);
        }
        buffer = detail::Access::WrapShared(created);
        return status;
    }

    /* Create, copy and publish. The nested keys live as long as the object. */
    Status Put(const std::string &objectKey, const uint8_t *data, uint64_t size,
               const CreateParam &param,
               const std::unordered_set<std::string> &nestedObjectKeys = {})
    {
        Status status;
        struct ds_client *client = detail::Admit(*connection_, objectKey, &status);
        if (client == nullptr) {
            return status;
        }
        if (data == nullptr || size == 0) {
            return Status(K_INVALID, detail::kEmptyValue);
        }
        detail::NestedKeys nested(nestedObjectKeys);
        if (nested.Fault().IsError()) {
            return nested.Fault();
        }
        const struct ds_create_options options = Options(param);
        return detail::Result(ds_object_put(client, objectKey.data(), objectKey.size(), data, size,
                                            &options, nested.Keys(), nested.Size()),
                              &objectKey);
    }

    Status Get(const std::vector<std::string> &objectKeys, int32_t subTimeoutMs,
               std::vector<Optional<Buffer>> &buffers)
    {
        buffers.clear();
        detail::Batch batch(*connection_, objectKeys);
        Status status =
            batch.Refusal().IsError() ? batch.Refusal() : detail::CheckTimeout(subTimeoutMs);
        if (status.IsError()) {
            return status;
        }
        buffers.resize(objectKeys.size());
        detail::Array<struct ds_buffer *> found(objectKeys.size());
        int rc = ds_object_get(batch.Client(), batch.Keys(), batch.Size(), subTimeoutMs,
                               found.data(), batch.Results());
        for (size_t i = 0; i < objectKeys.size() && rc >= 0; i++) {
            buffers[i] = detail::Access::Wrap(batch.Ok(i) ? found[i] : nullptr);
        }
        return batch.Finish(rc);
    }

    /* References end with this client, too. The object goes with its last one. Those of clients
     * elsewhere (remoteClientId) are not supported yet. */
    Status GIncreaseRef(const std::vector<std::string> &objectKeys,
                        std::vector<std::string> &failedObjectKeys,
                        const std::string &remoteClientId = "")
    {
        return CountRefs(ds_object_ref, objectKeys, failedObjectKeys, remoteClientId);
    }

    Status GDecreaseRef(const std::vector<std::string> &objectKeys,
                        std::vector<std::string> &failedObjectKeys,
                        const std::string &remoteClientId = "")
    {
        return CountRefs(ds_object_unref, objectKeys, failedObjectKeys, remoteClientId);
    }

    Status ReleaseGRefs(const std::string &) { return NoRemoteClients(); }

    /* Of all clients; -1 on failure. */
    int QueryGlobalRefNum(const std::string &objectKey)
    {
        Status status;
        struct ds_client *client = detail::Admit(*connection_, objectKey, &status);
        uint64_t count = 0;
        if (client == nullptr ||
            ds_object_ref_count(client, objectKey.data(), objectKey.size(), &count) < 0) {
            return -1;
        }
        constexpr uint64_t kMax = std::numeric_limits<int>::max();
        return static_cast<int>(count < kMax ? count : kMax);
    }

    /* At most 64 keys. */
    Status GetObjMetaInfo(const std::string &tenantId, const std::vector<std::string> &objectKeys,
                          std::vector<ObjMetaInfo> &objMetas)
    {
        constexpr size_t kMax = 64;
        objMetas.clear();
        if (!tenantId.empty()) {
            return Status(K_NOT_SUPPORTED, detail::Literal("There are no tenants yet"));
        }
        std::vector<uint64_t> sizes;
        Status status = detail::Sizes(*connection_, objectKeys, kMax, sizes);
        if (status.IsError()) {
            return status;
        }
        objMetas.resize(sizes.size());
        for (size_t i = 0; i < sizes.size(); i++) {
            objMetas[i].objSize = sizes[i];
            if (sizes[i] > 0) {
                objMetas[i].locations.push_back(connection_->Address());
            }
        }
        return status;
    }

    /* The prefix itself; for "" a random UUID. */
    Status GenerateKey(const std::string &prefix, std::string &key)
    {
        key = detail::NewKey(prefix);
        return Status::OK();
    }
    Status GenerateObjectKey(const std::string &prefix, std::string &objectId)
    {
        return GenerateKey(prefix, objectId);
    }

    /* The key itself: a generated key has no other part. */
    Status GetPrefix(const std::string &key, std::string &prefix)
    {
        prefix = key;
        return Status::OK();
    }

    Status HealthCheck() { return connection_->Health(); }

    /* Credentials are not used: the worker admits by user id. */
    Status UpdateToken(SensitiveValue) { return Status::OK(); }
    Status UpdateAkSk(const std::string, SensitiveValue) { return Status::OK(); }

private:
    friend class DsClient;

    static struct ds_create_options Options(const CreateParam &param)
    {
        struct ds_create_options options = {};
        options.consistency = static_cast<enum ds_consistency>(param.consistencyType);
        options.cache_type = static_cast<enum ds_cache_type>(param.cacheType);
        return options;
    }

    static Status NoRemoteClients()
    {
        return Status(K_NOT_SUPPORTED,
                      detail::Literal("References of remote clients are not supported yet"));
    }

    Status CountRefs(int (*call)(struct ds_client *, const struct ds_bytes *, size_t, int *),
                     const std::vector<std::string> &keys, std::vector<std::string> &failed,
                     const std::string &remote_client_id)
    {
        failed.clear();
        detail::Batch batch(*connection_, keys);
        if (batch.Refusal().IsError()) {
            return batch.Refusal();
        }
        if (!remote_client_id.empty()) {
            return NoRemoteClients();
        }
        return batch.Finish(call(batch.Client(), batch.Keys(), batch.Size(), batch.Results()),
                            failed);
    }

    std::shared_ptr<detail::Connection> connection_;
};
} // namespace datasystem

#endif
