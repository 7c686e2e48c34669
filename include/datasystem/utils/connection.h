/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connection.h - where and how a client connects.
 *
 * Empty host and port 0 mean: from the environment (DATASYSTEM_HOST, DATASYSTEM_PORT), else
 * 127.0.0.1:31501; a connectTimeoutMs that is left at 9000: DATASYSTEM_CONNECT_TIME_MS. Keys and
 * tokens are kept and not used: the worker admits by user id. A tenant, from here or from
 * DATASYSTEM_TENANT_ID, is refused by Init() with K_NOT_SUPPORTED. The order of the members is part
 * of the interface.
 */
#ifndef DS_DATASYSTEM_UTILS_CONNECTION_H
#define DS_DATASYSTEM_UTILS_CONNECTION_H

#include <cstdint>
#include <memory>
#include <string>

#include "datasystem/object/object_enum.h"
#include "datasystem/utils/sensitive_value.h"
#include "datasystem/utils/service_discovery.h"
#include "datasystem/utils/string_view.h"

namespace datasystem {
enum class DataPlacementPolicy : uint8_t {
    PREFERRED_SAME_NODE = 0,
    REQUIRED_SAME_NODE,
    PREFERRED_META_OWNER,
};

struct ConnectOptions {
    void SetAkSkAuth(const std::string &access, const SensitiveValue &secret,
                     const std::string &tenant)
    {
        accessKey = access;
        secretKey = secret;
        tenantId = tenant;
    }

    std::string host = "";
    int32_t port = 0;
    int32_t connectTimeoutMs = 9000; /* at least 500 */
    int32_t requestTimeoutMs = 0;    /* 0 = as connectTimeoutMs */
    SensitiveValue token = "";
    std::string clientPublicKey = "";
    SensitiveValue clientPrivateKey = "";
    std::string serverPublicKey = "";
    std::string accessKey = "";
    SensitiveValue secretKey = "";
    std::string tenantId = "";
    bool enableCrossNodeConnection = false;
    bool enableExclusiveConnection = false; /* of older programs; no effect */
    bool enableLocalCache = true;
    DataPlacementPolicy dataPlacementPolicy = DataPlacementPolicy::PREFERRED_SAME_NODE;
    bool enableRemoteH2D = false;
    bool enableClientDirectPipelineH2D = false;
    int32_t clientDirectPipelineH2DThreadNum = 64;
    std::shared_ptr<IServiceDiscovery> serviceDiscovery = nullptr;
    uint64_t fastTransportMemSize = 256 * 1024 * 1024;
    std::string deviceId = "";
};
} // namespace datasystem

#endif
