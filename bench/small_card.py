#!/usr/bin/python3
"""The figures of the default model's card: bits per byte of texts that it has not seen, beside the compressors'.

    /usr/bin/python3 bench/small_card.py RIVERRUN MODEL DATA CARD [--adapt] [--skip-large] [--only WORD]

DATA is the folder with books/, logs/, lm-eval/. In the file CARD what stands between <!-- figures --> and <!-- end -->
becomes the tables, and figures.svg (each text against the best compressor) and drift.svg (War and Peace by position)
are drawn beside it. Each file is one document, its state carried from end to end. With --adapt it makes another table
instead, between <!-- adapted --> and <!-- end -->: of each log the rest of it before and after `adapt` on its first third,
beside the compressors' of that rest. --skip-large leaves the 20 MB log out, --only WORD does those alone that have it
in their name. The figures go to standard output as JSON.
"""
import argparse
import bz2
import json
import lzma
import os
import subprocess
import sys
import tempfile
import zlib

PROSE = ["books/war-and-peace.en.txt", "books/frankenstein.en.txt", "books/sherlock-holmes-adventures.en.txt",
         "lm-eval/wikitext-2-raw.test.txt"]
OTHERS = ["books/trois-mousquetaires.fr.txt", "books/promessi-sposi.it.txt", "books/prestuplenie-i-nakazanie.ru.txt",
          "books/honglou-meng.zh.txt", "books/kokoro.ja.aozora.txt"]
LOGS = [f"logs/{name}/{name}_2k.log" for name in
        ("Apache", "BGL", "HDFS", "Linux", "OpenSSH", "Spark", "Thunderbird", "Zookeeper")]
LOGS += ["logs/BGL_head/BGL_5000.log", "logs/HDFS_head/HDFS_20000.log.xz", "logs/HDFS_sample/HDFS_sample.log.xz",
         "logs/rpm-build-failures/21ad14e5/build.log", "logs/rpm-build-failures/449ca0a3/build.log",
         "logs/rpm-build-failures/bd0afcc7/builder-live.log"]
LARGE = ["logs/HDFS_sample/HDFS_sample.log.xz"]
COMPRESSORS = ("gzip -9", "bzip2 -9", "xz -9e", "zstd -22")


def compressed(data):
    """Bits per byte of each of COMPRESSORS."""
    zstd = subprocess.run(["zstd", "--ultra", "-22", "--long=27", "-c"], input=data, check=True,
                          stdout=subprocess.PIPE).stdout
    packed = zlib.compressobj(9, wbits=31)
    sizes = (len(packed.compress(data) + packed.flush()), len(bz2.compress(data, 9)),
             len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)), len(zstd))
    return [8 * size / len(data) for size in sizes]


def evaluate(riverrun, model, paths, *options):
    """What `eval` says of each path, without its words."""
    if not paths:
        return []
    done = subprocess.run([riverrun, "eval", *paths, "--model", model, "--json", *options], check=True,
                          stdout=subprocess.PIPE)
    return json.loads(done.stdout)["files"]


def adapted(riverrun, model, name, data, work):
    """Bits per byte of the last two thirds of data, before and after adapting to the first, and as compressed."""
    cut = data.index(b"\n", len(data) // 3) + 1
    first, rest, to = (os.path.join(work, name) for name in ("first", "rest", "to.safetensors"))
    for path, part in ((first, data[:cut]), (rest, data[cut:])):
        with open(path, "wb") as f:
            f.write(part)
    for old in ("to.safetensors", "to.safetensors.training", "to.svg"):
        if os.path.exists(os.path.join(work, old)):
            os.unlink(os.path.join(work, old))
    subprocess.run([riverrun, "adapt", model, first, "-o", to, "--quiet"], check=True, stdout=sys.stderr)
    before, after = (evaluate(riverrun, m, [rest])[0]["bits_per_byte"] for m in (model, to))
    return {"name": name, "bytes": len(data) - cut, "before": before, "after": after, "compressed": compressed(data[cut:])}


def row(cells):
    return "| " + " | ".join(cells) + " |"


def table(files, kind):
    """A row a file: the model, the compressors, how far below or above the best of them."""
    lines = [row(["text", "bytes", "model", *COMPRESSORS, "against the best"]), row(["---"] * (len(COMPRESSORS) + 4))]
    for f in files:
        if f["kind"] == kind:
            best = min(f["compressed"])
            lines.append(row([f["name"], f"{f['bytes']:,}", f"{f['model']:.3f}",
                              *(f"{c:.3f}" for c in f["compressed"]), f"{100 * (f['model'] / best - 1):+.1f} %"]))
    if kind == "log":
        logs = [f for f in files if f["kind"] == kind]
        means = [sum(f["compressed"][i] for f in logs) / len(logs) for i in range(len(COMPRESSORS))]
        mean, best = sum(f["model"] for f in logs) / len(logs), sum(min(f["compressed"]) for f in logs) / len(logs)
        lines.append(row(["mean of the logs", "", f"{mean:.3f}", *(f"{m:.3f}" for m in means),
                          f"{100 * (mean / best - 1):+.1f} % (each file's best: {best:.3f})"]))
    return "\n".join(lines)


def adapt_table(files):
    lines = [row(["log", "bytes of the rest", "before", "after adapt on the first third", *COMPRESSORS, "against the best"]),
             row(["---"] * (len(COMPRESSORS) + 5))]
    for f in files:
        best = min(f["compressed"])
        lines.append(row([f["name"], f"{f['bytes']:,}", f"{f['before']:.3f}", f"{f['after']:.3f}",
                          *(f"{c:.3f}" for c in f["compressed"]), f"{100 * (f['after'] / best - 1):+.1f} %"]))
    return "\n".join(lines)


def plot(files, path):
    """A line a text: a ring at the best compressor, a dot at the model, both against a common axis."""
    left, wide, step, top = 250, 520, 22, 40
    most = max(max(f["model"], min(f["compressed"])) for f in files) * 1.05
    bottom = top + step * len(files)
    parts = ['<style>text{font:12px system-ui,sans-serif;fill:#1f2328}.g{stroke:#d0d7de}.m{fill:#0550ae}'
             '.c{fill:none;stroke:#bc4c00;stroke-width:2}.l{stroke:#8c959f}@media(prefers-color-scheme:dark)'
             '{text{fill:#e6edf3}.g{stroke:#30363d}.m{fill:#79c0ff}.c{stroke:#ffa657}rect{fill:#0d1117}}</style>'
             f'<rect width="800" height="{bottom + 40}" fill="#ffffff"/>'
             f'<circle class="m" cx="{left}" cy="16" r="5"/><text x="{left + 12}" y="20">riverrun-small</text>'
             f'<circle class="c" cx="{left + 150}" cy="16" r="5"/><text x="{left + 162}" y="20">best of '
             'gzip, bzip2, xz, zstd</text>']
    for tick in range(int(most / 0.5) + 1):
        x = left + wide * tick * 0.5 / most
        parts.append(f'<line class="g" x1="{x:.1f}" x2="{x:.1f}" y1="{top - 8}" y2="{bottom}"/>'
                     f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{tick * 0.5:.1f}</text>')
    parts.append(f'<text x="{left + wide / 2}" y="{bottom + 35}" text-anchor="middle">bits per byte</text>')
    for i, f in enumerate(files):
        y, a, b = top + step * i + 8, left + wide * f["model"] / most, left + wide * min(f["compressed"]) / most
        parts.append(f'<text x="{left - 10}" y="{y + 4}" text-anchor="end">{f["name"]}</text>'
                     f'<line class="l" x1="{a:.1f}" x2="{b:.1f}" y1="{y}" y2="{y}"/>'
                     f'<circle class="c" cx="{b:.1f}" cy="{y}" r="5"/><circle class="m" cx="{a:.1f}" cy="{y}" r="5"/>')
    with open(path, "w", encoding="utf-8") as out:
        out.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 {bottom + 40}" role="img">'
                  "<title>Bits per byte of unseen texts: riverrun-small and the best compressor</title>"
                  + "\n".join(parts) + "</svg>\n")


def drift(positions):
    """The largest percentage by which the carried state is worse than the reset one, and where; and the last."""
    worst = max(positions, key=lambda p: p["percent"])
    return {"worst": worst, "last": positions[-1]}


def texts(o, names):
    """(what it is called in a table, its kind, its bytes) of those that are asked for."""
    for name in names:
        if (o.skip_large and name in LARGE) or o.only not in name:
            continue
        with open(os.path.join(o.data, name), "rb") as f:
            data = f.read()
        data = lzma.decompress(data) if name.endswith(".xz") else data
        kind = "prose" if name in PROSE else "other" if name in OTHERS else "log"
        short = "/".join(name.split("/")[-2:]) if "rpm" in name else os.path.basename(name)
        yield short.removesuffix(".xz"), kind, data


def measure(o, work):
    files, paths = [], []
    for name, kind, data in texts(o, PROSE + OTHERS + LOGS):
        paths.append(os.path.join(work, str(len(files))))
        with open(paths[-1], "wb") as f:
            f.write(data)
        files.append({"name": name, "kind": kind, "bytes": len(data), "compressed": compressed(data)})
    plots = ["--plot", os.path.join(os.path.dirname(o.card), "drift.svg")]
    told = evaluate(o.riverrun, o.model, paths[:1], *plots) + evaluate(o.riverrun, o.model, paths[1:])
    for f, said in zip(files, told):
        f["model"] = said["bits_per_byte"]
        f["reset"] = said["reset"]["bits_per_byte"]
    files[0]["drift"] = drift(told[0]["positions"])
    return files


def figures(files):
    worst, last = (files[0]["drift"][k] for k in ("worst", "last"))
    words = ["English prose\n", table(files, "prose"), "\nOther languages\n", table(files, "other"), "\nLogs\n",
             table(files, "log"), "",
             f"War and Peace by position: carried is at most {worst['percent']:+.2f} % against resets every 4,096 tokens "
             f"(tokens {worst['begin']:,} to {worst['end']:,}), {last['percent']:+.2f} % at its end; over all "
             f"{files[0]['model']:.4f} against {files[0]['reset']:.4f} bits per byte.\n"]
    return "\n".join(words)


def main():
    parser = argparse.ArgumentParser()
    for name in ("riverrun", "model", "data", "card"):
        parser.add_argument(name)
    parser.add_argument("--adapt", action="store_true")
    parser.add_argument("--skip-large", action="store_true")
    parser.add_argument("--only", default="")
    o = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        if o.adapt:
            files = [adapted(o.riverrun, o.model, name, data, work) for name, _, data in texts(o, LOGS)]
            words, marker = adapt_table(files), "<!-- adapted -->"
        else:
            files = measure(o, work)
            words, marker = figures(files), "<!-- figures -->"
            plot(files, os.path.join(os.path.dirname(o.card), "figures.svg"))
    with open(o.card, encoding="utf-8") as f:
        before, rest = f.read().split(marker)
    after = rest.split("<!-- end -->", 1)[1]
    with open(o.card, "w", encoding="utf-8") as f:
        f.write(f"{before}{marker}\n{words.rstrip()}\n<!-- end -->{after}")
    json.dump(files, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
