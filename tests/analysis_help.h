/* tests/analysis_help.h: what the tests of the analysis share. */
#ifndef TESTS_ANALYSIS_HELP_H
#define TESTS_ANALYSIS_HELP_H

#include "stages/encode/analysis/analysis.h"
#include "tests/stages_help.h"

/* Save, load into memory that held something else, save again: the same bytes. */
static inline void analysis_reload(struct analysis *a)
{
    struct buffer saved = buffer_of(ANALYSIS_BYTES_MAX), again = buffer_of(ANALYSIS_BYTES_MAX);
    struct analysis got = {.resting = true};

    analysis_save(a, &saved);
    assert_false(saved.refused);
    assert_int_equal(
        analysis_load(&got, &a->options, (struct view){saved.data, saved.bytes}, false, NULL),
        ERR_OK);
    analysis_release(a);
    *a = got;
    analysis_save(a, &again);
    assert_int_equal(again.bytes, saved.bytes);
    assert_memory_equal(again.data, saved.data, saved.bytes);
    buffer_release(&saved);
    buffer_release(&again);
}

#endif
