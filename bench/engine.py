#!/usr/bin/python3
"""engine.py: bench_engine over models of the usual shapes, with random weights, and a plot.

    bench/engine.py BUILD OUT [--shapes 0.1B,0.4B,1.5B,v4] [--threads 1,N] [--weights f32,bf16,int8]

Models are made in memory (/dev/shm, up to 3 GB each) and removed. OUT gets engine.csv, a row a case with its shape in
front, and engine.svg, the share of the limit by case."""
import argparse
import csv
import os
import subprocess
import sys
import tempfile

SHAPES = {
    "0.1B": ["--version", "7", "--layers", "12", "--channels", "768", "--ffn", "3072", "--rank", "64,64,32,128"],
    "0.4B": ["--version", "7", "--layers", "24", "--channels", "1024", "--ffn", "4096", "--rank", "64,64,32,128"],
    "1.5B": ["--version", "7", "--layers", "24", "--channels", "2048", "--ffn", "8192", "--rank", "96,96,64,256"],
    "v4": ["--version", "4", "--layers", "12", "--channels", "768", "--ffn", "3072"],
}
COLOURS = {"f32": "#4477aa", "bf16": "#228833", "int8": "#cc6677"}


def measure(build, shape, threads, weights):
    """Rows of one shape."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        model = os.path.join(folder, "model.safetensors")
        vocab = "50277" if shape == "v4" else "65536"
        subprocess.run([os.path.join(build, "tests/make_nano"), *SHAPES[shape], "--head", "64", "--vocab", vocab,
                        "--dtype", "BF16", "-o", model], check=True)
        for count in threads:
            text = []
            with subprocess.Popen([os.path.join(build, "bench/bench_engine"), model, str(count), *weights],
                                  stdout=subprocess.PIPE, text=True) as bench:
                for line in bench.stdout:
                    print(shape, line, end="", file=sys.stderr)
                    text.append(line)
            if bench.returncode:
                sys.exit(f"bench_engine ended with {bench.returncode}")
            for row in csv.DictReader(line for line in text if not line.startswith("#")):
                yield {"shape": shape, **row}


def plot(rows, path):
    """A bar a row, groups by shape and threads; the limit is the whole width."""
    height, left, wide = 16, 330, 500
    lines = []
    for i, row in enumerate(rows):
        y, share = 30 + i * height, min(1.0, float(row["share"]))
        what = (f'{row["shape"]} {row["threads"]} thr {row["weights"]} {row["case"]} '
                f'{row["streams"]}x{row["tokens"]}{" loss" if row["loss"] == "1" else ""}')
        lines.append(f'<text x="{left - 6}" y="{y + 11}" text-anchor="end">{what}</text>'
                     f'<rect x="{left}" y="{y}" width="{share * wide:.1f}" height="{height - 3}" '
                     f'fill="{COLOURS[row["weights"]]}"/>'
                     f'<text x="{left + share * wide + 4:.1f}" y="{y + 11}">{100 * float(row["share"]):.0f} % '
                     f'({float(row["tokens_per_s"]):.0f}/s)</text>')
    lines += [f'<line x1="{left + wide * part / 4}" x2="{left + wide * part / 4}" y1="24" y2="{30 + len(rows) * height}" '
              f'stroke="#999" stroke-dasharray="2"/>' for part in range(5)]
    with open(path, "w", encoding="utf-8") as file:
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="960" height="{40 + len(rows) * height}" '
                   'font-family="sans-serif" font-size="11"><text x="6" y="16">share of this machine\'s limit: '
                   'multiply-adds, for single: reading memory</text>' + "\n".join(lines) + "</svg>\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("out")
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--threads", default=f"1,{len(os.sched_getaffinity(0))}")
    parser.add_argument("--weights", default="f32,bf16,int8")
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    threads = sorted({int(count) for count in args.threads.split(",")})
    rows = [row for shape in args.shapes.split(",")
            for row in measure(args.build, shape, threads, args.weights.split(","))]
    with open(os.path.join(args.out, "engine.csv"), "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    plot(rows, os.path.join(args.out, "engine.svg"))


if __name__ == "__main__":
    main()
