#!/usr/bin/python3
"""bench/embeddings.py RIVERRUN MODEL BOOKS [NAME...]: which chapter does a held-out paragraph come from?

Of each book with gold chapters every fifth long unit of a chapter is held out (a paragraph; a line where the book has no
blank lines), in chapters with five such at least. A chapter is the sum of its other units' vectors, and a held-out unit
finds the chapter with the highest cosine, once with its embedding as it was read in place (the array that `riverrun
embeddings` makes), and once as it is when read alone, as a question would be: in place the model knows what came before,
which is the chapter itself. What is read alone is whitened by what is usual for the book, as the array is
(stages/emit/whitening.h). Beside it TF-IDF of our own ((1 + ln tf) (1 + ln((1 + N) / (1 + df))), cosine, words as Python's
\\w+, pairs of characters in Chinese and Japanese), over the same texts. Prints Markdown: share found at once, mean
reciprocal rank.
"""
import argparse
import base64
import bisect
import collections
import csv
import glob
import json
import math
import os
import re
import subprocess
import tempfile

import numpy as np


def words(text):
    out = []
    for word in re.findall(r"\w+", text.lower()):
        if any("\u3040" <= c <= "\u9fff" for c in word):
            out += [word[i:i + 2] for i in range(len(word) - 1)] or [word]
        else:
            out.append(word)
    return collections.Counter(out)


def read(arguments, work, paths, *options):
    out = tempfile.mkdtemp(dir=work)
    subprocess.run([arguments.riverrun, "read", *paths, "--model", arguments.model, "--analyze", "embeddings", "--plain",
                    "--no-report", "-q", "-o", out, *options], check=True)
    files = []
    for path in sorted(glob.glob(os.path.join(out, "*.jsonl"))):
        with open(path, encoding="utf-8") as file:
            files.append([record for record in map(json.loads, file) if "embedding" in record])
    return out, files


def vector(record):
    return np.frombuffer(base64.b64decode(record["embedding"]), np.int8).astype(float)


def unit_length(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-9)


def whiten(rows, those):
    """those, whitened by what is usual for rows."""
    mean = rows.mean(0)
    covariance = (rows - mean).T @ (rows - mean) / len(rows)
    covariance += 0.3 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    return unit_length(np.linalg.solve(np.linalg.cholesky(covariance), (those - mean).T).T)


def score(similar, gold):
    """similar: (questions, chapters)."""
    rank = 1 + (similar > similar[np.arange(len(gold)), gold][:, None]).sum(1)
    return f"{np.mean(rank == 1):.3f} / {np.mean(1 / rank):.3f}"


def tfidf(chapters, questions):
    df = collections.Counter(word for counts in chapters for word in counts)

    def weigh(counts):
        v = {w: (1 + math.log(n)) * (1 + math.log((1 + len(chapters)) / (1 + df[w]))) for w, n in counts.items() if w in df}
        length = math.sqrt(sum(x * x for x in v.values())) or 1
        return {w: x / length for w, x in v.items()}

    chapters = [weigh(counts) for counts in chapters]
    return np.array([[sum(x * c.get(w, 0) for w, x in q.items()) for c in chapters] for q in map(weigh, questions)])


def measure(arguments, work, path):
    with open(path, "rb") as file:
        data = file.read()
    table = re.sub(r"(\.aozora)?\.txt$", ".chapters.tsv", path)
    with open(table, encoding="utf-8") as file:
        starts = sorted(int(row["offset"]) for row in csv.DictReader(file, delimiter="\t"))
    lines = max(1, data.count(b"\n"))
    blank = len(re.findall(rb"\n[ \t\r]*(?=\n)", data))
    out, (records,) = read(arguments, work, [path], "--unit", "paragraph" if 5 * blank > lines else "line")
    subprocess.run([arguments.riverrun, "embeddings", out], check=True, stdout=subprocess.DEVNULL)
    rows = np.load(os.path.join(out, "embeddings.npy"))
    sizes = [record["end"] - record["begin"] for record in records]
    least = min(200, sorted(sizes)[len(sizes) // 2])
    chapter = [bisect.bisect_right(starts, record["begin"]) - 1 for record in records]
    long = [i for i, size in enumerate(sizes) if size >= least and chapter[i] >= 0]
    per = collections.Counter(chapter[i] for i in long)
    seen, held = collections.Counter(), []
    for i in long:
        seen[chapter[i]] += 1
        if per[chapter[i]] >= 5 and seen[chapter[i]] % 5 == 3:
            held.append(i)
    held = held[::-(-len(held) // arguments.most)]
    keep, held_set = sorted({chapter[i] for i in held}), set(held)
    rest = [[i for i, c in enumerate(chapter) if c == one and i not in held_set] for one in keep]
    texts = [data[record["begin"]:record["end"]].decode("utf-8", "replace") for record in records]
    folder = tempfile.mkdtemp(dir=work)
    for number, i in enumerate(held):
        with open(os.path.join(folder, f"{number:05}"), "w", encoding="utf-8") as file:
            file.write(texts[i])
    _, alone = read(arguments, work, [folder], "--unit", "paragraph")
    raw = unit_length(np.array([vector(record) for record in records]))
    assert np.allclose(whiten(raw, raw) @ rows[0], rows @ rows[0], atol=1e-4), "the array is whitened otherwise"
    sums = unit_length(np.array([rows[one].sum(0) for one in rest]))
    apart = whiten(raw, unit_length(np.array([sum(vector(record) for record in one) for one in alone])))
    gold = np.array([keep.index(chapter[i]) for i in held])
    asked = [words(texts[i]) for i in held]
    told = [sum((words(texts[i]) for i in one), collections.Counter()) for one in rest]
    print(f"| {os.path.basename(path)} | {len(keep)} | {len(held)} | {score(rows[held] @ sums.T, gold)} | "
          f"{score(apart @ sums.T, gold)} | {score(tfidf(told, asked), gold)} | {1 / len(keep):.3f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    for name in ("riverrun", "model", "books"):
        parser.add_argument(name)
    parser.add_argument("--most", type=int, default=300, help="questions of a book")
    parser.add_argument("names", nargs="*", help="of files in BOOKS; default: all with chapters")
    arguments = parser.parse_intermixed_args()
    paths = [os.path.join(arguments.books, name) for name in arguments.names] or [
        path for path in sorted(glob.glob(os.path.join(arguments.books, "*.txt")))
        if os.path.exists(re.sub(r"(\.aozora)?\.txt$", ".chapters.tsv", path))]
    print("Found at once / mean reciprocal rank\n\n| book | chapters | questions | embedding in place | embedding alone | "
          "TF-IDF | chance |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="riverrun-embeddings-") as work:
        for path in paths:
            measure(arguments, work, path)


if __name__ == "__main__":
    main()
