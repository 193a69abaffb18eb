#!/usr/bin/python3
"""riverrun model info, logits: what is told of a file is true, or one line says why not."""
import json
import math
import os
import struct
import subprocess
import sys

import e2e_world
from e2e_world import DONE, FULL, INPUT, MODEL, SINK, SOURCE, USAGE, check_line, get, put

LAYERS, CHANNELS, VOCAB = 2, 32, 256  # of the nano models
STATE_FLOATS = {4: LAYERS * 5 * CHANNELS, 7: LAYERS * (2 + 16) * CHANNELS}


def logits(world, model, tokens, *more):
    """(logits, state) as bytes."""
    out, state = world.path("logits.f32"), world.path("state.f32")
    result = world.call(["model", "logits", model, "--tokens", tokens, "-o", out, "--state", state, *more])
    assert result.status == DONE, result.stderr
    return get(out), get(state)


def nano(world, version):
    return world.model if version == 7 else world.model.replace("nano.", "nano4.")


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
    for name in ("nano.safetensors", "nano4.safetensors", "nano_tiles.safetensors"):
        path = os.path.join(os.path.dirname(world.model), name)
        header, told = header_of(path), info(world, path)
        values = {name: math.prod(entry["shape"]) for name, entry in header.items()}
        unused = sum(values.get(f"blocks.0.att.v{i}", 0) for i in range(3))
        vocab, channels = header["emb.weight"]["shape"]
        layers = len([name for name in header if name.endswith(".ln1.weight")])
        version = "4.0" if "4" in name else "7.0"
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
        heads = channels // told["head_size"] if version == "7.0" else 0
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
    check_line(world.call(["model", "info"]), USAGE, ["one model file"])
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
    for version in (4, 7):
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
    refused(SOURCE, ["nothing.bin"], world.path("nothing.bin"), *good)
    refused(MODEL, [__file__], __file__, *good)
    refused(INPUT, ["token 256", "256"], world.model, "--tokens", "3,256", "-o", out)
    for text in ("-1", "1.5", "99999999999999999999", "4294967296", "", ","):
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


if __name__ == "__main__":
    sys.exit(e2e_world.main(globals()))
