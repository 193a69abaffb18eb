#!/usr/bin/python3
"""Random models of every version, format, number type and naming: `riverrun model logits` against the numpy
reference in float64 on the same file, logits and every part of the state within 1e-4.

By day in one size; with --nightly in several, and over more tokens. Each case prints a table: the worst error of
the logits and of the state (relative to the largest entry of its part) for every number type of a row.
"""
import os
import random
import subprocess
import sys

import e2e

try:
    import numpy as np
except ImportError:
    print("skipped: no numpy")
    sys.exit(e2e.SKIPPED)

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.abspath(sys.argv[2] if len(sys.argv) > 2 else "."), "reference"))
try:
    import make_random_model as make
    import rwkv_reference as reference
except ImportError as why:
    print(f"skipped: no reference programs: {why}")
    sys.exit(e2e.SKIPPED)

WITHIN = 1e-4
PLAIN, QUANTISED = ("f32", "bf16", "f16"), ("q8_0", "q5_1", "q5_0", "q4_1", "q4_0")

# layers, channels, head size, vocabulary, channel mix. The second has one head, the third sizes that divide badly,
# the fourth is wide enough for several blocks of vocabulary and rows; the first is that of the day.
SIZES = ((2, 64, 32, 256, 128), (3, 64, 64, 256, 224), (5, 96, 8, 300, 160), (4, 256, 64, 1500, 896))

# The forms of version 5 that are told apart by three separate marks: gate, a decay per head or per channel, and the
# name of the bonus. Beside the two that were published.
FORMS_5 = {"5.1": "5.1", "5.2": "5.2", "5.1 faaaa": "5.1", "5.2 per head": "5.2", "5.2 per head, first": "5.2"}


def tensors_of(form, size, seed):
    """(version of the reference, tensors in BlinkDL's names)."""
    layers, channels, head, vocab, ffn = size
    version = FORMS_5.get(form, form)
    tensors = make.random_tensors(version, layers, channels, vocab, head, ffn, seed)
    for layer in range(layers):
        att = f"blocks.{layer}.att."
        if form == "5.1 faaaa":
            tensors[att + "time_faaaa"] = tensors.pop(att + "time_first")
        elif form == "5.2 per head":
            for name in ("time_decay", "time_faaaa"):
                tensors[att + name] = np.ascontiguousarray(tensors[att + name][:, 0])
        elif form == "5.2 per head, first":
            for name in ("time_decay", "time_faaaa"):
                tensors[att + name] = np.ascontiguousarray(tensors[att + name][:, 0])
            tensors[att + "time_first"] = tensors.pop(att + "time_faaaa")
    return version, tensors


def write(path, form, kind, dtype, size, seed):
    """Write the model; returns the path the reference shall read, which is the same but for one dialect that it takes
    for another."""
    layers, channels, head, vocab, ffn = size
    version, tensors = tensors_of(form, size, seed)
    tensors = {name: make.round_to(values, dtype) for name, values in tensors.items()}
    name, _, more = kind.partition(" ")
    if name == "gguf":
        make.write_gguf(path, tensors, dtype, version, layers, channels, head, ffn, vocab,
                        rescale=1 if more == "rescaled" else 0, gguf_version=2 if more == "2" else 3)
    elif name == "rwkv.cpp":
        make.write_rwkvcpp(path, tensors, dtype, version, layers, channels, head, vocab)
    elif name == "pth":
        make.write_pth(path, tensors, dtype, "always" if more == "zip64" else "auto", more != "dict")
    else:
        renamed = {"": lambda t: t, "hf": make.rename_hf, "fla": make.rename_fla, "web": make.rename_webrwkv}[more](tensors)
        make.write_safetensors(path, renamed, dtype)
        if more == "web" and version == "5.2":
            make.write_safetensors(path + ".reference", tensors, dtype)
            return path + ".reference"
    return path


def kinds_of(form):
    """(container and naming, number types) of all that a form can be written as."""
    yield "pth", PLAIN
    yield "pth zip64", ("bf16",)
    yield "pth dict", ("f32",)
    yield "safetensors", PLAIN
    if form in ("4", "5.1", "5.1 faaaa", "5.2", "5.2 per head", "6"):
        yield "safetensors hf", PLAIN
    if form in ("5.2", "6", "7"):
        yield "safetensors web", PLAIN
    if form == "7":
        yield "safetensors fla", PLAIN
    if form in ("6", "7"):
        yield "gguf", PLAIN + QUANTISED
        yield "gguf 2", ("f16",)
    if form == "6":
        yield "gguf rescaled", ("f16", "q8_0")
    if form in ("4", "5.1", "5.2", "6", "7"):
        yield "rwkv.cpp", ("f32", "f16") + QUANTISED


def parts_of(model, state):
    """The reference's state, part by part in the order of the file."""
    for layer in state:
        names = ("ffn_x", "att_x", "aa", "bb", "pp") if model.version == "4" else ("ffn_x", "att_x", "S")
        for name in names:
            yield name, layer[name].reshape(-1)


def errors(place, path, truth, tokens):
    """The worst errors of logits, and of the state's parts relative to their largest entry."""
    out, out_state = place.path("logits.f32"), place.path("state.f32")
    done = subprocess.run([place.riverrun, "model", "logits", path, "--tokens",
                           ",".join(map(str, tokens)), "-o", out, "--state", out_state],
                          capture_output=True, text=True, check=False)
    e2e.check(done.returncode == 0, f"status {done.returncode}: {done.stderr.strip()}")
    model = reference.Model(truth, dtype=np.float64)
    want, state = reference.run(model, tokens, mode="seq")
    got, at, worst = np.fromfile(out, "<f4"), 0, 0.0
    e2e.check(got.shape == want.shape, f"{got.size} logits, not {want.size}")
    flat = np.fromfile(out_state, "<f4")
    for name, part in parts_of(model, state):
        e2e.check(flat.size >= at + part.size, f"the state ends in {name}")
        worst = max(worst, float(np.abs(flat[at:at + part.size] - part).max() / np.abs(part).max()))
        at += part.size
    e2e.check(at == flat.size, f"{flat.size} floats of state, not {at}")
    e2e.check(want.std() > 0.1, f"the logits are all alike: {want.std():.3g}")
    return float(np.abs(got - want).max()), worst


def compare(place, forms):
    rng, rows, count = random.Random(place.seed), {}, 0
    for form in forms:
        for kind, dtypes in kinds_of(form):
            for dtype in dtypes:
                for size in SIZES if place.nightly else SIZES[:1]:
                    seed = rng.randrange(1 << 30)
                    tokens = [rng.randrange(size[3]) for _ in range(48 if place.nightly else 16)]
                    path = place.path("model.bin")
                    try:
                        truth = write(path, form, kind, dtype, size, seed)
                        logits, state = errors(place, path, truth, tokens)
                    except e2e.Failed as why:
                        raise e2e.Failed(f"version {form}, {kind}, {dtype}, size {size}, seed {seed}: {why}") from why
                    old = rows.setdefault((form, kind), {}).get(dtype, (0, 0))
                    rows[form, kind][dtype] = (max(old[0], logits), max(old[1], state))
                    count += 1
    print("    worst |difference| of logits / of the state, relative to its part's largest entry")
    for (form, kind), cells in rows.items():
        print(f"    {form:20} {kind:16} " + "  ".join(f"{d} {l:.1e}/{s:.1e}" for d, (l, s) in cells.items()))
    for (form, kind), cells in rows.items():
        for dtype, (logits, state) in cells.items():
            e2e.check(logits <= WITHIN and state <= WITHIN,
                      f"version {form}, {kind}, {dtype}: logits {logits:.3g}, state {state:.3g}, allowed {WITHIN}")
    worst = [max(cell[i] for cells in rows.values() for cell in cells.values()) for i in (0, 1)]
    return f"{count} models, worst {worst[0]:.2e} / {worst[1]:.2e}"


def version_4_agrees_with_the_reference(place):
    return compare(place, ["4"])


def version_5_agrees_with_the_reference_in_all_its_forms(place):
    return compare(place, FORMS_5)


def version_6_agrees_with_the_reference(place):
    return compare(place, ["6"])


def version_7_agrees_with_the_reference(place):
    return compare(place, ["7"])


if __name__ == "__main__":
    sys.exit(e2e.main([version_4_agrees_with_the_reference, version_5_agrees_with_the_reference_in_all_its_forms,
                       version_6_agrees_with_the_reference, version_7_agrees_with_the_reference]))
