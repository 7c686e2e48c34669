/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kv_client_config.h - settings of a process for logs and threads of the client.
 *
 * This client writes no logs and starts no such threads: the settings are checked, kept and not
 * used.
 */
#ifndef DS_DATASYSTEM_UTILS_KV_CLIENT_CONFIG_H
#define DS_DATASYSTEM_UTILS_KV_CLIENT_CONFIG_H

#include <cctype>
#include <cstdint>
#include <string>
#include <unordered_map>

#include "datasystem/utils/status.h"

namespace datasystem {
class KVClientConfig {
public:
    /* By the names of the worker's flags. */
    const std::unordered_map<std::string, std::string> &GetArgs() const { return args_; }

    class Builder {
    public:
        Builder &LogDir(const std::string &path) { return Put("log_dir", path); }
        Builder &LogName(const std::string &name) { return Put("log_filename", name); }
        Builder &LogWithoutPid(bool enable) { return Put("log_without_pid", Text(enable)); }
        Builder &AccessLogName(const std::string &name) { return Put("access_log_filename", name); }
        Builder &MinLogLevel(int level) { return Put("minloglevel", Text(level)); }
        Builder &VLogLevel(int level) { return Put("v", Text(level)); }
        Builder &StderrThreshold(int level) { return Put("stderrthreshold", Text(level)); }
        Builder &MaxLogSize(int size) { return Put("max_log_size", Text(size)); }
        Builder &MaxLogFileNum(uint32_t num) { return Put("max_log_file_num", Text(num)); }
        Builder &LogCompress(bool enable) { return Put("log_compress", Text(enable)); }
        Builder &LogRetentionDay(uint32_t days) { return Put("log_retention_day", Text(days)); }
        Builder &LogToStderr(bool enable) { return Put("logtostderr", Text(enable)); }
        Builder &AlsoLogToStderr(bool enable) { return Put("alsologtostderr", Text(enable)); }
        Builder &LogOnlyWriteInfoFile(bool enable)
        {
            return Put("log_only_write_info_file", Text(enable));
        }
        Builder &LogAsyncEnable(bool enable) { return Put("log_async", Text(enable)); }
        Builder &LogAsyncQueueSize(uint32_t size)
        {
            return Put("log_async_queue_size", Text(size));
        }
        Builder &LogMonitorEnable(bool enable) { return Put("log_monitor", Text(enable)); }
        Builder &MonitorConfigPath(const std::string &path)
        {
            return Put("monitor_config_file", path);
        }
        Builder &ZmqClientIoContext(int32_t threads)
        {
            return Put("zmq_client_io_context", Text(threads));
        }
        Builder &ZmqClientIoThread(int32_t threads)
        {
            return Put("zmq_client_io_thread", Text(threads));
        }

        /* K_INVALID: a name of a log is not made of letters, digits and underscores. */
        Status Build(KVClientConfig &config) const
        {
            for (const char *flag : {"log_filename", "access_log_filename"}) {
                auto found = args_.find(flag);
                if (found != args_.end() && !IsName(found->second)) {
                    return Status(K_INVALID, std::string("The value of ") + flag +
                                                 " contains illegal char(s): " + found->second);
                }
            }
            config.args_ = args_;
            return Status::OK();
        }

    private:
        static std::string Text(bool value) { return value ? "true" : "false"; }
        static std::string Text(int value) { return std::to_string(value); }
        static std::string Text(uint32_t value) { return std::to_string(value); }

        static bool IsName(const std::string &name)
        {
            for (char c : name) {
                if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '_') {
                    return false;
                }
            }
            return true;
        }

        Builder &Put(const char *flag, const std::string &value)
        {
            args_[flag] = value;
            return *this;
        }

        std::unordered_map<std::string, std::string> args_;
    };

private:
    std::unordered_map<std::string, std::string> args_;
};
} // namespace datasystem

#endif
