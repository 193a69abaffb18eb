/* engine/tokenizer/neox.c: 20B_tokenizer.json, the vocabulary of byte-level BPE.
 *
 *   model.vocab     string -> id; a character of a string stands for a byte
 *   model.merges    "left right", or ["left", "right"] as newer writers have it; its place is its rank
 *   added_tokens    special strings (not normalized), and runs of spaces (normalized)
 *
 * All else that the file says is checked to be what this engine does; a tokenizer that normalises, splits or
 * joins in another way is refused by the name of the entry. */
#include "engine/tokenizer/neox.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { JSON_BYTES_MAX = 8 << 20, PLACE_MAX = 80 };

struct loader {
    struct tokenizer *t;
    struct neox *neox;
    const char *path;
    int32_t bytes[512]; /* of GPT-2's byte characters, by code; -1: none */
    json_t *vocab;      /* borrowed */
    struct err *err;
};

static enum err_code fault(const struct loader *l, const char *where, const char *what)
{
    return err_set(l->err, ERR_INPUT, 0, "vocabulary '%.150s': %.100s: %s", l->path, where, what);
}

/* A string of the file (jansson quotes it too) in a message: no control characters, not too long. */
static const char *shown(const char *text, char room[PLACE_MAX])
{
    size_t at = 0;

    for (; text[at] && at + 1 < PLACE_MAX; at++)
        room[at] = (uint8_t)text[at] < 0x20 || text[at] == 0x7F ? '?' : text[at];
    room[at] = 0;
    return room;
}

/* ---- Byte characters ---- */

static bool stands_for_itself(int byte)
{
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

static void fill_bytes(struct loader *l)
{
    int32_t next = 256;

    for (size_t i = 0; i < sizeof l->bytes / sizeof *l->bytes; i++)
        l->bytes[i] = -1;
    for (int byte = 0; byte < 256; byte++)
        l->bytes[stands_for_itself(byte) ? byte : next++] = byte;
}

/* The bytes that a string stands for; 0 where it has another character, is empty or too long. */
static size_t to_bytes(const struct loader *l, const char *text, uint8_t out[NEOX_TOKEN_MAX])
{
    const uint8_t *at = (const uint8_t *)text;
    struct unicode_char c;
    size_t count = 0;

    for (size_t size, left = strlen(text); left; at += size, left -= size) {
        size = unicode_next(at, left, true, &c);
        if (c.broken || c.code >= (int32_t)(sizeof l->bytes / sizeof *l->bytes) ||
            l->bytes[c.code] < 0 || count == NEOX_TOKEN_MAX)
            return 0;
        out[count++] = (uint8_t)l->bytes[c.code];
    }
    return count;
}

/* The token of a string, TOKEN_NONE where it is none. Ids have been checked by then. */
static uint32_t token_of(const struct loader *l, const char *text)
{
    const json_t *id = json_object_get(l->vocab, text);

    return id ? (uint32_t)json_integer_value(id) : (uint32_t)TOKEN_NONE;
}

/* ---- What must be as it is here ---- */

static bool is_text(const json_t *object, const char *name, const char *want)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text && !strcmp(text, want);
}

/* Not there, null, false, or an empty string. */
static bool is_off(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);

    return !value || json_is_null(value) || json_is_false(value) ||
           (json_is_string(value) && json_string_length(value) == 0);
}

static enum err_code check_kind(const struct loader *l, const json_t *root)
{
    static const char *const off[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix",
                                      "byte_fallback", "ignore_merges"};
    const json_t *model = json_object_get(root, "model"),
                 *before = json_object_get(root, "pre_tokenizer");

    if (json_object_get(model, "type") && !is_text(model, "type", "BPE"))
        return fault(l, "model.type", "not BPE: only NeoX's byte-level BPE is read");
    if (!is_text(json_object_get(root, "normalizer"), "type", "NFC"))
        return fault(l, "normalizer", "not NFC: only NeoX's byte-level BPE is read");
    if (!is_text(before, "type", "ByteLevel") || !is_off(before, "add_prefix_space"))
        return fault(l, "pre_tokenizer", "not ByteLevel without a space in front");
    if (json_is_false(json_object_get(before, "use_regex")))
        return fault(l, "pre_tokenizer.use_regex", "without the pattern is not supported");
    for (size_t i = 0; i < sizeof off / sizeof *off; i++)
        if (!is_off(model, off[i]))
            return fault(l, off[i], "is set, which is not supported");
    return ERR_OK;
}

/* ---- Tokens ---- */

static enum err_code add(const struct loader *l, const char *where, const json_t *number,
                         const uint8_t *bytes, size_t count)
{
    json_int_t id = json_is_integer(number) ? json_integer_value(number) : -1;
    struct err why;

    if (id < 0 || id >= TOKEN_IDS_MAX)
        return fault(l, where, "its id is no number, or too large");
    if (vocabulary_add(l->t, (uint32_t)id, bytes, count, &why))
        return err_set(l->err, why.code, 0, "vocabulary '%.150s': %.100s: %.100s", l->path, where,
                       why.text);
    return ERR_OK;
}

/* The tokens of single bytes, which all text begins as. */
static enum err_code find_bytes(const struct loader *l)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        bool in_utf8 = byte < 0xF5 && byte != 0xC0 && byte != 0xC1;
        l->neox->byte_ids[byte] = TOKEN_NONE;
        for (uint32_t code_point = 0; code_point < 512; code_point++) {
            char character[8] = {0};
            if (l->bytes[code_point] != (int32_t)byte)
                continue;
            unicode_encode((int32_t)code_point, (uint8_t *)character);
            l->neox->byte_ids[byte] = token_of(l, character);
        }
        if (in_utf8 && l->neox->byte_ids[byte] == TOKEN_NONE)
            return err_set(l->err, ERR_INPUT, 0, "vocabulary '%.150s': byte 0x%02x is no token",
                           l->path, byte);
    }
    return ERR_OK;
}

static enum err_code add_vocab(struct loader *l)
{
    uint8_t bytes[NEOX_TOKEN_MAX];
    const char *text;
    json_t *id;
    enum err_code code;

    json_object_foreach(l->vocab, text, id)
    {
        char where[PLACE_MAX + 16], room[PLACE_MAX];
        size_t count = to_bytes(l, text, bytes);
        snprintf(where, sizeof where, "token '%s'", shown(text, room));
        if (count == 0)
            return fault(l, where, "not made of byte characters, or too long");
        code = add(l, where, id, bytes, count);
        if (code)
            return code;
    }
    return find_bytes(l);
}

/* Only letters between <| and |> are never parted by the rules of segment.c. */
static bool holds_together(const char *text)
{
    size_t count = strlen(text);

    if (count < 5 || strncmp(text, "<|", 2) || strcmp(text + count - 2, "|>"))
        return false;
    for (size_t i = 2; i < count - 2; i++)
        if ((uint8_t)text[i] >= 0x80 || unicode_ascii_class[(uint8_t)text[i]] != CLASS_LETTER)
            return false;
    return true;
}

/* An added token may be in the vocabulary too, as the same text. */
static enum err_code add_added(struct loader *l, const json_t *entry, size_t place, bool specials)
{
    static const char *const off[] = {"single_word", "lstrip", "rstrip"};
    const char *text = json_string_value(json_object_get(entry, "content"));
    const json_t *number = json_object_get(entry, "id");
    json_int_t wide = json_is_integer(number) ? json_integer_value(number) : -1;
    uint32_t id = (uint32_t)wide;
    bool normalized = !is_off(entry, "normalized");
    size_t count = text ? strlen(text) : 0, known;
    const uint8_t *there;
    char where[PLACE_MAX];
    enum err_code code;

    snprintf(where, sizeof where, "added_tokens[%zu]", place);
    for (size_t i = 0; i < sizeof off / sizeof *off; i++)
        if (!is_off(entry, off[i]))
            return fault(l, where, "single_word, lstrip or rstrip is set, which is not supported");
    if (count == 0 || (normalized && (strspn(text, " ") != count || count > NEOX_SPACES_MAX)))
        return fault(l, where, "neither a special string nor a run of spaces");
    there = wide >= 0 && wide < TOKEN_IDS_MAX ? tokenizer_text(l->t, id, &known) : NULL;
    if (!there || known == 0) {
        code = add(l, where, number, (const uint8_t *)text, count);
        if (code)
            return code;
    } else if (known != count || memcmp(there, text, count)) {
        return fault(l, where, "its id is another token's");
    }
    if (normalized) {
        if (l->neox->spaces[count] != TOKEN_NONE)
            return fault(l, where, "is there already");
        l->neox->spaces[count] = id;
    } else if (specials) {
        struct neox_special *special = &l->neox->specials[l->neox->special_count];
        if (!holds_together(text) || l->neox->special_count == NEOX_SPECIALS_MAX)
            return fault(l, where, "a special string that is not <|letters|>, or one too many");
        l->neox->special_count++;
        *special = (struct neox_special){.id = id, .length = (uint32_t)count};
    }
    return ERR_OK;
}

/* ---- Merges ---- */

/* The two strings of an entry, copied into room. */
static bool merge_strings(const json_t *entry, char room[2][2 * NEOX_TOKEN_MAX + 1])
{
    const char *text = json_string_value(entry), *space = text ? strchr(text, ' ') : NULL;
    const char *left = text, *right = space ? space + 1 : NULL;
    size_t left_bytes = space ? (size_t)(space - text) : 0;

    if (json_is_array(entry) && json_array_size(entry) == 2) {
        left = json_string_value(json_array_get(entry, 0));
        right = json_string_value(json_array_get(entry, 1));
        left_bytes = left ? strlen(left) : 0;
    }
    if (!right || left_bytes == 0 || left_bytes > 2 * NEOX_TOKEN_MAX ||
        strlen(right) > 2 * NEOX_TOKEN_MAX)
        return false;
    memcpy(room[0], left, left_bytes);
    room[0][left_bytes] = 0;
    strcpy(room[1], right);
    return true;
}

static enum err_code add_merges(struct loader *l, const json_t *merges)
{
    char parts[2][2 * NEOX_TOKEN_MAX + 1], joined[4 * NEOX_TOKEN_MAX + 1];
    struct neox *neox = l->neox;
    size_t count = json_array_size(merges), room = 16;

    if (!json_is_array(merges) || count > TOKEN_IDS_MAX)
        return fault(l, "model.merges", "no list, or too long");
    while (room < 2 * count)
        room *= 2;
    neox->merges = malloc(room * sizeof *neox->merges);
    if (!neox->merges)
        return err_set(l->err, ERR_MEMORY, 0, "vocabulary '%s'", l->path);
    for (size_t i = 0; i < room; i++)
        neox->merges[i].left = TOKEN_NONE;
    neox->mask = (uint32_t)room - 1;
    for (size_t i = 0; i < count; i++) {
        struct merge one = {.rank = (uint32_t)i}, *at;
        char where[PLACE_MAX];
        snprintf(where, sizeof where, "model.merges[%zu]", i);
        if (!merge_strings(json_array_get(merges, i), parts))
            return fault(l, where, "not two strings");
        snprintf(joined, sizeof joined, "%s%s", parts[0], parts[1]);
        one.left = token_of(l, parts[0]);
        one.right = token_of(l, parts[1]);
        one.id = token_of(l, joined);
        if (one.left == TOKEN_NONE || one.right == TOKEN_NONE || one.id == TOKEN_NONE)
            return fault(l, where, "it, or what it makes, is not in model.vocab");
        at = neox_merge(neox, one.left, one.right);
        if (at->left != TOKEN_NONE)
            return fault(l, where, "is there already");
        *at = one;
        neox->merge_count++;
    }
    return ERR_OK;
}

/* ---- The whole ---- */

/* Of the tokens, and of all else that ids depend on, in an order of its own. */
static enum err_code fingerprint(const struct loader *l)
{
    const struct neox *neox = l->neox;
    struct buffer bytes = buffer_of(SIZE_MAX / 2);
    uint8_t *merges = buffer_add(&bytes, 12 * (size_t)neox->merge_count);
    enum err_code code = vocabulary_fingerprint(l->t, l->err);

    for (size_t i = 0; merges && i <= neox->mask; i++) {
        const struct merge *m = &neox->merges[i];
        if (m->left == TOKEN_NONE)
            continue;
        store_u32(merges + 12 * (size_t)m->rank, m->left);
        store_u32(merges + 12 * (size_t)m->rank + 4, m->right);
        store_u32(merges + 12 * (size_t)m->rank + 8, m->id);
    }
    for (size_t i = 0; i <= NEOX_SPACES_MAX; i++)
        buffer_u32(&bytes, neox->spaces[i]);
    for (size_t i = 0; i < neox->special_count; i++)
        buffer_u32(&bytes, neox->specials[i].id);
    if (!code && bytes.refused)
        code = err_set(l->err, ERR_MEMORY, 0, "vocabulary '%s'", l->path);
    if (!code)
        l->t->fingerprint = XXH3_64bits_withSeed(bytes.data, bytes.bytes, l->t->fingerprint);
    buffer_release(&bytes);
    return code;
}

static enum err_code fill(struct loader *l, const json_t *root,
                          const struct tokenizer_options *options)
{
    const json_t *model = json_object_get(root, "model"),
                 *added = json_object_get(root, "added_tokens");
    enum err_code code = check_kind(l, root);

    l->vocab = json_object_get(model, "vocab");
    if (!code && !json_is_object(l->vocab))
        code = fault(l, "model.vocab", "is not there");
    if (!code)
        code = add_vocab(l);
    if (!code)
        code = add_merges(l, json_object_get(model, "merges"));
    for (size_t i = 0; !code && i < json_array_size(added); i++)
        code = add_added(l, json_array_get(added, i), i, options->specials);
    /* Texts no longer move. */
    for (size_t i = 0; !code && i < l->neox->special_count; i++) {
        struct neox_special *special = &l->neox->specials[i];
        special->text = l->t->text + l->t->offsets[special->id];
    }
    return code ? code : fingerprint(l);
}

enum err_code neox_read(struct tokenizer *t, const char *path, struct view file,
                        const struct tokenizer_options *options, struct err *err)
{
    struct loader l = {.t = t, .path = path, .err = err};
    char room[PLACE_MAX];
    json_error_t error;
    json_t *root = NULL;
    enum err_code code;

    t->name = "neox";
    t->token_max = NEOX_TOKEN_MAX;
    t->neox = l.neox = calloc(1, sizeof *l.neox);
    if (!l.neox)
        return err_set(err, ERR_MEMORY, 0, "vocabulary '%s'", path);
    if (file.bytes > JSON_BYTES_MAX)
        return err_set(err, ERR_INPUT, 0, "vocabulary '%s': %zu bytes of JSON, at most %d are read",
                       path, file.bytes, JSON_BYTES_MAX);
    for (size_t i = 0; i <= NEOX_SPACES_MAX; i++)
        l.neox->spaces[i] = TOKEN_NONE;
    root = json_loadb((const char *)file.data, file.bytes, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return err_set(err, ERR_INPUT, 0, "vocabulary '%.150s', line %d: %s", path, error.line,
                       shown(error.text, room));
    fill_bytes(&l);
    code = fill(&l, root, options);
    json_decref(root);
    if (!code)
        unicode_seconds_find(&l.neox->seconds);
    return code;
}

void neox_close(struct neox **neox)
{
    if (*neox)
        free((*neox)->merges);
    free(*neox);
    *neox = NULL;
}
