#!/usr/bin/python3
"""bench/segmentation.py RIVERRUN MODEL DATA [--every N] [SET...]: topic boundaries against gold ones.

Pk and WindowDiff (lower is better; the window is half the mean gold segment of the document, in lines) of `--analyze
boundaries` on the sets of DATA (choi/1, choi/2, clinical, ai-lectures), beside no boundary at all, one every so many lines
as choi/1 has on the mean, TextTiling (nltk's, from Debian's python3-nltk) and C99. Nobody is told the number of
segments. Of C99 Debian has no program: here is a plain one after Choi (NAACL 2000), with nltk's Porter stems. nltk's
list of stop words is not in Debian; STOP stands in for it in both.

What boundaries makes does not depend on the model, only on the text. Its settings were chosen on choi/1; Choi's are unrelated articles
glued together, clinical are a textbook's sections, ai-lectures a course's transcripts. Prints Markdown.
"""
import argparse
import glob
import json
import os
import re
import subprocess
import tempfile

import numpy as np
from nltk.stem.porter import PorterStemmer
from nltk.tokenize.texttiling import TextTilingTokenizer

STOP = set("""a about above after again against all also am an and any are as at be because been before being below between
both but by can could did do does doing don down during each few for from further had has have having he her here hers
herself him himself his how i if in into is it its itself just may me might more most must my myself no nor not now of off
on once only or other our ours ourselves out over own s same shall she should so some such t than that the their theirs
them themselves then there these they this those through to too under until up upon us very was we were what when where
which while who whom why will with would you your yours yourself yourselves""".split())
STEMMER = PorterStemmer()


def load(path):
    """Lines, and the numbers of those that begin a segment but the first."""
    lines, starts = [], set()
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("====="):
                starts.add(len(lines))
            elif line.strip():
                lines.append(line.strip())
    return lines, sorted(starts - {0, len(lines)})


def files_of(data, name):
    return sorted(glob.glob(os.path.join(data, name, "*/*.ref" if name.startswith("choi") else "*.ref")))


def errors(count, gold, found):
    """Pk and WindowDiff."""
    window = max(2, round(count / (len(gold) + 1) / 2))
    ids = [np.searchsorted(np.array(bounds, int), np.arange(count), side="right") for bounds in (gold, found)]
    between = [one[window:] - one[:-window] for one in ids]
    return [np.mean((between[0] > 0) != (between[1] > 0)), np.mean(between[0] != between[1])]


def texttiling(lines):
    text, starts, at = "\n\n".join(lines), [], 0
    for line in lines:
        starts.append(at)
        at += len(line) + 2
    try:
        tiles = TextTilingTokenizer(stopwords=STOP).tokenize(text)
    except ValueError:  # too short for it
        return []
    found, at = set(), 0
    for tile in tiles[:-1]:
        at += len(tile)
        found.add(int(np.searchsorted(starts, at - 1, side="right")))
    return sorted(found - {0, len(lines)})


def similarities(lines):
    """Cosine of the stems of each two lines."""
    words = [[STEMMER.stem(word) for word in re.findall(r"[a-z]+", line.lower()) if word not in STOP] for line in lines]
    column = {word: i for i, word in enumerate(sorted({word for line in words for word in line}))}
    counts = np.zeros((len(lines), max(1, len(column))), np.float32)
    for i, line in enumerate(words):
        for word in line:
            counts[i, column[word]] += 1
    counts /= np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)
    return counts @ counts.T


def ranks(matrix, reach=5):
    """Of each cell: the share of those around it (11 x 11) that are lower."""
    count = len(matrix)
    lower, seen = np.zeros((count, count), np.float32), np.zeros((count, count), np.float32)
    padded = np.pad(matrix, reach, constant_values=np.nan)
    for down in range(2 * reach + 1):
        for right in range(2 * reach + 1):
            if (down, right) != (reach, reach):
                other = padded[down:down + count, right:right + count]
                lower += other < matrix
                seen += ~np.isnan(other)
    return lower / seen


def c99(lines):
    """Divide where the density inside of segments grows most; stop where it hardly grows any more."""
    count = len(lines)
    if count < 3:
        return []
    sums = np.pad(np.cumsum(np.cumsum(ranks(similarities(lines)), 0), 1), ((1, 0), (1, 0)))

    def inside(begin, end):
        return sums[end, end] - sums[begin, end] - sums[end, begin] + sums[begin, begin]

    bounds, steps = [0, count], []
    total, area = inside(0, count), float(count * count)
    density = [total / area]
    while len(bounds) <= count:
        best = None
        for begin, end in zip(bounds, bounds[1:]):
            cut = np.arange(begin + 1, end)
            if len(cut):
                gain = inside(begin, cut) + inside(cut, end) - inside(begin, end)
                less = (cut - begin) ** 2.0 + (end - cut) ** 2.0 - (end - begin) ** 2.0
                values = (total + gain) / (area + less)
                i = int(np.argmax(values))
                if best is None or values[i] > best[0]:
                    best = (values[i], int(cut[i]), gain[i], less[i])
        density.append(best[0])
        steps.append(best[1])
        bounds = sorted(bounds + [best[1]])
        total, area = total + best[2], area + best[3]
    growth = np.convolve(np.diff(density), np.array([1, 2, 4, 8, 4, 2, 1]) / 22, mode="same")
    return sorted(steps[:int(np.sum(growth > growth.mean() + 1.2 * growth.std()))])


def ours(arguments, documents):
    """The boundaries of each document, as numbers of lines."""
    found = []
    with tempfile.TemporaryDirectory(prefix="riverrun-segmentation-") as work:
        folder = os.path.join(work, "texts")
        os.mkdir(folder)
        for i, (lines, _) in enumerate(documents):
            with open(os.path.join(folder, f"{i:04}"), "w", encoding="utf-8") as file:
                file.write("\n".join(lines) + "\n")
        subprocess.run([arguments.riverrun, "read", folder, "--model", arguments.model, "--unit", "line", "--analyze",
                        "boundaries", "--no-report", "-q", "-o", os.path.join(work, "out")], check=True)
        for path in sorted(glob.glob(os.path.join(work, "out", "*.jsonl"))):
            with open(path, encoding="utf-8") as file:
                records = [json.loads(line) for line in file]
            begins = {}
            for record in records:
                if record["kind"] == "line":
                    begins[record["begin"]] = len(begins)
            found.append([begins[place["begin"]] for record in records if record["kind"] == "boundaries"
                          for place in record["boundaries"]])
    assert len(found) == len(documents)
    return found


def every(lines, step=7):
    return list(range(step, len(lines), step))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    for name in ("riverrun", "model", "data"):
        parser.add_argument(name)
    parser.add_argument("--every", type=int, default=1, help="take one document in so many")
    parser.add_argument("sets", nargs="*", default=["choi/1", "choi/2", "clinical", "ai-lectures"])
    arguments = parser.parse_args()
    rows, means = {}, {}
    for name in arguments.sets:
        documents = [load(path) for path in files_of(arguments.data, name)[::arguments.every]]
        ways = {"no boundary": [[] for _ in documents], "every 7 lines": [every(lines) for lines, _ in documents],
                "TextTiling": [texttiling(lines) for lines, _ in documents],
                "C99": [c99(lines) for lines, _ in documents], "riverrun": ours(arguments, documents)}
        for way, found in ways.items():
            values = np.mean([errors(len(lines), gold, one) for (lines, gold), one in zip(documents, found)], axis=0)
            share = np.mean([(len(one) + 1) / (len(gold) + 1) for (_, gold), one in zip(documents, found)])
            rows.setdefault(way, []).append(f"{values[0]:.3f} / {values[1]:.3f} ({share:.2f})")
            if name != "choi/1":
                means.setdefault(way, []).append(values)
    print("Pk / WindowDiff (segments found for each gold one); choi/1 is what settings were chosen on\n")
    print(f"| | {' | '.join(arguments.sets)} | mean of the others |\n|---|{'---|' * (len(arguments.sets) + 1)}")
    for way, cells in rows.items():
        mean = np.mean(means.get(way, [[np.nan, np.nan]]), axis=0)
        print(f"| {way} | {' | '.join(cells)} | {mean[0]:.3f} / {mean[1]:.3f} |")


if __name__ == "__main__":
    main()
