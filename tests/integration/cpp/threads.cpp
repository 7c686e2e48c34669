// SPDX-License-Identifier: Apache-2.0
// One client in many threads; waiting calls end when it is shut down; the health callback.
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "check.h"

using namespace datasystem;
using check::key;

static void TestManyThreads(KVClient &client)
{
    constexpr int kThreads = 8, kRounds = 500;
    const std::string shared = key("shared");
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    CHECK_OK(client.Set(shared, std::string(64, 'a')), "a value that all change");
    for (int t = 0; t < kThreads; t++) {
        threads.emplace_back([&, t] {
            const std::string own = key("own");
            for (int i = 0; i < kRounds; i++) {
                const std::string want = std::to_string(t) + "." + std::to_string(i);
                std::string val;
                Optional<ReadOnlyBuffer> seen;
                bool fine =
                    client.Set(own, want).IsOk() && client.Get(own, val).IsOk() && val == want &&
                    client.Set(shared, std::string(64, static_cast<char>('a' + t))).IsOk() &&
                    client.Get(shared, seen).IsOk() && seen->GetSize() == 64;
                const char *bytes = static_cast<const char *>(seen->ImmutableData());
                for (int64_t b = 0; b < seen->GetSize(); b++) {
                    fine = fine && bytes[b] == bytes[0];
                }
                wrong += !fine;
            }
            wrong += client.Del(own).IsError();
        });
    }
    for (auto &thread : threads) {
        thread.join();
    }
    CHECK(wrong == 0, "each thread reads what it set, and no value is torn");
    CHECK_OK(client.Del(shared), "the value is deleted");
}

static void TestShutDownEndsWaiting(const ConnectOptions &options)
{
    using Clock = std::chrono::steady_clock;
    KVClient client(options);
    CHECK_OK(client.Init(), "a client that waits");
    Status status;
    const auto start = Clock::now();
    std::thread waiter([&] {
        std::string val;
        status = client.Get(key("never"), val, 4000);
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    CHECK_OK(client.ShutDown(), "is shut down");
    waiter.join();
    CHECK_STATUS(status, K_SHUTTING_DOWN, "its wait ends");
    CHECK(Clock::now() - start < std::chrono::seconds(3), "at once");
}

static void TestHealthCallback(const ConnectOptions &options)
{
    KVClient client(options);
    std::mutex mutex;
    std::condition_variable changed;
    int calls = 0;
    bool healthy = true;
    auto callback = [&](const Status &status) {
        std::lock_guard<std::mutex> lock(mutex);
        calls++;
        healthy = healthy && status.IsOk();
        changed.notify_all();
    };
    CHECK_STATUS(client.SetWorkerHealthCallback(callback, 10), K_NOT_READY, "not before Init");
    CHECK_OK(client.SetWorkerHealthCallback(nullptr), "nothing to stop");
    CHECK_OK(client.Init(), "Init");
    CHECK_STATUS(client.SetWorkerHealthCallback(callback, 0), K_INVALID, "an interval is needed");
    CHECK_OK(client.SetWorkerHealthCallback(callback, 10), "a health callback");
    CHECK_OK(client.SetWorkerHealthCallback(callback, 5), "is replaced");
    {
        std::unique_lock<std::mutex> lock(mutex);
        changed.wait_for(lock, std::chrono::seconds(10), [&] { return calls >= 3; });
    }
    CHECK(calls >= 3 && healthy, "it is called again and again");
    CHECK_OK(client.SetWorkerHealthCallback(nullptr), "it is stopped");
    const int last = calls;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    CHECK(calls == last, "and is not called any more");
    CHECK_OK(client.SetWorkerHealthCallback(callback, 5), "it is started once more");
    const pid_t child = fork();
    if (child == 0) {
        alarm(10);
        _exit(client.SetWorkerHealthCallback(nullptr).IsOk() ? 0 : 1);
    }
    int exit_status = -1;
    CHECK(waitpid(child, &exit_status, 0) == child && exit_status == 0,
          "a child, which has no such thread, stops it, too");
    CHECK_OK(client.ShutDown(), "ShutDown stops it, too");
}

/* Runs in a child; its exit status is the number of checks that failed. */
template <typename Run> void CheckInChild(Run run, const char *what)
{
    const pid_t child = fork();
    if (child == 0) {
        alarm(30);
        _exit(run() ? 0 : 1);
    }
    int exit_status = -1;
    CHECK(waitpid(child, &exit_status, 0) == child && exit_status == 0, what);
}

void TestInitInAChild(const ConnectOptions &options)
{
    const std::string key = "threads.fork";
    DsClient client(options);
    CHECK_OK(client.Init(), "Init");
    CHECK_OK(client.KV()->Set(key, StringView("value")), "set");
    Optional<ReadOnlyBuffer> view;
    CHECK_OK(client.KV()->Get(key, view), "get");
    CheckInChild(
        [&] {
            const Status refused = client.KV()->Set(key, StringView("other"));
            return refused.GetCode() == K_NOT_READY &&
                   refused.GetMsg().find("made before fork(): call Init()") != std::string::npos;
        },
        "a child cannot use its parent's session, and is told what to do");
    CheckInChild(
        [&] {
            std::string val;
            std::vector<std::string> failed;
            return client.Init().IsOk() && client.KV()->Get(key, val).IsOk() && val == "value" &&
                   client.Object()->GIncreaseRef({key}, failed).IsOk() &&
                   std::string(static_cast<const char *>(view->ImmutableData()), 5) == "value";
        },
        "Init in a child opens a session of its own, and inherited views stay readable");
    CHECK_OK(client.ShutDown(), "ShutDown");
}

int main(int argc, char **argv)
{
    const ConnectOptions options = check::options(argc, argv);
    KVClient client(options);
    if (CHECK_OK(client.Init(), "Init")) {
        TestManyThreads(client);
        TestShutDownEndsWaiting(options);
        TestHealthCallback(options);
        TestInitInAChild(options);
    }
    return check::finish();
}
