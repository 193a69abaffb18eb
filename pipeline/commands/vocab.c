/* riverrun vocab learn: a vocabulary for a text. */
#include "engine/train/learn.h"
#include "pipeline/commands/commands.h"
#include "pipeline/commands/train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_help(const struct option *options)
{
    puts("usage: riverrun vocab learn TEXT[:WEIGHT]... -o FILE [--size N]\n"
         "\n"
         "Learns a vocabulary in the World format: all bytes, and the pieces of words that this "
         "text "
         "is\n"
         "read with fastest. `riverrun train --vocab FILE` takes it.\n");
    options_print(options);
}

static enum err_code learn(struct learn_options *learn, char **paths, struct err *err)
{
    struct learn_report report;
    struct corpus_file *files;
    enum err_code code = train_files(&files, paths, learn->file_count, err);

    if (code)
        return code;
    train_watch_files();
    learn->files = files;
    code = learn_vocabulary(learn, &report, err);
    train_files_release(files, learn->file_count);
    if (!code)
        printf("%u ids, %.3f bytes a token on %.1f MB\n", report.ids,
               (double)report.sample_bytes / (double)report.tokens,
               (double)report.sample_bytes / 1e6);
    return code;
}

enum err_code command_vocab(char **arguments, size_t count, struct err *err)
{
    uint64_t size = 4096, sample_mib = 16;
    struct learn_options options = {.output = NULL};
    const struct option table[] = {
        {"output", 'o', OPTION_PATH, &options.output, 0, 0, "FILE", "the vocabulary"},
        {"size", 0, OPTION_COUNT, &size, LEARN_IDS_MIN, LEARN_IDS_MAX, "N",
         "ids, the end of a document included (4096)"},
        {"sample-mib", 0, OPTION_COUNT, &sample_mib, 0, 1 << 20, "N",
         "of the text to count; 0: all (16)"},
        {.name = NULL},
    };
    bool help;
    enum err_code code = options_parse(table, arguments, &count, &help, err);

    if (code)
        return code;
    if (help) {
        print_help(table);
        return ERR_OK;
    }
    if (count < 2 || strcmp(arguments[0], "learn") != 0 || !options.output)
        return err_set(err, ERR_USAGE, 0,
                       "want: riverrun vocab learn TEXT[:WEIGHT]... -o FILE [--size N]");
    options.ids = (uint32_t)size;
    options.sample_bytes = sample_mib << 20;
    options.file_count = count - 1;
    return learn(&options, arguments + 1, err);
}
