// SPDX-License-Identifier: Apache-2.0
// ObjectClient and Buffer: publish, seal, latches, references, nesting; DsClient and HeteroClient.
#include <cstring>

#include "check.h"

using namespace datasystem;
using check::contains;
using check::key;
using check::text;

static std::string Fetch(ObjectClient &client, const std::string &k)
{
    std::vector<Optional<Buffer>> buffers;
    Status status = client.Get({k}, 0, buffers);
    return status.IsOk() ? text(buffers[0]->ImmutableData(), buffers[0]->GetSize())
                         : status.ToString();
}

static bool Says(const Status &status, StatusCode code, const char *text)
{
    return status.GetCode() == code && status.GetMsg().find(text) != std::string::npos;
}

static void TestPublishAndSeal(ObjectClient &client)
{
    const std::string k = key("object");
    std::shared_ptr<Buffer> buffer;
    std::vector<Optional<Buffer>> got;
    CHECK_OK(client.Create(k, 5, CreateParam{}, buffer), "an object is created");
    CHECK_OK(buffer->WLatch(), "a latch before it is published");
    CHECK_OK(buffer->MemoryCopy("hello", 5), "it is filled");
    CHECK_STATUS(client.Get({k}, 0, got), K_NOT_FOUND, "it is invisible");
    CHECK_OK(buffer->Publish(), "it is published");
    CHECK_OK(buffer->UnWLatch(), "the latch is given back after that");
    CHECK(Fetch(client, k) == "hello", "it is visible");

    CHECK_OK(client.Get({k, key("missing")}, 0, got), "Get with one missing is OK");
    CHECK(got.size() == 2 && got[0] && !got[1], "the missing one is an empty Optional");
    CHECK_OK(got[0]->WLatch(), "the object is latched to write");
    CHECK_OK(got[0]->MemoryCopy("HE", 2), "it is changed through the other buffer");
    CHECK_OK(got[0]->Publish(), "it is published again");
    CHECK_OK(got[0]->UnWLatch(), "it is unlatched");
    CHECK(Fetch(client, k) == "HEllo", "the change is visible");
    CHECK_OK(got[0]->InvalidateBuffer(), "a copy on this node is dropped");

    CHECK_OK(buffer->Seal(), "it is sealed");
    CHECK_STATUS(buffer->Publish(), K_OC_ALREADY_SEALED, "then it cannot be published");
    CHECK_STATUS(buffer->Seal(), K_OC_ALREADY_SEALED, "nor sealed");
    CHECK_OK(client.Get({k}, 0, got), "it can be read");
    CHECK(got[0]->MutableData() == nullptr, "but not written to");
    CHECK_OK(got[0]->RLatch(), "a read latch is granted");
    CHECK_OK(got[0]->UnRLatch(), "and given back");
}

static void TestLatches(ObjectClient &client)
{
    const std::string k = key("latch");
    std::shared_ptr<Buffer> buffer;
    CHECK_OK(client.Create(k, 8, CreateParam{}, buffer), "an object to latch");
    CHECK_OK(buffer->Publish(), "is published");
    std::vector<Optional<Buffer>> a, b;
    CHECK(client.Get({k}, 0, a).IsOk() && client.Get({k}, 0, b).IsOk(), "two look at it");
    CHECK_OK(a[0]->RLatch(), "one reads");
    CHECK_OK(b[0]->RLatch(), "the other, too");
    CHECK_STATUS(buffer->WLatch(1), K_RPC_DEADLINE_EXCEEDED, "a writer waits in vain");
    CHECK_OK(a[0]->UnRLatch(), "one has read");
    b.clear();
    CHECK_OK(buffer->WLatch(1), "the other's latch went with its buffer: the writer writes");
    CHECK_STATUS(a[0]->RLatch(1), K_RPC_DEADLINE_EXCEEDED, "a reader waits in vain");
    CHECK_OK(buffer->UnWLatch(), "the writer has written");
    CHECK_OK(a[0]->RLatch(1), "the reader reads");
    CHECK_OK(a[0]->UnRLatch(), "and has read");
    CHECK_STATUS(buffer->WLatch(0), K_INVALID, "a latch needs a timeout");
    CHECK(Says(buffer->UnWLatch(), K_OC_OBJECT_NOT_IN_USED, "take it first"),
          "a latch that is not held is told so");
    CHECK_OK(a[0]->RLatch(), "a reader latches");
    CHECK(Says(buffer->WLatch(1), K_RPC_DEADLINE_EXCEEDED, "longer timeoutSec"),
          "a latch that somebody holds is told so");
}

static void TestRefusals(ObjectClient &client)
{
    std::shared_ptr<Buffer> buffer;
    std::vector<Optional<Buffer>> got;
    std::vector<std::string> failed;
    std::vector<ObjMetaInfo> metas;
    const uint8_t data[] = {1, 2, 3};
    CHECK_STATUS(client.Create("", 1, {}, buffer), K_INVALID, "Create: no empty key");
    CHECK_STATUS(client.Create("a/b", 1, {}, buffer), K_INVALID, "Create: no illegal key");
    CHECK_STATUS(client.Create(key("s"), 0, {}, buffer), K_INVALID, "Create: a size");
    CHECK_STATUS(client.Put("a b", data, 3, {}), K_INVALID, "Put: no illegal key");
    CHECK_STATUS(client.Put(key("p"), nullptr, 3, {}), K_INVALID, "Put: not from nowhere");
    CHECK_STATUS(client.Put(key("p"), data, 0, {}), K_INVALID, "Put: not nothing");
    CHECK_STATUS(client.Put(key("p"), data, 3, {}, {"a b"}), K_INVALID, "Put: legal nested keys");
    CHECK_STATUS(client.Get({}, 0, got), K_INVALID, "Get: some keys");
    CHECK_STATUS(client.Get({key("g")}, -1, got), K_INVALID, "Get: no negative time");
    CHECK_STATUS(client.GIncreaseRef({}, failed), K_INVALID, "GIncreaseRef: some keys");
    CHECK_STATUS(client.GIncreaseRef({key("g")}, failed, "remote"), K_NOT_SUPPORTED,
                 "GIncreaseRef: no remote clients");
    CHECK_STATUS(client.ReleaseGRefs("remote"), K_NOT_SUPPORTED, "ReleaseGRefs: nor there");
    CHECK(client.QueryGlobalRefNum("a b") == -1, "QueryGlobalRefNum: no illegal key");
    CHECK_STATUS(client.GetObjMetaInfo("", std::vector<std::string>(65, "k"), metas), K_INVALID,
                 "GetObjMetaInfo: at most 64 keys");
    CHECK_STATUS(client.GetObjMetaInfo("tenant", {"k"}, metas), K_NOT_SUPPORTED,
                 "GetObjMetaInfo: no tenants");
    Buffer empty;
    CHECK(empty.GetSize() == 0 && empty.ImmutableData() == nullptr && !empty.MutableData() &&
              empty.GetRemoteHostInfo() == nullptr,
          "an empty buffer has no bytes");
    CHECK_STATUS(empty.Publish(), K_RUNTIME_ERROR, "and cannot be published");
}

static void TestReferences(ObjectClient &client, ObjectClient &other)
{
    const std::string k = key("ref");
    const uint8_t data[] = {1, 2, 3};
    std::vector<std::string> failed;
    std::vector<Optional<Buffer>> got;
    std::vector<ObjMetaInfo> metas;
    CHECK_OK(client.GIncreaseRef({k}, failed), "a reference before the object exists");
    CHECK_OK(client.Put(k, data, 3, CreateParam{}), "the object");
    CHECK_OK(other.GIncreaseRef({k}, failed), "a reference of another client");
    CHECK(failed.empty() && client.QueryGlobalRefNum(k) == 2, "are two");
    CHECK_OK(client.GetObjMetaInfo("", {k, key("missing")}, metas), "GetObjMetaInfo");
    CHECK(metas.size() == 2 && metas[0].objSize == 3 && metas[0].locations.size() == 1 &&
              metas[1].objSize == 0 && metas[1].locations.empty(),
          "says where objects are");
    CHECK_OK(client.GDecreaseRef({k}, failed), "one is given back");
    CHECK_OK(client.Get({k}, 0, got), "the object stays");
    CHECK_OK(other.GDecreaseRef({k}, failed), "the other is given back");
    CHECK(client.QueryGlobalRefNum(k) == 0, "are none");
    CHECK(got[0]->GetSize() == 3 && std::memcmp(got[0]->ImmutableData(), data, 3) == 0,
          "a buffer in hand keeps its bytes");
    CHECK_STATUS(client.Get({k}, 0, got), K_NOT_FOUND, "the object is gone");

    const std::string parent = key("parent");
    CHECK_STATUS(client.Put(parent, data, 3, {}, {parent}), K_INVALID, "no object nests itself");
    std::string made, prefix;
    CHECK(client.GenerateKey("", made).IsOk() && made.size() == 36 &&
              client.GenerateObjectKey("p", made).IsOk() && made == "p" &&
              client.GetPrefix(made, prefix).IsOk() && prefix == "p",
          "keys are generated");
}

static void TestDsClient(const ConnectOptions &options)
{
    auto client = std::make_shared<DsClient>(options);
    std::shared_ptr<ObjectClient> object = client->Object();
    std::shared_ptr<KVClient> kv = client->KV();
    std::shared_ptr<HeteroClient> hetero = client->Hetero();
    std::vector<Optional<Buffer>> got;
    CHECK_STATUS(object->Get({"k"}, 0, got), K_NOT_READY, "DsClient: nothing before Init");
    CHECK_OK(client->Init(), "DsClient: Init");
    const std::string k = key("ds");
    CHECK_OK(kv->Set(k, "value"), "DsClient: a value");
    CHECK(Fetch(*object, k) == "value", "DsClient: is an object, too");

    ServerState state = ServerState::REBOOT;
    std::vector<bool> exists;
    std::vector<std::string> failed;
    std::vector<Future> futures;
    CHECK(hetero->HealthCheck(state).IsOk() && state == ServerState::NORMAL, "hetero: healthy");
    CHECK(hetero->Exist({k}, exists).IsOk() && exists[0], "hetero: sees the key");
    CHECK_STATUS(hetero->DevMSet({k}, {DeviceBlobList()}, failed), K_NOT_SUPPORTED,
                 "hetero: no devices");
    CHECK(failed == std::vector<std::string>({k}), "hetero: all keys failed");
    CHECK_STATUS(hetero->MSetD2H({k}, {DeviceBlobList()}), K_NOT_SUPPORTED, "hetero: nor copies");
    CHECK_STATUS(hetero->AsyncMGetH2D({k}, {DeviceBlobList()}, 0).get().status, K_NOT_SUPPORTED,
                 "hetero: nor later");
    CHECK_STATUS(hetero->DevSubscribe({k}, {DeviceBlobList()}, futures), K_NOT_SUPPORTED,
                 "hetero: nor streams of them");
    CHECK(hetero->Delete({k}, failed).IsOk() && failed.empty(), "hetero: deletes the key");

    CHECK_OK(kv->ShutDown(), "one part is shut down");
    CHECK_OK(object->HealthCheck(), "the others go on");
    CHECK_OK(client->ShutDown(), "all are shut down");
    CHECK_STATUS(object->HealthCheck(), K_NOT_READY, "none goes on");
}

int main(int argc, char **argv)
{
    const ConnectOptions options = check::options(argc, argv);
    ObjectClient client(options), other(options);
    if (CHECK_OK(client.Init(), "Init") && CHECK_OK(other.Init(), "Init of another")) {
        TestPublishAndSeal(client);
        TestLatches(client);
        TestRefusals(client);
        TestReferences(client, other);
        TestDsClient(options);
    }
    return check::finish();
}
