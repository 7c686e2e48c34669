/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/l2_xml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct walk {
    const char *at, *end;
    char names[DS_L2_XML_DEPTH][DS_L2_XML_NAME + 1];
    unsigned depth;
    bool any;  /* the outermost element was seen */
    bool leaf; /* nothing but text since the last start tag */
    char text[DS_L2_XML_TEXT + 1];
    size_t text_size;
    ds_l2_xml_fn *each;
    void *arg;
};

static bool add_char(struct walk *w, char c)
{
    if (w->text_size >= DS_L2_XML_TEXT || c == '\0') {
        return false;
    }
    w->text[w->text_size++] = c;
    return true;
}

/* &amp; and its like; w->at stands on the '&'. */
static bool add_entity(struct walk *w)
{
    static const char *const names[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&apos;"};
    static const char values[] = "&<>\"'";
    size_t left = (size_t)(w->end - w->at);
    const char *semicolon = memchr(w->at, ';', left < 10 ? left : 10);

    for (size_t i = 0; i < DS_ARRAY_SIZE(names); i++) {
        size_t n = strlen(names[i]);

        if (left >= n && memcmp(w->at, names[i], n) == 0) {
            w->at += n;
            return add_char(w, values[i]);
        }
    }
    if (semicolon == NULL || semicolon - w->at < 3 || w->at[1] != '#') {
        return false;
    }
    char digits[12] = "";
    char *stop;
    bool hex = w->at[2] == 'x';
    unsigned long code;

    memcpy(digits, w->at + (hex ? 3 : 2), (size_t)(semicolon - w->at) - (hex ? 3 : 2));
    code = strtoul(digits, &stop, hex ? 16 : 10);
    w->at = semicolon + 1;
    /* Names of ours are ASCII; others only have to pass through harmlessly. */
    return *stop == '\0' && stop != digits && add_char(w, code < 128 ? (char)code : '?');
}

/* Moves behind `mark`; false: it is not there. */
static bool skip_past(struct walk *w, const char *mark)
{
    size_t n = strlen(mark);
    const char *found = memmem(w->at, (size_t)(w->end - w->at), mark, n);

    if (found == NULL) {
        return false;
    }
    w->at = found + n;
    return true;
}

/* The name at w->at, as long as it goes. */
static bool read_name(struct walk *w, char *ret)
{
    size_t n = 0;

    while (w->at + n < w->end && strchr(" \t\r\n/>", w->at[n]) == NULL) {
        if (n >= DS_L2_XML_NAME || w->at[n] == '<' || w->at[n] == '\0') {
            return false;
        }
        ret[n] = w->at[n];
        n++;
    }
    ret[n] = '\0';
    w->at += n;
    return n > 0;
}

static int close_element(struct walk *w)
{
    const char *parent = w->depth > 1 ? w->names[w->depth - 2] : "";
    int rc;

    w->text[w->text_size] = '\0';
    rc = w->each(w->arg, parent, w->names[w->depth - 1], w->leaf ? w->text : NULL);
    w->depth--;
    w->leaf = false;
    return rc;
}

/* w->at stands behind the '<' of a start tag. */
static int start_tag(struct walk *w)
{
    const char *gt;
    char quote = '\0';

    if (w->depth >= DS_L2_XML_DEPTH || !read_name(w, w->names[w->depth])) {
        return DS_ECORRUPT;
    }
    for (gt = w->at; gt < w->end && (quote != '\0' || *gt != '>'); gt++) {
        if (quote != '\0') {
            quote = *gt == quote ? '\0' : quote;
        } else if (*gt == '"' || *gt == '\'') {
            quote = *gt;
        } else if (*gt == '<') {
            return DS_ECORRUPT;
        }
    }
    if (gt >= w->end) {
        return DS_ECORRUPT;
    }
    w->at = gt + 1;
    w->depth++;
    w->any = true;
    w->leaf = true;
    w->text_size = 0;
    return gt[-1] == '/' ? close_element(w) : 0;
}

static int end_tag(struct walk *w)
{
    char name[DS_L2_XML_NAME + 1];

    if (w->depth == 0 || !read_name(w, name) || strcmp(name, w->names[w->depth - 1]) != 0 ||
        !skip_past(w, ">")) {
        return DS_ECORRUPT;
    }
    return close_element(w);
}

static int markup(struct walk *w)
{
    size_t left = (size_t)(w->end - w->at);

    if (left >= 2 && w->at[1] == '?') {
        return skip_past(w, "?>") ? 0 : DS_ECORRUPT;
    }
    if (left >= 4 && memcmp(w->at, "<!--", 4) == 0) {
        return skip_past(w, "-->") ? 0 : DS_ECORRUPT;
    }
    if (left >= 2 && w->at[1] == '!') {
        return DS_ECORRUPT; /* a DTD or CDATA: no store needs them */
    }
    if (left >= 2 && w->at[1] == '/') {
        w->at += 2;
        return end_tag(w);
    }
    w->at++;
    return start_tag(w);
}

int ds_l2_xml_walk(const char *xml, size_t size, ds_l2_xml_fn *each, void *arg)
{
    struct walk w = {.at = xml, .end = xml + size, .each = each, .arg = arg};

    while (w.at < w.end) {
        int rc = 0;

        if (*w.at == '<') {
            rc = w.depth == 0 && w.any && w.end - w.at > 1 && w.at[1] != '!' && w.at[1] != '?'
                     ? DS_ECORRUPT /* a second outermost element */
                     : markup(&w);
        } else if (w.depth == 0 || !w.leaf) {
            w.at++; /* space between elements */
        } else if (*w.at == '&') {
            rc = add_entity(&w) ? 0 : DS_ECORRUPT;
        } else {
            rc = add_char(&w, *w.at++) ? 0 : DS_ECORRUPT;
        }
        if (rc < 0) {
            return rc;
        }
    }
    return w.depth == 0 && w.any ? 0 : DS_ECORRUPT;
}
