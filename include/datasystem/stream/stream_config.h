/* SPDX-License-Identifier: Apache-2.0 */
/* stream_config.h - settings of producers and consumers. */
#ifndef DS_DATASYSTEM_STREAM_STREAM_CONFIG_H
#define DS_DATASYSTEM_STREAM_STREAM_CONFIG_H

#include <cstdint>
#include <string>
#include <tuple>
#include <utility>

namespace datasystem {
enum SubscriptionType { STREAM, ROUND_ROBIN, KEY_PARTITIONS, UNKNOWN };
enum StreamMode : int32_t { MPMC = 0, MPSC, SPSC };

struct SubscriptionConfig {
    static constexpr uint32_t SC_CACHE_CAPACITY = 32768;
    static constexpr uint16_t SC_CACHE_LWM = 0;

    SubscriptionConfig() = default;
    SubscriptionConfig(std::string name, SubscriptionType type,
                       uint32_t capacity = SC_CACHE_CAPACITY, uint16_t lowWaterMark = SC_CACHE_LWM)
        : subscriptionName(std::move(name)), subscriptionType(type), cacheCapacity(capacity),
          cachePrefetchLWM(lowWaterMark)
    {}

    bool operator==(const SubscriptionConfig &other) const
    {
        return std::tie(subscriptionName, subscriptionType, cacheCapacity, cachePrefetchLWM) ==
               std::tie(other.subscriptionName, other.subscriptionType, other.cacheCapacity,
                        other.cachePrefetchLWM);
    }
    bool operator!=(const SubscriptionConfig &other) const { return !(*this == other); }

    std::string subscriptionName;
    SubscriptionType subscriptionType = SubscriptionType::STREAM;
    uint32_t cacheCapacity = SC_CACHE_CAPACITY; /* elements */
    uint16_t cachePrefetchLWM = SC_CACHE_LWM;   /* percent; 0 = no prefetching */
};

struct ProducerConf {
    int64_t delayFlushTime = 5; /* milliseconds */
    int64_t pageSize = 1024 * 1024;
    uint64_t maxStreamSize = 100 * 1024 * 1024;
    bool autoCleanup = false;
    uint64_t retainForNumConsumers = 0;
    bool encryptStream = false;
    uint64_t reserveSize = 0; /* 0 = one page */
    StreamMode streamMode = StreamMode::MPMC;
};
} // namespace datasystem

#endif
