/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "harness/ds_test.h"
#include "tier/l2_xml.h"

static char seen[4096];

static int note(void *arg, const char *parent, const char *name, const char *text)
{
    size_t n = strlen(seen);

    (void)arg;
    (void)snprintf(seen + n, sizeof(seen) - n, "%s/%s=%s;", parent, name,
                   text != NULL ? text : "<>");
    return strcmp(name, "stop") == 0 ? DS_EINTERRUPTED : 0;
}

static int walk(const char *xml)
{
    seen[0] = '\0';
    return ds_l2_xml_walk(xml, strlen(xml), note, NULL);
}

DS_TEST(xml__gives_leaves_with_their_parent)
{
    CHECK_OK(walk("<?xml version='1.0'?>\n<!-- a > b -->\n<A x=\"1>2\"><B>one</B>\n"
                  "<C><D>t&amp;w&#x6f;&#62;</D><E/><F></F></C></A>\n"));
    CHECK_STR(seen, "A/B=one;C/D=t&wo>;C/E=;C/F=;A/C=<>;/A=<>;");
}

DS_TEST(xml__refuses_what_is_not_well_formed)
{
    static const char *const bad[] = {
        "",
        "text",
        "<A>",
        "<A></B>",
        "</A>",
        "<A><B></A></B>",
        "<A>&lt</A>",
        "<A>&other;</A>",
        "<A/><B/>",
        "<A",
        "<A x='>",
        "<!DOCTYPE A><A/>",
        "<A><![CDATA[x]]></A>",
        "<A>&#0;</A>",
        "<A>&#;</A>",
        "<>x</>",
        "<A><<B/></A>",
        "<A>&#x;</A>",
        "<1><2><3><4><5><6><7><8><9/></8></7></6></5></4></3></2></1>",
    };

    for (size_t i = 0; i < DS_ARRAY_SIZE(bad); i++) {
        CHECK_EQ(walk(bad[i]), DS_ECORRUPT);
    }
}

DS_TEST(xml__bounds_names_and_texts)
{
    char xml[4096];
    char text[3000];

    memset(text, 'x', sizeof(text));
    (void)snprintf(xml, sizeof(xml), "<A>%.*s</A>", (int)DS_L2_XML_TEXT, text);
    CHECK_OK(walk(xml));
    (void)snprintf(xml, sizeof(xml), "<A>%.*s</A>", (int)DS_L2_XML_TEXT + 1, text);
    CHECK_EQ(walk(xml), DS_ECORRUPT);
    (void)snprintf(xml, sizeof(xml), "<%.*s/>", (int)DS_L2_XML_NAME, text);
    CHECK_OK(walk(xml));
    (void)snprintf(xml, sizeof(xml), "<%.*s/>", (int)DS_L2_XML_NAME + 1, text);
    CHECK_EQ(walk(xml), DS_ECORRUPT);
}

DS_TEST(xml__ends_where_the_callback_says)
{
    CHECK_EQ(walk("<A><stop/><B/></A>"), DS_EINTERRUPTED);
    CHECK_STR(seen, "A/stop=;");
}
