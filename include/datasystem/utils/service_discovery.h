/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service_discovery.h - how a client finds a worker when it is not told an address.
 *
 * An application's own IServiceDiscovery works: Init() of a client asks it once for a worker. The
 * two built-in ones need a cluster, which does not exist yet; all their calls are K_NOT_SUPPORTED.
 */
#ifndef DS_DATASYSTEM_UTILS_SERVICE_DISCOVERY_H
#define DS_DATASYSTEM_UTILS_SERVICE_DISCOVERY_H

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "datasystem/utils/coordinator_discovery.h"
#include "datasystem/utils/sensitive_value.h"
#include "datasystem/utils/status.h"

namespace datasystem {
inline constexpr uint32_t DEFAULT_ETCD_TOKEN_REFRESH_INTERVAL = 30; /* seconds */

enum class ServiceAffinityPolicy : uint8_t {
    PREFERRED_SAME_NODE = 0,
    REQUIRED_SAME_NODE = 1,
    RANDOM = 2,
};

struct ServiceDiscoveryOptions {
    std::string etcdAddress;
    std::string clusterName = "";
    SensitiveValue etcdCa = "";
    SensitiveValue etcdCert = "";
    SensitiveValue etcdKey = "";
    std::string etcdDNSName = "";
    std::string username = "";
    SensitiveValue password = "";
    uint32_t tokenRefreshIntervalSec = DEFAULT_ETCD_TOKEN_REFRESH_INTERVAL;
    std::string hostIdEnvName = "";
    ServiceAffinityPolicy affinityPolicy = ServiceAffinityPolicy::PREFERRED_SAME_NODE;
};

struct CoordinatorServiceDiscoveryOptions {
    std::string serviceAddress;
    std::string clusterName = "";
    std::string hostIdEnvName = "";
    ServiceAffinityPolicy affinityPolicy = ServiceAffinityPolicy::PREFERRED_SAME_NODE;
    std::shared_ptr<ICoordinatorDiscovery> coordinatorDiscovery = nullptr;
};

class IServiceDiscovery {
public:
    virtual ~IServiceDiscovery() = default;

    /* To be called by the application before the client's Init(). */
    virtual Status Init() = 0;

    /* The optional outputs may be nullptr. */
    virtual Status SelectWorker(std::string &workerIp, int &workerPort, bool *isSameNode = nullptr,
                                bool *isNoAvailableWorker = nullptr) = 0;
    virtual Status SelectSameNodeWorker(std::string &workerIp, int &workerPort) = 0;
    virtual Status GetAllWorkers(std::vector<std::string> &sameHostAddrs,
                                 std::vector<std::string> &otherAddrs) = 0;
    virtual ServiceAffinityPolicy GetAffinityPolicy() const = 0;
    virtual bool HasHostAffinity() const = 0;
    virtual std::string GetHostId() const { return ""; }
};

namespace detail {
class UnsupportedDiscovery : public IServiceDiscovery {
public:
    Status Init() override { return Unsupported(); }
    Status SelectWorker(std::string &, int &, bool * = nullptr, bool * = nullptr) override
    {
        return Unsupported();
    }
    Status SelectSameNodeWorker(std::string &, int &) override { return Unsupported(); }
    Status GetAllWorkers(std::vector<std::string> &, std::vector<std::string> &) override
    {
        return Unsupported();
    }
    ServiceAffinityPolicy GetAffinityPolicy() const override { return policy_; }
    bool HasHostAffinity() const override { return false; }

protected:
    explicit UnsupportedDiscovery(ServiceAffinityPolicy policy) : policy_(policy) {}

private:
    static Status Unsupported()
    {
        return Status(K_NOT_SUPPORTED, Literal("There are no clusters yet: give the client the "
                                               "host and port of the worker on this node"));
    }

    ServiceAffinityPolicy policy_;
};
} // namespace detail

/* Finds workers in etcd. */
class ServiceDiscovery : public detail::UnsupportedDiscovery {
public:
    explicit ServiceDiscovery(const ServiceDiscoveryOptions &options)
        : UnsupportedDiscovery(options.affinityPolicy)
    {}
};

/* Finds workers through a coordinator. */
class CoordinatorServiceDiscovery : public detail::UnsupportedDiscovery {
public:
    explicit CoordinatorServiceDiscovery(const CoordinatorServiceDiscoveryOptions &options)
        : UnsupportedDiscovery(options.affinityPolicy)
    {}
};
} // namespace datasystem

#endif
