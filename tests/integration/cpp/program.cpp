// SPDX-License-Identifier: Apache-2.0
// An application in the manner of those written for the original: its idioms have to compile and
// to do what they say. Statuses are dropped where applications drop them.
#include <cstdlib>
#include <cstring>
#include <string>

#include "check.h"
#include "datasystem/context/context.h"
#include "datasystem/hetero/device_common.h"
#include "datasystem/kv/read_only_buffer.h"
#include "datasystem/object/object_enum.h"
#include "datasystem/utils/sensitive_value.h"
#include "datasystem/utils/string_view.h"

using datasystem::Buffer;
using datasystem::ConnectOptions;
using datasystem::Context;
using datasystem::CreateParam;
using datasystem::DsClient;
using datasystem::ExistenceOpt;
using datasystem::KVClient;
using datasystem::MSetParam;
using datasystem::ObjectClient;
using datasystem::Optional;
using datasystem::ReadOnlyBuffer;
using datasystem::SetParam;
using datasystem::Status;
using datasystem::StringView;

static std::shared_ptr<DsClient> g_client;
static std::shared_ptr<Buffer> g_buffer;

static bool WriteObject(const std::shared_ptr<ObjectClient> &client, const std::string &id,
                        const std::string &data, bool seal)
{
    std::vector<std::string> failed;
    client->GIncreaseRef({id}, failed);
    Status status = client->Create(id, data.size(), CreateParam{}, g_buffer);
    if (status.IsError()) {
        std::cerr << "Create failed: " << status.ToString() << std::endl;
        return false;
    }
    g_buffer->WLatch();
    g_buffer->MemoryCopy((void *)data.data(), data.size());
    status = seal ? g_buffer->Seal() : g_buffer->Publish();
    g_buffer->UnWLatch();
    return status.IsOk() && failed.empty();
}

static std::string ReadObject(const std::shared_ptr<ObjectClient> &client, const std::string &id)
{
    const int64_t timeout_ms = 5000;
    std::vector<std::string> ids = {id};
    std::vector<Optional<Buffer>> buffers;
    Status status = client->Get(ids, timeout_ms, buffers);
    if (!status.IsOk()) {
        return status.ToString();
    }
    auto &buf = buffers[0];
    buf->RLatch();
    auto data = std::string(reinterpret_cast<const char *>(buf->ImmutableData()), buf->GetSize());
    buf->UnRLatch();
    return data;
}

static void ModifyObject(const std::shared_ptr<ObjectClient> &client, const std::string &id,
                         const std::string &data)
{
    std::vector<Optional<Buffer>> buffers;
    client->Get({id}, 0, buffers);
    auto &buf = buffers[0];
    buf->WLatch();
    buf->MemoryCopy((void *)data.data(), data.size());
    buf->Publish();
    buf->UnWLatch();
}

static void UseObjects()
{
    std::shared_ptr<ObjectClient> client = g_client->Object();
    const std::string id = check::key("object");
    CHECK(WriteObject(client, id, "Hello objects", false), "an object is written");
    CHECK(ReadObject(client, id) == "Hello objects", "and read");
    ModifyObject(client, id, "HELLO");
    CHECK(ReadObject(client, id) == "HELLO objects", "and modified");
    std::vector<std::string> failed;
    client->GDecreaseRef({id}, failed);
    CHECK(check::contains(ReadObject(client, id), "code: [Key not found]"), "and gone");
    CHECK(WriteObject(client, id, "sealed", true), "an object is sealed");
    CHECK(ReadObject(client, id) == "sealed", "and read");
    client->GDecreaseRef({id}, failed);
    g_buffer.reset();
}

/* As a plug-in behind a C interface does it: the key is a char pointer, the value is kept on the
 * heap until it is released. */
static void UsePointers(KVClient &client)
{
    const std::string name = check::key("pointer");
    const char *k = name.c_str();
    const void *bytes = "0123456789";
    CHECK(client.Set(k, StringView(static_cast<const char *>(bytes), 10)).IsOk(), "set by pointer");
    auto *kept = new Optional<ReadOnlyBuffer>();
    CHECK(client.Get(k, *kept).IsOk(), "got by pointer");
    CHECK((*kept)->GetSize() == 10 && std::memcmp((*kept)->ImmutableData(), bytes, 10) == 0,
          "in place");
    delete kept;

    std::shared_ptr<Buffer> buf;
    client.Create(k, 4, SetParam{}, buf);
    std::memcpy(buf->MutableData(), "next", 4);
    CHECK(client.Set(buf).IsOk(), "set in place");
    static thread_local std::string copy;
    CHECK(client.Get(std::string(k), copy).IsOk() && copy == "next", "got as a copy");
    CHECK(client.Del(k).IsOk(), "deleted by pointer");
}

static void UseArrays(KVClient &client)
{
    const size_t n = 70; /* more than the arrays on the stack hold */
    std::vector<std::string> names;
    std::vector<char *> keys;
    for (size_t i = 0; i < n; i++) {
        names.push_back(check::key("array"));
    }
    for (std::string &name : names) {
        keys.push_back(name.data());
    }
    char *const *k = keys.data();
    const std::string value(100, 'v');

    std::vector<StringView> vals(n, StringView(value.data(), value.size()));
    std::vector<std::string> failed;
    MSetParam p;
    p.existence = ExistenceOpt::NONE;
    CHECK(client.MSet(std::vector<std::string>(k, k + n), vals, failed, p).IsOk() && failed.empty(),
          "an array is set");
    auto all = std::make_shared<std::vector<Optional<ReadOnlyBuffer>>>();
    CHECK(client.Get(std::vector<std::string>(k, k + n), *all).IsOk(), "an array is got");
    bool right = all->size() == n;
    for (size_t i = 0; i < n; i++) {
        auto *one = new Optional<ReadOnlyBuffer>(std::move((*all)[i]));
        right = right && *one && (*one)->GetSize() == 100;
        delete one;
    }
    CHECK(right, "each moves out of it");

    std::vector<std::shared_ptr<Buffer>> bufs;
    client.MCreate(std::vector<std::string>(k, k + n), std::vector<uint64_t>(n, 8), SetParam{},
                   bufs);
    for (auto &x : bufs) {
        std::memcpy(x->MutableData(), "12345678", 8);
    }
    CHECK(client.MSet(bufs).IsOk(), "an array is set in place");
    std::vector<std::string> s;
    CHECK(client.Get(std::vector<std::string>(k, k + n), s).IsOk() && s[n - 1] == "12345678",
          "an array is copied");
    std::vector<bool> exists;
    CHECK(client.Exist(names, exists).IsOk() && exists.size() == n && exists[0], "it exists");
    CHECK(client.Del(std::vector<std::string>(k, k + n), failed).IsOk() && failed.empty(),
          "it is deleted");
}

static void UseValues(const ConnectOptions &at)
{
    ConnectOptions options{.host = at.host,
                           .port = at.port,
                           .connectTimeoutMs = 3 * 1000,
                           .requestTimeoutMs = 0,
                           .token = "",
                           .clientPublicKey = "",
                           .clientPrivateKey = "",
                           .serverPublicKey = ""};
    options.enableExclusiveConnection = false;
    std::shared_ptr<KVClient> client = std::make_shared<KVClient>(options);
    (void)Context::SetTraceId("values");
    CHECK(client->Init().IsOk(), "a client connects");
    SetParam opt;
    opt.writeMode = datasystem::WriteMode::NONE_L2_CACHE;
    opt.ttlSecond = 60;
    const std::string k = check::key("value");
    std::string val = "test", back;
    CHECK(client->Set(k, val, opt).IsOk() && client->Get(k, back).IsOk() && back == val,
          "a value comes back");
    Optional<ReadOnlyBuffer> buffer;
    Status status = client->Get(check::key("missing"), buffer);
    auto str = std::string(reinterpret_cast<const char *>(buffer->ImmutableData()),
                           buffer->GetSize()); /* before the status is looked at */
    CHECK(status.IsError() && str.empty(), "a missing one is harmless");
    std::string key = client->Set(val, opt);
    CHECK(!key.empty() && client->Del(key).IsOk() && client->Del(k).IsOk(), "all are deleted");
    UsePointers(*client);
    UseArrays(*client);
    client->ShutDown();
    client.reset();
}

int main(int argc, char **argv)
{
    const ConnectOptions at = check::options(argc, argv);
    ConnectOptions connectOptions{.host = at.host, .port = at.port, .connectTimeoutMs = 3 * 1000};
    g_client = std::make_shared<DsClient>(connectOptions);
    (void)Context::SetTraceId("init");
    Status status = g_client->Init();
    if (CHECK_OK(status, "the clients connect")) {
        UseObjects();
        UseValues(at);
        CHECK(g_client->KV()->HealthCheck().IsOk(), "another client's ShutDown changes nothing");
    }
    g_client->ShutDown();
    return check::finish();
}
