/* SPDX-License-Identifier: Apache-2.0 */
/* producer.h - the writing end of a stream. There is none yet: see stream_client.h. */
#ifndef DS_DATASYSTEM_STREAM_PRODUCER_H
#define DS_DATASYSTEM_STREAM_PRODUCER_H

#include <cstdint>

#include "datasystem/stream/element.h"
#include "datasystem/utils/status.h"

namespace datasystem {
class Producer {
public:
    Status Send(const Element &) { return Unsupported(); }
    Status Send(const Element &, int64_t) { return Unsupported(); }
    Status Close() { return Status::OK(); }

private:
    Producer() = default;
    static Status Unsupported()
    {
        return Status(K_NOT_SUPPORTED, detail::Literal("Streams are not supported yet"));
    }
};
} // namespace datasystem

#endif
