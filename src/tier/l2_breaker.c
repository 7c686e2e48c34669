/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/l2_breaker.h"

#define FAILURES 3u
#define FIRST_NS INT64_C(1000000000)
#define MOST_NS INT64_C(30000000000)

void ds_l2_breaker_init(struct ds_l2_breaker *b, const struct ds_l2_breaker_config *config)
{
    *b = (struct ds_l2_breaker){.config = *config};
    b->config.failures = config->failures != 0 ? config->failures : FAILURES;
    b->config.first_ns = config->first_ns != 0 ? config->first_ns : FIRST_NS;
    b->config.most_ns = config->most_ns != 0 ? config->most_ns : MOST_NS;
}

bool ds_l2_breaker_refuses(const struct ds_l2_breaker *b, int64_t now_ns)
{
    return b->state == DS_L2_HALF_OPEN || (b->state == DS_L2_OPEN && now_ns < b->until_ns);
}

enum ds_l2_admission ds_l2_breaker_admit(struct ds_l2_breaker *b, int64_t now_ns)
{
    if (ds_l2_breaker_refuses(b, now_ns)) {
        return DS_L2_REFUSED;
    }
    if (b->state == DS_L2_CLOSED) {
        return DS_L2_ADMITTED;
    }
    b->state = DS_L2_HALF_OPEN;
    return DS_L2_PROBE;
}

static void open_until(struct ds_l2_breaker *b, int64_t now_ns, int64_t interval_ns)
{
    b->state = DS_L2_OPEN;
    b->until_ns = now_ns + interval_ns;
}

bool ds_l2_breaker_report(struct ds_l2_breaker *b, enum ds_l2_admission admission,
                          enum ds_l2_outcome outcome, int64_t now_ns)
{
    bool probe = admission == DS_L2_PROBE && b->state == DS_L2_HALF_OPEN;

    DS_ASSERT(admission != DS_L2_REFUSED);
    if (outcome == DS_L2_ANSWERED) {
        b->state = DS_L2_CLOSED;
        b->failed = 0;
        return false;
    }
    if (probe) {
        if (outcome == DS_L2_SILENT) {
            b->interval_ns =
                2 * b->interval_ns < b->config.most_ns ? 2 * b->interval_ns : b->config.most_ns;
        }
        open_until(b, now_ns, outcome == DS_L2_SILENT ? b->interval_ns : 0);
        return true;
    }
    if (b->state != DS_L2_CLOSED || outcome != DS_L2_SILENT || ++b->failed < b->config.failures) {
        return false;
    }
    b->interval_ns = b->config.first_ns;
    b->opened_ns = now_ns;
    b->opens++;
    open_until(b, now_ns, b->interval_ns);
    return true;
}

enum ds_l2_outcome ds_l2_outcome_of(int rc, bool answered)
{
    switch (rc) {
    case 0:
    case DS_ENOTFOUND:
    case DS_ESTALE:
    case DS_ERANGE:
    case DS_ECORRUPT:
    case DS_EVERSION:
        return DS_L2_ANSWERED;
    case DS_EIO:
    case DS_ETIMEOUT:
    case DS_EUNAVAILABLE:
        return answered ? DS_L2_ANSWERED : DS_L2_SILENT;
    default:
        return answered ? DS_L2_ANSWERED : DS_L2_UNTOLD;
    }
}
