#!/usr/bin/python3
"""Tensors as the container readers give them against the reference's own reader, bit for bit, and one
container against another: the same random model must give the same tensors and the same fingerprint."""
import os
import re
import subprocess
import sys
import tempfile

import numpy as np

BUILD, SHARED = sys.argv[1], sys.argv[2]
REFERENCE = os.path.join(SHARED, "reference")
VERSIONS = ("4", "5.1", "5.2", "6", "7")


def shown(path, folder):
    """The tensors of a file by name, what show_tensors wrote, and what it said of the model."""
    out = os.path.join(folder, "tensors")
    done = subprocess.run([os.path.join(BUILD, "tests/show_tensors"), path, out], capture_output=True, text=True)
    assert done.returncode == 0, (path, done.stdout, done.stderr)
    with open(out, "rb") as f:
        data = f.read()
    tensors, at = {}, 0
    while at < len(data):
        end = data.index(b"\n", at)
        name, dtype, *shape = data[at:end].decode().split()
        shape = [int(n) for n in shape]
        count = int(np.prod(shape))
        tensors[name] = (dtype, np.frombuffer(data, "<f4", count, end + 1).reshape(shape))
        at = end + 1 + 4 * count
    return tensors, data, done.stdout.strip()


def make(folder, name, *options):
    import make_random_model
    path = os.path.join(folder, name)
    sys.argv = ["make_random_model.py", "--layers", "2", "--embd", "64", "--vocab", "256", "--head-size", "32",
                "--ffn", "128", "-o", path, *options]
    make_random_model.main()
    return path


def same_bits(ours, theirs):
    """Axes of length 1 do not count."""
    return ours.squeeze().shape == theirs.squeeze().shape and ours.tobytes() == np.ascontiguousarray(theirs, "<f4").tobytes()


def check_against_reference(R, path, folder):
    """Low-rank matrices are turned and time_maa_w2 is cut by the names' rules; all others are as in the file."""
    ours, _, said = shown(path, folder)
    theirs, info = R.read_pth(path)
    names = {"FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16"}
    plain = 0
    for name, values in theirs.items():
        if name.endswith(".time_maa_w2"):
            continue
        dtype, found = ours[name]
        assert dtype == names[info["types"][name]], (path, name)
        assert same_bits(found, values) or same_bits(found, values.T), (path, name)
        plain += same_bits(found, values)
    return plain, len(theirs), said


def test_a_real_file_is_read_whole_and_its_model_refused(R, folder):
    path = os.path.join(SHARED, "models/reverse-L2-rwkv7.pth")
    plain, count, said = check_against_reference(R, path, folder)
    assert plain == count == 99, (plain, count)
    assert "reverse-L2-rwkv7.pth'" in said and "'e.weight'" in said, said


def test_fixtures_are_read_as_the_reference_reads_them(R, folder):
    for version in VERSIONS:
        path = os.path.join(SHARED, "models/fixtures/v%s-bf16-pth.pth" % version)
        plain, count, _ = check_against_reference(R, path, folder)
        assert plain > 0.7 * count, (version, plain, count)


def test_a_model_is_the_same_in_any_zip_and_in_safetensors(R, folder):
    del R
    for version in VERSIONS:
        for dtype in ("f32", "bf16", "f16"):
            model = ("--version", version, "--dtype", dtype, "--seed", "5")
            want = shown(make(folder, "m.safetensors", *model, "--format", "safetensors"), folder)
            assert re.fullmatch("[0-9a-f]{32}", want[2]), want[2]
            for how in ((), ("--zip64", "always"), ("--plain-dict",)):
                found = shown(make(folder, "m.pth", *model, "--format", "pth", *how), folder)
                assert found[1] == want[1], (version, dtype, how)
                assert found[2].replace("m.pth", "m.safetensors") == want[2], (found[2], want[2])


def main():
    if not os.path.isdir(REFERENCE):
        print("skipped: %s is not there" % REFERENCE)
        return 77
    sys.path.insert(0, REFERENCE)
    import rwkv_reference as R
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            with tempfile.TemporaryDirectory(prefix="riverrun-containers-") as folder:
                test(R, folder)
            print("passed: %s" % name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
