/* SPDX-License-Identifier: Apache-2.0 */
/* coordinator_discovery.h - how to find coordinators; for applications to implement. */
#ifndef DS_DATASYSTEM_UTILS_COORDINATOR_DISCOVERY_H
#define DS_DATASYSTEM_UTILS_COORDINATOR_DISCOVERY_H

#include <string>
#include <vector>

#include "datasystem/utils/status.h"

namespace datasystem {
class ICoordinatorDiscovery {
public:
    virtual ~ICoordinatorDiscovery() = default;

    /* Addresses as "host:port"; none is a success too. */
    virtual Status GetCoordinators(std::vector<std::string> &serviceList) = 0;
};
} // namespace datasystem

#endif
