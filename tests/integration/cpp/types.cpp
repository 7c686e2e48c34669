// SPDX-License-Identifier: Apache-2.0
// The value types: Status, Optional, StringView, SensitiveValue, options, keys. Needs no worker.
#include <cstring>
#include <set>
#include <sstream>
#include <type_traits>
#include <unordered_set>

#include "check.h"
#include "datasystem/stream_client.h"

using namespace datasystem;

static void TestStatus()
{
    CHECK(Status().IsOk() && Status::OK().ToString() == "code: [OK], msg: []", "a status is OK");
    Status status(K_NOT_FOUND, "gone");
    CHECK(status.ToString() == "code: [Key not found], msg: [gone]", "ToString has code and text");
    CHECK(status.IsError() && !status && status.GetMsg() == "gone", "an error is an error");
    CHECK(status == Status(K_NOT_FOUND, "other") && status != Status(), "equal means equal code");
    Status copy = status;
    copy.AppendMsg(", really");
    CHECK(copy.GetMsg() == "gone, really" && status.GetMsg() == "gone", "AppendMsg leaves copies");
    Status moved = std::move(copy);
    CHECK(moved.GetCode() == K_NOT_FOUND && copy.IsOk(), "a moved-from status is OK");
    std::ostringstream stream;
    stream << status;
    CHECK(stream.str() == status.ToString(), "a status can be streamed");
    CHECK(check::contains(Status(K_IO_ERROR, 7, "a.cpp", "disk").GetMsg(), "a.cpp:7"),
          "file and line are in the message");
    CHECK(GetStatusCodeByName("K_OUT_OF_MEMORY") == K_OUT_OF_MEMORY &&
              GetStatusCodeByName("no such") == K_UNKNOWN_ERROR,
          "codes have names");
    CHECK(K_RPC_DEADLINE_EXCEEDED == 1001 && K_OC_ALREADY_SEALED == 2000 &&
              K_BUFFER_DEPRECATED == 2006 && K_SC_ALREADY_CLOSED == 3009 && K_NCCL_ERROR == 5004,
          "codes have their numbers");
    CHECK(Status::StatusCodeName(static_cast<StatusCode>(77)) == "Unknown code 77",
          "an unknown code has a text");
}

static void TestStatusTextsAreTheCApis()
{
    bool same = true;
#define SAME(name, number, kname, text, hint)                                                      \
    same = same && Status::StatusCodeName(StatusCode(number)) == ds_error_text(-(number)) &&       \
           GetStatusCodeByName(kname) == StatusCode(number);
    DS_ERROR_MAP(SAME)
#undef SAME
    CHECK(same, "codes of the C API have the same number, name and text");
}

static void TestOptional()
{
    Optional<std::string> none;
    Optional<std::string> some(3, 'x');
    CHECK(!none && !none.has_value() && none->empty(), "an empty Optional holds a default value");
    CHECK(some && *some == "xxx" && some.value().size() == 3, "an Optional constructs its value");
    Optional<std::string> copy(some);
    CHECK(copy && *copy == "xxx", "a copy of a non-const Optional is a copy");
    none = std::move(copy);
    CHECK(none && *none == "xxx", "an Optional is assigned");
    static_assert(!std::is_copy_constructible_v<Buffer>);
    static_assert(std::is_nothrow_move_constructible_v<Buffer>);
    static_assert(std::is_nothrow_move_assignable_v<Optional<ReadOnlyBuffer>>);
    static_assert(std::is_copy_constructible_v<ReadOnlyBuffer>);
}

static void TestViewsAndSecrets()
{
    std::string text("a\0b", 3);
    CHECK(StringView(text).size() == 3 && StringView("abc").size() == 3 &&
              StringView("abc", 2).size() == 2 && StringView(nullptr).empty() &&
              StringView().data() == nullptr,
          "a StringView has pointer and size");

    SensitiveValue secret("s3cret");
    SensitiveValue copy(secret);
    CHECK(copy == secret && copy.GetSize() == 6 && std::strcmp(copy.GetData(), "s3cret") == 0,
          "a secret is copied");
    std::unique_ptr<char[]> bytes;
    size_t size = 0;
    CHECK(copy.MoveTo(bytes, size) && size == 6 && std::memcmp(bytes.get(), "s3cret", 6) == 0 &&
              copy.Empty() && !copy.MoveTo(bytes, size),
          "a secret is moved out once");
    secret = std::string("other");
    CHECK(!(secret == SensitiveValue("othex")) && secret == "other", "secrets are compared");
    secret.Clear();
    CHECK(secret.Empty() && secret == "" && *secret.GetData() == '\0', "a secret is cleared");
    SensitiveValue moved(SensitiveValue("abc", 2));
    SensitiveValue &self = moved;
    moved = std::move(self);
    moved = self;
    CHECK(moved.GetSize() == 2, "a secret survives self-assignment");
}

static void TestOptions()
{
    ConnectOptions options{.host = "h", .port = 1, .connectTimeoutMs = 600, .token = "t"};
    options.SetAkSkAuth("ak", "sk", "tenant");
    CHECK(options.requestTimeoutMs == 0 && options.enableLocalCache &&
              !options.enableCrossNodeConnection && options.serviceDiscovery == nullptr &&
              options.accessKey == "ak" && options.secretKey == "sk" &&
              options.tenantId == "tenant" && ConnectOptions().connectTimeoutMs == 9000,
          "connect options have their defaults");
    SetParam set;
    MSetParam mset;
    CreateParam create;
    CHECK(set.writeMode == WriteMode::NONE_L2_CACHE && set.ttlSecond == 0 &&
              set.existence == ExistenceOpt::NONE && set.cacheType == CacheType::MEMORY &&
              mset.existence == ExistenceOpt::NONE &&
              create.consistencyType == ConsistencyType::PRAM,
          "parameters have their defaults");
    KVClientConfig config;
    KVClientConfig::Builder builder;
    CHECK_OK(builder.LogDir("/tmp").LogName("a_1").MinLogLevel(2).LogCompress(true).Build(config),
             "a config is built");
    CHECK(config.GetArgs().at("minloglevel") == "2" &&
              config.GetArgs().at("log_compress") == "true",
          "a config has its arguments");
    CHECK_STATUS(builder.LogName("a/b").Build(config), K_INVALID, "a log's name is checked");
    EmbeddedConfig embedded;
    embedded.Address("a:1").SharedMemorySizeMb(64).EnableThp(true).SetArgs({{"x", "y"}});
    CHECK(embedded.GetArgs().size() == 4 && embedded.GetArgs().at("shared_memory_size_mb") == "64",
          "an embedded config has its arguments");
    CHECK_STATUS(KVClient::InitEmbedded(embedded), K_NOT_SUPPORTED, "there is no embedded worker");
    CHECK_STATUS(KVClient::EmbeddedInstance().Del("k"), K_NOT_READY, "nor its client");
}

static void TestKeys()
{
    const std::string letters = "azAZ09.-_!@#%^*()+=:;";
    CHECK(detail::IsKey(letters) && detail::IsKey(std::string(1024, 'k')), "legal keys");
    bool refused = !detail::IsKey("") && !detail::IsKey(std::string(1025, 'k'));
    for (const char *bad :
         {"~", "$", "&", "/", "\\", " ", "\n", "\x7f", "\xe9\x94\xae", "?", ","}) {
        refused = refused && !detail::IsKey(std::string("k") + bad);
    }
    refused = refused && !detail::IsKey(std::string("k\0", 2));
    CHECK(refused, "illegal keys");

    std::unordered_set<std::string> seen;
    KVClient client;
    for (int i = 0; i < 1000; i++) {
        seen.insert(client.GenerateKey());
    }
    const std::string &uuid = *seen.begin();
    CHECK(seen.size() == 1000, "generated keys differ");
    CHECK(uuid.size() == 36 && uuid[14] == '4' && check::contains("89ab", uuid.substr(19, 1)) &&
              uuid[8] == '-' && detail::IsKey(uuid),
          "a generated key is a UUID of version 4");
    CHECK(client.GenerateKey("p") == "p", "a prefix is returned unchanged");
}

static void TestContext()
{
    CHECK_OK(Context::SetTraceId("trace-1"), "a trace id is set");
    CHECK_STATUS(Context::SetTraceId("a b"), K_INVALID, "a trace id is checked");
    CHECK(check::contains(detail::Failure(DS_ENOTFOUND).GetMsg(),
                          "Cannot get objects from worker, traceId: trace-1"),
          "a failure has the trace id");
    CHECK_OK(Context::SetTraceId(""), "a trace id is cleared");
    CHECK(detail::Failure(DS_ENOTFOUND).GetMsg() == "Cannot get objects from worker",
          "then it is not there any more");
}

static void TestStreamsAreRefused()
{
    StreamClient client{ConnectOptions()};
    std::shared_ptr<Producer> producer;
    std::shared_ptr<Consumer> consumer;
    SubscriptionConfig config("sub", SubscriptionType::STREAM);
    CHECK_STATUS(client.Init(), K_NOT_SUPPORTED, "streams: Init is refused");
    CHECK_STATUS(client.CreateProducer("s", producer), K_NOT_SUPPORTED, "streams: producers, too");
    CHECK_STATUS(client.Subscribe("s", config, consumer), K_NOT_SUPPORTED, "and consumers");
    CHECK_OK(client.ShutDown(), "streams: ShutDown is not");
}

int main()
{
    TestStatus();
    TestStatusTextsAreTheCApis();
    TestOptional();
    TestViewsAndSecrets();
    TestOptions();
    TestKeys();
    TestContext();
    TestStreamsAreRefused();
    return check::finish();
}
