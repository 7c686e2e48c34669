/* SPDX-License-Identifier: Apache-2.0 */
#include <ds/error.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "harness/ds_test.h"

DS_TEST(error__every_code_has_its_own_name_a_text_and_a_hint)
{
    static const int codes[] = {
#define X(name, number, kname, text, hint) -(number),
        DS_ERROR_MAP(X)
#undef X
    };

    for (size_t i = 0; i < DS_ARRAY_SIZE(codes); i++) {
        CHECK_LT(codes[i], 0);
        CHECK_NE(strlen(ds_error_text(codes[i])), 0);
        CHECK_NE(strlen(ds_error_hint(codes[i])), 0);
        CHECK(strncmp(ds_error_name(codes[i]), "K_", 2) == 0);
        for (size_t k = 0; k < i; k++) {
            CHECK_NE(codes[i], codes[k]);
            CHECK_NE(strcmp(ds_error_name(codes[i]), ds_error_name(codes[k])), 0);
        }
    }
}

DS_TEST(error__success_and_unknown_codes)
{
    CHECK_STR(ds_error_name(0), "K_OK");
    CHECK_STR(ds_error_text(1), "OK");
    CHECK_STR(ds_error_name(DS_ENOTFOUND), "K_NOT_FOUND");
    CHECK_STR(ds_error_name(-999999), "K_UNKNOWN_ERROR");
    CHECK_STR(ds_error_hint(-999999), "report it");
}

DS_TEST(assert__aborts)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        (void)close(STDERR_FILENO);
        DS_ASSERT(1 == 1);
        DS_ASSERT(1 == 2);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), 6);
}
