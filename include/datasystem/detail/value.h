/* SPDX-License-Identifier: Apache-2.0 */
/*
 * value.h - a value lent in place, given back when the last copy of the Value is gone.
 *
 * Ownership: the pin of one ds_view. Moving is free. The first copy allocates the counter that all
 *            copies share from then on; a Value that is never copied allocates nothing.
 * Threads:   as for std::shared_ptr: copies of one object may be made in several threads.
 */
#ifndef DS_DATASYSTEM_DETAIL_VALUE_H
#define DS_DATASYSTEM_DETAIL_VALUE_H

#include <ds/client.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace datasystem::detail {
class Value {
public:
    Value() = default;
    explicit Value(const struct ds_view &view) noexcept : view_(view), held_(true) {}
    ~Value() { Release(); }

    Value(const Value &other) : view_(other.view_), counter_(other.Share()), held_(other.held_) {}
    Value(Value &&other) noexcept { Swap(other); }
    Value &operator=(const Value &other)
    {
        Value copy(other);
        Swap(copy);
        return *this;
    }
    Value &operator=(Value &&other) noexcept
    {
        Value old(std::move(other));
        Swap(old);
        return *this;
    }

    bool Present() const noexcept { return held_; }
    const void *Data() const noexcept { return view_.data; }
    size_t Size() const noexcept { return view_.size; }

private:
    using Counter = std::atomic<size_t>;

    void Swap(Value &other) noexcept
    {
        std::swap(view_, other.view_);
        std::swap(held_, other.held_);
        Counter *mine = counter_.load(std::memory_order_relaxed);
        counter_.store(other.counter_.load(std::memory_order_relaxed), std::memory_order_relaxed);
        other.counter_.store(mine, std::memory_order_relaxed);
    }

    /* Counts one more owner. Two first copies at once: one counter wins, the other is dropped. */
    Counter *Share() const
    {
        if (!held_) {
            return nullptr;
        }
        Counter *counter = counter_.load(std::memory_order_acquire);
        if (counter == nullptr) {
            auto *fresh = new Counter(1);
            if (counter_.compare_exchange_strong(counter, fresh, std::memory_order_acq_rel,
                                                 std::memory_order_acquire)) {
                counter = fresh;
            } else {
                delete fresh;
            }
        }
        counter->fetch_add(1, std::memory_order_relaxed);
        return counter;
    }

    void Release() noexcept
    {
        if (!held_) {
            return;
        }
        Counter *counter = counter_.load(std::memory_order_relaxed);
        if (counter != nullptr && counter->fetch_sub(1, std::memory_order_acq_rel) > 1) {
            return;
        }
        delete counter;
        ds_view_release(&view_);
    }

    struct ds_view view_ = {};
    mutable std::atomic<Counter *> counter_{nullptr}; /* nullptr: this is the only owner */
    bool held_ = false;                               /* whether there is a value at all */
};
} // namespace datasystem::detail

#endif
