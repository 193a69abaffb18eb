/* Ingest, following: files that come, go, cannot be read, or are thousands; names and bytes of segments. */
#include "stages/ingest/rotated.h"
#include "tests/follow_help.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/fsuid.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- What comes later ---- */

/* Its name; NULL: it was not. */
static char *announced(const struct feed *f, const char *ending)
{
    for (size_t i = 0; i < f->name_count; i++) {
        size_t bytes = strlen(f->names[i]), end = strlen(ending);
        if (bytes >= end && !strcmp(f->names[i] + bytes - end, ending))
            return f->names[i];
    }
    return NULL;
}

static void what_was_written_last_is_announced_first(void **state)
{
    static const char *const order[] = {"+named.log", "+b.log", "+c.log", "+a.log"};
    struct feed *f = feed_new(state);

    world_folder(state, "logs");
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {"logs/a.log", "logs/b.log", "logs/c.log"};
        static const int ages[] = {100, 10, 50};
        world_append(state, names[i], "x\n");
        world_age(state, names[i], ages[i]);
    }
    feed_want(f, "logs");
    feed_want(f, "named.log");
    feed_start(f);
    assert_int_equal(f->name_count, 4);
    for (size_t i = 0; i < 4; i++)
        assert_ptr_equal(announced(f, order[i]), f->names[i]);
    feed_free(f);
}

static void files_that_match_are_announced_when_they_come(void **state)
{
    struct feed *f = feed_new(state);

    world_folder(state, "logs");
    world_append(state, "logs/a.log", "a\n");
    world_append(state, "logs/a.log.1", "older\n");
    world_append(state, "logs/other.txt", "x\n");
    feed_want(f, "logs/*.log");
    feed_want(f, "later/*/x-[0-9].log");
    feed_want(f, "named/deep/in.log");
    feed_start(f);
    assert_int_equal(f->name_count, 2);
    assert_non_null(announced(f, "+logs+a.log"));
    assert_non_null(announced(f, "+named+deep+in.log")); /* named: it need not be there */
    world_append(state, "logs/b.log", "");
    world_append(state, "logs/c.txt", "c\n");
    feed_work(f);
    assert_int_equal(f->name_count, 3);
    assert_non_null(announced(f, "+logs+b.log"));
    world_move(state, "logs/c.txt", "logs/c.log");
    world_folder(state, "later");
    world_folder(state, "later/one");
    world_append(state, "later/one/x-1.log", "1\n");
    feed_work(f);
    assert_int_equal(f->name_count, 5);
    assert_non_null(announced(f, "+logs+c.log"));
    assert_non_null(announced(f, "+later+one+x-1.log"));
    world_folder(state, "later/two");
    feed_work(f);
    world_append(state, "later/two/x-2.log", "2\n");
    world_append(state, "later/two/x-22.log", "no\n");
    feed_work(f);
    assert_int_equal(f->name_count, 6);
    /* The named one comes, and is read. */
    for (size_t i = 0; i < f->name_count; i++)
        if (strstr(f->names[i], "+named+"))
            snprintf(f->name, sizeof f->name, "%s", f->names[i]);
    feed_open(f, f->name, (struct view){NULL, 0});
    feed_grant(f, TEXT_MAX);
    world_folder(state, "named");
    world_folder(state, "named/deep");
    world_append(state, "named/deep/in.log", "here\n");
    feed_expect(f, "here\n");
    feed_expect_all_again(f);
    feed_free(f);
}

static void folders_are_followed_with_what_comes_into_them(void **state)
{
    struct feed *f = feed_new(state);

    world_folder(state, "logs");
    world_folder(state, "logs/sub");
    world_append(state, "logs/sub/a.log", "a\n");
    world_append(state, "logs/b.log", "b\n");
    world_append(state, "logs/b-1.log", "another feed\n");
    world_append(state, "logs/b.log-20260101.gz", "of b\n");
    world_append(state, "logs/b-20260102.log", "of b\n");
    feed_want(f, "logs");
    feed_start(f);
    assert_int_equal(f->name_count, 3);
    assert_non_null(announced(f, "+logs+b-1.log"));
    world_folder(state, "logs/new");
    world_append(state, "logs/new/c.log", "c\n");
    world_append(state, "logs/d.log", "d\n");
    world_move(state, "logs/b.log", "logs/b.log.1"); /* rotation brings no stream */
    world_append(state, "logs/b.log", "b\n");
    feed_work(f);
    assert_int_equal(f->name_count, 5);
    assert_non_null(announced(f, "+logs+new+c.log"));
    assert_non_null(announced(f, "+logs+d.log"));
    feed_free(f);
}

/* As in folders that are read. What a job writes is known before its first byte, whoever looks at whatever moment. */
static void what_jobs_and_tools_keep_is_not_followed(void **state)
{
    static const char *const made[] = {"logs/.git/HEAD",
                                       "logs/out/.riverrun/x.sidecar",
                                       "logs/out/x.jsonl",
                                       "logs/out/note.txt",
                                       "logs/bare/state/owner.lock",
                                       "logs/bare/a.txt",
                                       "logs/st/owner.lock",
                                       "logs/st/ingest/any"};
    static const char *const later[] = {"logs/late", "logs/late/.riverrun", "logs/late/state"};
    static const uint8_t binary[] = "\x7F"
                                    "ELF\2\1\1\0\0\0\0\xFF\xFE\x80\x80";
    static const uint8_t hole[9000];
    struct feed *f = feed_new(state);

    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        char folder[80];
        for (const char *at = made[i]; (at = strchr(at, '/')); at++) {
            snprintf(folder, sizeof folder, "%.*s", (int)(at - made[i]), made[i]);
            (void)mkdir(in_folder(state, folder), 0777);
        }
        world_append(state, made[i], strstr(made[i], "owner.lock") ? "" : "x\n");
    }
    put_file(in_folder(state, "logs/program"), binary, sizeof binary);
    put_file(in_folder(state, "logs/a.log"), hole, sizeof hole); /* truncated under its writer */
    feed_want(f, "logs");
    feed_want(f, "logs/*/[a-z]*");
    feed_want(f, "logs/out/*.jsonl");
    feed_start(f);
    assert_int_equal(f->name_count, 1);
    assert_non_null(
        strstr(f->d->reports, "1 file that is no text, 1 folder of tools', 3 outputs of jobs"));
    for (size_t i = 0; i < sizeof later / sizeof *later; i++) {
        world_folder(state, later[i]);
        feed_work(f);
    }
    world_append(state, "logs/late/state/owner.lock", "");
    world_append(state, "logs/late/state/counters", "x\n");
    world_append(state, "logs/late/x.jsonl", "x\n");
    feed_work(f);
    assert_int_equal(f->name_count, 1);
    /* The folder itself becomes a job's: what is not the job's is followed on, once that is known. */
    world_folder(state, "logs/.riverrun");
    world_append(state, "logs/mine.jsonl", "");
    world_append(state, "logs/foreign.jsonl", "");
    feed_work(f);
    world_append(state, "logs/.riverrun/mine.sidecar", "x\n");
    world_append(state, "logs/mine.jsonl", "x\n");
    world_append(state, "logs/report.html", "x\n");
    feed_work(f);
    assert_int_equal(f->name_count, 1);
    world_append(state, "logs/foreign.jsonl", "x\n");
    feed_work(f);
    assert_int_equal(f->name_count, 2);
    assert_non_null(announced(f, "+logs+foreign.jsonl"));
    feed_free(f);
}

/* Between a rotation's rename and the next file, and whatever the next file begins with. */
static void what_was_followed_before_is_followed_still(void **state)
{
    static const uint8_t rubbish[] = "2 \0 \xFF\xFE\xC3 A\n";
    struct feed *f = feed_new(state);

    world_folder(state, "logs");
    world_append(state, "logs/a.log", "1\n");
    world_append(state, "logs/b.log", "1\n");
    feed_want(f, "logs");
    feed_start(f);
    snprintf(f->name, sizeof f->name, "%s", announced(f, "+logs+a.log"));
    feed_open(f, f->name, (struct view){NULL, 0});
    feed_grant(f, TEXT_MAX);
    feed_expect(f, "1\n");
    feed_stop(f);
    world_move(state, "logs/a.log", "logs/a-20260101.log");
    world_copy(state, "logs/b.log", "logs/c-20260101.log"); /* of none that was followed */
    feed_start(f);
    assert_int_equal(f->name_count, 3);
    assert_null(announced(f, "a-20260101.log"));
    assert_non_null(announced(f, "+logs+a.log")); /* what it has left is in the other */
    feed_stop(f);
    put_file(in_folder(state, "logs/a.log"), rubbish, sizeof rubbish - 1);
    put_file(in_folder(state, "logs/d.log"), rubbish, sizeof rubbish - 1);
    feed_start(f);
    assert_int_equal(f->name_count, 3);
    assert_non_null(announced(f, "+logs+a.log"));
    feed_free(f);
}

static void a_folder_that_goes_and_comes_back_is_watched_again(void **state)
{
    struct feed *f = feed_new(state);

    world_folder(state, "logs");
    world_append(state, "logs/a.log", "1\n");
    feed_want(f, "logs/a.log");
    feed_begin(f);
    feed_expect(f, "1\n");
    world_move(state, "logs", "gone");
    world_append(state, "gone/a.log", "2\n");
    feed_work(f);
    feed_expect(f, "1\n2\n");
    world_folder(state, "logs");
    world_append(state, "logs/a.log", "3\n");
    feed_expect(f, "1\n2\n3\n");
    world_append(state, "logs/a.log", "4\n");
    feed_expect(f, "1\n2\n3\n4\n");
    feed_free(f);
}

/* A folder stands for what cannot be read: permissions say nothing to root. */
static void what_cannot_be_read_is_told_once_and_tried_again(void **state)
{
    struct feed *f = feed_new(state);
    const char *first;

    world_folder(state, "a.log");
    world_append(state, "b.log", "");
    feed_want(f, "b.log");
    feed_want(f, "a.log/../a.log/x");
    feed_begin(f);
    assert_int_equal(unlink(in_folder(state, "b.log")), 0);
    world_folder(state, "b.log");
    for (int i = 0; i < 3; i++) {
        world_folder(state, "b.log/sub");
        assert_int_equal(rmdir(in_folder(state, "b.log/sub")), 0);
        feed_work(f);
    }
    first = strstr(f->d->reports, "b.log' cannot be read");
    assert_non_null(first);
    assert_null(strstr(first + 1, "b.log' cannot be read"));
    assert_int_equal(rmdir(in_folder(state, "b.log")), 0);
    world_append(state, "b.log", "1\n");
    feed_expect(f, "1\n");
    feed_free(f);
}

/* Of files permissions count for root too, until then. */
static void as_nobody(void **state, bool nobody)
{
    require(!nobody || chmod(in_folder(state, ""), 0777) == 0);
    if (geteuid() == 0)
        setfsuid(nobody ? 65534 : 0);
}

static void a_copy_that_may_not_be_read_is_waited_for(void **state)
{
    struct feed *f = feed_new(state);

    world_append(state, "a.log", "1\n2\n3\n");
    world_append(state, "a.log.2", "old\n"); /* holds less than was read, so it is no copy */
    require(chmod(in_folder(state, "a.log.2"), 0) == 0);
    feed_want(f, "a.log");
    feed_begin(f);
    feed_expect(f, "1\n2\n3\n");
    world_copy(state, "a.log", "a.log.1");
    require(chmod(in_folder(state, "a.log.1"), 0) == 0);
    world_cut(state, "a.log");
    world_append(state, "a.log", "4\n");
    as_nobody(state, true);
    feed_expect(f, "1\n2\n3\n");
    as_nobody(state, false);
    assert_int_equal(f->refused, ERR_OK);
    assert_non_null(strstr(f->d->reports, "a.log.1' may be what is to be read on: Permission"));
    require(chmod(in_folder(state, "a.log.1"), 0644) == 0);
    feed_expect(f, "1\n2\n3\n4\n");
    assert_null(strstr(f->d->reports, "a.log.2'"));
    feed_free(f);
}

static void a_file_that_may_not_be_read_is_waited_for(void **state)
{
    struct feed *f = feed_new(state);

    world_append(state, "a.log", "1\n");
    feed_want(f, "a.log");
    feed_begin(f);
    feed_expect(f, "1\n");
    world_move(state, "a.log", "a.log.1");
    world_append(state, "a.log", "2"); /* it is begun, and none of it was read */
    feed_expect(f, "1\n");
    feed_stop(f);
    feed_start(f);
    require(chmod(in_folder(state, "a.log"), 0) == 0);
    as_nobody(state, true);
    feed_open(f, f->name,
              (struct view){f->places[f->place_count - 1].cursor, SEGMENT_CURSOR_BYTES});
    feed_grant(f, TEXT_MAX);
    feed_expect(f, "1\n");
    as_nobody(state, false);
    assert_int_equal(f->refused, ERR_OK);
    assert_non_null(strstr(f->d->reports, "a.log' may be what is to be read on: Permission"));
    require(chmod(in_folder(state, "a.log"), 0644) == 0);
    world_append(state, "a.log", "\n");
    feed_expect(f, "1\n2\n");
    feed_free(f);
}

static void a_folder_that_may_not_be_listed_is_told(void **state)
{
    struct feed *f = feed_new(state);

    world_folder(state, "logs");
    world_folder(state, "logs/closed");
    world_append(state, "logs/closed/a.log", "x\n");
    world_append(state, "logs/b.log", "x\n");
    require(chmod(in_folder(state, "logs/closed"), 0111) == 0);
    feed_want(f, "logs");
    as_nobody(state, true);
    feed_start(f);
    as_nobody(state, false);
    assert_int_equal(f->name_count, 1);
    assert_non_null(strstr(f->d->reports, "logs/closed' cannot be listed"));
    feed_free(f);
}

/* Links that lead nowhere yet are followed to where they will; what looks like a pattern in a folder's name is none. */
static void named_links_and_odd_folders_are_found(void **state)
{
    struct feed *f = feed_new(state);

    world_folder(state, "else");
    world_folder(state, "w[1]");
    require(symlink("else/real.log", in_folder(state, "link.log")) == 0);
    feed_want(f, "link.log");
    require(chdir(in_folder(state, "w[1]")) == 0);
    f->paths[f->path_count++] = strdup("*.log");
    feed_start(f);
    require(chdir("/") == 0);
    assert_int_equal(f->name_count, 1);
    snprintf(f->name, sizeof f->name, "%s", announced(f, "+else+real.log"));
    feed_open(f, f->name, (struct view){NULL, 0});
    feed_grant(f, TEXT_MAX);
    world_append(state, "else/real.log", "1\n");
    feed_expect(f, "1\n");
    world_append(state, "w[1]/b.log", "2\n");
    feed_work(f);
    assert_non_null(announced(f, "+w[1]+b.log"));
    feed_free(f);
}

static void a_damaged_file_in_between_is_not_passed_over(void **state)
{
    struct feed *f = feed_new(state);
    char text[8000] = "";
    size_t bytes;
    uint8_t *packed;

    world_append(state, "a.log", "1\n");
    feed_want(f, "a.log");
    feed_begin(f);
    feed_expect(f, "1\n");
    feed_stop(f);
    world_move(state, "a.log", "a.log.2");
    for (int i = 0; strlen(text) < 7000; i++)
        sprintf(text + strlen(text), "line %d, %d\n", i, i * i * 77);
    world_append(state, "a.log.1", text);
    world_command(state, "gzip", "a.log.1");
    world_append(state, "a.log", "last\n");
    packed = get_file(in_folder(state, "a.log.1.gz"), &bytes);
    put_file(in_folder(state, "a.log.1.gz"), packed, 20);
    feed_live_again(f);
    feed_expect(f, "1\n");
    assert_non_null(strstr(f->d->reports, "a.log.1.gz' is to be read next"));
    packed[bytes - 8] ^= 1; /* whole, and its checksum is another's */
    put_file(in_folder(state, "a.log.1.gz"), packed, bytes);
    feed_work(f);
    assert_int_equal(f->bytes, 2);
    packed[bytes - 8] ^= 1;
    put_file(in_folder(state, "a.log.1.gz"), packed, bytes);
    feed_work(f);
    assert_int_equal(f->bytes, 2 + strlen(text) + 5);
    assert_memory_equal(f->text + 2, text, strlen(text));
    free(packed);
    feed_expect_all_again(f);
    feed_free(f);
}

static void lost_events_are_made_up_for(void **state)
{
    struct feed *f = feed_new(state);
    int fds[2];
    static char text[200000];
    size_t bytes = 0;

    world_append(state, "a.log", "");
    world_append(state, "b.log", "");
    feed_want(f, "?.log");
    feed_begin(f);
    fds[0] = open(in_folder(state, "a.log"), O_WRONLY | O_APPEND | O_CLOEXEC);
    fds[1] = open(in_folder(state, "b.log"), O_WRONLY | O_APPEND | O_CLOEXEC);
    require(fds[0] >= 0 && fds[1] >= 0);
    for (int i = 0; i < 40000;
         i++) { /* a queue holds 16384 by default, and joins only equal neighbours */
        assert_int_equal(write(fds[i % 2], "x\n", 2), 2);
        if (i % 2 == 0)
            bytes += (size_t)snprintf(text + bytes, sizeof text - bytes, "x\n");
    }
    close(fds[0]);
    close(fds[1]);
    world_append(state, "c.log", "c\n"); /* its coming is lost */
    feed_expect(f, text);
    assert_non_null(announced(f, "+c.log"));
    feed_free(f);
}

static void thousands_of_files_in_one_folder(void **state)
{
    enum { FILES = 3000 };
    struct feed *f = feed_new(state);
    Riverrun__Open open = RIVERRUN__OPEN__INIT;
    Riverrun__Grant grant = RIVERRUN__GRANT__INIT;
    size_t opened = 0, data = 0;
    struct msg *msg;
    struct frame m;
    char name[40];

    world_folder(state, "logs");
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "logs/%04d.log", i);
        world_append(state, name, "first\n");
    }
    feed_want(f, "logs/*.log");
    feed_start(f);
    assert_int_equal(f->name_count, FILES);
    for (size_t i = 0; i < FILES; i++) {
        open.stream = grant.stream = i + 1;
        open.epoch = grant.epoch = 1;
        snprintf(name, sizeof name, "+logs+%04zu.log", i);
        open.name = announced(f, name);
        grant.limit = 1000;
        assert_int_equal(driver_control(f->d, PORT_DOWN, RIVERRUN__CONTROL__IS_OPEN, &open),
                         ERR_OK);
        assert_int_equal(driver_control(f->d, PORT_DOWN, RIVERRUN__CONTROL__IS_GRANT, &grant),
                         ERR_OK);
        if (i % 1000 != 999)
            continue;
        feed_settle(f->d);
        while ((msg = driver_take(f->d, PORT_DOWN))) {
            assert_int_equal(msg_read(msg, &m, NULL), ERR_OK);
            *(m.kind == MSG_BYTES ? &data : &opened) += 1;
            msg_free(&msg);
        }
    }
    assert_int_equal(opened, FILES); /* no refusals: one `opened` each */
    assert_int_equal(data, FILES);
    for (int i = 0; i < FILES; i += 100) {
        snprintf(name, sizeof name, "logs/%04d.log", i);
        world_append(state, name, "second\n");
    }
    feed_settle(f->d);
    for (int i = 0; i < FILES; i += 100) {
        msg = driver_expect_data(f->d, PORT_DOWN, MSG_BYTES, &m);
        assert_int_equal(m.stream, i + 1);
        assert_int_equal(m.count, 7);
        msg_free(&msg);
    }
    driver_expect_nothing(f->d);
    feed_free(f);
}

/* Work, and count what came: refusals, and data. */
static void count_sent(struct driver *d, size_t *refused, size_t *data)
{
    struct msg *msg;
    struct frame m;
    Riverrun__Control *control;

    feed_settle(d);
    while ((msg = driver_take(d, PORT_DOWN))) {
        assert_int_equal(msg_read(msg, &m, NULL), ERR_OK);
        if (m.kind == MSG_BYTES) {
            *data += 1;
        } else {
            assert_int_equal(control_read(&m, &control, NULL), ERR_OK);
            *refused += control->is_case == RIVERRUN__CONTROL__IS_REFUSED;
            riverrun__control__free_unpacked(control, NULL);
        }
        msg_free(&msg);
    }
}

/* In a process of its own, whose limit cannot be raised again. */
static void rotate_with_few_descriptors(void **state, size_t *refused, size_t *data)
{
    enum { FILES = 30, TURNS = 5 };
    const struct rlimit few = {80, 80};
    struct feed *f = feed_new(state);
    Riverrun__Open open = RIVERRUN__OPEN__INIT;
    Riverrun__Grant grant = RIVERRUN__GRANT__INIT;
    char name[40], old[48];

    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    world_folder(state, "logs");
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "logs/%02d.log", i);
        world_append(state, name, "first\n");
    }
    feed_want(f, "logs/*.log");
    feed_start(f);
    for (size_t i = 0; i < FILES; i++) {
        open.stream = grant.stream = i + 1;
        open.epoch = grant.epoch = 1;
        snprintf(name, sizeof name, "+logs+%02zu.log", i);
        open.name = announced(f, name);
        grant.limit = 1000;
        assert_int_equal(driver_control(f->d, PORT_DOWN, RIVERRUN__CONTROL__IS_OPEN, &open), 0);
        assert_int_equal(driver_control(f->d, PORT_DOWN, RIVERRUN__CONTROL__IS_GRANT, &grant), 0);
    }
    count_sent(f->d, refused, data);
    for (int turn = 1; turn < TURNS; turn++)
        for (int i = 0; i < FILES; i++) {
            snprintf(name, sizeof name, "logs/%02d.log", i);
            snprintf(old, sizeof old, "logs/%02d.log-2026010%d", i, turn);
            world_move(state, name, old);
            world_append(state, name, "next\n");
            count_sent(f->d, refused, data);
        }
    feed_free(f);
}

static void few_descriptors_are_enough_for_files_that_rotate(void **state)
{
    pid_t child = fork();
    size_t refused = 0, data = 0;
    int status;

    assert_true(child >= 0);
    if (child == 0) {
        rotate_with_few_descriptors(state, &refused, &data);
        _exit(refused == 0 && data == 30 * 5 ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- Bytes and names ---- */

static void cursors_that_are_not_ours_are_refused(void **state)
{
    struct feed *f = feed_new(state);
    uint8_t cursor[SEGMENT_CURSOR_BYTES + 1] = {0};
    static const uint8_t of_read[18] = {1, 0};

    world_append(state, "a.log", "1\n");
    feed_want(f, "a.log");
    feed_begin(f);
    feed_expect(f, "1\n");
    memcpy(cursor, f->places[1].cursor, SEGMENT_CURSOR_BYTES);
    for (size_t bytes = 2; bytes <= sizeof cursor; bytes++) {
        if (bytes == SEGMENT_CURSOR_BYTES)
            continue;
        feed_open(f, f->name, (struct view){cursor, bytes});
        /* One has the length of text that a reader made. */
        assert_int_equal(f->refused, bytes == 35 ? ERR_CHANGED : ERR_INPUT);
    }
    feed_open(f, f->name, (struct view){of_read, sizeof of_read});
    assert_int_equal(f->refused, ERR_CHANGED);
    assert_non_null(strstr(f->why, "read"));
    feed_free(f);
}

static void rotation_is_known_by_its_names(void **state)
{
    static const char *const yes[][2] = {
        {"a.log", "a.log.1"},          {"a.log", "a.log.12.gz"},
        {"a.log", "a.log-20260101"},   {"a.log", "a.log-20260101.xz"},
        {"a.log", "a-20260101.log"},   {"a.log", "a-20260101.log.gz"},
        {"a.log", "a.log.gz"},         {"a.log", "a.log.old"},
        {"syslog", "syslog.1"},        {"syslog", "syslog-2026-01-01"},
        {"a.log", "a.log_1769000000"}, {"a.log", "a.log.2026-01-01T10:00:00"},
    };
    static const char *const no[][2] = {
        {"a.log", "a.log"},       {"a.log", "b.log.1"},    {"a.log", "a-1.log"},
        {"a.log", "a.logs"},      {"a.log", "a.log."},     {"a.log", "a.log.lock"},
        {"a.log", "a.log.1.tmp"}, {"syslog", "syslogd.1"}, {"a.log", "a.log-new"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        if (!is_rotated_name(yes[i][0], yes[i][1]))
            fail_msg("%s is %s, rotated", yes[i][1], yes[i][0]);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (is_rotated_name(no[i][0], no[i][1]))
            fail_msg("%s is not %s, rotated", no[i][1], no[i][0]);
}

static void cursors_and_rows_come_back_as_they_were(void **state)
{
    uint64_t seed = 77;
    uint8_t bytes[SEGMENT_ROW_BYTES], again[SEGMENT_ROW_BYTES];
    struct segment_place place;
    struct segment_row row;
    size_t cursors = 0, rows = 0;
    (void)state;

    for (int i = 0; i < 100000; i++) {
        for (size_t b = 0; b < sizeof bytes; b++)
            bytes[b] = (uint8_t)(random_next(&seed) >> 32);
        bytes[0] = 1;
        bytes[1] = i % 2 ? 2 : 3;
        bytes[2] &= 1;
        bytes[9] = bytes[10] = bytes[18] = 0; /* numbers that are not at their ends */
        bytes[50] = bytes[49] = 0;
        if (!segment_cursor_decode(&place, (struct view){bytes, SEGMENT_CURSOR_BYTES}, NULL)) {
            segment_cursor_encode(&place, again);
            assert_memory_equal(again, bytes, SEGMENT_CURSOR_BYTES);
            cursors++;
        }
        bytes[40] = bytes[41] = bytes[80] = bytes[81] = 0;
        if (!segment_row_decode(&row, (struct view){bytes, SEGMENT_ROW_BYTES}, NULL)) {
            segment_row_encode(&row, again);
            assert_memory_equal(again, bytes, SEGMENT_ROW_BYTES);
            rows++;
        }
    }
    assert_true(cursors > 100 && rows > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGE_TEST(what_was_written_last_is_announced_first),
        STAGE_TEST(files_that_match_are_announced_when_they_come),
        STAGE_TEST(folders_are_followed_with_what_comes_into_them),
        STAGE_TEST(what_jobs_and_tools_keep_is_not_followed),
        STAGE_TEST(what_was_followed_before_is_followed_still),
        STAGE_TEST(a_folder_that_goes_and_comes_back_is_watched_again),
        STAGE_TEST(what_cannot_be_read_is_told_once_and_tried_again),
        STAGE_TEST(a_copy_that_may_not_be_read_is_waited_for),
        STAGE_TEST(a_file_that_may_not_be_read_is_waited_for),
        STAGE_TEST(a_folder_that_may_not_be_listed_is_told),
        STAGE_TEST(named_links_and_odd_folders_are_found),
        STAGE_TEST(a_damaged_file_in_between_is_not_passed_over),
        STAGE_TEST(lost_events_are_made_up_for),
        STAGE_TEST(thousands_of_files_in_one_folder),
        STAGE_TEST(few_descriptors_are_enough_for_files_that_rotate),
        STAGE_TEST(cursors_that_are_not_ours_are_refused),
        STAGE_TEST(rotation_is_known_by_its_names),
        STAGE_TEST(cursors_and_rows_come_back_as_they_were),
    };
    return tests_result(cmocka_run_group_tests(tests, NULL, NULL));
}
