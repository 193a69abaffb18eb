#!/usr/bin/python3
"""riverrun model info, convert, logits: what is told of a file is true, or one line says why not."""
import contextlib
import json
import math
import os
import struct
import subprocess
import sys

import e2e
import e2e_world
from e2e_world import DONE, FULL, INPUT, LIMIT, MODEL, SINK, SOURCE, USAGE, check_line, get, put

LAYERS, CHANNELS, VOCAB = 2, 32, 256  # of the nano models
STATE_FLOATS = {4: LAYERS * 5 * CHANNELS, 7: LAYERS * (2 + 16) * CHANNELS}


def logits(world, model, tokens, *more):
    """(logits, state) as bytes."""
    out, state = world.path("logits.f32"), world.path("state.f32")
    result = world.call(["model", "logits", model, "--tokens", tokens, "-o", out, "--state", state, *more])
    assert result.status == DONE, result.stderr
    return get(out), get(state)


def nano(world, version):
    return world.model if version == 7 else world.model.replace("nano.", f"nano{version}.")


def header_of(path):
    """Of a safetensors file, read without our code."""
    data = get(path)
    header = json.loads(data[8:8 + int.from_bytes(data[:8], "little")])
    header.pop("__metadata__", None)
    return header


def info(world, model):
    result = world.call(["model", "info", model, "--json"])
    assert result.status == DONE, result.stderr
    return json.loads(result.stdout)


# ---- info ----

def test_info_tells_what_the_header_says(world):
    for name, version in (("nano", "7.0"), ("nano4", "4.0"), ("nano51", "5.1"), ("nano51g", "5.2"),
                          ("nano_tiles", "7.0")):
        path = os.path.join(os.path.dirname(world.model), name + ".safetensors")
        header, told = header_of(path), info(world, path)
        values = {name: math.prod(entry["shape"]) for name, entry in header.items()}
        unused = sum(values.get(f"blocks.0.att.v{i}", 0) for i in range(3))
        vocab, channels = header["emb.weight"]["shape"]
        layers = len([name for name in header if name.endswith(".ln1.weight")])
        want = {"file": path, "version": version, "container": "safetensors", "file_bytes": os.path.getsize(path),
                "tensors": len(header), "parameters": sum(values.values()) - unused, "vocab": vocab,
                "channels": channels, "layers": layers, "ffn_channels": header["blocks.0.ffn.key.weight"]["shape"][0],
                "trained_state": False, "tokenizer": "bytes" if vocab == 256 else None,
                "flops_head": 2 * vocab * channels}
        assert {key: told[key] for key in want} == want, (told, want)
        for one in told["dtypes"]:
            names = [name for name, entry in header.items() if entry["dtype"] == one["dtype"]]
            assert one == {"dtype": one["dtype"], "tensors": len(names), "values": sum(values[name] for name in names),
                           "bytes": sum(values[name] for name in names) * (4 if one["dtype"] == "F32" else 2)}
        assert sum(one["tensors"] for one in told["dtypes"]) == len(header)
        heads = channels // told["head_size"] if version != "4.0" else 0
        assert told["heads"] == heads
        state = layers * (5 * channels if version == "4.0" else 2 * channels + channels * told["head_size"])
        assert told["state_bytes"] == 4 * state and told["saved_state_bytes"] == 4 * (state + channels)
        assert (told["gn_eps"] is None) == (version == "4.0")


def test_info_for_people_names_the_same_figures(world):
    told, result = info(world, world.model), world.call(["model", "info", world.model])
    assert result.status == DONE
    for word in ("RWKV-7", "safetensors", told["fingerprint"], str(told["parameters"]), "tokenizer: bytes"):
        assert word in result.stdout, word


def test_another_weight_gives_another_fingerprint(world):
    data = bytearray(get(world.model))
    data[-1] ^= 1
    put(world.path("other.safetensors"), bytes(data))
    assert info(world, world.path("other.safetensors"))["fingerprint"] != info(world, world.model)["fingerprint"]
    put(world.path("same.safetensors"), get(world.model))
    assert info(world, world.path("same.safetensors"))["fingerprint"] == info(world, world.model)["fingerprint"]


def test_info_is_refused_with_one_line(world):
    check_line(world.call(["model", "info", "a", "b"]), USAGE, ["one model file"])
    check_line(world.call(["model", "info", "a", "b"]), USAGE, ["one model file"])
    check_line(world.call(["model", "info", world.path("none")]), SOURCE, ["none"])
    check_line(world.call(["model", "info", world.folder]), SOURCE, [world.folder])
    check_line(world.call(["model", "info", __file__]), MODEL, ["not a model"])
    check_line(world.call(["model", "describe", world.model]), USAGE, ["describe"])


# ---- logits ----

def test_logits_and_state_have_the_sizes_of_the_spec(world):
    for version, floats in STATE_FLOATS.items():
        values, state = logits(world, nano(world, version), "0,1,2")
        assert len(values) == 4 * VOCAB and len(state) == 4 * floats, (version, len(state))


def test_logits_agree_with_the_reference_program(world):
    program = world.place.of_shared("reference/rwkv_reference.py")
    for version in (4, "51", "51g", 6, 7):
        tokens = "0,72,101,108,108,111"
        ours = world.path("logits.f32")
        theirs = world.path("theirs.f32")
        logits(world, nano(world, version), tokens)
        subprocess.run([sys.executable, "-B", program, nano(world, version), "--tokens", tokens, "--dtype", "f64",
                        "--all-logits", theirs], check=True, capture_output=True)
        want = struct.unpack(f"<{VOCAB}f", get(theirs)[-4 * VOCAB:])
        got = struct.unpack(f"<{VOCAB}f", get(ours))
        worst = max(abs(a - b) for a, b in zip(got, want))
        print(f"    version {version}: {worst:.2g}")
        assert worst < 1e-4, (version, worst)


def test_tokens_come_from_a_list_or_a_file_with_anything_between(world):
    numbers = [i * 7 % VOCAB for i in range(3000)]
    want = logits(world, world.model, ",".join(map(str, numbers)))
    for text in ("\n".join(map(str, numbers)), str(numbers), "ids: " + "\t".join(map(str, numbers)) + "..."):
        put(world.path("ids"), text.encode())
        assert logits(world, world.model, "@" + world.path("ids")) == want


def test_every_way_to_compute_them_gives_the_same_bits(world):
    want = logits(world, world.model, "1,2,3,4,5")
    for more in (["--isa", "ref", "--blas", "ref"], ["--threads", "2"], ["--block", "2", "--blas", "own"]):
        assert logits(world, world.model, "1,2,3,4,5", *more) == want, more


def test_another_epsilon_gives_other_numbers(world):
    assert logits(world, world.model, "1,2", "--gn-eps", "0.01") != logits(world, world.model, "1,2")


def test_logits_are_refused_with_one_line(world):
    out = world.path("out.f32")

    def refused(status, words, *arguments):
        check_line(world.call(["model", "logits", *arguments]), status, words)
        assert not os.path.exists(out)
    good = ["--tokens", "1", "-o", out]
    refused(USAGE, ["one model file"], *good)
    refused(USAGE, ["tokens"], world.model, "-o", out)
    refused(USAGE, ["output"], world.model, "--tokens", "1")
    refused(USAGE, ["--state", out], world.model, *good, "--state", out)
    refused(SOURCE, ["nothing.bin"], world.path("nothing.bin"), *good)
    refused(MODEL, [__file__], __file__, *good)
    refused(INPUT, ["token 256", "256"], world.model, "--tokens", "3,256", "-o", out)
    for text in ("-1", "1.5", "0x41", "1e3", "99999999999999999999", "4294967296", "", ","):
        refused(USAGE, ["--tokens"], world.model, "--tokens", text, "-o", out)
    refused(SOURCE, ["nothing.ids"], world.model, "--tokens", "@" + world.path("nothing.ids"), "-o", out)
    refused(USAGE, ["group norm"], nano(world, 4), *good, "--gn-eps", "1e-5")
    refused(SINK, ["folder/out.f32"], world.model, "--tokens", "1", "-o", world.path("no/folder/out.f32"))
    refused(SINK, [world.folder], world.model, "--tokens", "1", "-o", world.folder)


def test_a_full_disk_leaves_the_old_file(world):
    out = world.path("out.f32")
    put(out, b"old")
    arguments = ["model", "logits", world.model, "--tokens", "1", "-o", out]
    check_line(world.call(arguments, file_bytes=1023), FULL, [out, "make room"])
    assert get(out) == b"old" and sorted(os.listdir(world.folder)) == ["out.f32"]
    assert world.call(arguments).status == DONE and len(get(out)) == 4 * VOCAB


def test_a_device_is_written_as_it_comes(world):
    check_line(world.call(["model", "logits", world.model, "--tokens", "1", "-o", "/dev/full"]), FULL, ["/dev/full"])
    assert not os.path.isfile("/dev/full")


# ---- convert ----

TOKENS = ",".join(str(i * 37 % 251) for i in range(40))


def converted(world, model, dtype, name="converted.safetensors"):
    """(path, what was said)"""
    out = world.path(name)
    result = world.call(["model", "convert", model, "-o", out, "--dtype", dtype])
    assert result.status == DONE, result.stderr
    return out, result.stdout


def values_of(data):
    return struct.unpack(f"<{len(data) // 4}f", data)


def model_files(world):
    """One of each version and container that is here and opens."""
    folders = [os.path.dirname(world.model), os.path.join(world.place.shared, "models"),
               os.path.join(world.place.shared, "models/fixtures")]
    for folder in folders:
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            path = os.path.join(folder, name)
            if name.endswith((".safetensors", ".bin", ".pth", ".gguf")) and not name.startswith("expected"):
                yield path


def test_converted_to_f32_a_model_gives_the_same_logits_and_state_bit_for_bit(world):
    """Of every file that opens; and what was converted is converted again."""
    seen = set()
    for path in model_files(world):
        told = world.call(["model", "info", path, "--json"])
        if told.status == MODEL and ("not supported yet" in told.stderr or "no RWKV model: it has" in told.stderr):
            continue
        assert told.status == DONE, told.stderr
        told = json.loads(told.stdout)
        out, said = converted(world, path, "f32")
        header = header_of(out)
        assert header["emb.weight"]["shape"] == [told["vocab"], told["channels"]]
        assert all(entry["dtype"] == "F32" for entry in header.values())
        after = info(world, out)
        same = ("version", "parameters", "layers", "channels", "heads", "head_size", "ffn_channels", "vocab", "gn_eps",
                "state_bytes", "trained_state", "flops_per_token", "flops_head")
        assert {key: after[key] for key in same} == {key: told[key] for key in same}, path
        want, got = logits(world, path, TOKENS), logits(world, out, TOKENS)
        assert got == want, (path, said)
        again, _ = converted(world, out, "f32", "again.safetensors")
        assert logits(world, again, TOKENS) == want, path
        seen.add((told["version"], told["container"]))
        print(f"    {os.path.basename(path)}: {said.splitlines()[-1]}")
    print(f"    {sorted(seen)}")
    assert len(seen) >= 2


def with_metadata(world, **metadata):
    """The nano model of version 4 with them in its header."""
    data = get(nano(world, 4))
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + length])
    header["__metadata__"] = {"format": "pt", **metadata}
    packed = json.dumps(header).encode()
    put(world.path("noted.safetensors"), len(packed).to_bytes(8, "little") + packed + data[8 + length:])
    return world.path("noted.safetensors")


def test_a_decay_that_the_metadata_note_is_taken_and_a_bad_note_refused(world):
    name = "blocks.1.att.time_decay_done"
    plain = logits(world, with_metadata(world), TOKENS)
    assert plain == logits(world, nano(world, 4), TOKENS)
    noted = with_metadata(world, **{name: "bf800000" * CHANNELS})
    assert logits(world, noted, TOKENS) != plain
    again, _ = converted(world, noted, "f32")
    assert logits(world, again, TOKENS) == logits(world, noted, TOKENS)
    for key, note in ((name, ""), (name, "bf800000"), (name, "bf80000g" * CHANNELS), (name, "7fc00000" * CHANNELS),
                      ("blocks.7.att.time_decay_done", "bf800000" * CHANNELS), ("gn_eps", "none"), ("gn_eps", "2")):
        check_line(world.call(["model", "info", with_metadata(world, **{key: note})]), MODEL, [key])


def test_a_safetensors_file_in_our_own_orientation_keeps_its_fingerprint(world):
    for version in (4, 7):
        out, _ = converted(world, nano(world, version), "f32")
        assert info(world, out)["fingerprint"] == info(world, nano(world, version))["fingerprint"]
        again, _ = converted(world, out, "f32", "again.safetensors")
        assert get(again) == get(out)


def test_the_reference_program_reads_what_was_written(world):
    program = world.place.of_shared("reference/rwkv_reference.py")
    for version in (4, 7):
        for dtype in ("f32", "bf16", "f16"):
            out, _ = converted(world, nano(world, version), dtype)
            subprocess.run([sys.executable, "-B", program, out, "--tokens", TOKENS, "--dtype", "f64", "--all-logits",
                            world.path("theirs.f32")], check=True, capture_output=True)
            want = values_of(get(world.path("theirs.f32"))[-4 * VOCAB:])
            got = values_of(logits(world, out, TOKENS)[0])
            assert max(abs(a - b) for a, b in zip(want, got)) < 1e-4, (version, dtype)


def test_matrices_get_the_type_and_vectors_stay_f32(world):
    source = header_of(world.model)
    for dtype in ("bf16", "f16"):
        out, _ = converted(world, world.model, dtype)
        for name, entry in header_of(out).items():
            matrix = len(entry["shape"]) == 2 and "r_k" not in name
            assert entry["dtype"] == (dtype.upper() if matrix else "F32"), (name, entry)
            assert entry["shape"] == source[name]["shape"]
    wide = values_of(logits(world, world.model, TOKENS)[0])
    near = values_of(logits(world, out, TOKENS)[0])
    assert 0 < max(abs(a - b) for a, b in zip(wide, near)) < 0.05


def changed(world, name, change):
    """The nano model with the floats of a tensor changed."""
    data = bytearray(get(world.model))
    begin, end = header_of(world.model)[name]["data_offsets"]
    begin, end = (8 + int.from_bytes(data[:8], "little") + at for at in (begin, end))
    floats = list(values_of(data[begin:end]))
    change(floats)
    data[begin:end] = struct.pack(f"<{len(floats)}f", *floats)
    put(world.path("changed.safetensors"), bytes(data))
    return world.path("changed.safetensors")


def test_weights_beyond_f16_are_counted_and_refused(world):
    def change(floats):
        floats[0], floats[1] = 70000, -1e9
    model = changed(world, "blocks.1.ffn.key.weight", change)
    out = world.path("out.safetensors")
    check_line(world.call(["model", "convert", model, "-o", out, "--dtype", "f16"]), LIMIT,
               ["2 values", "blocks.1.ffn.key.weight", "bf16"])
    assert not os.path.exists(out)
    converted(world, model, "bf16")


def test_weights_that_vanish_or_are_none_are_told(world):
    def change(floats):
        floats[0], floats[1], floats[2] = 1e-9, -1e-9, math.nan
    model = changed(world, "head.weight", change)
    out, said = converted(world, model, "f16")
    assert "2 weights are too small" in said and "1 weights are NaN" in said, said


def test_convert_is_refused_with_one_line(world):
    out = world.path("out.safetensors")

    def refused(status, words, *arguments):
        check_line(world.call(["model", "convert", *arguments]), status, words)
        assert not os.path.exists(out)
    refused(USAGE, ["one model file"], "-o", out)
    refused(USAGE, ["an output"], world.model)
    refused(USAGE, ["--dtype", "q4"], world.model, "-o", out, "--dtype", "q4")
    refused(SOURCE, ["none.bin"], world.path("none.bin"), "-o", out)
    refused(MODEL, ["not a model"], __file__, "-o", out)
    refused(SINK, ["no/folder"], world.model, "-o", world.path("no/folder/out"))
    refused(SINK, [world.folder], world.model, "-o", world.folder)
    refused(FULL, ["/dev/full"], world.model, "-o", "/dev/full")
    copy = world.path("copy.safetensors")
    put(copy, get(world.model))
    refused(USAGE, ["an input too", "another name"], copy, "-o", copy)
    assert get(copy) == get(world.model)


def test_a_shard_is_an_input_too(world):
    model, shard = world.path("model.safetensors.index.json"), world.path("shard.safetensors")
    converted(world, nano(world, 7), "f32", "shard.safetensors")
    names = [name for name in header_of(shard) if name != "__metadata__"]
    put(model, json.dumps({"weight_map": {name: "shard.safetensors" for name in names}}).encode())
    before, text = get(shard), world.path("text")
    put(text, b"some text to train with, and more of it. " * 100)
    assert info(world, model)["file_bytes"] == len(before) + os.path.getsize(model)
    train = ["--streams", "2", "--window", "32", "--steps", "1", "-q", "-o", shard]
    for command in (["model", "convert", model, "-o", shard], ["train", text, "--model", model, *train],
                    ["model", "logits", model, "--tokens", "1", "-o", world.path("x"), "--state", shard],
                    ["model", "logits", model, "--tokens", "1", "-o", shard], ["adapt", model, text, *train]):
        check_line(world.call(command), USAGE, [shard, "is an input too"])
        assert get(shard) == before, command


def test_a_full_disk_leaves_no_half_model(world):
    out, size = world.path("out.safetensors"), os.path.getsize(world.model)
    for limit in (1, 100, size // 2, size - 1):  # with 0 tsan itself is killed, before main
        check_line(world.call(["model", "convert", world.model, "-o", out], file_bytes=limit), FULL, [out])
        assert os.listdir(world.folder) == []
    put(out, b"old")
    check_line(world.call(["model", "convert", world.model, "-o", out], file_bytes=size // 2), FULL, [out])
    assert get(out) == b"old" and os.listdir(world.folder) == ["out.safetensors"]
    converted(world, world.model, "f32", "out.safetensors")
    assert info(world, out)["fingerprint"] == info(world, world.model)["fingerprint"]


def test_a_link_is_followed_and_stays(world):
    os.makedirs(world.path("folder"))
    put(world.path("folder/real"), b"old")
    os.symlink("folder/real", world.path("link"))
    converted(world, world.model, "f32", "link")
    assert os.path.islink(world.path("link")) and header_of(world.path("folder/real"))


def bytes_written(process):
    """Of the file without a name that it writes; None when the process has ended."""
    if process.poll() is not None:
        return None
    folder, sizes = f"/proc/{process.pid}/fd", [0]
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for name in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                link = os.readlink(os.path.join(folder, name))
                if link.endswith(" (deleted)") and "riverrun-e2e" in link:
                    sizes.append(os.stat(os.path.join(folder, name)).st_size)
    return max(sizes)


def test_killed_in_the_middle_the_name_holds_the_old_file_or_the_whole_new_one(world):
    model = world.path("large.safetensors")
    subprocess.run([os.path.join(world.build, "tests/make_nano"), "--channels", "256", "--layers", "4", "--vocab",
                    "16000", "-o", model], check=True)
    out = converted(world, model, "bf16", "out")[0]
    whole = get(out)
    halves = 0
    for tenth in range(0, 10, 2):
        put(out, b"old")
        process = world.place.start([world.place.riverrun, "model", "convert", model, "-o", out, "--dtype", "bf16"])

        def enough():
            written = bytes_written(process)
            return written is None or written > len(whole) * tenth // 10
        e2e.wait_for("enough is written", enough)
        world.place.kill(process)
        assert get(out) in (b"old", whole)
        halves += get(out) == b"old"
    print(f"    {halves} of 5 before the end")
    assert halves, "no kill came before the end"
    left = [name for name in os.listdir(world.folder) if name not in ("out", "large.safetensors")]
    assert all(name.endswith(".part") for name in left), left


if __name__ == "__main__":
    sys.exit(e2e_world.main(globals()))
