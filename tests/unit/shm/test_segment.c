/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/segment.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/sys.h"
#include "harness/ds_test.h"

#define SIZE (64u * 4096u)

DS_TEST(segment__cannot_change_its_size_and_belongs_to_its_owner)
{
    struct ds_segment s = {0};
    struct stat st;

    CHECK_OK(ds_segment_create("t", SIZE, &s));
    CHECK_LT(ftruncate(s.fd, SIZE / 2), 0);
    CHECK_LT(ftruncate(s.fd, SIZE * 2), 0);
    CHECK_LT(fcntl(s.fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
    CHECK_EQ(fstat(s.fd, &st), 0);
    CHECK_EQ(st.st_mode & 07777, 0600);
    CHECK_EQ(st.st_blocks, 0); /* no page yet */
    ds_segment_close(&s);
    ds_segment_close(&s); /* a closed one: nothing */
}

DS_TEST(segment_attach__shares_bytes_and_refuses_what_could_shrink)
{
    struct ds_segment s = {0};
    struct ds_segment t = {0};
    int loose = memfd_create("t", MFD_ALLOW_SEALING | MFD_CLOEXEC);
    int ro;

    CHECK_OK(ds_segment_create("t", SIZE, &s));
    CHECK_EQ(ftruncate(loose, SIZE), 0);
    CHECK_EQ(ds_segment_attach(loose, 1, true, &t), DS_ECORRUPT); /* not sealed */
    CHECK_EQ(ds_segment_attach(s.fd, SIZE + 1, true, &t), DS_ECORRUPT);
    CHECK(t.base == NULL);
    CHECK_OK(ds_segment_attach(dup(s.fd), SIZE, false, &t));
    memcpy(s.base + SIZE - 4, "end", 4);
    CHECK_STR((const char *)t.base + SIZE - 4, "end");
    ds_segment_close(&t);
    ro = ds_sys_reopen_readonly(s.fd);
    CHECK_GE(ro, 0);
    CHECK_NE(ds_segment_attach(ro, SIZE, true, &t), 0); /* never for writing */
    CHECK_OK(ds_segment_attach(ro, SIZE, false, &t));
    ds_segment_close(&t);
    ds_segment_close(&s);
    (void)close(loose);
}

DS_TEST(area__gets_memory_in_steps_up_to_its_end)
{
    struct ds_segment s = {0};
    struct ds_area a;
    struct stat st;

    CHECK_OK(ds_segment_create("t", SIZE, &s));
    a = (struct ds_area){&s, 4096, SIZE - 4096, 0};
    CHECK_OK(ds_area_need(&a, 0));
    CHECK_EQ(a.ready, 0);
    CHECK_OK(ds_area_need(&a, 1));
    CHECK_EQ(a.ready, 65536); /* the least step */
    CHECK_OK(ds_area_need(&a, 65536));
    CHECK_EQ(a.ready, 65536);
    CHECK_EQ(fstat(s.fd, &st), 0);
    CHECK_EQ(st.st_blocks * 512, 65536);
    CHECK_OK(ds_area_need(&a, SIZE - 4096));
    CHECK_EQ(a.ready, SIZE - 4096);
    CHECK_EQ(ds_area_need(&a, SIZE - 4095), DS_ENOMEM);
    CHECK_EQ(a.ready, SIZE - 4096);
    ds_segment_close(&s);
}

#ifdef DS_FAILPOINTS
DS_TEST(segment__leaves_nothing_behind_on_failure)
{
    struct ds_segment s = {0};
    struct ds_area a;

    ds_failpoint_arm("sys.memfd=errno:23");
    CHECK_EQ(ds_segment_create("t", SIZE, &s), DS_EIO);
    ds_failpoint_arm("sys.map=errno:12");
    CHECK_EQ(ds_segment_create("t", SIZE, &s), DS_ENOMEM);
    ds_failpoint_arm(NULL);
    CHECK_OK(ds_segment_create("t", SIZE, &s));
    a = (struct ds_area){&s, 0, SIZE, 0};
    ds_failpoint_arm("sys.reserve=errno:28");
    CHECK_EQ(ds_area_need(&a, 1), DS_ENOMEM);
    CHECK_EQ(a.ready, 0);
    ds_failpoint_arm(NULL);
    ds_segment_close(&s);
}
#endif
