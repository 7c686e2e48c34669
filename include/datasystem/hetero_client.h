/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hetero_client.h - objects in device memory.
 *
 * Not supported yet: calls that move device memory are K_NOT_SUPPORTED with all keys failed. Those
 * on keys in host memory (Exist, Delete, HealthCheck, GenerateKey) work.
 */
#ifndef DS_DATASYSTEM_HETERO_CLIENT_H
#define DS_DATASYSTEM_HETERO_CLIENT_H

#include <cstdint>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "datasystem/hetero/device_common.h"
#include "datasystem/hetero/future.h"
#include "datasystem/kv_client.h"
#include "datasystem/utils/connection.h"
#include "datasystem/utils/status.h"

namespace datasystem {
struct MetaInfo {
    std::vector<uint64_t> blobSizeList;
};

class HeteroClient : public std::enable_shared_from_this<HeteroClient> {
public:
    using Keys = std::vector<std::string>;
    using Blobs = std::vector<DeviceBlobList>;

    explicit HeteroClient(const ConnectOptions &connectOptions = {})
        : connection_(std::make_shared<detail::Connection>(connectOptions))
    {}

    Status Init() { return connection_->Open(); }
    Status ShutDown()
    {
        connection_->Close();
        return Status::OK();
    }

    Status MSetD2H(const Keys &, const Blobs &, const SetParam & = {}) { return Unsupported(); }
    Status MSetD2H(const Keys &, const Blobs &, const SetParam &, Keys *) { return Unsupported(); }
    Status MGetH2D(const Keys &keys, const Blobs &, Keys &failKeys, int32_t)
    {
        return Unsupported(keys, failKeys);
    }
    std::shared_future<AsyncResult> AsyncMSetD2H(const Keys &keys, const Blobs &,
                                                 const SetParam & = {})
    {
        return UnsupportedLater(keys);
    }
    std::shared_future<AsyncResult> AsyncMGetH2D(const Keys &keys, const Blobs &, uint64_t)
    {
        return UnsupportedLater(keys);
    }
    Status PreRegisterDeviceMemory(const std::vector<void *> &, const std::vector<uint64_t> &)
    {
        return Unsupported();
    }

    Status DevPublish(const Keys &, const Blobs &, std::vector<Future> &futureVec)
    {
        futureVec.clear();
        return Unsupported();
    }
    Status DevSubscribe(const Keys &, const Blobs &, std::vector<Future> &futureVec)
    {
        futureVec.clear();
        return Unsupported();
    }
    Status DevMSet(const Keys &keys, const Blobs &, Keys &failedKeys)
    {
        return Unsupported(keys, failedKeys);
    }
    Status DevMGet(const Keys &keys, Blobs &, Keys &failedKeys, int32_t = 0)
    {
        return Unsupported(keys, failedKeys);
    }
    Status DevDelete(const Keys &keys, Keys &failedKeys) { return Unsupported(keys, failedKeys); }
    Status DevLocalDelete(const Keys &keys, Keys &failedKeys)
    {
        return Unsupported(keys, failedKeys);
    }
    std::shared_future<AsyncResult> AsyncDevDelete(const Keys &keys)
    {
        return UnsupportedLater(keys);
    }
    Status GetMetaInfo(const Keys &keys, bool, std::vector<MetaInfo> &metaInfos, Keys &failKeys)
    {
        metaInfos.clear();
        return Unsupported(keys, failKeys);
    }

    Status Delete(const Keys &keys, Keys &failedKeys)
    {
        return detail::Delete(*connection_, keys, failedKeys);
    }
    Status Exist(const Keys &keys, std::vector<bool> &exists)
    {
        return detail::Exist(*connection_, keys, exists);
    }
    Status HealthCheck(ServerState &state)
    {
        state = ServerState::NORMAL;
        return connection_->Health();
    }
    Status GenerateKey(const std::string &prefix, std::string &key)
    {
        key = detail::NewKey(prefix);
        return Status::OK();
    }

private:
    friend class DsClient;

    static Status Unsupported()
    {
        return Status(K_NOT_SUPPORTED, detail::Literal("Device memory is not supported yet"));
    }

    static Status Unsupported(const Keys &keys, Keys &failed)
    {
        failed = keys;
        return Unsupported();
    }

    static std::shared_future<AsyncResult> UnsupportedLater(const Keys &keys)
    {
        std::promise<AsyncResult> promise;
        promise.set_value({Unsupported(), keys});
        return promise.get_future().share();
    }

    std::shared_ptr<detail::Connection> connection_;
};
} // namespace datasystem

#endif
