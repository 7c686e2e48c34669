/* SPDX-License-Identifier: Apache-2.0 */
/*
 * health_probe.h - a thread that tells an application about the health of its worker.
 *
 * After Stop() has returned the callback does not run any more. The callback must not call the
 * client; stopping from inside the callback is nevertheless safe. The child of a fork() has no such
 * thread.
 */
#ifndef DS_DATASYSTEM_DETAIL_HEALTH_PROBE_H
#define DS_DATASYSTEM_DETAIL_HEALTH_PROBE_H

#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "datasystem/utils/status.h"

namespace datasystem::detail {
class HealthProbe {
public:
    using Callback = std::function<void(const Status &)>;

    HealthProbe() = default;
    ~HealthProbe() { Stop(); }
    HealthProbe(const HealthProbe &) = delete;
    HealthProbe &operator=(const HealthProbe &) = delete;

    void Start(std::function<Status()> probe, Callback callback, uint32_t interval_ms)
    {
        auto run = std::make_shared<Run>();
        std::thread thread([run, probe = std::move(probe), callback = std::move(callback),
                            interval = std::chrono::milliseconds(interval_ms)] {
            std::unique_lock<std::mutex> lock(run->mutex);
            while (!run->changed.wait_for(lock, interval, [&] { return run->stop; })) {
                lock.unlock();
                callback(probe());
                lock.lock();
            }
        });
        Replace(std::move(run), std::move(thread));
    }

    void Stop() { Replace(nullptr, std::thread()); }

private:
    struct Run {
        std::mutex mutex;
        std::condition_variable changed;
        bool stop = false;          /* under mutex */
        const pid_t pid = getpid(); /* of the process that has the thread */
    };

    void Replace(std::shared_ptr<Run> run, std::thread thread)
    {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            run_.swap(run);
            thread_.swap(thread);
        }
        if (run == nullptr) {
            return;
        }
        if (run->pid != getpid()) {
            (void)new std::thread(std::move(thread)); /* of no thread: neither joined nor freed */
            return;
        }
        {
            std::lock_guard<std::mutex> lock(run->mutex);
            run->stop = true;
        }
        run->changed.notify_all();
        if (thread.get_id() == std::this_thread::get_id()) {
            thread.detach();
        } else {
            thread.join();
        }
    }

    std::mutex mutex_;
    std::shared_ptr<Run> run_; /* under mutex_, as is thread_ */
    std::thread thread_;
};
} // namespace datasystem::detail

#endif
