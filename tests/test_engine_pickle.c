/* tests/test_engine_pickle.c: the pickles in PyTorch files. Those of weights are read; one that is damaged, wants to
 * run code, or unfolds to more than it is, is refused with one line that names the thing. */
#include "engine/formats/pickle.h"
#include "tests/pth_help.h"

/* ---- What is right ---- */

static void parameters_and_subclasses_are_their_tensors(void **unused)
{
    struct buffer p = pickle_begin();

    (void)unused;
    put_string(&p, "parameter");
    buffer_put(&p, OPS("ctorch._utils\n_rebuild_parameter\n("));
    put_rebuilt(&p, &plain);
    buffer_put(&p, OPS("\x88"
                       "ccollections\nOrderedDict\n)RtR"));
    put_string(&p, "subclass");
    buffer_put(&p, OPS("ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_v2\n"
                       "ctorch.nn.parameter\nParameter\n("));
    put_storage(&p, "FloatStorage", "0", 16);
    buffer_put(&p, OPS("K\1K\2\x85K\1\x85\x89NtNtR"));
    buffer_put(&p, OPS("u."));
    write_pickle(&p);
    struct container *c = opened("parameters");
    assert_values(c, "parameter", 6, (float[]){0, 1, 2, 3, 4, 5});
    assert_values(c, "subclass", 2, (float[]){1, 2});
    container_close(&c);
}

static void a_state_dict_inside_is_the_one_that_counts(void **unused)
{
    struct buffer p = pickle_begin();

    (void)unused;
    put_string(&p, "epoch");
    put_integer(&p, 3);
    put_string(&p, "elsewhere");
    put_rebuilt(&p, &plain);
    put_string(&p, "state_dict");
    buffer_put(&p, OPS("ccollections\nOrderedDict\n)R("));
    put_window(&p, &plain);
    buffer_put(&p, OPS("u}X\x09\0\0\0_metadataNsbu."));
    write_pickle(&p);
    struct container *c = opened("state_dict");
    assert_int_equal(c->count, 1);
    found(c, "a");
    container_close(&c);
}

static void values_that_are_no_tensors_are_left_out(void **unused)
{
    struct buffer p = pickle_begin();

    (void)unused;
    put_window(&p, &plain);
    buffer_put(&p, OPS("X\1\0\0\0nN"
                       "X\1\0\0\0i\x8a\0"
                       "X\1\0\0\0fG\x3f\xf0\0\0\0\0\0\0"
                       "X\1\0\0\0s\x8c\2hi"
                       "X\1\0\0\0l](K\1K\2e"
                       "X\1\0\0\0m]K\1a"
                       "X\1\0\0\0t)"
                       "X\1\0\0\0d}K\1Ns"
                       "K\7Ju\1\0\0u."));
    write_pickle(&p);
    assert_taken(1, "other values");
}

/* ---- What lies, or attacks ---- */

static void a_pickle_cut_anywhere_is_refused(void **unused)
{
    struct buffer p = good_pickle();

    (void)unused;
    for (size_t cut = 0; cut < p.bytes; cut++) {
        struct buffer part = buffer_of(p.bytes);
        buffer_put(&part, p.data, cut);
        write_pickle(&part);
        assert_refused("truncated: its pickle", "a cut pickle");
    }
    buffer_release(&p);
}

static void pickles_that_want_more_than_weights_are_refused_by_name(void **unused)
{
    static const struct {
        const char *symbol, *says;
    } symbols[] = {
        {"cposix\nsystem\n(X\2\0\0\0ls\x74R.", "'posix system', which weights do not need"},
        {"c__builtin__\neval\n", "'__builtin__ eval'"},
        {"cbuiltins\nexec\n", "'builtins exec'"},
        {"ctorch\nload\n", "'torch load'"},
        {"ctorch._utils\n_rebuild_tensor\n", "'torch._utils _rebuild_tensor'"},
        {"ctorch._utils \n_rebuild_tensor_v2\n", "'torch._utils  _rebuild_tensor_v2'"},
        {"ccollections\nOrderedDict2\n", "'collections OrderedDict2'"},
        {"cnumpy.core.multiarray\nscalar\n", "'numpy.core.multiarray scalar'"},
        {"c\n\n", "' '"},
        {"ctorch\nByteStorage\n", "'torch ByteStorage': of PyTorch's storages"},
        {"ctorch\nLongStorage\n", "'torch LongStorage': of PyTorch's storages"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        struct buffer p = pickle_begin();
        put_window(&p, &plain);
        put_string(&p, "x");
        buffer_put(&p, symbols[i].symbol, strlen(symbols[i].symbol));
        buffer_put(&p, OPS(")Ru."));
        write_pickle(&p);
        assert_refused(symbols[i].says, symbols[i].symbol);
    }
}

static void pickles_that_break_the_machine_are_refused(void **unused)
{
#define LIE(literal, says)                     \
    {                                          \
        (literal), sizeof(literal) - 1, (says) \
    }
    static const struct {
        const char *ops;
        size_t count;
        const char *says;
    } lies[] = {
        LIE("\x80\1}.", "protocol 1"),
        LIE("\x80\6}.", "protocol 6"),
        LIE(".", "not on its stack"),
        LIE("(.", "not on its stack"),
        LIE("N.", "no dictionary"),
        LIE(").", "no dictionary"),
        LIE("}}.", "left over"),
        LIE("}.}", "left over"),
        LIE("}..", "left over"),
        LIE("}.", "no tensors"),
        LIE("}0.", "instruction 30"),
        LIE("}\x94.", "instruction 94"),
        LIE("i", "instruction 69"),
        LIE("cposix", "does not stop"),
        LIE("cposix\nsystem", "does not stop"),
        LIE("X\xff\xff\xff\xff.", "does not stop"),
        LIE("\x8c\xff.", "does not stop"),
        LIE("\x8a\x09\1\2\3\4\5\6\7\x08\x09.", "integer of 9 bytes"),
        LIE("q\1.", "not on its stack"),
        LIE("(q\1.", "not on its stack"),
        LIE("}q\x7f.", "keeps a value as 127"),
        LIE("}r\xff\xff\xff\xff.", "keeps a value as 4294967295"),
        LIE("h\1.", "recalls value 1"),
        LIE("}q\3h\2.", "recalls value 2"),
        LIE("j\xff\xff\xff\xff.", "recalls value 4294967295"),
        LIE("\x85.", "not on its stack"),
        LIE("NN\x87.", "not on its stack"),
        LIE("N(N\x86.", "not on its stack"),
        LIE("NNt.", "mark in vain"),
        LIE("Na.", "not on its stack"),
        LIE("}Na.", "no list"),
        LIE("(NNe.", "not on its stack"),
        LIE("}(NNe.", "no list"),
        LIE("}Ns.", "not on its stack"),
        LIE("NNNs.", "no dictionary"),
        LIE("}(Nu.", "key without value"),
        LIE("](NNu.", "no dictionary"),
        LIE("}NNu.", "mark in vain"),
        LIE("NNb.", "no dictionary"),
        LIE("]Nb.", "no dictionary"),
        LIE("NQ.", "no storage"),
        LIE(")Q.", "no storage"),
        LIE("(NNNNNtQ.", "no storage"),
        LIE("(X\7\0\0\0storagectorch\nTensor\nX\1\0\0\0000X\1\0\0\0cK\1tQ.", "no storage"),
        LIE("(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0000X\1\0\0\0cJ\xff\xff\xff\xfftQ.",
            "no storage"),
        LIE("N)R.", "misuses 'REDUCE'"),
        LIE("ccollections\nOrderedDict\nNR.", "misuses 'REDUCE'"),
        LIE("ccollections\nOrderedDict\nN\x85R.", "misuses 'OrderedDict'"),
        LIE("ctorch\nFloatStorage\n)R.", "misuses 'FloatStorage'"),
        LIE("ctorch\nTensor\n)R.", "misuses 'Tensor'"),
        LIE("ctorch._utils\n_rebuild_tensor_v2\n)R.", "misuses '_rebuild_tensor_v2'"),
        LIE("ctorch._utils\n_rebuild_tensor_v2\n(NNNNNNtR.", "misuses '_rebuild_tensor_v2'"),
        LIE("ctorch._utils\n_rebuild_parameter\n)R.", "misuses '_rebuild_parameter'"),
        LIE("ctorch._utils\n_rebuild_parameter\nNNN\x87R.", "misuses '_rebuild_parameter'"),
        LIE("ctorch._tensor\n_rebuild_from_type_v2\n)R.", "misuses '_rebuild_from_type_v2'"),
        LIE("ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._tensor\n_rebuild_from_type_v2\n"
            "ctorch\nTensor\n)NtR.",
            "misuses '_rebuild_from_type_v2'"),
    };
#undef LIE

    (void)unused;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        struct buffer p = buffer_of(1 << 10);
        buffer_put(&p, lies[i].ops, lies[i].count);
        write_pickle(&p);
        assert_refused(lies[i].says, lies[i].says);
    }
}

static void converted_files_are_refused_by_their_keys(void **unused)
{
    static const char *const keys[] = {"_strategy", "_version", "_rescale_layer", "_anything"};

    (void)unused;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        struct buffer p = pickle_begin();
        char says[40];
        put_window(&p, &plain);
        put_string(&p, keys[i]);
        buffer_put(&p, OPS("X\x09\0\0\0cuda fp16u."));
        write_pickle(&p);
        snprintf(says, sizeof says, "'%s'", keys[i]);
        assert_refused(says, keys[i]);
    }
}

static void put_many(struct buffer *p, const char *ops, size_t bytes, size_t times)
{
    for (size_t i = 0; i < times; i++)
        buffer_put(p, ops, bytes);
}

static void bombs_do_not_go_off(void **unused)
{
    enum { MANY = 1 << 20 };
    struct buffer p = buffer_of(1 << 24);

    (void)unused;
    put_many(&p, OPS("("), MANY);
    write_pickle(&p);
    assert_refused("does not stop", "a million marks");

    p = buffer_of(1 << 24);
    put_many(&p, OPS("("), MANY);
    put_many(&p, OPS("t"), MANY);
    buffer_put(&p, OPS("."));
    write_pickle(&p);
    assert_refused("no dictionary", "a million tuples, each in the next");

    p = buffer_of(1 << 24);
    put_many(&p, OPS("]"), MANY);
    put_many(&p, OPS("a"), MANY - 1);
    buffer_put(&p, OPS("."));
    write_pickle(&p);
    assert_refused("no dictionary", "a million lists, each in the next");

    /* Each tuple holds the one before twice: 2^100000 items, were they counted. */
    p = buffer_of(1 << 24);
    buffer_put(&p, OPS("}K\1)q\1"));
    put_many(&p, OPS("h\1\x86q\1"), 100000);
    buffer_put(&p, OPS("s."));
    write_pickle(&p);
    assert_refused("no tensors", "tuples that double");

    p = buffer_of(1 << 24);
    buffer_put(&p, OPS("]q\1h\1ah\1(h\1h\1h\1e."));
    write_pickle(&p);
    assert_refused("left over", "a list in itself");

    p = buffer_of(1 << 24);
    buffer_put(&p, OPS("}q\1(X\x0a\0\0\0state_dicth\1X\1\0\0\0xh\1u."));
    write_pickle(&p);
    assert_refused("no tensors", "a dictionary in itself");

    p = buffer_of(1 << 24);
    put_many(&p, OPS("}"), MANY + 1);
    write_pickle(&p);
    assert_refused("unfolds to more than 32 times its size", "a million dictionaries");

    p = buffer_of(1 << 24);
    put_many(&p, OPS("N"), MANY);
    buffer_put(&p, OPS("r\0\0\x10\0"
                       "j\0\0\x10\0"));
    write_pickle(&p);
    assert_refused("unfolds to more than 32 times its size", "a full stack and a sparse memo");

    p = buffer_of(1 << 24);
    put_many(&p, OPS("}"), PICKLE_BYTES_MAX + 1);
    write_pickle(&p);
    assert_refused("at most 8388608 are read", "a huge pickle");
}

static void shapes_and_strides_that_are_no_numbers_are_refused(void **unused)
{
    static const struct {
        const char *tuples, *says;
    } lies[] = {{"N\x85K\1\x85", "impossible shape"},
                {"K\1\x85N\x85", "negative stride"},
                {"K\1\x85K\1K\1\x86", "misuses '_rebuild_tensor_v2'"},
                {"NN", "misuses '_rebuild_tensor_v2'"}};

    (void)unused;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        struct buffer p = pickle_begin();
        put_string(&p, "a");
        buffer_put(&p, OPS("ctorch._utils\n_rebuild_tensor_v2\n("));
        put_storage(&p, "FloatStorage", "0", 16);
        put_integer(&p, 0);
        buffer_put(&p, lies[i].tuples, strlen(lies[i].tuples));
        buffer_put(&p, OPS("\x89NtRu."));
        write_pickle(&p);
        assert_refused(lies[i].says, lies[i].says);
    }
}

static void bare_pickles_are_refused_with_advice(void **unused)
{
    (void)unused;
    file_write(path, OPS("\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\2M\xe9\3."));
    assert_refused("load it and save it again", "before 1.6");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_and_subclasses_are_their_tensors),
        cmocka_unit_test(a_state_dict_inside_is_the_one_that_counts),
        cmocka_unit_test(values_that_are_no_tensors_are_left_out),
        cmocka_unit_test(a_pickle_cut_anywhere_is_refused),
        cmocka_unit_test(pickles_that_want_more_than_weights_are_refused_by_name),
        cmocka_unit_test(pickles_that_break_the_machine_are_refused),
        cmocka_unit_test(converted_files_are_refused_by_their_keys),
        cmocka_unit_test(bombs_do_not_go_off),
        cmocka_unit_test(shapes_and_strides_that_are_no_numbers_are_refused),
        cmocka_unit_test(bare_pickles_are_refused_with_advice),
    };

    fill_storages();
    return cmocka_run_group_tests(tests, make_path, drop_path);
}
