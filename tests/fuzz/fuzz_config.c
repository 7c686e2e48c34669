/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a worker_config.json: refused with a reason, or values that the table accepts. */
#include <stdlib.h>
#include <string.h>

#include "cli/config_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ds_options *options = NULL;
    struct ds_options *again = NULL;
    char err[DS_OPTIONS_ERROR_SIZE] = "";
    int rc;

    must(ds_options_create(&options) == 0 && ds_options_create(&again) == 0);
    rc = ds_config_parse(options, (const char *)data, size, err, sizeof(err));
    must((rc == 0) == (err[0] == '\0') && strlen(err) < sizeof(err));
    for (int i = 0; i < DS_OPTION_COUNT; i++) {
        enum ds_option_id id = (enum ds_option_id)i;

        /* What was accepted is accepted again, and means the same. */
        must(ds_options_set(again, ds_option_info(id)->name, ds_options_str(options, id),
                            DS_ORIGIN_FILE, err, sizeof(err)) == 0);
        must(ds_options_differs(again, id) == ds_options_differs(options, id));
    }
    (void)!ds_options_resolve(options, "/tmp", err, sizeof(err));
    (void)!ds_options_check(options, NULL, NULL, err, sizeof(err));
    ds_options_free(again);
    ds_options_free(options);
    return 0;
}
