/* The journal: durable on return, numbered without gaps, across reopening, trimming and kill -9. */
#include "tests/store_help.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static struct journal *open_journal(const char *path)
{
    struct journal *journal = NULL;
    struct err err = {0};

    if (journal_open(&journal, path, &err))
        fail_msg("journal: %s", err.text);
    return journal;
}

static void append(struct journal *journal, const char *topic, const char *text)
{
    assert_int_equal(append_entry(journal, topic, text_view(text)), ERR_OK);
}

static void cut(struct journal *journal, const char *topic, uint64_t number)
{
    struct store_batch *batch = NULL;
    struct err err;

    assert_int_equal(store_batch_open(&batch, NULL), ERR_OK);
    assert_int_equal(batch_cut(batch, topic, number, NULL), ERR_OK);
    spool_submit(journal, &batch, NULL);
    assert_true(spool_collect(journal, true, &batch, NULL, &err));
    assert_int_equal(err.code, ERR_OK);
}

/* The entry from number on is `wanted`, and has this number. */
static void check_entry(struct journal *journal, const char *topic, uint64_t from, uint64_t number,
                        const char *wanted)
{
    struct buffer out = buffer_of(JOURNAL_ENTRY_MAX);

    assert_int_equal(journal_read(journal, topic, &from, &out, NULL), ERR_OK);
    assert_int_equal(from, number);
    assert_int_equal(out.bytes, strlen(wanted));
    assert_memory_equal(out.data, wanted, out.bytes);
    buffer_release(&out);
}

static void check_absent(struct journal *journal, const char *topic, uint64_t from)
{
    struct buffer out = buffer_of(JOURNAL_ENTRY_MAX);
    uint64_t number = from;

    assert_int_equal(journal_read(journal, topic, &number, &out, NULL), ERR_ABSENT);
    assert_int_equal(number, from);
    assert_int_equal(out.bytes, 0);
}

static void entries_come_back_by_topic_and_number(void **state)
{
    struct journal *journal = open_journal(folder_of(state));

    check_absent(journal, "a", 0);
    append(journal, "a", "one");
    append(journal, "ab", "other");
    append(journal, "a", "two");
    append(journal, "a", "three");
    check_entry(journal, "a", 0, 1, "one");
    check_entry(journal, "a", 2, 2, "two");
    check_entry(journal, "ab", 0, 1, "other");
    check_absent(journal, "a", 4);
    check_absent(journal, "b", 0);
    journal_close(&journal);
    assert_null(journal);
    journal = open_journal(folder_of(state));
    check_entry(journal, "a", 3, 3, "three");
    append(journal, "a", "four");
    check_entry(journal, "a", 4, 4, "four");
    journal_close(&journal);
}

static void numbers_go_on_after_everything_was_trimmed(void **state)
{
    struct journal *journal = open_journal(folder_of(state));

    for (int i = 0; i < 5; i++)
        append(journal, "a", "x");
    append(journal, "b", "y");
    cut(journal, "a", 3);
    check_entry(journal, "a", 0, 3, "x");
    cut(journal, "a", 100);
    check_absent(journal, "a", 0);
    check_entry(journal, "b", 0, 1, "y");
    journal_close(&journal);
    journal = open_journal(folder_of(state));
    append(journal, "a", "z");
    check_entry(journal, "a", 0, 6, "z");
    journal_close(&journal);
}

static void what_is_too_large_is_refused(void **state)
{
    static const uint8_t large[JOURNAL_ENTRY_MAX + 1];
    struct journal *journal = open_journal(folder_of(state));
    struct buffer small = buffer_of(2);
    char topic[STORE_NAME_MAX + 2];
    uint64_t number = 1;

    memset(topic, 't', sizeof topic);
    topic[STORE_NAME_MAX + 1] = '\0';
    assert_int_equal(append_entry(journal, topic, text_view("x")), ERR_LIMIT);
    topic[STORE_NAME_MAX] = '\0';
    assert_int_equal(append_entry(journal, topic, text_view("x")), ERR_OK);
    assert_int_equal(append_entry(journal, "", text_view("x")), ERR_LIMIT);
    assert_int_equal(append_entry(journal, "a", (struct view){large, sizeof large}), ERR_LIMIT);
    assert_int_equal(append_entry(journal, "a", (struct view){large, JOURNAL_ENTRY_MAX}), ERR_OK);
    assert_int_equal(append_entry(journal, "a", (struct view){NULL, 0}), ERR_OK);
    check_entry(journal, "a", 2, 2, "");
    assert_int_equal(journal_read(journal, "a", &number, &small, NULL), ERR_LIMIT);
    journal_close(&journal);
}

static void a_journal_and_a_store_are_not_each_other(void **state)
{
    struct store_options options = {.write = true};
    struct journal *journal = open_journal(folder_of(state));
    struct journal *second = NULL;
    struct store *store = NULL;
    struct err err;

    assert_int_equal(journal_open(&second, folder_of(state), &err), ERR_BUSY);
    journal_close(&journal);
    assert_int_equal(store_open(&store, folder_of(state), &options, &err), ERR_DAMAGED);
    assert_non_null(strstr(err.text, "a journal, not a store"));
}

static void what_was_appended_survives_kill(void **state)
{
    uint64_t wanted = 0;

    for (int round = 0; round < 20; round++) {
        int told[2], status;
        uint64_t number;
        assert_int_equal(pipe(told), 0);
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            struct journal *journal = NULL;
            if (journal_open(&journal, folder_of(state), NULL))
                _exit(1);
            for (number = wanted + 1; append_entry(journal, "t", text_view("entry")) == ERR_OK;
                 number++)
                if (write(told[1], &number, sizeof number) != sizeof number)
                    _exit(2);
            _exit(3);
        }
        close(told[1]);
        for (int i = 0; i < 5 + round; i++) {
            assert_int_equal(read(told[0], &number, sizeof number), sizeof number);
            assert_true(number > wanted);
            wanted = number;
        }
        kill(child, SIGKILL);
        while (read(told[0], &number, sizeof number) == sizeof number)
            wanted = number;
        close(told[0]);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        struct journal *journal = open_journal(folder_of(state));
        for (uint64_t i = 1; i <= wanted; i++)
            check_entry(journal, "t", i, i, "entry");
        journal_close(&journal);
    }
}

static void a_flipped_bit_in_an_entry_is_refused(void **state)
{
    struct journal *journal = open_journal(folder_of(state));
    struct buffer out = buffer_of(JOURNAL_ENTRY_MAX);
    char text[20000];
    uint64_t number = 1, refused = 0, bytes;

    memset(text, 'e', sizeof text);
    assert_int_equal(append_entry(journal, "a", (struct view){(uint8_t *)text, sizeof text}),
                     ERR_OK);
    append(journal, "a", "good");
    journal_close(&journal);
    bytes = file_bytes_of(folder_of(state), "data.mdb");
    /* In the middle of its run of five pages, wherever that lies: one of these is within it. */
    for (uint64_t at = 3 * 4096 + 100; at < bytes && !refused; at += 4096) {
        flip_bit(folder_of(state), "data.mdb", at, 3);
        if (journal_open(&journal, folder_of(state), NULL) == ERR_OK) {
            refused = journal_read(journal, "a", &number, &out, NULL) == ERR_DAMAGED;
            check_entry(journal, "a", 2, 2, "good");
            journal_close(&journal);
        }
        flip_bit(folder_of(state), "data.mdb", at, 3);
    }
    assert_true(refused);
    buffer_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(entries_come_back_by_topic_and_number),
        STORE_TEST(numbers_go_on_after_everything_was_trimmed),
        STORE_TEST(what_is_too_large_is_refused),
        STORE_TEST(a_journal_and_a_store_are_not_each_other),
        STORE_TEST(what_was_appended_survives_kill),
        STORE_TEST(a_flipped_bit_in_an_entry_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
