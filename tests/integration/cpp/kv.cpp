// SPDX-License-Identifier: Apache-2.0
// KVClient: each method, its refusals and their texts, batches with failures.
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include "check.h"

using namespace datasystem;
using check::contains;
using check::key;
using check::text;

static constexpr const char *kEmptyKey = "The objectKey should not be empty.";
static constexpr const char *kIllegalKey = "The key contains illegal char(s)";
static constexpr const char *kEmptyValue = "The dataSize value should be bigger than zero.";
static constexpr const char *kAllMissing = "Cannot get objects from worker";

static bool Says(const Status &status, StatusCode code, const char *part)
{
    bool fine = status.GetCode() == code && contains(status.ToString(), part);
    if (!fine) {
        std::cout << "# got " << status << std::endl;
    }
    return fine;
}

static void TestSetAndGet(KVClient &client)
{
    const std::string k = key("set");
    std::string val = "before";
    CHECK_OK(client.Set(k, "one"), "a value is set");
    CHECK_OK(client.Get(k, val), "and got");
    CHECK(val == "one", "the value is what was set");
    CHECK_OK(client.Set(k, std::string("t\0o", 3)), "a value is overwritten");
    Optional<ReadOnlyBuffer> read_only;
    CHECK_OK(client.Get(k, read_only), "a value is got in place");
    CHECK(read_only &&
              text(read_only->ImmutableData(), read_only->GetSize()) == std::string("t\0o", 3),
          "with its bytes");
    CHECK_OK(read_only->RLatch(), "a value's read latch is granted");
    CHECK_OK(read_only->UnRLatch(), "and given back");
    CHECK_STATUS(read_only->RLatch(0), K_INVALID, "a latch needs a timeout");
    Optional<Buffer> buffer;
    CHECK_OK(client.Get(k, buffer), "a value is got as a Buffer");
    CHECK(buffer && buffer->GetSize() == 3 && buffer->MutableData() == nullptr,
          "which cannot be written to");
    CHECK_STATUS(buffer->MemoryCopy("x", 1), K_OC_ALREADY_SEALED, "not by MemoryCopy");
    CHECK_STATUS(buffer->Publish(), K_OC_ALREADY_SEALED, "nor published");
    std::string copied;
    CHECK_OK(buffer->CopyDataWithRLatch([&] {
        copied = text(buffer->ImmutableData(), buffer->GetSize());
        return Status::OK();
    }),
             "a value is copied under its latch");
    CHECK(copied == std::string("t\0o", 3), "with its bytes");

    CHECK_OK(client.Del(k), "a key is deleted");
    CHECK(Says(client.Get(k, val), K_NOT_FOUND, kAllMissing), "then it is not found");
    CHECK_STATUS(client.Get(k, read_only), K_NOT_FOUND, "nor in place");
    CHECK(!read_only && read_only->GetSize() == 0 && read_only->ImmutableData() == nullptr,
          "and the buffer is empty");
    CHECK_STATUS(read_only->RLatch(), K_RUNTIME_ERROR, "an empty buffer has no latch");
    CHECK_OK(client.Del(k), "a missing key counts as deleted");

    const std::string made = client.Set(StringView("anonymous"));
    CHECK(made.size() == 36 && client.Get(made, val).IsOk() && val == "anonymous",
          "a value is set under a generated key");
    CHECK(client.Set(StringView("")).empty(), "an empty value is not");
    CHECK_OK(client.Del(made), "a generated key is deleted");
}

static void TestBigValue(KVClient &client)
{
    const std::string k = key("big");
    std::string big(8 << 20, '\0');
    for (size_t i = 0; i < big.size(); i++) {
        big[i] = static_cast<char>(i * 31 >> 7);
    }
    std::string back;
    CHECK_OK(client.Set(k, big), "8 MiB are set");
    CHECK(client.Get(k, back).IsOk() && back == big, "and come back");
    CHECK_OK(client.Del(k), "and are deleted");
}

static void TestRefusals(KVClient &client)
{
    std::string val;
    std::vector<std::string> vals, failed;
    std::vector<bool> exists;
    std::vector<uint64_t> sizes;
    std::vector<std::shared_ptr<Buffer>> buffers;
    std::vector<Optional<ReadOnlyBuffer>> parts;
    std::shared_ptr<Buffer> buffer;
    const std::string bad = "a/b";

    CHECK(Says(client.Set("", "v"), K_INVALID, kEmptyKey), "Set: no empty key");
    CHECK(Says(client.Set("a b", "v"), K_INVALID, kIllegalKey), "Set: no illegal key");
    CHECK(Says(client.Set(std::string(1025, 'k'), "v"), K_INVALID, kIllegalKey),
          "Set: no key of 1025 bytes");
    CHECK_OK(client.Set(std::string(1024, 'k'), "v"), "Set: a key of 1024 bytes");
    CHECK_OK(client.Del(std::string(1024, 'k')), "Del: a key of 1024 bytes");
    CHECK(Says(client.Set(key("e"), ""), K_INVALID, kEmptyValue), "Set: no empty value");
    CHECK(Says(client.Set(key("e"), StringView(nullptr, 5)), K_INVALID, kEmptyValue),
          "Set: no nullptr");
    CHECK(Says(client.Get("", val), K_INVALID, kEmptyKey), "Get: no empty key");
    CHECK(Says(client.Get(bad, val), K_INVALID, kIllegalKey), "Get: no illegal key");
    CHECK_STATUS(client.Get(key("t"), val, -1), K_INVALID, "Get: no negative time");
    CHECK_STATUS(client.Get({key("t")}, vals, -1), K_INVALID, "Get: nor for several");
    CHECK(Says(client.Get({key("x"), bad}, vals), K_INVALID, kIllegalKey), "Get: all keys legal");
    CHECK_STATUS(client.Get(std::vector<std::string>(), vals), K_INVALID, "Get: some keys");
    CHECK(Says(client.Get(std::vector<std::string>(10001, "k"), vals), K_INVALID,
               "The objectKeys size exceed 10000"),
          "Get: at most 10000 keys");
    CHECK(Says(client.Exist(std::vector<std::string>(100001, "k"), exists), K_INVALID,
               "The objectKeys size exceed 100000"),
          "Exist: at most 100000 keys");
    CHECK(Says(client.Exist({bad}, exists), K_INVALID, kIllegalKey), "Exist: legal keys");
    CHECK(Says(client.Del(bad), K_INVALID, kIllegalKey), "Del: legal key");
    CHECK(Says(client.Del({key("x"), ""}, failed), K_INVALID, kEmptyKey), "Del: legal keys");
    CHECK(Says(client.Expire({bad}, 1, failed), K_INVALID, kIllegalKey), "Expire: legal keys");
    CHECK(Says(client.QuerySize({bad}, sizes), K_INVALID, kIllegalKey), "QuerySize: legal keys");
    CHECK(Says(client.Read({{bad, 0, 0}}, parts), K_INVALID, kIllegalKey), "Read: legal keys");
    CHECK(Says(client.Create(bad, 1, {}, buffer), K_INVALID, kIllegalKey), "Create: legal key");
    CHECK(Says(client.Create(key("c"), 0, {}, buffer), K_INVALID, kEmptyValue), "Create: a size");
    CHECK_STATUS(client.MCreate({key("c")}, {1, 2}, {}, buffers), K_INVALID, "MCreate: n sizes");
    CHECK_STATUS(client.MSet({}), K_INVALID, "MSet: some buffers");
    CHECK_STATUS(client.Set(std::shared_ptr<Buffer>()), K_INVALID, "Set: no null buffer");
    CHECK_STATUS(client.MSetTx({"k"}, {"v"}), K_RUNTIME_ERROR, "MSetTx is gone");

    SetParam through;
    through.writeMode = WriteMode::WRITE_THROUGH_L2_CACHE;
    CHECK(Says(client.Set(key("l2"), "v", through), K_INVALID, "L2_cache_type is set to none"),
          "Set: no write mode with a second level");
    MSetParam back;
    back.writeMode = WriteMode::WRITE_BACK_L2_CACHE_EVICT;
    CHECK(Says(client.MSet({key("l2")}, {"v"}, failed, back), K_INVALID,
               "L2_cache_type is set to none"),
          "MSet: nor for several");
    SetParam evict;
    evict.writeMode = WriteMode::NONE_L2_CACHE_EVICT;
    CHECK_OK(client.Set(key("evict"), "v", evict), "Set: evictable is fine");
}

static void TestBatches(KVClient &client)
{
    const std::vector<std::string> keys = {key("a"), key("b"), key("c")};
    std::vector<std::string> failed = {"old"}, vals;
    CHECK_OK(client.MSet(keys, {"A", "BB", "CCC"}, failed), "MSet of three");
    CHECK(failed.empty(), "none of them failed");
    CHECK_OK(client.Del(keys[1]), "one is deleted");
    CHECK_OK(client.Get(keys, vals), "Get with one missing is OK");
    CHECK(vals == std::vector<std::string>({"A", "", "CCC"}), "the missing one is empty");
    std::vector<Optional<ReadOnlyBuffer>> views;
    CHECK_OK(client.Get(keys, views), "in place, too");
    CHECK(views.size() == 3 && views[0] && !views[1] && views[2] && views[2]->GetSize() == 3 &&
              std::memcmp(views[2]->ImmutableData(), "CCC", 3) == 0,
          "the missing one is an empty Optional");
    std::vector<Optional<Buffer>> buffers;
    CHECK_OK(client.Get(keys, buffers), "and as Buffers");
    CHECK(buffers.size() == 3 && buffers[0] && !buffers[1] && buffers[0]->GetSize() == 1,
          "the missing one is an empty Optional again");
    std::vector<bool> exists;
    CHECK_OK(client.Exist(keys, exists), "Exist");
    CHECK(exists == std::vector<bool>({true, false, true}), "says which");
    std::vector<uint64_t> sizes;
    CHECK_OK(client.QuerySize(keys, sizes), "QuerySize");
    CHECK(sizes == std::vector<uint64_t>({1, 0, 3}), "says how much");
    CHECK_STATUS(client.QuerySize({keys[1]}, sizes), K_NOT_FOUND, "QuerySize of none");
    CHECK_OK(client.Expire(keys, 100, failed), "Expire with one missing is OK");
    CHECK(failed == std::vector<std::string>({keys[1]}), "the missing one failed");
    CHECK_STATUS(client.Expire({keys[1]}, 100, failed), K_NOT_FOUND, "Expire of none");
    CHECK(Says(client.Get({keys[1]}, vals), K_NOT_FOUND, kAllMissing), "Get of none");
    CHECK(vals == std::vector<std::string>(1), "and the value is empty");
    CHECK_OK(client.Del(keys, failed), "Del of all");
    CHECK(failed.empty(), "none failed");

    const std::string k = key("twice");
    CHECK_OK(client.MSet({k, k}, {"first", "second"}, failed), "MSet of equal keys");
    CHECK(failed == std::vector<std::string>({k}), "the second one failed");
    CHECK(client.Get({k}, vals).IsOk() && vals[0] == "first", "the first one is set");
    CHECK_STATUS(client.MSet({"a/b", k}, {"v", "v"}, failed), K_INVALID, "MSet: first key legal");
    CHECK_OK(client.MSet({k, "a/b", ""}, {"third", "v", "v"}, failed), "MSet: later ones fail");
    CHECK(failed == std::vector<std::string>({"a/b", ""}), "alone");
    CHECK(client.Get(k, vals[0]).IsOk() && vals[0] == "third", "the first one is set again");
    CHECK(Says(client.MSet({k}, {""}, failed), K_INVALID, kEmptyValue), "MSet: no empty value");
    CHECK_STATUS(client.MSet({k}, {}, failed), K_INVALID, "MSet: as many values as keys");

    std::vector<std::string> many, big_vals;
    std::vector<StringView> many_vals(1000, "value");
    for (int i = 0; i < 1000; i++) {
        many.push_back(key("many"));
    }
    CHECK_OK(client.MSet(many, many_vals, failed), "MSet of 1000");
    CHECK_OK(client.Get(many, views), "Get of 1000");
    bool right = failed.empty() && views.size() == many.size();
    for (const auto &view : views) {
        right = right && view && text(view->ImmutableData(), view->GetSize()) == "value";
    }
    CHECK(right, "all come back");
    CHECK_OK(client.Del(many, failed), "Del of 1000");
}

static void TestRead(KVClient &client)
{
    const std::string k = key("read"), missing = key("missing");
    CHECK_OK(client.Set(k, "0123456789"), "a value to read parts of");
    std::vector<Optional<ReadOnlyBuffer>> parts;
    CHECK_OK(client.Read({{k, 2, 3}, {k, 7, 0}, {k, 8, 99}, {missing, 0, 0}}, parts), "Read");
    CHECK(parts.size() == 4 && text(parts[0]->ImmutableData(), parts[0]->GetSize()) == "234" &&
              text(parts[1]->ImmutableData(), parts[1]->GetSize()) == "789" &&
              text(parts[2]->ImmutableData(), parts[2]->GetSize()) == "89" && !parts[3],
          "gives each part, clamped, and none of a missing key");
    CHECK_STATUS(client.Read({{k, 11, 1}}, parts), K_OUT_OF_RANGE, "not behind the end");
    CHECK_STATUS(client.Read({{missing, 0, 1}}, parts), K_NOT_FOUND, "not of a missing key only");
    CHECK_OK(client.Del(k), "the value is deleted");
}

static void TestCreateAndPublish(KVClient &client)
{
    const std::string k = key("create");
    std::string val;
    std::shared_ptr<Buffer> buffer;
    CHECK_OK(client.Create(k, 5, SetParam{}, buffer), "a buffer is created");
    CHECK(buffer->GetSize() == 5 && buffer->MutableData() != nullptr, "it can be written to");
    CHECK_STATUS(client.Get(k, val), K_NOT_FOUND, "it is invisible");
    std::memcpy(buffer->MutableData(), "hello", 5);
    CHECK_OK(client.Set(buffer), "it is published");
    CHECK(client.Get(k, val).IsOk() && val == "hello", "it is visible");
    CHECK(text(buffer->ImmutableData(), buffer->GetSize()) == "hello", "the buffer stays readable");

    const std::vector<std::string> keys = {k, key("m1"), key("m2")};
    SetParam nx;
    nx.existence = ExistenceOpt::NX;
    std::vector<std::shared_ptr<Buffer>> buffers;
    CHECK_OK(client.MCreate(keys, {5, 6, 7}, nx, buffers), "MCreate with NX");
    CHECK(buffers.size() == 3 && buffers[0]->GetSize() == 0 && buffers[1]->GetSize() == 6,
          "an existing key has an empty buffer");
    for (size_t i = 1; i < buffers.size(); i++) {
        CHECK_OK(buffers[i]->MemoryCopy("abcdefg", 5 + i), "a buffer is filled");
    }
    CHECK_STATUS(buffers[1]->MemoryCopy("abcdefg", 7), K_OUT_OF_RANGE, "not beyond its end");
    CHECK_STATUS(buffers[1]->MemoryCopy(nullptr, 1), K_INVALID, "not from nowhere");
    CHECK_OK(client.MSet(buffers), "MSet of buffers");
    std::vector<std::string> vals, failed;
    CHECK_OK(client.Get(keys, vals), "Get of them");
    CHECK(vals == std::vector<std::string>({"hello", "abcdef", "abcdefg"}),
          "the existing one is unchanged");
    CHECK_OK(client.MSet({buffers[0]}), "MSet of empty buffers does nothing");
    CHECK_OK(client.Create(k, 5, nx, buffer), "Create with NX");
    CHECK(buffer != nullptr && buffer->GetSize() == 0, "gives an empty buffer, too");
    CHECK_OK(client.Del(keys, failed), "all are deleted");
}

static void TestExistenceAndTime(KVClient &client)
{
    const std::string k = key("nx");
    std::string val;
    SetParam nx;
    nx.existence = ExistenceOpt::NX;
    CHECK_OK(client.Set(k, "first", nx), "NX sets a new key");
    CHECK_OK(client.Set(k, "second", nx), "and succeeds on an existing one");
    CHECK(client.Get(k, val).IsOk() && val == "first", "whose value stays");
    MSetParam mnx;
    mnx.existence = ExistenceOpt::NX;
    std::vector<std::string> failed;
    CHECK_OK(client.MSet({k, key("nx2")}, {"third", "new"}, failed, mnx), "so does MSet");
    CHECK(failed.empty() && client.Get(k, val).IsOk() && val == "first", "without a failed key");

    SetParam brief;
    brief.ttlSecond = 1;
    CHECK_OK(client.Set(k, "brief", brief), "a value with a second to live");
    CHECK_OK(client.Get(k, val), "lives");
    const std::string kept = key("kept");
    CHECK_OK(client.Set(kept, "kept", brief), "so does another");
    CHECK_OK(client.Expire({kept}, 0, failed), "whose expiry is removed");
    std::this_thread::sleep_for(std::chrono::milliseconds(1300));
    CHECK_STATUS(client.Get(k, val), K_NOT_FOUND, "the first one dies");
    CHECK_OK(client.Get(kept, val), "the other does not");
    CHECK_OK(client.Del(kept), "until it is deleted");
}

static void TestNxSaysWhetherItWrote(KVClient &client)
{
    const std::string k = key("told");
    const std::string fresh = key("told.fresh");
    SetParam nx;
    nx.existence = ExistenceOpt::NX;
    bool written = false;
    CHECK(client.Set(k, "first", nx, written).IsOk() && written, "NX: a new key is written");
    CHECK(client.Set(k, "second", nx, written).IsOk() && !written, "an existing one is not");
    CHECK(client.Set(k, "third", {}, written).IsOk() && written, "without NX it is");
    CHECK(client.Set("a/b", "v", nx, written).IsError() && !written, "not if the call failed");

    MSetParam mnx;
    mnx.existence = ExistenceOpt::NX;
    std::vector<std::string> failed, existing = {"stale"};
    CHECK_OK(client.MSet({k, fresh, "a/b"}, {"fourth", "new", "bad"}, failed, mnx, existing),
             "MSet with NX");
    CHECK(existing == std::vector<std::string>({k}), "lists the existing key");
    CHECK(failed == std::vector<std::string>({"a/b"}), "apart from the failed one");
    std::string val;
    CHECK(client.Get(k, val).IsOk() && val == "third", "whose value stays");
    CHECK_OK(client.MSet({k, fresh}, {"fifth", "newer"}, failed, {}, existing), "without NX");
    CHECK(existing.empty(), "none is listed");
    CHECK_OK(client.Del({k, fresh}, failed), "both are deleted");
}

static void TestEmptyValuesByOption(KVClient &client)
{
    const std::string k = key("empty");
    SetParam empty;
    empty.allowEmpty = true;
    std::string val = "before";
    CHECK_OK(client.Set(k, "", empty), "allowEmpty: a value of no bytes");
    CHECK(client.Get(k, val).IsOk() && val.empty(), "comes back");
    Optional<ReadOnlyBuffer> view;
    CHECK(client.Get(k, view).IsOk() && view && view->GetSize() == 0, "in place, too");
    CHECK_OK(client.Set(k, StringView(), empty), "nullptr and no size is such a value");
    CHECK(Says(client.Set(k, StringView(nullptr, 5), empty), K_INVALID, kEmptyValue),
          "nullptr with a size is none");
    CHECK_OK(client.Del(k), "it is deleted");

    MSetParam mempty;
    mempty.allowEmpty = true;
    std::vector<std::string> failed;
    const std::string full = key("full");
    CHECK_OK(client.MSet({k, full}, {"", "v"}, failed, mempty), "MSet with allowEmpty");
    CHECK(client.Get(k, val).IsOk() && val.empty() && failed.empty(), "sets it");
    CHECK_OK(client.Del({k, full}, failed), "both are deleted");

    std::shared_ptr<Buffer> buffer;
    CHECK_OK(client.Create(k, 0, empty, buffer), "Create with allowEmpty");
    CHECK_OK(client.Set(buffer), "and Set of its buffer");
    val = "before";
    CHECK(client.Get(k, val).IsOk() && val.empty(), "set it");
    CHECK_OK(client.Del(k), "it is deleted");
}

static void TestWaiting(KVClient &client)
{
    using Clock = std::chrono::steady_clock;
    const std::string k = key("wait");
    std::string val;
    auto start = Clock::now();
    CHECK_STATUS(client.Get(k, val, 200), K_NOT_FOUND, "a get of a missing key ends");
    auto took = Clock::now() - start;
    CHECK(took >= std::chrono::milliseconds(190) && took < std::chrono::seconds(3),
          "after its time");
    std::thread setter([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        (void)client.Set(k, "late");
    });
    start = Clock::now();
    Optional<ReadOnlyBuffer> buffer;
    Status status = client.Get(k, buffer, 4000);
    took = Clock::now() - start;
    setter.join();
    CHECK_OK(status, "a get waits for its key");
    CHECK(buffer && took < std::chrono::seconds(2), "and returns as soon as it is set");
    CHECK_OK(client.Del(k), "the key is deleted");
}

/* The calls of C below it that have no twin in C++. */
static void TestBuffersInC(KVClient &client, const ConnectOptions &options)
{
    struct ds_client_options c_options;
    struct ds_client *c = nullptr;
    struct ds_buffer *buffer = nullptr, *copy = nullptr, *none = nullptr;
    const std::string k = key("copied");
    std::string val;
    ds_client_options_init(&c_options);
    c_options.host = options.host.c_str();
    c_options.port = static_cast<uint16_t>(options.port);
    if (!CHECK(ds_client_open(&c_options, &c) == 0 &&
                   ds_kv_create(c, k.data(), k.size(), 5, nullptr, &buffer) == 0,
               "a buffer is created in C")) {
        return;
    }
    void *bytes = ds_buffer_mutable_data(buffer);
    std::memcpy(bytes, "value", 5);
    CHECK(ds_buffer_copy(buffer, &copy) == 0 && ds_kv_publish(c, &copy, 1, nullptr) == 0,
          "a copy of it is published");
    std::memcpy(bytes, "later", 5);
    CHECK(client.Get(k, val).IsOk() && val == "value", "it is out of the pointer's reach");
    CHECK(ds_buffer_copy(copy, &none) == DS_EINVAL && none == nullptr,
          "what is published is not copied");
    CHECK(ds_kv_publish(c, &buffer, 1, nullptr) == 0 && client.Get(k, val).IsOk() && val == "later",
          "the first one can be published still");

    std::vector<struct ds_buffer *> many(DS_BATCH_MAX + 1);
    std::vector<int> results(many.size());
    CHECK(ds_kv_publish(c, many.data(), many.size(), results.data()) == DS_EINVAL &&
              results == std::vector<int>(many.size(), DS_EINVAL),
          "a batch that is refused has that as each result");
    ds_buffer_free(copy);
    ds_buffer_free(buffer);
    ds_client_close(c);
}

static void TestRest(KVClient &client)
{
    CHECK_OK(client.HealthCheck(), "the worker is healthy");
    CHECK_OK(client.Init(), "a second Init does nothing");
    CHECK_OK(client.UpdateToken("token"), "a token is taken");
    CHECK_OK(client.UpdateAkSk("ak", "sk"), "so are keys");
    CHECK_STATUS(client.UpdateConfig("{}"), K_NOT_SUPPORTED, "there are no settings");
    std::vector<std::string> failed;
    CHECK_STATUS(client.MGetH2D({"k"}, {Blob{}}, failed), K_NOT_SUPPORTED, "there are no devices");
    std::string made;
    CHECK(client.GenerateKey("", made).IsOk() && made.size() == 36, "a key is generated");
    Context::SetTenantId("tenant");
    CHECK_STATUS(client.Set("k", "v"), K_NOT_SUPPORTED, "there are no tenants");
    Context::SetTenantId("");
    CHECK_OK(client.Set(made, "v"), "without one it works");
    CHECK_OK(client.Del(made), "and is undone");
}

int main(int argc, char **argv)
{
    KVClient client(check::options(argc, argv));
    CHECK_STATUS(client.Set("k", "v"), K_NOT_READY, "before Init nothing works");
    CHECK_STATUS(client.HealthCheck(), K_NOT_READY, "not even HealthCheck");
    if (CHECK_OK(client.Init(), "Init")) {
        TestSetAndGet(client);
        TestBigValue(client);
        TestRefusals(client);
        TestBatches(client);
        TestRead(client);
        TestCreateAndPublish(client);
        TestBuffersInC(client, check::options(argc, argv));
        TestExistenceAndTime(client);
        TestNxSaysWhetherItWrote(client);
        TestEmptyValuesByOption(client);
        TestWaiting(client);
        TestRest(client);
    }
    CHECK_OK(client.ShutDown(), "ShutDown");
    CHECK_OK(client.ShutDown(), "a second one does nothing");
    CHECK_STATUS(client.Set("k", "v"), K_NOT_READY, "after it nothing works");
    return check::finish();
}
