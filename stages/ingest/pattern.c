#include "stages/ingest/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>

struct pattern {
    pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *context;
};

static enum err_code compile(struct pattern *p, const char *text, const char *option, bool group,
                             struct err *err)
{
    PCRE2_UCHAR words[160] = "";
    uint32_t groups = 0;
    PCRE2_SIZE at;
    int failed;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);

    if (!context)
        return err_set(err, ERR_MEMORY, 0, "%s '%s'", option, text);
    pcre2_set_newline(context, PCRE2_NEWLINE_ANYCRLF); /* `$` is before a CR that ends the line */
    p->code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED,
                            PCRE2_UTF | PCRE2_MATCH_INVALID_UTF, &failed, &at, context);
    pcre2_compile_context_free(context);
    if (!p->code) {
        pcre2_get_error_message(failed, words, sizeof words);
        return err_set(err, ERR_USAGE, 0, "%s '%s': at offset %zu: %s", option, text, (size_t)at,
                       (const char *)words);
    }
    pcre2_pattern_info(p->code, PCRE2_INFO_CAPTURECOUNT, &groups);
    if (group && groups == 0)
        return err_set(err, ERR_USAGE, 0,
                       "%s '%s': has no group: put ( ) around what names the stream", option, text);
    (void)pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE); /* without it matching is slower */
    p->data = pcre2_match_data_create_from_pattern(p->code, NULL);
    p->context = pcre2_match_context_create(NULL);
    if (!p->data || !p->context)
        return err_set(err, ERR_MEMORY, 0, "%s '%s'", option, text);
    pcre2_set_match_limit(p->context, PATTERN_STEPS_MAX);
    pcre2_set_depth_limit(p->context, PATTERN_STEPS_MAX / 10);
    return ERR_OK;
}

enum err_code pattern_open(struct pattern **out, const char *text, const char *option, bool group,
                           struct err *err)
{
    struct pattern *p = calloc(1, sizeof *p);
    enum err_code code;

    if (!p)
        return err_set(err, ERR_MEMORY, 0, "%s", option);
    code = compile(p, text, option, group, err);
    if (code)
        pattern_close(&p);
    else
        *out = p;
    return code;
}

void pattern_close(struct pattern **pattern)
{
    struct pattern *p = *pattern;

    if (!p)
        return;
    pcre2_match_context_free(p->context);
    pcre2_match_data_free(p->data);
    pcre2_code_free(p->code);
    free(p);
    *pattern = NULL;
}

bool pattern_matches(struct pattern *p, struct view line, struct view *group)
{
    size_t bytes = line.bytes < PATTERN_LINE_MAX ? line.bytes : PATTERN_LINE_MAX;
    const PCRE2_SIZE *at;
    int count;

    if (bytes && line.data[bytes - 1] == '\n')
        bytes--;
    count =
        pcre2_match(p->code, bytes ? line.data : (PCRE2_SPTR) "", bytes, 0, 0, p->data, p->context);
    if (count < 0)
        return false;
    if (!group)
        return true;
    at = pcre2_get_ovector_pointer(p->data);
    *group = (struct view){NULL, 0};
    if (count > 1 && at[2] != PCRE2_UNSET)
        *group = (struct view){line.data + at[2], at[3] - at[2]};
    return true;
}
