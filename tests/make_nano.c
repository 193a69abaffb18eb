/* tests/make_nano.c: writes a random but well scaled model, the same bytes for the same options.
 *
 * The numbers have the spread that trained models have, so that states neither die nor explode over
 * thousands of tokens. Only additions, multiplications and square roots are used, which round alike
 * everywhere. The file is safetensors with BlinkDL's names; the tensors are planned first and then
 * generated one value at a time, so a large model needs no memory. */
#include <getopt.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NAME_BYTES = 48, TENSORS_PER_LAYER = 40, GROWN = 40 };
enum dtype { F32, F16, BF16 };
/* V5_1G is the middle form: a gate, but one decay and one bonus a head. */
enum version { V4, V5_1, V5_1G, V5_2, V6, V7, VERSIONS };

static const char *const version_names[VERSIONS] = {"4", "5.1", "5.1g", "5.2", "6", "7"};

struct sizes {
    enum version version;
    unsigned layers, channels, head, vocab, ffn;
    unsigned ranks[4]; /* version 6: of the mixes, of the decay; 7: w, a, v, g */
    enum dtype dtype;
    int state, zeros;
    uint64_t seed;
    unsigned grow; /* version 7: nothing decays, the state grows for ever; larger: more slowly */
};

/* One tensor: mean + slope * (column / (columns - 1)) + deviation * normal, or uniform in 0..1. */
struct plan {
    char name[NAME_BYTES];
    unsigned rank;
    uint64_t shape[3];
    double mean, slope, deviation, first; /* first: added to column 0 */
    int uniform;
};

struct model {
    struct sizes sizes;
    struct plan *plans;
    size_t count;
};

static struct plan *add(struct model *m, const char *prefix, const char *name, unsigned rank,
                        uint64_t rows, uint64_t columns)
{
    struct plan *p = &m->plans[m->count++];

    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "%s%s", prefix, name);
    p->rank = rank;
    p->shape[0] = rank == 3 ? 1 : rank == 2 ? rows : columns;
    p->shape[1] = rank == 3 ? 1 : columns;
    p->shape[2] = columns;
    return p;
}

static void normal(struct plan *p, double mean, double deviation)
{
    p->mean = mean;
    p->deviation = deviation;
}

static void matrix(struct model *m, const char *prefix, const char *name, uint64_t rows,
                   uint64_t columns, double scale)
{
    normal(add(m, prefix, name, 2, rows, columns), 0, scale / sqrt((double)columns));
}

static void norm(struct model *m, const char *prefix, const char *name, double mean)
{
    char full[NAME_BYTES];

    snprintf(full, sizeof full, "%s.weight", name);
    normal(add(m, prefix, full, 1, 1, m->sizes.channels), mean, 0.1);
    snprintf(full, sizeof full, "%s.bias", name);
    normal(add(m, prefix, full, 1, 1, m->sizes.channels), 0, 0.1);
}

static void mixes(struct model *m, const char *prefix, const char *const *names)
{
    for (; *names; names++)
        add(m, prefix, *names, 3, 1, m->sizes.channels)->uniform = 1;
}

/* A pair of low-rank matrices, stored as x @ w1 @ w2, and the vector that is added. */
static void low_rank(struct model *m, const char *prefix, char letter, double mean, double slope)
{
    const struct sizes *s = &m->sizes;
    const unsigned rank = s->ranks[letter == 'w' ? 0 : letter == 'a' ? 1 : letter == 'v' ? 2 : 3];
    char name[4] = {letter, '0', 0};
    struct plan *p;

    if (letter != 'g') {
        p = add(m, prefix, name, 3, 1, s->channels);
        normal(p, mean, 0.3);
        p->slope = slope;
    }
    name[1] = '1';
    normal(add(m, prefix, name, 2, s->channels, rank), 0, 1 / sqrt(s->channels));
    name[1] = '2';
    normal(add(m, prefix, name, 2, rank, s->channels), 0, 0.7 / sqrt(rank));
}

static void layer7(struct model *m, const char *att, const char *ffn, int first)
{
    static const char *const names[] = {"x_r", "x_w", "x_k", "x_v", "x_a", "x_g", NULL};
    static const char *const ffn_names[] = {"x_k", NULL};
    const struct sizes *s = &m->sizes;

    mixes(m, att, names);
    low_rank(m, att, 'w', s->grow ? -30 : -5.5, s->grow ? 0 : 6);
    low_rank(m, att, 'a', s->grow ? -30 : -0.2, 0);
    if (!first)
        low_rank(m, att, 'v', 0.7, 0);
    low_rank(m, att, 'g', 0, 0);
    normal(add(m, att, "k_k", 3, 1, s->channels), 0.85, 0.1);
    normal(add(m, att, "k_a", 3, 1, s->channels), 1, 0.1);
    normal(add(m, att, "r_k", 2, s->channels / s->head, s->head), 0, 0.1);
    norm(m, att, "ln_x", s->grow ? GROWN : 0.8);
    mixes(m, ffn, ffn_names);
}

static void layer4(struct model *m, const char *att, const char *ffn)
{
    static const char *const names[] = {"time_mix_k", "time_mix_v", "time_mix_r", NULL};
    static const char *const ffn_names[] = {"time_mix_k", "time_mix_r", NULL};
    const struct sizes *s = &m->sizes;
    struct plan *p = add(m, att, "time_decay", 1, 1, s->channels);

    normal(p, -5, 0.05);
    p->slope = 8;
    normal(add(m, att, "time_first", 1, 1, s->channels), -1.2, 0.5);
    mixes(m, att, names);
    mixes(m, ffn, ffn_names);
    matrix(m, ffn, "receptance.weight", s->channels, s->channels, 1);
}

static void layer5(struct model *m, const char *att, const char *ffn)
{
    static const char *const names[] = {"time_mix_k", "time_mix_v", "time_mix_r", NULL};
    static const char *const ffn_names[] = {"time_mix_k", "time_mix_r", NULL};
    static const char *const gate[] = {"time_mix_g", NULL};
    const struct sizes *s = &m->sizes;
    const uint64_t heads = s->channels / s->head;
    struct plan *p;

    mixes(m, att, names);
    mixes(m, ffn, ffn_names);
    p = s->version == V5_2 ? add(m, att, "time_decay", 2, heads, s->head)
                           : add(m, att, "time_decay", 1, 1, heads);
    normal(p, -5, 0.3);
    p->slope = 4;
    if (s->version == V5_2)
        normal(add(m, att, "time_faaaa", 2, heads, s->head), 0, 0.4);
    else
        normal(add(m, att, "time_first", 1, 1, heads), -1, 0.5);
    if (s->version != V5_1) {
        mixes(m, att, gate);
        matrix(m, att, "gate.weight", s->channels, s->channels, 1);
    }
    norm(m, att, "ln_x", 0.8);
    matrix(m, ffn, "receptance.weight", s->channels, s->channels, 1);
}

static void layer6(struct model *m, const char *att, const char *ffn)
{
    static const char *const names[] = {"time_maa_x", "time_maa_w", "time_maa_k", "time_maa_v",
                                        "time_maa_r", "time_maa_g", NULL};
    static const char *const ffn_names[] = {"time_maa_k", "time_maa_r", NULL};
    const struct sizes *s = &m->sizes;
    struct plan *p;

    mixes(m, att, names);
    mixes(m, ffn, ffn_names);
    normal(add(m, att, "time_maa_w1", 2, s->channels, 5 * (uint64_t)s->ranks[0]), 0,
           0.5 / sqrt(s->channels));
    p = add(m, att, "time_maa_w2", 3, 1, s->channels);
    p->shape[0] = 5;
    p->shape[1] = s->ranks[0];
    normal(p, 0, 0.3 / sqrt(s->ranks[0]));
    p = add(m, att, "time_decay", 3, 1, s->channels);
    normal(p, -5, 0.3);
    p->slope = 4;
    normal(add(m, att, "time_decay_w1", 2, s->channels, s->ranks[1]), 0, 1 / sqrt(s->channels));
    normal(add(m, att, "time_decay_w2", 2, s->ranks[1], s->channels), 0, 0.7 / sqrt(s->ranks[1]));
    normal(add(m, att, "time_faaaa", 2, s->channels / s->head, s->head), 0, 0.4);
    matrix(m, att, "gate.weight", s->channels, s->channels, 1);
    norm(m, att, "ln_x", 0.8);
    matrix(m, ffn, "receptance.weight", s->channels, s->channels, 1);
}

static void layer(struct model *m, unsigned index)
{
    const struct sizes *s = &m->sizes;
    char block[20], att[28], ffn[28];

    snprintf(block, sizeof block, "blocks.%u.", index);
    snprintf(att, sizeof att, "%satt.", block);
    snprintf(ffn, sizeof ffn, "%sffn.", block);
    if (index == 0)
        norm(m, block, "ln0", 1);
    norm(m, block, "ln1", 1);
    norm(m, block, "ln2", 1);
    if (s->version == V7)
        layer7(m, att, ffn, index == 0);
    else if (s->version == V6)
        layer6(m, att, ffn);
    else if (s->version == V4)
        layer4(m, att, ffn);
    else
        layer5(m, att, ffn);
    if (s->state) {
        struct plan *p = add(m, att, "time_state", 3, 1, s->head);
        p->shape[0] = s->channels / s->head;
        p->shape[1] = s->head;
        normal(p, 0, 0.5);
    }
    matrix(m, att, "receptance.weight", s->channels, s->channels, 1);
    matrix(m, att, "key.weight", s->channels, s->channels, 1);
    matrix(m, att, "value.weight", s->channels, s->channels, s->grow ? 1.0 / s->grow : 1);
    matrix(m, att, "output.weight", s->channels, s->channels, 0.7);
    matrix(m, ffn, "key.weight", s->ffn, s->channels, 1);
    matrix(m, ffn, "value.weight", s->channels, s->ffn, 0.7);
}

/* ---- Numbers: splitmix64; a normal is twelve uniforms less six. ---- */

static uint64_t next_u64(uint64_t *seed)
{
    uint64_t z = *seed += 0x9E3779B97F4A7C15u;

    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static double next_uniform(uint64_t *seed)
{
    return (double)(next_u64(seed) >> 11) / 9007199254740992.0;
}

static double next_normal(uint64_t *seed)
{
    double sum = -6;

    for (int i = 0; i < 12; i++)
        sum += next_uniform(seed);
    return sum;
}

static uint16_t half_of(float value)
{
    uint32_t bits, sign, magnitude;

    memcpy(&bits, &value, sizeof bits);
    sign = bits >> 16 & 0x8000;
    magnitude = bits & 0x7FFFFFFF;
    if (magnitude < 0x38800000)
        return (uint16_t)(sign | (uint32_t)nearbyint(fabs((double)value) * 16777216.0));
    return (uint16_t)(sign | (magnitude - 0x38000000 + 0xFFF + (magnitude >> 13 & 1)) >> 13);
}

static size_t encode(uint8_t *at, float value, enum dtype dtype)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    if (dtype == F16)
        bits = half_of(value);
    else if (dtype == BF16)
        bits = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    for (size_t i = 0; i < 4; i++)
        at[i] = (uint8_t)(bits >> 8 * i);
    return dtype == F32 ? 4 : 2;
}

static uint64_t values_of(const struct plan *p)
{
    uint64_t values = 1;

    for (unsigned i = 0; i < p->rank; i++)
        values *= p->shape[i];
    return values;
}

static int write_values(FILE *file, const struct plan *p, uint64_t *seed, enum dtype dtype)
{
    uint64_t columns = p->shape[p->rank - 1];

    for (uint64_t i = 0; i < values_of(p); i++) {
        uint8_t bytes[4];
        double ramp = columns > 1 ? (double)(i % columns) / (double)(columns - 1) : 0;
        double value = p->uniform ? next_uniform(seed)
                                  : p->mean + p->slope * ramp + p->deviation * next_normal(seed);
        value += i % columns == 0 ? p->first : 0;
        size_t count = encode(bytes, (float)value, dtype);
        if (fwrite(bytes, 1, count, file) != count)
            return -1;
    }
    return 0;
}

static int write_header(FILE *file, const struct model *m)
{
    static const char *const names[] = {"F32", "F16", "BF16"};
    char *text = NULL;
    size_t bytes = 0;
    uint64_t offset = 0;
    uint8_t length[8];
    FILE *memory = open_memstream(&text, &bytes);
    int failed;

    if (!memory)
        return -1;
    for (size_t i = 0; i < m->count; i++) {
        const struct plan *p = &m->plans[i];
        uint64_t end = offset + values_of(p) * (m->sizes.dtype == F32 ? 4 : 2);
        fprintf(memory, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i ? "," : "{", p->name,
                names[m->sizes.dtype]);
        for (unsigned d = 0; d < p->rank; d++)
            fprintf(memory, "%s%llu", d ? "," : "", (unsigned long long)p->shape[d]);
        fprintf(memory, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)offset,
                (unsigned long long)end);
        offset = end;
    }
    fputc('}', memory);
    while (ftell(memory) % 8)
        fputc(' ', memory);
    failed = fclose(memory);
    for (size_t i = 0; i < 8; i++)
        length[i] = (uint8_t)((uint64_t)bytes >> 8 * i);
    failed = failed || fwrite(length, 1, 8, file) != 8 || fwrite(text, 1, bytes, file) != bytes;
    free(text);
    return failed ? -1 : 0;
}

/* All values 0, which takes no room on a disk: for the sizes of large models. */
static int write_hole(FILE *file, const struct model *m)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < m->count; i++)
        bytes += values_of(&m->plans[i]) * (m->sizes.dtype == F32 ? 4 : 2);
    return fflush(file) || ftruncate(fileno(file), ftell(file) + (off_t)bytes) ? -1 : 0;
}

static int write_model(struct model *m, const char *path)
{
    uint64_t seed = m->sizes.seed;
    FILE *file = fopen(path, "wb");
    int failed = 1;

    if (!file) {
        perror(path);
        return 1;
    }
    if (write_header(file, m) == 0) {
        failed = m->sizes.zeros ? write_hole(file, m) : 0;
        m->count = m->sizes.zeros ? 0 : m->count;
        for (size_t i = 0; i < m->count && !failed; i++)
            failed = write_values(file, &m->plans[i], &seed, m->sizes.dtype) != 0;
    }
    if (fclose(file) || failed) {
        perror(path);
        return 1;
    }
    return 0;
}

static int usage(void)
{
    fprintf(stderr,
            "usage: make_nano -o FILE [--version 4|5.1|5.1g|5.2|6|7] [--seed N] [--layers N]\n"
            "       [--channels N] [--head N] [--vocab N] [--rank N[,N..]] [--ffn N]\n"
            "       [--dtype F32|F16|BF16] [--state] [--zeros] [--grow N]\n");
    return 2;
}

static int dtype_of(const char *name)
{
    return !strcmp(name, "F16")    ? F16
           : !strcmp(name, "BF16") ? BF16
           : !strcmp(name, "F32")  ? F32
                                   : -1;
}

/* Those that are not there are as the one before. */
static void read_ranks(unsigned ranks[4], char *text)
{
    for (int i = 0; i < 4; i++)
        ranks[i] =
            i == 0 || *text == ',' ? (unsigned)strtoul(text + (i > 0), &text, 10) : ranks[i - 1];
}

static enum version version_of(const char *name)
{
    enum version version = V4;

    while (version < VERSIONS && strcmp(name, version_names[version]))
        version++;
    return version;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"version", 1, 0, 'v'},  {"seed", 1, 0, 's'},  {"layers", 1, 0, 'l'},
        {"channels", 1, 0, 'c'}, {"head", 1, 0, 'h'},  {"vocab", 1, 0, 'V'},
        {"rank", 1, 0, 'r'},     {"ffn", 1, 0, 'f'},   {"dtype", 1, 0, 'd'},
        {"output", 1, 0, 'o'},   {"state", 0, 0, 't'}, {"zeros", 0, 0, 'z'},
        {"grow", 1, 0, 'g'},     {0, 0, 0, 0}};
    struct model m = {.sizes = {.version = V7,
                                .layers = 2,
                                .channels = 32,
                                .head = 16,
                                .vocab = 256,
                                .ranks = {8, 8, 8, 8},
                                .dtype = F32,
                                .seed = 1}};
    struct sizes *s = &m.sizes;
    const char *path = NULL;
    char nothing[] = "";
    int letter, dtype = F32, status;

    while ((letter = getopt_long(argc, argv, "o:", options, NULL)) != -1) {
        char *text = optarg ? optarg : nothing;
        unsigned number;
        if (letter == '?')
            return usage();
        number = optarg ? (unsigned)strtoul(text, NULL, 10) : 1;
        switch (letter) {
        case 'v':
            s->version = version_of(text);
            break;
        case 't':
            s->state = 1;
            break;
        case 'z':
            s->zeros = 1;
            break;
        case 's':
            s->seed = strtoull(text, NULL, 10);
            break;
        case 'l':
            s->layers = number;
            break;
        case 'c':
            s->channels = number;
            break;
        case 'h':
            s->head = number;
            break;
        case 'V':
            s->vocab = number;
            break;
        case 'r':
            read_ranks(s->ranks, text);
            break;
        case 'f':
            s->ffn = number;
            break;
        case 'g':
            s->grow = number;
            break;
        case 'd':
            dtype = dtype_of(text);
            break;
        case 'o':
            path = text;
            break;
        default:
            return usage();
        }
    }
    if (!path || optind != argc || dtype < 0 || s->version == VERSIONS ||
        (s->version == V4 && s->state) || !s->layers || !s->channels || !s->head ||
        s->channels % s->head || !s->vocab || !s->ranks[0] || !s->ranks[1] || !s->ranks[2] ||
        !s->ranks[3])
        return usage();
    s->dtype = (enum dtype)dtype;
    s->ffn = s->ffn ? s->ffn : 4 * s->channels;
    m.plans = calloc((size_t)s->layers * TENSORS_PER_LAYER + 4, sizeof *m.plans);
    if (!m.plans)
        return 1;
    normal(add(&m, "", "emb.weight", 2, s->vocab, s->channels), 0, 0.3);
    /* What grows has a calm model to disturb: one large channel, which the head does not see. */
    m.plans[0].first = s->grow ? 10 : 0;
    for (unsigned i = 0; i < s->layers; i++)
        layer(&m, i);
    norm(&m, "", "ln_out", 1);
    m.plans[m.count - 2].first = s->grow ? -1 : 0;
    matrix(&m, "", "head.weight", s->vocab, s->channels, 2);
    status = write_model(&m, path);
    free(m.plans);
    return status;
}
