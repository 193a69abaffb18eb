#include "stages/encode/analysis/logtime.h"

#include <ctype.h>

/* A form: Y four digits of a year, y two; m d H M S two each; n the name of a month; e a day of one digit, with a
 * space before it or none; s - / or .; c : or .; t a T, space, - or _; E ten digits. All else stands for itself. */
static const char *const forms[LOGTIME_FORMS] = {"YsmsdtHcMcS", "ysmsdtHcMcS", "n e H:M:S Y",
                                                 "n e H:M:S",   "n d H:M:S Y", "n d H:M:S",
                                                 "d/n/Y:H:M:S", "ymd HMS",     "E"};
/* The first form whose seconds are this one's too: a day of one digit is followed by one of two. */
static const uint8_t same_as[LOGTIME_FORMS] = {0, 1, 2, 3, 2, 3, 6, 7, 8};

struct fields {
    int64_t year, month, day, hour, minute, second, epoch;
};

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

static bool digits(struct view text, size_t *at, size_t count, int64_t *out)
{
    int64_t number = 0;

    for (size_t i = 0; i < count; i++) {
        if (*at + i >= text.bytes || !is_digit(text.data[*at + i]))
            return false;
        number = number * 10 + (text.data[*at + i] - '0');
    }
    *at += count;
    *out = number;
    return true;
}

static bool month_name(struct view text, size_t *at, int64_t *out)
{
    static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

    for (int i = 0; i < 12; i++)
        if (text.bytes - *at >= 3 && memcmp(text.data + *at, names + 3 * (size_t)i, 3) == 0) {
            *at += 3;
            *out = i + 1;
            return true;
        }
    return false;
}

static bool one_of(struct view text, size_t *at, const char *bytes)
{
    if (*at >= text.bytes || !text.data[*at] || !strchr(bytes, text.data[*at]))
        return false;
    ++*at;
    return true;
}

static bool take(char what, struct view text, size_t *at, struct fields *f)
{
    const char self[2] = {what, 0};

    switch (what) {
    case 'Y':
        return digits(text, at, 4, &f->year);
    case 'y':
        return digits(text, at, 2, &f->year);
    case 'm':
        return digits(text, at, 2, &f->month);
    case 'd':
        return digits(text, at, 2, &f->day);
    case 'H':
        return digits(text, at, 2, &f->hour);
    case 'M':
        return digits(text, at, 2, &f->minute);
    case 'S':
        return digits(text, at, 2, &f->second);
    case 'n':
        return month_name(text, at, &f->month);
    case 'e':
        (void)one_of(text, at, " ");
        return digits(text, at, 1, &f->day);
    case 's':
        return one_of(text, at, "-/.");
    case 'c':
        return one_of(text, at, ":.");
    case 't':
        return one_of(text, at, "T -_");
    case 'E':
        return digits(text, at, 10, &f->epoch);
    default:
        return one_of(text, at, self);
    }
}

/* Days since a day of the year 0 of the Gregorian calendar. */
static int64_t days_of(const struct fields *f)
{
    int64_t y = f->year - (f->month <= 2), m = (f->month + 9) % 12;

    return 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + f->day;
}

static bool is_sound(const struct fields *f)
{
    if (f->epoch)
        return f->epoch >= 1000000000 && f->epoch < 2200000000; /* 2001 to 2039 */
    return f->month >= 1 && f->month <= 12 && f->day >= 1 && f->day <= 31 && f->hour < 24 &&
           f->minute < 60 && f->second <= 60;
}

static bool stands_at(struct view line, size_t at, const char *form, struct logtime *out)
{
    struct fields f = {.year = 1972};
    size_t end = at;

    for (; *form; form++)
        if (!take(*form, line, &end, &f))
            return false;
    if ((end < line.bytes && is_digit(line.data[end])) || !is_sound(&f))
        return false;
    out->seconds =
        f.epoch ? f.epoch : ((days_of(&f) * 24 + f.hour) * 60 + f.minute) * 60 + f.second;
    out->text = (struct view){line.data + at, end - at};
    return true;
}

/* Ten digits may be any number: they are a time where no word stands before them, in brackets, and as what the line's
 * first word is set to (ts=1795318207). */
static bool may_stand(const char *form, struct view line, size_t at, bool words, bool more)
{
    return *form != 'E' || !words || line.data[at - 1] == '[' || line.data[at - 1] == '(' ||
           (!more && line.data[at - 1] == '=');
}

bool logtime_of(struct view line, struct logtime *out)
{
    bool words = false, more = false; /* before at: any, and a blank behind the first */

    for (size_t at = 0; at < line.bytes && at < LOGTIME_WITHIN; at++) {
        bool edge = at == 0 || line.data[at - 1] <= ' ' || strchr("[(\"<=", line.data[at - 1]);
        if (line.data[at] == '\n')
            return false;
        for (uint8_t i = 0; edge && i < LOGTIME_FORMS; i++) {
            out->form = same_as[i];
            if (may_stand(forms[i], line, at, words, more) && stands_at(line, at, forms[i], out))
                return true;
        }
        more = more || (words && line.data[at] <= ' ');
        words = words || isalnum(line.data[at]) || line.data[at] >= 0x80;
    }
    return false;
}
