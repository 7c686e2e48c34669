/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream_client.h - publish and subscribe.
 *
 * Not supported yet: all calls but ShutDown() are K_NOT_SUPPORTED, so that programs compile and
 * learn it from Init().
 */
#ifndef DS_DATASYSTEM_STREAM_CLIENT_H
#define DS_DATASYSTEM_STREAM_CLIENT_H

#include <cstdint>
#include <memory>
#include <string>

#include "datasystem/stream/consumer.h"
#include "datasystem/stream/element.h"
#include "datasystem/stream/producer.h"
#include "datasystem/stream/stream_config.h"
#include "datasystem/utils/connection.h"
#include "datasystem/utils/sensitive_value.h"
#include "datasystem/utils/status.h"

namespace datasystem {
class StreamClient {
public:
    explicit StreamClient(ConnectOptions) {}

    Status Init(bool reportWorkerLost = false)
    {
        (void)reportWorkerLost;
        return Unsupported();
    }
    Status ShutDown() { return Status::OK(); }

    Status CreateProducer(const std::string &, std::shared_ptr<Producer> &outProducer,
                          ProducerConf = {})
    {
        outProducer.reset();
        return Unsupported();
    }
    Status Subscribe(const std::string &, const struct SubscriptionConfig &,
                     std::shared_ptr<Consumer> &outConsumer, bool autoAck = false)
    {
        (void)autoAck;
        outConsumer.reset();
        return Unsupported();
    }
    Status DeleteStream(const std::string &) { return Unsupported(); }
    Status QueryGlobalProducersNum(const std::string &, uint64_t &) { return Unsupported(); }
    Status QueryGlobalConsumersNum(const std::string &, uint64_t &) { return Unsupported(); }
    Status UpdateToken(SensitiveValue) { return Unsupported(); }
    Status UpdateAkSk(const std::string, SensitiveValue) { return Unsupported(); }

private:
    static Status Unsupported()
    {
        return Status(K_NOT_SUPPORTED, detail::Literal("Streams are not supported yet"));
    }
};
} // namespace datasystem

#endif
