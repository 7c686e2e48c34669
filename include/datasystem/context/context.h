/* SPDX-License-Identifier: Apache-2.0 */
/* context.h - settings of the calling thread, for all clients. */
#ifndef DS_DATASYSTEM_CONTEXT_CONTEXT_H
#define DS_DATASYSTEM_CONTEXT_CONTEXT_H

#include <string>

#include "datasystem/detail/key.h"
#include "datasystem/detail/thread_context.h"
#include "datasystem/utils/status.h"

namespace datasystem {
class Context {
public:
    /* Appears in the messages of this thread's failures; "" for none. K_INVALID: not made of the
     * bytes that keys are made of. */
    static Status SetTraceId(const std::string &traceId)
    {
        if (!traceId.empty() && !detail::IsKey(traceId)) {
            return Status(K_INVALID, detail::Literal("The traceId contains illegal char(s)"));
        }
        detail::ThreadTraceId() = traceId;
        return Status::OK();
    }

    /* There are no tenants yet: with one set, calls that touch keys are K_NOT_SUPPORTED. */
    static void SetTenantId(const std::string &tenantId)
    {
        detail::ThreadHasTenant() = !tenantId.empty();
    }
};
} // namespace datasystem

#endif
