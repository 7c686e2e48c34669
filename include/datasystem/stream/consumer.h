/* SPDX-License-Identifier: Apache-2.0 */
/* consumer.h - a reading end of a stream. There is none yet: see stream_client.h. */
#ifndef DS_DATASYSTEM_STREAM_CONSUMER_H
#define DS_DATASYSTEM_STREAM_CONSUMER_H

#include <cstdint>
#include <vector>

#include "datasystem/stream/element.h"
#include "datasystem/stream/stream_config.h"
#include "datasystem/utils/status.h"

namespace datasystem {
class Consumer {
public:
    Status Receive(uint32_t, uint32_t, std::vector<Element> &) { return Unsupported(); }
    Status Receive(uint32_t, std::vector<Element> &) { return Unsupported(); }
    Status Ack(uint64_t) { return Unsupported(); }
    Status Close() { return Status::OK(); }
    void GetStatisticsMessage(uint64_t &totalElements, uint64_t &notProcessedElements)
    {
        totalElements = 0;
        notProcessedElements = 0;
    }

private:
    Consumer() = default;
    static Status Unsupported()
    {
        return Status(K_NOT_SUPPORTED, detail::Literal("Streams are not supported yet"));
    }
};
} // namespace datasystem

#endif
