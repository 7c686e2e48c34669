// SPDX-License-Identifier: Apache-2.0
// Who owns what: buffers outlive clients, copies share a value, hits allocate nothing.
#include <cstdlib>
#include <cstring>
#include <new>
#include <thread>

#include "check.h"

using namespace datasystem;
using check::key;
using check::text;

static thread_local long allocations = 0;

/* noinline: else gcc sees free() of what operator new gave, and warns. */
[[gnu::noinline]] void *operator new(size_t size)
{
    allocations++;
    void *memory = std::malloc(size);
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    return memory;
}
[[gnu::noinline]] void operator delete(void *memory) noexcept
{
    std::free(memory);
}
[[gnu::noinline]] void operator delete(void *memory, size_t) noexcept
{
    std::free(memory);
}

static void TestHitsAllocateNothing(KVClient &client)
{
    const std::string k = key("hot"), missing = key("missing");
    CHECK_OK(client.Set(k, "hot"), "a value to hit");
    Optional<ReadOnlyBuffer> buffer;
    Optional<Buffer> other;
    std::string val(100, ' ');
    bool fine = client.Get(k, buffer).IsOk() && client.Get(missing, buffer).IsError();
    long before = allocations;
    for (int i = 0; i < 100; i++) {
        fine = fine && client.Get(k, buffer).IsOk() && buffer->GetSize() == 3;
        fine = fine && client.Get(k, other).IsOk() && other->GetSize() == 3;
        fine = fine && client.Get(k, val).IsOk() && val == "hot";
    }
    CHECK(fine && allocations == before, "a hit allocates nothing");
    before = allocations;
    for (int i = 0; i < 100; i++) {
        fine = fine && client.Get(missing, buffer).GetCode() == K_NOT_FOUND;
    }
    CHECK(fine && allocations == before, "nor does a miss");
    before = allocations;
    for (int i = 0; i < 100; i++) {
        fine = fine && client.Set(k, "hot").IsOk();
    }
    CHECK(fine && allocations == before, "nor does a set");
    CHECK_OK(client.Del(k), "the value is deleted");
}

static void TestBuffersOutliveTheirClient(const ConnectOptions &options)
{
    const std::string k = key("outlive");
    auto client = std::make_unique<KVClient>(options);
    Optional<ReadOnlyBuffer> value;
    std::shared_ptr<Buffer> created, discarded;
    bool fine = client->Init().IsOk() && client->Set(k, "outlives").IsOk() &&
                client->Get(k, value).IsOk() && client->Create(k, 4, {}, created).IsOk() &&
                client->Create(k, 4, {}, discarded).IsOk();
    std::memcpy(created->MutableData(), "next", 4);
    fine = fine && client->Set(created).IsOk() && client->Del(k).IsOk();
    CHECK(fine, "a value is got, replaced and deleted");
    client.reset();
    CHECK(text(value->ImmutableData(), value->GetSize()) == "outlives",
          "its bytes outlive key and client");
    CHECK(text(created->ImmutableData(), created->GetSize()) == "next", "so do a buffer's");
    discarded.reset();
    value = Optional<ReadOnlyBuffer>();
    CHECK(!value, "and are given back after them");
}

static void TestCopiesShareTheValue(KVClient &client)
{
    const std::string k = key("copies");
    Optional<ReadOnlyBuffer> value;
    CHECK(client.Set(k, "shared").IsOk() && client.Get(k, value).IsOk(), "a value to share");
    ReadOnlyBuffer copy = *value;
    ReadOnlyBuffer second(copy), third;
    third = second;
    second = std::move(third);
    value = Optional<ReadOnlyBuffer>();
    copy = ReadOnlyBuffer();
    CHECK(text(second.ImmutableData(), second.GetSize()) == "shared", "the last copy has it");
    CHECK(copy.GetSize() == 0 && third.GetSize() == 0, "the others have not");
    ReadOnlyBuffer empty, empty_copy(empty);
    CHECK(empty_copy.ImmutableData() == nullptr, "an empty one is copied");

    for (int round = 0; round < 100; round++) {
        Optional<ReadOnlyBuffer> source;
        (void)client.Get(k, source);
        std::vector<std::thread> threads;
        for (int i = 0; i < 4; i++) {
            threads.emplace_back([&] {
                ReadOnlyBuffer mine(*source);
                ReadOnlyBuffer again(mine);
                if (again.GetSize() != 6) {
                    std::abort();
                }
            });
        }
        for (auto &thread : threads) {
            thread.join();
        }
    }
    CHECK(true, "copies are made in several threads");
    CHECK_OK(client.Del(k), "the value is deleted");
}

static void TestMoves(KVClient &client)
{
    const std::string k = key("moves");
    std::shared_ptr<Buffer> a, b;
    CHECK(client.Create(k, 1, {}, a).IsOk() && client.Create(k, 2, {}, b).IsOk(), "two buffers");
    *a = std::move(*b);
    CHECK(a->GetSize() == 2 && b->GetSize() == 0, "a buffer is moved over another");
    Buffer moved(std::move(*a));
    Buffer &self = moved;
    moved = std::move(self);
    CHECK(moved.GetSize() == 2 && a->ImmutableData() == nullptr, "and survives self-assignment");
    std::vector<Optional<Buffer>> many(3);
    many[1] = Optional<Buffer>(std::move(moved));
    many.resize(100);
    CHECK(many[1] && many[1]->GetSize() == 2, "and lives in a vector");
}

static void TestClientsShareAConnection(const ConnectOptions &options)
{
    const std::string k = key("clients");
    auto first = std::make_unique<KVClient>(options);
    CHECK_OK(first->Init(), "a client");
    KVClient second = *first;
    first.reset();
    CHECK_OK(second.Set(k, "v"), "its copy goes on without it");
    CHECK_OK(second.Del(k), "and cleans up");
    CHECK_OK(second.ShutDown(), "it is shut down");
    CHECK_OK(second.Init(), "and connects again");
    CHECK_OK(second.HealthCheck(), "to the same worker");
}

static void TestFailedInit(ConnectOptions options)
{
    ConnectOptions wrong = options;
    wrong.connectTimeoutMs = 499;
    CHECK_STATUS(KVClient(wrong).Init(), K_INVALID, "half a second to connect, at least");
    wrong = options;
    wrong.port = 65536;
    CHECK_STATUS(KVClient(wrong).Init(), K_INVALID, "a port is a port");
    wrong = options;
    wrong.tenantId = "tenant";
    CHECK_STATUS(KVClient(wrong).Init(), K_NOT_SUPPORTED, "there are no tenants");
    wrong = options;
    wrong.port = 1;
    wrong.connectTimeoutMs = 500;
    Status status = KVClient(wrong).Init();
    CHECK(status.IsError() && check::contains(status.GetMsg(), options.host + ":1"),
          "a failure to connect names the worker");
    DsClient nowhere(wrong);
    CHECK(nowhere.Init().IsError() && nowhere.ShutDown().IsOk(), "also of a DsClient");

    wrong = options;
    wrong.token = "token";
    wrong.SetAkSkAuth("ak", "sk", "");
    CHECK_OK(KVClient(wrong).Init(), "credentials do not matter");
}

/* An application's own discovery. */
class FixedDiscovery : public IServiceDiscovery {
public:
    FixedDiscovery(std::string host, int port) : host_(std::move(host)), port_(port) {}
    Status Init() override { return Status::OK(); }
    Status SelectWorker(std::string &ip, int &port, bool *, bool *) override
    {
        ip = host_;
        port = port_;
        return Status::OK();
    }
    Status SelectSameNodeWorker(std::string &ip, int &port) override
    {
        return SelectWorker(ip, port, nullptr, nullptr);
    }
    Status GetAllWorkers(std::vector<std::string> &, std::vector<std::string> &) override
    {
        return Status::OK();
    }
    ServiceAffinityPolicy GetAffinityPolicy() const override
    {
        return ServiceAffinityPolicy::RANDOM;
    }
    bool HasHostAffinity() const override { return false; }

private:
    std::string host_;
    int port_;
};

/* Of an environment that is set for the time of the call. */
static Status InitWith(const char *name, const char *value, const ConnectOptions &options)
{
    setenv(name, value, 1);
    Status status = KVClient(options).Init();
    unsetenv(name);
    return status;
}

static void TestEnvironment(ConnectOptions options)
{
    constexpr const char *kTime = "DATASYSTEM_CONNECT_TIME_MS";
    constexpr const char *kTenant = "DATASYSTEM_TENANT_ID";
    ConnectOptions plain = options;
    plain.connectTimeoutMs = 9000;

    CHECK_OK(InitWith(kTime, "800", plain), "the time to connect comes from the environment");
    Status status = InitWith(kTime, "499", plain);
    CHECK(status.GetCode() == K_INVALID && check::contains(status.GetMsg(), kTime),
          "where it has the same minimum");
    status = InitWith(kTime, "soon", plain);
    CHECK(status.GetCode() == K_INVALID && check::contains(status.GetMsg(), "'soon'"),
          "and must be a number");
    CHECK_OK(InitWith(kTime, "499", options), "an option wins over it");
    status = InitWith(kTenant, "somebody", plain);
    CHECK(status.GetCode() == K_NOT_SUPPORTED && check::contains(status.GetMsg(), "somebody"),
          "a tenant is refused there, too");
    CHECK_OK(InitWith(kTenant, "", plain), "an empty one is none");

    struct ds_client_options c_options;
    setenv(kTime, "1234", 1);
    ds_client_options_init(&c_options);
    unsetenv(kTime);
    CHECK(c_options.connect_timeout_ms == 1234, "in C likewise");
}

static void TestDiscovery(ConnectOptions options)
{
    options.serviceDiscovery = std::make_shared<FixedDiscovery>(options.host, options.port);
    options.host = "nowhere.invalid";
    options.port = 0;
    KVClient client(options);
    CHECK_OK(client.Init(), "an application's discovery names the worker");
    CHECK_OK(client.HealthCheck(), "and it answers");
    auto etcd = std::make_shared<ServiceDiscovery>(ServiceDiscoveryOptions{});
    options.serviceDiscovery = etcd;
    CHECK_STATUS(etcd->Init(), K_NOT_SUPPORTED, "there is no etcd yet");
    CHECK_STATUS(KVClient(options).Init(), K_NOT_SUPPORTED, "so that Init says so");
    CoordinatorServiceDiscovery coordinator{CoordinatorServiceDiscoveryOptions{}};
    CHECK_STATUS(coordinator.Init(), K_NOT_SUPPORTED, "nor a coordinator");
}

int main(int argc, char **argv)
{
    const ConnectOptions options = check::options(argc, argv);
    KVClient client(options);
    if (CHECK_OK(client.Init(), "Init")) {
        TestHitsAllocateNothing(client);
        TestBuffersOutliveTheirClient(options);
        TestCopiesShareTheValue(client);
        TestMoves(client);
        TestClientsShareAConnection(options);
        TestFailedInit(options);
        TestEnvironment(options);
        TestDiscovery(options);
    }
    return check::finish();
}
