#include "pipeline/options.h"
#include "schemas/utf8.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct option *find(const struct option *options, const char *argument,
                                 const char **value)
{
    size_t length;

    *value = NULL;
    if (argument[1] != '-') {
        for (; options->name; options++)
            if (options->letter == argument[1]) {
                *value = argument[2] ? argument + 2 : NULL;
                return options;
            }
        return NULL;
    }
    length = strcspn(argument + 2, "=");
    for (; options->name; options++)
        if (strlen(options->name) == length && !strncmp(options->name, argument + 2, length)) {
            *value = argument[2 + length] ? argument + 3 + length : NULL;
            return options;
        }
    return NULL;
}

static enum err_code set_number(const struct option *o, const char *value, struct err *err)
{
    char *end;
    double number;

    errno = 0;
    number =
        o->kind == OPTION_SECONDS ? strtod(value, &end) * 1000 : (double)strtoull(value, &end, 10);
    if (end == value || *end || errno || *value == '-' ||
        !(number >= (double)o->least && number <= (double)o->most))
        return o->kind == OPTION_SECONDS
                   ? err_set(err, ERR_USAGE, 0, "--%s '%s': want seconds from %g to %g", o->name,
                             value, (double)o->least / 1000, (double)o->most / 1000)
                   : err_set(err, ERR_USAGE, 0, "--%s '%s': want a number from %llu to %llu",
                             o->name, value, (unsigned long long)o->least,
                             (unsigned long long)o->most);
    *(uint64_t *)o->value = (uint64_t)number;
    return ERR_OK;
}

static enum err_code set_bytes(const struct option *o, const char *value, struct err *err)
{
    static const char suffixes[] = "KMG";
    char *end;
    uint64_t number;
    const char *suffix;
    unsigned shift;

    errno = 0;
    number = strtoull(value, &end, 10);
    suffix = *end ? strchr(suffixes, *end) : NULL;
    shift = suffix ? 10 * (unsigned)(suffix - suffixes + 1) : 0;
    if (end == value || errno || *value == '-' || (*end && (!suffix || end[1])) ||
        number > o->most >> shift || number << shift < o->least)
        return err_set(err, ERR_USAGE, 0,
                       "--%s '%s': want bytes from %llu to %llu, K, M or G may follow the number",
                       o->name, value, (unsigned long long)o->least, (unsigned long long)o->most);
    *(uint64_t *)o->value = number << shift;
    return ERR_OK;
}

static enum err_code set_real(const struct option *o, const char *value, struct err *err)
{
    char *end;
    double number = strtod(value, &end);

    if (end == value || *end || !(number >= (double)o->least && number <= (double)o->most))
        return err_set(err, ERR_USAGE, 0, "--%s '%s': want a number from %llu to %llu", o->name,
                       value, (unsigned long long)o->least, (unsigned long long)o->most);
    *(double *)o->value = number;
    return ERR_OK;
}

static enum err_code set_choice(const struct option *o, const char *value, struct err *err)
{
    const char *at = o->argument;

    for (int place = 0; *at; place++) {
        size_t length = strcspn(at, "|");
        if (strlen(value) == length && !strncmp(at, value, length)) {
            *(int *)o->value = place;
            return ERR_OK;
        }
        at += length + (at[length] == '|');
    }
    return err_set(err, ERR_USAGE, 0, "--%s '%s': want one of %s", o->name, value, o->argument);
}

static enum err_code set(const struct option *o, const char *value, struct err *err)
{
    switch (o->kind) {
    case OPTION_FLAG:
        if (value)
            return err_set(err, ERR_USAGE, 0, "--%s takes no value", o->name);
        *(bool *)o->value = true;
        return ERR_OK;
    case OPTION_PATH:
        if (!*value)
            return err_set(err, ERR_USAGE, 0, "--%s '': want %s", o->name, o->argument);
        *(const char **)o->value = value;
        return ERR_OK;
    case OPTION_TEXT:
        *(const char **)o->value = value;
        return ERR_OK;
    case OPTION_CHOICE:
        return set_choice(o, value, err);
    case OPTION_REAL:
        return set_real(o, value, err);
    case OPTION_BYTES:
        return set_bytes(o, value, err);
    case OPTION_COUNT:
    case OPTION_SECONDS:
        break;
    }
    return set_number(o, value, err);
}

enum err_code options_parse(const struct option *options, char **arguments, size_t *argument_count,
                            bool *help, struct err *err)
{
    size_t kept = 0, count = *argument_count;
    bool plain = false;

    *help = false;
    for (size_t i = 0; i < count; i++) {
        const char *argument = arguments[i], *value;
        const struct option *o;
        if (plain || argument[0] != '-' || !argument[1]) {
            arguments[kept++] = arguments[i];
            continue;
        }
        plain = !strcmp(argument, "--");
        if (plain)
            continue;
        *help = *help || !strcmp(argument, "--help") || !strcmp(argument, "-h");
        if (*help)
            return ERR_OK;
        o = find(options, argument, &value);
        if (!o)
            return err_set(err, ERR_USAGE, 0, "unknown option '%s': --help names them", argument);
        if (o->kind != OPTION_FLAG && !value) {
            if (i + 1 == count)
                return err_set(err, ERR_USAGE, 0, "--%s needs %s", o->name, o->argument);
            value = arguments[++i];
        }
        if (set(o, value, err))
            return err->code;
    }
    *argument_count = kept;
    return ERR_OK;
}

void options_print(const struct option *options)
{
    for (; options->name; options++) {
        char left[64];
        snprintf(left, sizeof left, "%c%c%s--%s%s%s", options->letter ? '-' : ' ',
                 options->letter ? options->letter : ' ', options->letter ? ", " : "  ",
                 options->name, options->argument ? " " : "",
                 options->argument ? options->argument : "");
        printf("  %-34s %s\n", left, options->help);
    }
    printf("  %-34s %s\n", "-h, --help", "this text");
}

json_t *answer_text(const char *bytes)
{
    const struct view text = {(const uint8_t *)bytes, strlen(bytes)};
    char *escaped = malloc(3 * text.bytes + 1), *to = escaped;
    json_t *answer;

    require(escaped);
    for (size_t at = 0, length; at < text.bytes; at += length) {
        utf8proc_int32_t point;
        length = utf8_next(text, at, &point);
        if (point < 0)
            to += sprintf(to, "%%%02X", text.data[at]);
        else
            to = mempcpy(to, text.data + at, length);
    }
    *to = 0;
    answer = json_string(escaped);
    require(answer);
    free(escaped);
    return answer;
}

void answer_json(json_t *answer, unsigned digits)
{
    json_dumpf(answer, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(digits));
    putchar('\n');
    json_decref(answer);
}

static int flush_cause; /* the errno of the first flush that failed */

void answer_flush(void)
{
    errno = 0;
    if (fflush(stdout) && !flush_cause)
        flush_cause = errno;
}

enum err_code answer_end(struct err *err)
{
    bool failed = ferror(stdout); /* without a flush the cause is not known any more */

    answer_flush();
    if (flush_cause || failed)
        return err_set(err, err_full_or(flush_cause, ERR_SINK), flush_cause, "standard output");
    return ERR_OK;
}
