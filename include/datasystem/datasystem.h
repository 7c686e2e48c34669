/* SPDX-License-Identifier: Apache-2.0 */
/*
 * datasystem.h - everything, and DsClient: the clients of all kinds over one session.
 */
#ifndef DS_DATASYSTEM_DATASYSTEM_H
#define DS_DATASYSTEM_DATASYSTEM_H

#include <memory>

#include "datasystem/hetero_client.h"
#include "datasystem/kv_client.h"
#include "datasystem/object_client.h"
#include "datasystem/utils/status.h"

namespace datasystem {
class DsClient {
public:
    explicit DsClient(const ConnectOptions &connectOptions = {})
        : kv_(std::make_shared<KVClient>(connectOptions)),
          hetero_(std::make_shared<HeteroClient>(connectOptions)),
          object_(std::make_shared<ObjectClient>(connectOptions))
    {}

    /* Connects. Calls of the clients are K_NOT_READY before. */
    Status Init()
    {
        Status status = kv_->Init();
        if (status.IsOk()) {
            hetero_->connection_->Share(*kv_->connection_);
            object_->connection_->Share(*kv_->connection_);
        }
        return status;
    }

    Status ShutDown()
    {
        (void)object_->ShutDown();
        (void)hetero_->ShutDown();
        return kv_->ShutDown();
    }

    std::shared_ptr<KVClient> KV() { return kv_; }
    std::shared_ptr<HeteroClient> Hetero() { return hetero_; }
    std::shared_ptr<ObjectClient> Object() { return object_; }

private:
    std::shared_ptr<KVClient> kv_;
    std::shared_ptr<HeteroClient> hetero_;
    std::shared_ptr<ObjectClient> object_;
};
} // namespace datasystem

#endif
