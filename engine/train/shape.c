#include "engine/train/shape.h"

#include <stdio.h>

/* Sizes by letter: C channels, F channel mix, V vocabulary, s head size, w a v g the low ranks; 0 is a vector of C. */
struct plan {
    const char *name;
    char rows, columns;
};

static const struct plan layer_plans[LAYER_TENSORS] = {
    [LN1] = {"ln1.weight", 0, 'C'},
    [LN1_BIAS] = {"ln1.bias", 0, 'C'},
    [LN2] = {"ln2.weight", 0, 'C'},
    [LN2_BIAS] = {"ln2.bias", 0, 'C'},
    [X_R] = {"att.x_r", 0, 'C'},
    [X_W] = {"att.x_w", 0, 'C'},
    [X_K] = {"att.x_k", 0, 'C'},
    [X_V] = {"att.x_v", 0, 'C'},
    [X_A] = {"att.x_a", 0, 'C'},
    [X_G] = {"att.x_g", 0, 'C'},
    [W0] = {"att.w0", 0, 'C'},
    [A0] = {"att.a0", 0, 'C'},
    [V0] = {"att.v0", 0, 'C'},
    [K_K] = {"att.k_k", 0, 'C'},
    [K_A] = {"att.k_a", 0, 'C'},
    [R_K] = {"att.r_k", 0, 'C'},
    [LN_X] = {"att.ln_x.weight", 0, 'C'},
    [LN_X_BIAS] = {"att.ln_x.bias", 0, 'C'},
    [FFN_X_K] = {"ffn.x_k", 0, 'C'},
    [W1] = {"att.w1", 'w', 'C'},
    [W2] = {"att.w2", 'C', 'w'},
    [A1] = {"att.a1", 'a', 'C'},
    [A2] = {"att.a2", 'C', 'a'},
    [V1] = {"att.v1", 'v', 'C'},
    [V2] = {"att.v2", 'C', 'v'},
    [G1] = {"att.g1", 'g', 'C'},
    [G2] = {"att.g2", 'C', 'g'},
    [RECEPTANCE] = {"att.receptance.weight", 'C', 'C'},
    [KEY] = {"att.key.weight", 'C', 'C'},
    [VALUE] = {"att.value.weight", 'C', 'C'},
    [OUTPUT] = {"att.output.weight", 'C', 'C'},
    [FFN_KEY] = {"ffn.key.weight", 'F', 'C'},
    [FFN_VALUE] = {"ffn.value.weight", 'C', 'F'},
    [TIME_STATE] = {"att.time_state", 'C', 's'},
};

static const struct plan global_plans[GLOBAL_TENSORS] = {
    [EMB] = {"emb.weight", 'V', 'C'},           [LN0] = {"blocks.0.ln0.weight", 0, 'C'},
    [LN0_BIAS] = {"blocks.0.ln0.bias", 0, 'C'}, [LN_OUT] = {"ln_out.weight", 0, 'C'},
    [LN_OUT_BIAS] = {"ln_out.bias", 0, 'C'},    [HEAD] = {"head.weight", 'V', 'C'},
};

static uint32_t size_of(const struct net_shape *shape, char letter)
{
    switch (letter) {
    case 'C':
        return shape->channels;
    case 'F':
        return shape->ffn;
    case 'V':
        return shape->vocab;
    case 's':
        return shape->head_size;
    case 'w':
        return shape->rank_w;
    case 'a':
        return shape->rank_a;
    case 'v':
        return shape->rank_v;
    case 'g':
        return shape->rank_g;
    default:
        return 1;
    }
}

static size_t plan_values(const struct net_shape *shape, const struct plan *plan)
{
    return (size_t)size_of(shape, plan->rows) * size_of(shape, plan->columns);
}

/* Or not among its layer's: states stand behind all others. */
static bool is_absent(uint32_t layer, int which)
{
    return which == TIME_STATE || (layer == 0 && (which == V0 || which == V1 || which == V2));
}

enum err_code net_shape_check(const struct net_shape *shape, struct err *err)
{
    const struct {
        const char *name;
        uint32_t value, multiple, most;
    } sizes[] = {{"layers", shape->layers, 1, NET_LAYERS_MAX},
                 {"channels", shape->channels, NET_MULTIPLE, NET_CHANNELS_MAX},
                 {"head size", shape->head_size, NET_MULTIPLE, NET_HEAD_MAX},
                 {"ffn", shape->ffn, NET_MULTIPLE, NET_FFN_MAX},
                 {"vocabulary", shape->vocab, NET_MULTIPLE, NET_VOCAB_MAX},
                 {"rank of w", shape->rank_w, NET_MULTIPLE, NET_RANK_MAX},
                 {"rank of a", shape->rank_a, NET_MULTIPLE, NET_RANK_MAX},
                 {"rank of v", shape->rank_v, NET_MULTIPLE, NET_RANK_MAX},
                 {"rank of g", shape->rank_g, NET_MULTIPLE, NET_RANK_MAX}};

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (!sizes[i].value || sizes[i].value % sizes[i].multiple || sizes[i].value > sizes[i].most)
            return err_set(err, ERR_USAGE, 0,
                           "a model's %s is a multiple of %u from %u to %u, not %u", sizes[i].name,
                           sizes[i].multiple, sizes[i].multiple, sizes[i].most, sizes[i].value);
    if (shape->channels % shape->head_size)
        return err_set(err, ERR_USAGE, 0, "heads of %u do not divide %u channels", shape->head_size,
                       shape->channels);
    return ERR_OK;
}

void net_layout(const struct net_shape *shape, struct layout *layout)
{
    layout->count = 0;
    for (int i = 0; i < GLOBAL_TENSORS; i++) {
        layout->global[i] = layout->count;
        layout->count += plan_values(shape, &global_plans[i]);
    }
    for (uint32_t layer = 0; layer < shape->layers; layer++)
        for (int i = 0; i < LAYER_TENSORS; i++) {
            layout->layer[layer][i] = is_absent(layer, i) ? (size_t)NET_ABSENT : layout->count;
            if (!is_absent(layer, i))
                layout->count += plan_values(shape, &layer_plans[i]);
        }
    layout->states = layout->count;
    for (uint32_t layer = 0; shape->time_state && layer < shape->layers; layer++) {
        layout->layer[layer][TIME_STATE] = layout->count;
        layout->count += plan_values(shape, &layer_plans[TIME_STATE]);
    }
}

/* The index-th tensor that a layer has, over all layers. */
static bool layer_tensor(const struct net_shape *shape, size_t index, struct net_tensor *tensor)
{
    for (uint32_t layer = 0; layer < shape->layers; layer++)
        for (int which = 0; which < LAYER_TENSORS; which++)
            if (!is_absent(layer, which) && index-- == 0) {
                tensor->layer = layer;
                tensor->which = which;
                return true;
            }
    tensor->layer = (uint32_t)index;
    tensor->which = TIME_STATE;
    return shape->time_state && index < shape->layers;
}

bool net_tensor(const struct net_shape *shape, const struct layout *layout, size_t index,
                struct net_tensor *tensor)
{
    const struct plan *plan;

    *tensor = (struct net_tensor){.is_layer = index >= GLOBAL_TENSORS, .which = (int)index};
    if (tensor->is_layer) {
        if (!layer_tensor(shape, index - GLOBAL_TENSORS, tensor))
            return false;
        plan = &layer_plans[tensor->which];
        tensor->first = layout->layer[tensor->layer][tensor->which];
        snprintf(tensor->name, sizeof tensor->name, "blocks.%u.%s", tensor->layer, plan->name);
        tensor->fast = tensor->which == W0;
        tensor->low_rank = tensor->which >= W1 && tensor->which <= G2;
    } else {
        plan = &global_plans[index];
        tensor->first = layout->global[index];
        snprintf(tensor->name, sizeof tensor->name, "%s", plan->name);
    }
    tensor->matrix = plan->rows != 0;
    tensor->decay = tensor->matrix && !tensor->low_rank && plan != &layer_plans[TIME_STATE];
    tensor->rows = size_of(shape, plan->rows);
    tensor->columns = size_of(shape, plan->columns);
    return true;
}

uint64_t net_parameters(const struct net_shape *shape)
{
    struct layout layout;

    net_layout(shape, &layout);
    return layout.count;
}
