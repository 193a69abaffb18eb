/* tests/store_help.h: a folder a test, and checkpoints whose content follows from what they are. */
#ifndef TESTS_STORE_HELP_H
#define TESTS_STORE_HELP_H

#include "store/store.h"

#include <setjmp.h>
#include <stdarg.h>
/* cmocka.h needs the two above. */
#include <cmocka.h>

#define STORE_TEST(function) cmocka_unit_test_setup_teardown(function, make_folder, remove_folder)

int make_folder(void **state);
int remove_folder(void **state);
const char *folder_of(void **state);

struct view text_view(const char *text);
struct store *open_store(const char *path);
/* store_open, from nothing. */
enum err_code try_open(const char *path, bool write, struct store **store, struct err *err);
/* Submit and wait for the outcome; nothing else may be in flight. */
enum err_code commit(struct store *store, struct store_batch **batch, struct err *err);
uint64_t add_stream(struct store *store, const char *name);
void put_note(struct store *store, uint64_t stream, const char *text);

/* A checkpoint of part_count parts of about part_bytes each; its bytes follow from its names. */
void fill_checkpoint(struct store_batch *batch, uint64_t stream, uint64_t number, size_t part_count,
                     size_t part_bytes);
void put_checkpoint(struct store *store, uint64_t stream, uint64_t number, size_t part_count,
                    size_t part_bytes);
/* The same; how it ended. */
enum err_code try_checkpoint(struct store *store, uint64_t stream, uint64_t number,
                             size_t part_count, size_t part_bytes, struct err *err);
/* Read it and compare all of it. */
void check_checkpoint(struct store *store, uint64_t stream, uint64_t number, size_t part_count,
                      size_t part_bytes);
enum err_code read_checkpoint(struct store *store, uint64_t stream, uint64_t number);

enum { USED_PARTS = 3, USED_PART_BYTES = 20000 };

/* Streams "one" and "two" with three checkpoints each (of USED_PARTS parts of USED_PART_BYTES and of 100), a note
 * and a savepoint; also used pages that are free again. */
void make_used_store(const char *path);

/* Run in a child: its exit status, or 1000 + the signal that ended it. */
int in_child(int (*body)(const char *path), const char *path);

/* xorshift; *seed is not 0. */
uint64_t random_next(uint64_t *seed);

/* Make an entry of the journal durable. */
enum err_code append_entry(struct journal *journal, const char *topic, struct view entry);

/* Change one bit of file name in folder. */
void flip_bit(const char *folder, const char *name, uint64_t byte, int bit);
uint64_t file_bytes_of(const char *folder, const char *name);

#endif
