/* engine/tokenizer/vocabulary.h: tokens by id, and the trie that finds the longest one.
 *
 * A vocabulary is filled by vocabulary_add and then closed for good, by vocabulary_finish where the longest
 * token decides (World), by vocabulary_fingerprint where it does not; from then on it is read-only and
 * shared freely. */
#ifndef ENGINE_TOKENIZER_VOCABULARY_H
#define ENGINE_TOKENIZER_VOCABULARY_H

#include "engine/engine.h"
#include "schemas/bytes.h"

/* WORLD: of a token in the trie, which bounds what is held back. NEOX: of any other. */
enum { WORLD_TOKEN_MAX = 128, NEOX_TOKEN_MAX = 1024, TOKEN_IDS_MAX = 1 << 20 };

/* A double array: the child of the node at slot s by byte b is at slot base(s) + b, if its parent is s.
 * A node without children has base 0, which no node with children has. */
struct slot {
    uint32_t base, parent;
    uint32_t id; /* of the token that ends here; TOKEN_NONE: none */
};
enum { TOKEN_NONE = UINT32_MAX, SLOT_NONE = UINT32_MAX };

struct neox;
struct container;

struct tokenizer {
    const char *name;
    size_t token_max; /* bytes of the longest that vocabulary_add takes */
    uint32_t vocab;   /* largest id + 1 */
    uint64_t fingerprint;
    uint8_t *text; /* of all tokens, in the order of adding */
    size_t text_bytes, text_room;
    uint32_t *offsets; /* (vocab) into text */
    uint16_t *lengths; /* (vocab) 0: no token */
    size_t id_room;
    struct slot *slots; /* of World */
    struct neox *neox;  /* of NeoX; neither: single bytes, id = value */
};

/* Fails: ERR_INPUT: id or token is there already, empty, too long, too large (text says which, without
 * naming a place); ERR_MEMORY. */
MUST_CHECK enum err_code vocabulary_add(struct tokenizer *t, uint32_t id, const uint8_t *bytes,
                                        size_t count, struct err *err);
/* Build the trie and the fingerprint.
 * Fails  ERR_INPUT: a token is there twice, or a single byte is no token, so that some text would have
 *        no ids; ERR_MEMORY */
MUST_CHECK enum err_code vocabulary_finish(struct tokenizer *t, struct err *err);
/* The fingerprint alone. Fails: ERR_MEMORY. */
MUST_CHECK enum err_code vocabulary_fingerprint(struct tokenizer *t, struct err *err);

/* Fill an empty t from a whole file; path is for the messages. Fails: ERR_INPUT with the place, ERR_MEMORY. */
MUST_CHECK enum err_code world_read(struct tokenizer *t, const char *path, struct view file,
                                    struct err *err);
/* The file's text, every literal of bytes, with a 0 behind it, malloc'ed. Fails: ERR_MEMORY, also where it
 * is longer than WORLD_TEXT_MAX. */
enum { WORLD_TEXT_MAX = 16 << 20 };
MUST_CHECK enum err_code world_text(const struct tokenizer *t, char **out, struct err *err);
MUST_CHECK enum err_code neox_read(struct tokenizer *t, const char *path, struct view file,
                                   const struct tokenizer_options *options, struct err *err);
/* Fill t from the vocabulary of c, which has one. Fails: ERR_INPUT with the token, ERR_MEMORY. */
MUST_CHECK enum err_code carried_read(struct tokenizer *t, const struct container *c,
                                      struct err *err);

/* The vocabulary that travels in c. Fails: ERR_ABSENT; as carried_read. */
MUST_CHECK enum err_code tokenizer_of_container(struct tokenizer **out, const struct container *c,
                                                struct err *err);

#endif
