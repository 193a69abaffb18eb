#!/usr/bin/python3
"""Models and vocabularies that are damaged, lie, or do not belong; other settings than at the start;
command lines that are wrong."""
import io
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import zipfile

import e2e_world
from e2e_world import (DONE, MISMATCH, MODEL, SOURCE, USAGE, check_line, fixture, get, put,
                       records, text)


def make_model(world, name, *options):
    path = world.path(name)
    subprocess.run([os.path.join(world.build, "tests/make_nano"), "-o", path, *options], check=True)
    return path


def refused_and_put_right(world, bad_models, words):
    """Each bad model is named; the same command with a good file in its place then finishes."""
    data = text(20000)
    put(world.source, data)
    good, world.model = get(world.model), world.path("model.safetensors")
    for bad in bad_models:
        put(world.model, bad)
        world.refused(MODEL, [world.model] + words, keep=[world.model])
        assert not os.path.exists(world.output)
    put(world.model, good)
    assert world.finish() == world.undisturbed(data)


def test_truncated_model_is_named(world):
    model = get(world.model)
    header = 8 + int.from_bytes(model[:8], "little")
    refused_and_put_right(world, [model[:n] for n in (0, 1, 7, 8, 9, header // 2, header - 1, header,
                                                      header + 1, len(model) // 2, len(model) - 1)], [])


def with_header(model, change):
    """The model with its header changed by change(dict), data as it is."""
    length = int.from_bytes(model[:8], "little")
    header = json.loads(model[8:8 + length])
    change(header)
    packed = json.dumps(header).encode()
    return len(packed).to_bytes(8, "little") + packed + model[8 + length:]


def test_model_whose_header_lies_is_named(world):
    model = get(world.model)
    emb = "emb.weight"

    def shape(*values):
        return lambda h: h[emb].update(shape=list(values))

    def offsets(begin, end):
        return lambda h: h[emb].update(data_offsets=[begin, end])
    lies = [shape(512, 32), shape(256, 33), shape(2**40, 2**40), shape(-1, 32), shape(),
            offsets(0, 2**50), offsets(10**6, 10**6 + 32768), offsets(32768, 0), offsets(1, 32769),
            lambda h: h[emb].update(dtype="F64"), lambda h: h[emb].update(dtype="F16"),
            lambda h: h.pop(emb), lambda h: h.pop("blocks.1.att.w0", None) or h.pop("ln_out.bias"),
            lambda h: h.clear()]
    refused_and_put_right(world, [with_header(model, lie) for lie in lies], [])
    world.out = world.path("out-length")
    refused_and_put_right(world, [(2**60).to_bytes(8, "little") + model[8:],
                                  model[:8] + b"[" + model[9:], b"ggmf" + model[4:],
                                  b"\0" * len(model)], [])


def pth_of(pickle):
    """A PyTorch file of that pickle, as any zip program writes it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as z:
        z.writestr("archive/data.pkl", pickle)
        z.writestr("archive/version", "3\n")
    return packed.getvalue()


def test_pth_that_wants_to_run_code_is_named_and_runs_nothing(world):
    mark = world.path("mark")
    command = b"touch " + mark.encode()
    attack = b"\x80\x02cposix\nsystem\nX" + len(command).to_bytes(4, "little") + command + b"\x85R."
    refused_and_put_right(world, [pth_of(attack)], ["'posix system'", "refused"])
    assert not os.path.exists(mark), "the attack came through"


def with_tensor(model, name, number):
    """The model with every number of a tensor (F32) set."""
    length = int.from_bytes(model[:8], "little")
    begin, end = json.loads(model[8:8 + length])[name]["data_offsets"]
    at = 8 + length + begin
    return model[:at] + number * ((end - begin) // 4) + model[at + end - begin:]


def test_weights_that_are_no_numbers_are_named(world):
    refused_and_put_right(world, [with_tensor(get(world.model), "blocks.0.ln0.weight", number)
                                  for number in (b"\0\0\xc0\x7f", b"\0\0\x80\x7f")],
                          ["blocks.0.ln0.weight", "not finite"])


def test_a_loss_that_is_no_number_ends_the_stream(world):
    """Each weight is a number, and their products are not. The third fault at one place is the last."""
    data = text(20000)
    put(world.source, data)
    good, world.model = get(world.model), world.path("model.safetensors")
    put(world.model, with_tensor(good, "head.weight", b"\0\0\x7f\x7f"))
    for _ in range(3):
        world.refused(MODEL, [world.model, "byte 0", "not a finite number"])
    for _ in range(2):
        world.refused(MODEL, ["byte 0", "not a finite number", "3 times", "--restart"])
    put(world.model, good)
    world.refused(MODEL, ["3 times", "--restart"])
    assert world.finish("--restart") == world.undisturbed(data)


def test_missing_model_is_named(world):
    put(world.source, text(1000))
    for path in (world.path("no.bin"), world.path("in"), world.source + "/no.bin"):
        world.refused(SOURCE, ["model", path], model=path)
        assert not os.path.exists(world.out), "a refused job left a folder"


def test_the_model_that_comes_with_the_program(world):
    """Without --model it is the one beside the program, or beside its folder; where there is none a line says so."""
    data = text(3000)
    put(world.source, data)
    want = world.undisturbed(data)
    program, built = world.path("bin/riverrun"), world.place.riverrun
    os.makedirs(os.path.dirname(program))
    shutil.copy(built, program)
    read = ["read", world.source, "-o", world.out, "--name", "text", *world.options, "--quiet"]
    world.place.riverrun = program
    try:
        check_line(world.call(read), USAGE, ["riverrun-small.safetensors", "--model"])
        assert not os.path.exists(world.out), "a refused job left a folder"
        for share in ("bin/share", "share"):
            beside = world.path(share, "riverrun/riverrun-small.safetensors")
            put(beside, get(world.model))
            assert world.call(read).status == DONE
            assert get(world.output) == want
            by_name = world.call(["model", "info", "riverrun-small", "--json"])
            assert by_name.status == DONE, by_name.stderr
            assert os.path.samefile(json.loads(by_name.stdout)["file"], beside), by_name.stdout
            shutil.rmtree(world.out)
            os.unlink(beside)
    finally:
        world.place.riverrun = built


# ---- Not what it was begun with ----

def test_another_model_is_refused_or_accepted(world):
    data, want = fixture(world)
    other = make_model(world, "other.safetensors", "--seed", "7")
    for _ in range(4):
        world.refused(MISMATCH, ["model", "--restart", "--accept-model"], model=other)
    kept = world.path("kept")
    shutil.copytree(world.out, kept, ignore=shutil.ignore_patterns("control"))
    assert world.finish() == want
    world.out = kept
    before = world.status()
    head = get(world.output).split(b"\n")[:before["records"]]
    world.finish("--accept-model", model=other)
    lines = records(world.output)
    lineage = [r for r in lines if r["kind"] == "lineage"]
    assert len(lineage) == 1 and lineage[0]["seq"] == before["records"], lineage
    assert "model" in str(lineage[0]), lineage
    assert get(world.output).split(b"\n")[:before["records"]] == head
    assert [r["seq"] for r in lines] == list(range(len(lines)))
    units = [r for r in lines if r["kind"] in ("paragraph", "line")]
    assert [u["begin"] for u in units] == [0] + [u["end"] for u in units[:-1]]
    validate(world, world.output)
    world.refused(MISMATCH, ["model"])
    assert world.finish(model=other) == get(world.output)


def validate(world, path):
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "validate_records.py")
    done = subprocess.run(["/usr/bin/python3", script, path], capture_output=True)
    assert done.returncode in (0, 77), done.stdout.decode()


def test_accepted_change_survives_a_crash_at_its_commit(world):
    data, _ = fixture(world)
    other = make_model(world, "other.safetensors", "--seed", "7")
    start = world.path("start")
    shutil.move(world.out, start)
    want = None
    for step in (None, "encode_commit:1", "encode_committed:1", "encode_record:1", "emit_cut:1",
                 "emit_sidecar_renamed:1", "encode_committed:2", "encode_record:40"):
        world.out = world.path(f"out-{step}")
        shutil.copytree(start, world.out, ignore=shutil.ignore_patterns("control"))
        if step:
            result = world.read("--accept-model", model=other, steps=True, crash=step)
            assert result.status == -9, f"{step}: {result.status} {result.stderr}"
        got = world.finish("--accept-model", model=other)
        want = want or got
        assert got == want, step


def test_accepting_one_change_accepts_no_other(world):
    fixture(world)
    other = make_model(world, "other.safetensors", "--seed", "7")
    world.refused(MISMATCH, ["--unit"], "--accept-model", "--unit", "line", model=other)
    world.refused(MISMATCH, ["arithmetic"], "--accept-model", "--blas", "openblas", model=other)
    world.refused(MISMATCH, ["--normalize"], "--accept-model", "--accept-arithmetic", "--normalize",
                  "nfc", model=other)


def test_a_model_of_another_shape_is_never_accepted(world):
    _, want = fixture(world)
    for name, options in (("wide", ["--channels", "64"]), ("deep", ["--layers", "3"]),
                          ("more", ["--vocab", "300"]), ("four", ["--version", "4"])):
        other = make_model(world, name, *options)
        for _ in range(2):
            world.refused(MISMATCH, ["--restart"] if name != "more" else ["300", "--vocab"],
                          "--accept-model", model=other)
    assert world.finish() == want


def test_changes_that_wait_for_their_record_are_both_told(world):
    """The second model comes before the first one's lineage record is durable."""
    fixture(world)
    models = [make_model(world, f"model-{n}", "--seed", str(n)) for n in (7, 8)]
    result = world.read("--accept-model", model=models[0], steps=True, crash="encode_committed:1")
    assert result.status == -9
    world.finish("--accept-model", model=models[1])
    (lineage,) = [r for r in records(world.output) if r["kind"] == "lineage"]
    assert str(lineage).count("model: ") == 2, lineage


def state_of(world, name, seed, layers=2, extra=None):
    """An initial state for the nano model, as a file of its own: (path, header, data)."""
    model = get(world.model)
    shapes = json.loads(model[8:8 + int.from_bytes(model[:8], "little")])
    heads, size = shapes["blocks.0.att.r_k"]["shape"][-2:]
    rng, header, data = random.Random(seed), {}, b""
    for layer in range(layers):
        values = struct.pack(f"<{heads * size * size}f", *[rng.uniform(-1, 1) for _ in range(heads * size * size)])
        header[f"blocks.{layer}.att.time_state"] = {"dtype": "F32", "shape": [heads, size, size],
                                                    "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    if extra:
        header[extra] = {"dtype": "F32", "shape": [1], "data_offsets": [len(data), len(data) + 4]}
        data += bytes(4)
    put(world.path(name), packed(header, data))
    return world.path(name), header, data


def packed(header, data):
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def with_state(model, header, data):
    """The state inside of the model's file."""
    length = int.from_bytes(model[:8], "little")
    both, own = json.loads(model[8:8 + length]), model[8 + length:]
    for name, entry in header.items():
        both[name] = {**entry, "data_offsets": [len(own) + at for at in entry["data_offsets"]]}
    return packed(both, own + data)


def test_another_initial_state_is_refused_by_name(world):
    first, header, data = state_of(world, "first", 1)
    second, _, _ = state_of(world, "second", 2)
    _, plain = fixture(world)
    for _ in range(2):
        world.refused(MISMATCH, ["initial state none, now ", "--restart", "--accept-model"], "--initial-state", first)
    assert world.finish() == plain
    world.out = world.path("with")
    source, want = fixture(world, options=("--initial-state", first))
    assert want != plain, "the state changes nothing"
    world.refused(MISMATCH, ["begun with initial state ", "now none"])
    world.refused(MISMATCH, ["begun with initial state "], "--initial-state", second)
    inside = world.path("inside.safetensors")
    put(inside, with_state(get(world.model), header, data))
    world.refused(MISMATCH, ["begun with model "], model=make_model(world, "other.safetensors", "--seed", "7"))
    assert world.finish(model=inside) == want, "a state in the model's file is not the same state"
    world.out = world.path("replaced")
    want = world.undisturbed(source, "--initial-state", second)
    assert world.finish("--initial-state", second, model=inside) == want, "the file's own state was not replaced"


def test_what_is_no_initial_state_is_named(world):
    put(world.source, text(2000))
    short, long = state_of(world, "short", 1, layers=1)[0], state_of(world, "long", 1, layers=3)[0]
    other = state_of(world, "other", 1, extra="blocks.0.att.w0")[0]
    cut = world.path("cut")
    put(cut, get(short)[:-1])
    for path, words in ((short, ["1 layers"]), (long, ["3 layers"]), (other, ["no initial state", "blocks.0.att.w0"]), (cut, []),
                        (world.model, ["no initial state"])):
        world.refused(MODEL, [path] + words, "--initial-state", path)
    world.refused(SOURCE, ["/nowhere"], "--initial-state", "/nowhere")
    four = make_model(world, "four", "--version", "4")
    world.refused(MODEL, [four, "time_state"], "--initial-state", state_of(world, "state", 1)[0], model=four)


def test_a_finished_stream_has_nothing_to_accept(world):
    put(world.source, text(20000))
    want = world.finish()
    other = make_model(world, "other.safetensors", "--seed", "7")
    world.refused(MISMATCH, ["--accept-model"], model=other)
    assert world.finish("--accept-model", model=other) == want


def test_other_settings_are_refused(world):
    data, want = fixture(world)
    for more, words in ((["--unit", "line"], ["--unit", "paragraph", "line"]),
                        (["--normalize", "nfc"], ["--normalize", "none", "nfc"]),
                        (["--analyze", "none"], ["--analyze", "surprise", "none"]),
                        (["--weights", "bf16"], ["arithmetic", "f32-1", "bf16-1", "--accept-arithmetic"]),
                        (["--blas", "openblas"], ["arithmetic", "--accept-arithmetic"])):
        world.refused(MISMATCH, words + ["--restart"], *more)
        world.refused(MISMATCH, words + ["--restart"], *more)
    assert world.finish() == want
    world.refused(MISMATCH, ["--unit", "--restart"], "--unit", "line")
    world.out = world.path("lines")
    lines = world.finish("--unit", "line", "--alerts-per-1000", "2.5")
    world.refused(MISMATCH, ["--alerts-per-1000", "2.5", "1"], "--unit", "line")
    world.refused(MISMATCH, ["--analyze", "surprise,novelty", "novelty"], "--unit", "line", "--analyze", "novelty")
    assert world.finish("--unit", "line", "--analyze", "summary,novelty,surprise", "--alerts-per-1000", "2.5") == lines
    world.out = world.path("out")
    assert world.finish("--blas", "ref") == want, "the same arithmetic by another implementation"


def test_auto_goes_on_in_the_weights_it_was_begun_with(world):
    """Given once: what auto would be on this machine decides nothing about what was begun."""
    world.model = os.path.join(world.build, "tests/nano_wide.safetensors")
    put(world.source, text(20000))
    whole = {}
    for weights in ("f32", "bf16", "int8"):
        whole[weights] = world.finish("--restart", "--weights", weights)
    assert len(set(map(str, whole.values()))) == 3, "narrow weights changed nothing"
    for weights in ("f32", "bf16", "int8"):
        data, want = fixture(world, options=("--restart", "--weights", weights))
        assert world.finish() == want == world.finish("--weights", weights)


def vocabulary(world, name, words):
    lines = [f"{i + 1} {chr(i) if i < 128 else bytes([i])!r} 1" for i in range(256)]
    lines += [f"{257 + i} {word!r} {len(word)}" for i, word in enumerate(words)]
    put(world.path(name), ("\n".join(lines) + "\n").encode())
    return world.path(name)


def test_another_vocabulary_is_refused(world):
    first = vocabulary(world, "first.txt", ["the", "an", "  "])
    other = vocabulary(world, "other.txt", ["the", "on", "  "])
    world.model = make_model(world, "model.safetensors", "--vocab", "300")
    data, want = fixture(world, options=("--vocab", first))
    world.refused(MISMATCH, ["vocabulary", "--restart"], "--vocab", other)
    world.refused(MISMATCH, ["vocab"])
    assert world.finish("--vocab", first) == want


def test_vocabulary_that_does_not_fit_the_model_is_refused(world):
    data = text(20000)
    put(world.source, data)
    large = vocabulary(world, "large.txt", ["the", "an"])
    world.refused(MISMATCH, ["256", "--vocab"], "--vocab", large)
    many = make_model(world, "many.safetensors", "--vocab", "300")
    world.refused(MISMATCH, ["300", "--vocab"], model=many)
    assert not os.path.exists(world.output)
    assert world.finish() == world.undisturbed(data)


def test_damaged_vocabulary_is_named(world):
    put(world.source, text(20000))
    good = get(vocabulary(world, "good.txt", ["the"]))
    path = world.path("bad.txt")
    for bad in (b"", good[:1000], good[:-3], b"\0" * 100, good + b"258 'x\n", good.replace(b"9 ", b"x ")):
        put(path, bad)
        result = world.read("--vocab", path)
        check_line(result, result.status, [path])
        assert result.status not in (DONE, e2e_world.SYSTEM)
    world.refused(SOURCE, [world.path("no.txt")], "--vocab", world.path("no.txt"))
    world.refused(SOURCE, [world.path("."), "Is a directory", "a file"], "--vocab", world.path("."))


# ---- Command lines ----

def test_wrong_command_lines_say_what_is_wrong(world):
    put(world.source, text(1000))
    put(world.path("in/second.txt"), text(1000))
    read = ["read", world.source, "-o", world.out]
    model = ["--model", world.model]
    made = {"state", ".riverrun"}  # by `-o ''`, once
    before = made & set(os.listdir("/"))
    for arguments, words in (
            ([], ["riverrun help"]), (["raed"], ["raed", "riverrun help"]),
            (["read"], ["something to read"]), (read + ["--model"], ["--model", "FILE"]),
            (read + model + ["--no-such"], ["--no-such", "--help"]),
            (read + model + ["-z"], ["-z"]),
            (read + model + ["--unit", "word"], ["--unit", "word", "paragraph"]),
            (read + model + ["--analyze", "surprise,mood"], ["--analyze", "surprise,mood", "none"]),
            (read + model + ["--analyze", "surprise,novelty"], ["novelty", "--unit line"]),
            (read + model + ["--unit", "line", "--analyze", "summary"], ["--analyze summary", "novelty"]),
            (["show", "any", "--sentences", "5"], ["--sentences", "--summary"]),
            (read + model + ["--unit", "line", "--alerts-per-1000", "1001"], ["--alerts-per-1000", "1001"]),
            (read + model + ["--analyze", ""], ["--analyze", "none"]),
            (read + model + ["--analyze", "surprise,"], ["--analyze", "none"]),
            (read + model + ["--threads", "many"], ["--threads", "many"]),
            (read + model + ["--threads", "-1"], ["--threads", "-1"]),
            (read + model + ["--checkpoint-seconds", "0"], ["--checkpoint-seconds"]),
            (read + model + ["--checkpoint-every", "1x"], ["--checkpoint-every", "1x"]),
            (read + model + ["--quiet=yes"], ["--quiet"]),
            (read + model + ["--blas", "atlas"], ["atlas", "onednn"]),
            (read + model + ["--isa", "sse"], ["sse", "avx2"]),
            (read + model + ["--name", "a", world.path("in/second.txt")], ["--name", "single"]),
            (["read", world.source, "-o", ""] + model, ["--output ''", "DIR"]),
            (read + model + ["--store="], ["--store ''", "DIR"]),
            (["verify", "-o", ""], ["--output ''"]), (["status", "--store", ""], ["--store ''"]),
            (["train", world.source, "-o", ""], ["--output ''", "MODEL"]),
            (["eval", world.source, "--plot", ""] + model, ["--plot ''", "OUT.svg"]),
            (read + model + ["--name", "a/b"], ["--name", "a/b"]),
            (read + model + ["--name", ""], ["--name"]),
            (["read", world.path("in"), "--name", "a"] + model, ["--name", "single"]),
            (["status", "x"], ["x"]), (["pause"], ["--all"]), (["resume", "--all", "x"], ["--all"]),
            (["stage"], ["stage"]), (["stage", "emti"], ["emti", "emit"]),
            (["stage", "emit"], ["--connect"]), (["stage", "encode", "--connect", "ipc://a",
                                                 "--listen", "ipc://b"], ["--model"])):
        check_line(world.call(arguments), USAGE, words)
    assert not os.path.exists(world.out) and made & set(os.listdir("/")) == before, "something was made in the root"


def test_help_documents_every_status(world):
    shown = world.call(["help"])
    assert shown.status == DONE
    for status in (DONE, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19):
        assert f"\n  {status:<3d} " in shown.stdout, status


if __name__ == "__main__":
    sys.exit(e2e_world.main(globals()))
