/* Which files are read, and that no two of them share a name. */
#include "stages/ingest/paths.h"
#include "tests/stages_help.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utf8proc.h>

/* Fit for a file name and for JSON: UTF-8 without control characters and '/', not hidden, not '-',
 * and with the longest ending still below NAME_MAX. */
static void assert_name(const char *name, bool standard_input)
{
    size_t bytes = strlen(name);

    assert_true(bytes > 0 && bytes <= PATH_NAME_MAX);
    assert_true(name[0] != '.');
    assert_true(standard_input || strcmp(name, "-"));
    assert_null(strchr(name, '/'));
    for (size_t at = 0; at < bytes;) {
        utf8proc_int32_t code;
        utf8proc_ssize_t count = utf8proc_iterate((const uint8_t *)name + at, -1, &code);
        assert_true(count > 0);
        assert_true(code >= 0x20 && !(code >= 0x7F && code < 0xA0));
        at += (size_t)count;
    }
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void assert_all_differ(char **names, size_t count)
{
    qsort(names, count, sizeof *names, compare_names);
    for (size_t i = 0; i < count; i++) {
        if (i && !strcmp(names[i - 1], names[i]))
            fail_msg("two paths are called '%s'", names[i]);
    }
    for (size_t i = 0; i < count; i++)
        free(names[i]);
}

static void names_say_what_the_path_was(void **state)
{
    static const char *const pairs[][2] = {{"/a/b.txt", "a+b.txt"},
                                           {"-", "-"},
                                           {"/-", "%2D"},
                                           {"/a/-", "a+-"},
                                           {"/a+b", "a%2Bb"},
                                           {"/a%2Bb", "a%252Bb"},
                                           {"/.hidden", "%2Ehidden"},
                                           {"/a/../b", "a+..+b"},
                                           {"/..", "%2E."},
                                           {"/a\nb", "a%0Ab"},
                                           {"/caf\xc3\xa9", "caf\xc3\xa9"},
                                           {"/caf\xe9", "caf%E9"},
                                           {"/a b", "a b"},
                                           {"/\xc2\x85", "%C2%85"}};

    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char *name = path_name(pairs[i][0]);
        assert_string_equal(name, pairs[i][1]);
        assert_name(name, i == 1);
        free(name);
    }
}

/* What a name stands for: the reverse, for names that were not shortened. */
static void unname(const char *name, char *path)
{
    *path++ = '/';
    for (; *name; name++) {
        unsigned byte;
        if (*name == '%') {
            assert_int_equal(sscanf(name + 1, "%2X", &byte), 1);
            *path++ = (char)byte;
            name += 2;
        } else {
            *path++ = *name == '+' ? '/' : *name;
        }
    }
    *path = 0;
}

static void a_name_leads_back_to_its_path(void **state)
{
    uint64_t seed = 17;

    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        char path[64], back[64];
        size_t bytes = 2 + random_next(&seed) % 40;
        path[0] = '/';
        for (size_t i = 1; i < bytes; i++) {
            static const char some[] = "ab/.-+%\n \x7f\xc3\xa9\xe4\xb8\xad\xff";
            path[i] = some[random_next(&seed) % (sizeof some - 1)];
            if (path[i] == '/' && path[i - 1] == '/')
                path[i] = 'c';
        }
        path[bytes] = 0;
        char *name = path_name(path);
        unname(name, back);
        assert_string_equal(back, path);
        assert_name(name, false);
        free(name);
    }
}

static void long_paths_keep_their_tail_and_differ(void **state)
{
    enum { COUNT = 600 };
    static const char *const fills[] = {"a", "\xc3\xa9", "\xff", "+", "%", "\xf0\x9f\x98\x80"};
    char **names = malloc(COUNT * sizeof *names);
    size_t count = 0;

    (void)state;
    require(names);
    for (size_t fill = 0; fill < sizeof fills / sizeof *fills; fill++)
        for (size_t repeat = 60; repeat < 160; repeat++) {
            char path[4096] = "/";
            for (size_t i = 0; i < repeat; i++)
                strcat(path, fills[fill]);
            strcat(path, "/end.txt");
            names[count] = path_name(path);
            assert_name(names[count], false);
            assert_string_equal(names[count] + strlen(names[count]) - 8, "+end.txt");
            count++;
        }
    assert_int_equal(count, COUNT);
    assert_all_differ(names, count);
    free(names);
}

/* Whatever its length: a key's name tells whose feed it is of, and from other keys. */
static void keys_are_known_by_their_feed(void **state)
{
    enum { COUNT = 25 };
    char feed[PATH_NAME_MAX + 1] = "", text[400], *names[COUNT];
    size_t count = 0;

    (void)state;
    memset(text, 'k', sizeof text);
    memset(feed, 'f', PATH_NAME_MAX);
    for (size_t bytes = PATH_NAME_MAX; bytes > 0; bytes = bytes * 2 / 3 - bytes / 40)
        for (size_t key = 1; key < 400; key = key * 4 + 1) {
            feed[bytes] = 0;
            text[0] = (char)('a' + count);
            if (count == COUNT)
                break;
            names[count] = key_name(feed, (struct view){(const uint8_t *)text, key});
            assert_name(names[count], false);
            assert_true(is_of_feed(feed, names[count]));
            feed[bytes - 1] = 'g';
            assert_false(is_of_feed(feed, names[count]));
            feed[bytes - 1] = 'f';
            assert_false(is_of_feed("other", names[count++]));
        }
    assert_true(is_of_feed("a", "a") && !is_of_feed("a", "ab") && !is_of_feed("a", "b+a"));
    assert_int_equal(count, COUNT);
    assert_all_differ(names, count);
}

/* ---- The walk ---- */

static void make(void **state, const char *name)
{
    char path[512];

    snprintf(path, sizeof path, "%s/%s", (const char *)*state, name);
    for (char *at = path + strlen(*state) + 1; (at = strchr(at, '/')); at++) {
        *at = 0;
        (void)mkdir(path, 0777);
        *at = '/';
    }
    put_file(path, name, strlen(name));
}

/* The files listed, as their paths inside the test's folder, in order. */
static void assert_list(void **state, const struct config *config, const char *want)
{
    struct path_list list;
    struct err err = {.text = ""};
    char got[2048] = "", *root = realpath(*state, NULL);

    require(root);
    if (path_list_make(&list, config, &err))
        fail_msg("%s", err.text);
    for (size_t i = 0; i < list.count; i++) {
        assert_false(strncmp(list.items[i].file, root, strlen(root)));
        strcat(got, list.items[i].file + strlen(root) + 1);
        strcat(got, " ");
    }
    assert_string_equal(got, want);
    path_list_release(&list);
    free(root);
}

static void directories_are_read_in_order_without_output_and_store(void **state)
{
    const char *paths[] = {*state};
    struct config config = {.paths = paths, .path_count = 1};

    make(state, "b.txt");
    make(state, "a/z.txt");
    make(state, "a/B.txt");
    make(state, "out/old.jsonl");
    make(state, "out/state/data.mdb");
    make(state, "elsewhere/data.mdb");
    make(state, ".hidden");
    config.output = in_folder(state, "out");
    config.store = in_folder(state, "elsewhere");
    /* In order of the streams' names, byte by byte. */
    assert_list(state, &config, ".hidden a/B.txt a/z.txt b.txt ");
    /* Written in another way they are left out as well. */
    config.output = in_folder(state, "a/../out/.");
    assert_list(state, &config, ".hidden a/B.txt a/z.txt b.txt ");
    config.output = in_folder(state, "not-there-yet");
    config.store = NULL;
    assert_list(
        state, &config,
        ".hidden a/B.txt a/z.txt b.txt elsewhere/data.mdb out/old.jsonl out/state/data.mdb ");
}

static void put(void **state, const char *name, const void *data, size_t bytes)
{
    make(state, name);
    put_file(in_folder(state, name), data, bytes);
}

/* A folder of sources: what is no text, what tools keep there. Named itself each of them is read. */
static void what_nobody_means_is_passed_over_and_counted(void **state)
{
    static const char binary[] = "\x7F"
                                 "ELF\2\1\1\0\0\0\0\0\0\0\0\0\3\0>\0\xFF\xFE\x80\x80";
    const char *paths[] = {NULL, NULL, NULL};
    struct config config = {.paths = paths, .path_count = 1, .reader = "/proc/self/exe"};
    struct path_list list;
    char words[PASSED_WORDS_MAX];
    struct err err;

    make(state, "in/a.c");
    make(state, "in/.git/HEAD");
    make(state, "in/sub/node_modules/x.js");
    make(state, "in/sub/yarn.lock");
    make(state, "in/sub/lock.txt");
    put(state, "in/prog", binary, sizeof binary);
    put(state, "in/latin.txt", "caf\xE9", 4);
    put(state, "in/wide.txt", "w\0i\0d\0e\0\xE9\0", 10);
    put(state, "in/wider.txt", "w\0\0\0i\0\0\0", 8);
    put(state, "in/marked.txt",
        "\xFF\xFE"
        "a\0b\0\x34\x12",
        8);
    make(state, "beside/b.c");
    assert_int_equal(symlink("../beside", in_folder(state, "in/beside")), 0);
    assert_int_equal(symlink("../beside/b.c", in_folder(state, "in/b.c")), 0);
    put(state, "in/a.zip", "PK\3\4\0\0\xFF\xFF", 8);
    paths[0] = in_folder(state, "in"); /* its memory is used again by the eighth after it */
    assert_list(state, &config,
                "beside/b.c in/a.c in/a.zip in/latin.txt in/marked.txt in/sub/lock.txt in/wide.txt "
                "in/wider.txt ");
    assert_int_equal(path_list_make(&list, &config, &err), ERR_OK);
    assert_int_equal(passed_all(&list.passed), 5);
    assert_non_null(strstr(passed_words(&list.passed, words),
                           "1 file that is no text, 1 lock file, 2 folders of tools', 1 link to a "
                           "folder, first '"));
    assert_non_null(strstr(words, "in/.git'"));
    path_list_release(&list);
    paths[0] = in_folder(state, "in/.git");
    paths[1] = in_folder(state, "in/prog");
    paths[2] = in_folder(state, "in/sub/yarn.lock");
    config.path_count = 3;
    assert_list(state, &config, "in/.git/HEAD in/prog in/sub/yarn.lock ");
    /* Where all files are said to be text, they are. */
    paths[0] = in_folder(state, "in");
    config.path_count = 1;
    config.reader = NULL;
    assert_int_equal(path_list_make(&list, &config, &err), ERR_OK);
    assert_int_equal(list.passed.no_text, 0);
    path_list_release(&list);
}

/* Other jobs', or an older store of one's own: records of records would come out. */
static void what_jobs_made_is_passed_over(void **state)
{
    const char *paths[] = {in_folder(state, "in")};
    struct config config = {.paths = paths, .path_count = 1};
    struct path_list list;
    char words[PASSED_WORDS_MAX];
    struct err err;

    make(state, "in/a.txt");
    make(state, "in/out/.riverrun/x.sidecar");
    make(state, "in/out/x.jsonl");
    make(state, "in/out/notes.txt");
    make(state, "in/st/counters");
    put(state, "in/st/owner.lock", "", 0);
    put(state, "in/other/state/owner.lock", "", 0);
    make(state, "in/other/b.txt");
    make(state, "in/tools/owner.lock");
    assert_list(state, &config, "in/a.txt in/tools/owner.lock ");
    assert_int_equal(path_list_make(&list, &config, &err), ERR_OK);
    assert_non_null(strstr(passed_words(&list.passed, words), "3 outputs of jobs, first '"));
    path_list_release(&list);
    /* Who names a folder of outputs means what else is in it. */
    paths[0] = in_folder(state, "in/out");
    put(state, "in/out/begun.jsonl", "", 0);
    make(state, "in/out/foreign.jsonl");
    make(state, "in/out/report.html");
    assert_list(state, &config, "in/out/foreign.jsonl in/out/notes.txt ");
    paths[0] = in_folder(state, "in/out/x.jsonl");
    assert_list(state, &config, "in/out/x.jsonl ");
}

static void each_file_is_read_once_and_links_to_folders_are_not_followed(void **state)
{
    const char *paths[4];
    struct config config = {.paths = paths, .path_count = 4};
    struct path_list list;
    char words[PASSED_WORDS_MAX];
    struct err err;

    make(state, "in/a.txt");
    make(state, "other/b.txt");
    assert_int_equal(symlink("a.txt", in_folder(state, "in/link")), 0);
    assert_int_equal(symlink("../other", in_folder(state, "in/folder")), 0);
    assert_int_equal(symlink("..", in_folder(state, "in/up")), 0);
    assert_int_equal(symlink("nowhere", in_folder(state, "in/dangling")), 0);
    assert_int_equal(mkfifo(in_folder(state, "in/pipe"), 0600), 0);
    paths[0] = in_folder(state, "in");
    paths[1] = in_folder(state, "in/a.txt");
    paths[2] = in_folder(state, "in/link");
    paths[3] = in_folder(state, "in/../in");
    assert_list(state, &config, "in/a.txt ");
    assert_int_equal(path_list_make(&list, &config, &err), ERR_OK);
    assert_non_null(strstr(passed_words(&list.passed, words),
                           "4 links to folders, 2 links that lead nowhere, 2 things that are no "
                           "files, first '"));
    path_list_release(&list);
    /* Named itself, a link to a folder is meant. */
    paths[0] = in_folder(state, "in/folder");
    config.path_count = 1;
    assert_list(state, &config, "other/b.txt ");
}

static enum err_code list_fails(const struct config *config, struct err *err)
{
    struct path_list list = {.count = 77};
    enum err_code code = path_list_make(&list, config, err);

    assert_int_equal(list.count, 77);
    return code;
}

static void what_cannot_be_read_is_named(void **state)
{
    const char *paths[2];
    struct config config = {.paths = paths, .path_count = 1};
    struct err err;

    paths[0] = in_folder(state, "missing.txt");
    assert_int_equal(list_fails(&config, &err), ERR_SOURCE);
    assert_non_null(strstr(err.text, "missing.txt"));
    assert_int_equal(mkdir(in_folder(state, "empty"), 0777), 0);
    paths[0] = in_folder(state, "empty");
    assert_int_equal(list_fails(&config, &err), ERR_SOURCE);
    assert_non_null(strstr(err.text, "no files"));
    make(state, "a.txt");
    paths[0] = in_folder(state, "a.txt");
    if (geteuid() != 0) {
        assert_int_equal(chmod(paths[0], 0), 0);
        assert_int_equal(list_fails(&config, &err), ERR_SOURCE);
        assert_int_equal(chmod(paths[0], 0600), 0);
    }
    paths[1] = in_folder(state, "missing.txt");
    config.path_count = 2;
    assert_int_equal(list_fails(&config, &err), ERR_SOURCE);
}

/* As an input that fails, while the others are read; but not where it was named itself. */
static void a_folder_that_may_not_be_listed_is_listed_itself(void **state)
{
    const char *paths[] = {in_folder(state, "in")}, *closed = in_folder(state, "in/closed");
    struct config config = {.paths = paths, .path_count = 1};
    const uid_t me = geteuid();
    struct err err;

    make(state, "in/a.txt");
    make(state, "in/closed/b.txt");
    make(state, "in/lost+found/c.txt");
    make(state, "in/open/d.txt"); /* may be listed, and not be entered */
    make(state, "private/e.txt");
    assert_int_equal(symlink("../private/e.txt", in_folder(state, "in/link")), 0);
    assert_int_equal(chmod(in_folder(state, "in/open"), 0644), 0);
    assert_int_equal(chmod(in_folder(state, "private"), 0), 0);
    assert_int_equal(chmod(*state, 0755), 0);
    assert_int_equal(chmod(closed, 0), 0);
    assert_true(me || !seteuid(65534)); /* root may list all */
    assert_list(state, &config, "in/a.txt in/closed in/link in/open ");
    paths[0] = closed;
    assert_int_equal(list_fails(&config, &err), ERR_SOURCE);
    assert_non_null(strstr(err.text, "in/closed': Permission denied"));
    assert_true(me || !seteuid(me));
    assert_int_equal(chmod(closed, 0700), 0);
    assert_int_equal(chmod(in_folder(state, "in/open"), 0700), 0);
    assert_int_equal(chmod(in_folder(state, "private"), 0700), 0);
}

static int gone_to(int folder, const char *name)
{
    int there = openat(folder, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    assert_true(there >= 0);
    close(folder);
    return there;
}

/* Deeper than a path can say, and than a stack could follow with a path in each frame. */
static void what_lies_too_deep_is_counted(void **state)
{
    const char *paths[] = {in_folder(state, "in")};
    struct config config = {.paths = paths, .path_count = 1};
    struct path_list list;
    char words[PASSED_WORDS_MAX];
    struct err err;
    int folder;

    make(state, "in/a.txt");
    folder = open(paths[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < PATH_MAX / 2; i++) {
        assert_int_equal(mkdirat(folder, "d", 0777), 0);
        folder = gone_to(folder, "d");
    }
    assert_int_equal(path_list_make(&list, &config, &err), ERR_OK);
    assert_int_equal(list.count, 1);
    assert_non_null(strstr(passed_words(&list.passed, words), "1 path that is too long, first '"));
    path_list_release(&list);
    for (int i = 0; i < PATH_MAX / 2; i++) { /* what cleans up after tests goes by paths */
        folder = gone_to(folder, "..");
        assert_int_equal(unlinkat(folder, "d", AT_REMOVEDIR), 0);
    }
    close(folder);
}

static void a_list_that_takes_long_can_be_stopped(void **state)
{
    const char *paths[] = {*state};
    struct config config = {.paths = paths, .path_count = 1};
    sigset_t stop, before;
    struct err err;
    int taken;

    make(state, "a.txt");
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    assert_int_equal(sigprocmask(SIG_BLOCK, &stop, &before), 0);
    assert_int_equal(raise(SIGTERM), 0);
    assert_int_equal(list_fails(&config, &err), ERR_STOPPED);
    assert_int_equal(sigwait(&stop, &taken), 0);
    assert_int_equal(sigprocmask(SIG_SETMASK, &before, NULL), 0);
    assert_list(state, &config, "a.txt ");
}

static void a_name_is_for_one_input_and_a_file_name(void **state)
{
    static const char *const bad[] = {"", ".", "..", ".a", "a/b", "a\nb", "\xff"};
    const char *paths[2];
    struct config config = {.paths = paths, .path_count = 1};
    struct path_list list;
    char longest[PATH_NAME_MAX + 2];
    struct err err;

    make(state, "in/a.txt");
    paths[0] = in_folder(state, "in/a.txt");
    paths[1] = "-";
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        config.name = bad[i];
        assert_int_equal(list_fails(&config, &err), ERR_USAGE);
    }
    memset(longest, 'n', sizeof longest);
    longest[PATH_NAME_MAX + 1] = 0;
    config.name = longest;
    assert_int_equal(list_fails(&config, &err), ERR_USAGE);
    longest[PATH_NAME_MAX] = 0;
    assert_int_equal(path_list_make(&list, &config, &err), ERR_OK);
    assert_string_equal(list.items[0].name, longest);
    path_list_release(&list);
    config.name = "book";
    config.path_count = 2;
    assert_int_equal(list_fails(&config, &err), ERR_USAGE);
    config.path_count = 1;
    paths[0] = in_folder(state, "in");
    assert_int_equal(list_fails(&config, &err), ERR_USAGE);
    paths[0] = "-";
    assert_int_equal(path_list_make(&list, &config, &err), ERR_OK);
    assert_string_equal(list.items[0].file, "-");
    assert_string_equal(list.items[0].name, "book");
    path_list_release(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_say_what_the_path_was),
        cmocka_unit_test(a_name_leads_back_to_its_path),
        cmocka_unit_test(long_paths_keep_their_tail_and_differ),
        cmocka_unit_test(keys_are_known_by_their_feed),
        STAGE_TEST(directories_are_read_in_order_without_output_and_store),
        STAGE_TEST(what_nobody_means_is_passed_over_and_counted),
        STAGE_TEST(what_jobs_made_is_passed_over),
        STAGE_TEST(each_file_is_read_once_and_links_to_folders_are_not_followed),
        STAGE_TEST(what_cannot_be_read_is_named),
        STAGE_TEST(a_folder_that_may_not_be_listed_is_listed_itself),
        STAGE_TEST(what_lies_too_deep_is_counted),
        STAGE_TEST(a_list_that_takes_long_can_be_stopped),
        STAGE_TEST(a_name_is_for_one_input_and_a_file_name),
    };
    return tests_result(cmocka_run_group_tests(tests, NULL, NULL));
}
