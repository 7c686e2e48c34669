/* SPDX-License-Identifier: Apache-2.0 */
/*
 * l2_xml.h - reads the XML of an object store's answers: elements and text, nothing else. Neither
 * a DTD nor entities beyond the five predefined and character references; attributes are skipped.
 *
 * Ownership: none. Threads: any.
 * Errors:    DS_ECORRUPT: not well formed, too deep, or an element's name or text too long.
 */
#ifndef DS_TIER_L2_XML_H
#define DS_TIER_L2_XML_H

#include "base/base.h"

#define DS_L2_XML_DEPTH 8u
#define DS_L2_XML_NAME 63u
#define DS_L2_XML_TEXT 2047u

/* Called for each element without children at its end, with its text; and for each other one with
 * text NULL. `parent` is "" for the outermost. Negative: the walk ends with that code. */
typedef int ds_l2_xml_fn(void *arg, const char *parent, const char *name, const char *text);

DS_MUST_USE int ds_l2_xml_walk(const char *xml, size_t size, ds_l2_xml_fn *each, void *arg);

#endif
