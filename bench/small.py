"""The recipe of the default model: /usr/bin/python3 bench/small.py RIVERRUN DATA WORK [--steps N] [--finish N]

RIVERRUN is the program, DATA the folder with the training corpus (books-en.txt.xz and so on, documents.tsv),
WORK a folder of some 2 GB for texts and trainings. Made documents (made.py), which teach recall, then three runs of the
program: a vocabulary, a trunk at a constant learning rate, and a finish that takes the rate down from where the trunk
stands. Each goes on where it was when the
same command is given again. A constant rate makes the first N steps of a trunk the same whatever --steps is, so one trunk
gives models at many lengths of training, which a single schedule does not.

Documents whose licence does not allow a release under plain terms (loghub: research use) are left out.
"""
import argparse
import csv
import lzma
import os
import subprocess
import sys

# What a step sees: English prose most, the languages with few books twice, logs and technical text (which repeat
# themselves) less, and of made text as much as of logs and technical text together. A Chinese byte costs three times
# the tokens of an English one.
WEIGHTS = {"english": 1.0, "western": 2.0, "eastern": 0.4, "tech": 0.6, "logs": 0.6}
VOCABULARY = {"english": 1.0, "western": 2.0, "eastern": 0.5, "tech": 0.4, "logs": 0.5}
MADE = {"made-logs": 0.6, "made-lines": 0.25}
# made.py's kind, MiB and seed
MAKE = {"made-logs": ("logs", "24", "2"), "made-lines": ("lines", "12", "7")}
SHAPE = ["--layers", "6", "--channels", "256", "--head-size", "64"]
WINDOW = ["--streams", "16", "--window", "256", "--parts", "2"]
TRUNK_SPAN, FINISH_SPAN = "32", "64"  # KiB of a document in one piece: many documents first, longer ones at last


def kind_of(row):
    if row["file"] == "books-multi.txt.xz":
        return "eastern" if row["note"][:2] in ("ru", "zh", "ja") else "western"
    return {"books-en.txt.xz": "english", "tech.txt.xz": "tech", "logs.txt.xz": "logs"}.get(row["file"])


def texts(data, work):
    """Unpack the corpus into a file of each kind, documents separated by NUL."""
    with open(os.path.join(data, "documents.tsv"), encoding="utf-8", newline="") as f:
        rows = [row for row in csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE)
                if kind_of(row) and not row["licence"].startswith("loghub")]
    unpacked = {name: lzma.open(os.path.join(data, name)).read()
                for name in {row["file"] for row in rows} | {"valid.txt.xz"}}
    parts = {kind: [] for kind in WEIGHTS}
    for row in rows:
        begin = int(row["offset"])
        parts[kind_of(row)].append(unpacked[row["file"]][begin:begin + int(row["bytes"])])
    for kind, documents in parts.items():
        with open(os.path.join(work, kind + ".txt"), "wb") as f:
            f.write(b"\0".join(documents))
    with open(os.path.join(work, "valid.txt"), "wb") as f:
        f.write(unpacked["valid.txt.xz"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("riverrun")
    parser.add_argument("data")
    parser.add_argument("work")
    parser.add_argument("--steps", type=int, default=2943, help="of the trunk")
    parser.add_argument("--finish", type=int, default=1500, help="steps that take the rate down")
    parser.add_argument("--name", default="riverrun-small")
    o = parser.parse_args()
    os.makedirs(o.work, exist_ok=True)
    if not os.path.exists(os.path.join(o.work, "valid.txt")):
        texts(o.data, o.work)
    for name, (kind, mib, seed) in MAKE.items():
        to = os.path.join(o.work, name + ".txt")
        if not os.path.exists(to):
            made = os.path.join(os.path.dirname(os.path.abspath(__file__)), "made.py")
            of = [os.path.join(o.work, f"{text}.txt") for text in ("english", "tech", "logs")]
            subprocess.run([sys.executable, made, kind, *of, "-o", to, "--mib", mib, "--seed", seed], check=True)
    def texts_of(weights):
        return [f"{os.path.join(o.work, kind)}.txt:{weight}" for kind, weight in weights.items()]

    mixture = texts_of(WEIGHTS | MADE)
    vocabulary = os.path.join(o.work, "vocab-4096.txt")
    trunk = os.path.join(o.work, "trunk.safetensors")
    result = os.path.join(o.work, o.name + ".safetensors")

    def run(*args):
        print("+", o.riverrun, *args, flush=True)
        subprocess.run([o.riverrun, *args], check=True)

    held_out = ["--held-out", os.path.join(o.work, "valid.txt")]
    if not os.path.exists(vocabulary):
        run("vocab", "learn", *texts_of(VOCABULARY), "-o", vocabulary, "--size", "4096", "--sample-mib", "0")
    if not os.path.exists(result + ".training"):
        run("train", *mixture, "-o", trunk, "--vocab", vocabulary, *SHAPE, *WINDOW, *held_out, "--span-kib", TRUNK_SPAN,
            "--seed", "7", "--steps", str(o.steps), "--rate", "1e-3", "--rate-last", "1e-3", "--warm-up", "200")
    run("train", *mixture, "-o", result, "--model", trunk, *WINDOW, *held_out, "--span-kib", FINISH_SPAN, "--seed", "8",
        "--steps", str(o.finish), "--rate", "1.5e-3", "--rate-last", "2e-5", "--warm-up", "50")


if __name__ == "__main__":
    main()
