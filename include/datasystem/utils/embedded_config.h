/* SPDX-License-Identifier: Apache-2.0 */
/*
 * embedded_config.h - flags of a worker inside the application's process.
 *
 * There is no such worker here: KVClient::InitEmbedded() is K_NOT_SUPPORTED.
 */
#ifndef DS_DATASYSTEM_UTILS_EMBEDDED_CONFIG_H
#define DS_DATASYSTEM_UTILS_EMBEDDED_CONFIG_H

#include <cstdint>
#include <string>
#include <unordered_map>

namespace datasystem {
class EmbeddedConfig {
public:
    using Args = std::unordered_map<std::string, std::string>;
    using Self = EmbeddedConfig;

    Self &Address(const std::string &address) { return SetArg("worker_address", address); }
    Self &EtcdAddress(const std::string &address) { return SetArg("etcd_address", address); }
    Self &SharedMemorySizeMb(uint64_t size) { return Put("shared_memory_size_mb", size); }
    Self &UnixDomainSocketDir(const std::string &path)
    {
        return SetArg("unix_domain_socket_dir", path);
    }
    Self &EnableHugeTlb(bool enable) { return Put("enable_huge_tlb", enable); }
    Self &EnableFallocate(bool enable) { return Put("enable_fallocate", enable); }
    Self &SharedMemoryPopulate(bool populate) { return Put("shared_memory_populate", populate); }
    Self &EnableThp(bool enable) { return Put("enable_thp", enable); }
    Self &ArenaPerTenant(int num) { return Put("arena_per_tenant", num); }
    Self &EnableUrma(bool enable) { return Put("enable_urma", enable); }
    Self &UrmaPollSize(int size) { return Put("urma_poll_size", size); }
    Self &UrmaRegisterWholeArena(bool whole) { return Put("urma_register_whole_arena", whole); }
    Self &UrmaEventMode(bool enable) { return Put("urma_event_mode", enable); }
    Self &LogDir(const std::string &path) { return SetArg("log_dir", path); }
    Self &MinLogLevel(int level) { return Put("minloglevel", level); }
    Self &MaxLogSize(int size) { return Put("max_log_size", size); }
    Self &VLogLevel(int level) { return Put("v", level); }
    Self &LogRateLimit(int limit) { return Put("log_rate_limit", limit); }
    Self &RequestSampleRate(double rate) { return Put("request_sample_rate", rate); }
    Self &AccessSampleRate(double rate) { return Put("access_sample_rate", rate); }
    Self &DiagnosticSampleRate(double rate) { return Put("diagnostic_sample_rate", rate); }
    Self &SlowLogProcessSlowerThan(int ms) { return Put("slow_log_process_slower_than", ms); }
    Self &SlowLogRpcSlowerThan(int ms) { return Put("slow_log_rpc_slower_than", ms); }
    Self &RocksdbStoreDir(const std::string &path) { return SetArg("rocksdb_store_dir", path); }
    Self &RocksdbMaxOpenFile(int num) { return Put("rocksdb_max_open_file", num); }
    Self &RocksdbBackgroundThreads(int num) { return Put("rocksdb_background_threads", num); }
    Self &RocksdbWriteMode(int mode) { return Put("rocksdb_write_mode", mode); }
    Self &EnableRedirect(bool enable) { return Put("enable_redirect", enable); }
    Self &EnableDataReplication(bool enable) { return Put("enable_data_replication", enable); }

    Self &SetArg(const std::string &name, const std::string &value)
    {
        args_[name] = value;
        return *this;
    }

    Self &SetArgs(const Args &args)
    {
        for (const auto &[name, value] : args) {
            args_[name] = value;
        }
        return *this;
    }

    const Args &GetArgs() const { return args_; }

private:
    Self &Put(const char *name, bool value) { return SetArg(name, value ? "true" : "false"); }
    template <typename Number> Self &Put(const char *name, Number value)
    {
        return SetArg(name, std::to_string(value));
    }

    Args args_;
};
} // namespace datasystem

#endif
