/* SPDX-License-Identifier: Apache-2.0 */
/* thread_context.h - what Context set for the calling thread. */
#ifndef DS_DATASYSTEM_DETAIL_THREAD_CONTEXT_H
#define DS_DATASYSTEM_DETAIL_THREAD_CONTEXT_H

#include <string>

namespace datasystem::detail {
/* Whether the thread acts for a tenant. A bool of its own, since each call looks at it. */
inline bool &ThreadHasTenant() noexcept
{
    static thread_local bool has_tenant = false;
    return has_tenant;
}

/* Appears in the messages of failures. */
inline std::string &ThreadTraceId()
{
    static thread_local std::string trace_id;
    return trace_id;
}
} // namespace datasystem::detail

#endif
