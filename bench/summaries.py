#!/usr/bin/python3
"""bench/summaries.py RIVERRUN DATA [--model MODEL] [--half even|odd|both] [--first N] [SET...]: summaries beside baselines.

    bbc      65 news articles with summaries made of their sentences
    scitldr  200 abstracts, each with one or several summaries of one sentence: the best match counts
    legal    297 passages of contracts with summaries in plain English
    pep      40 long technical documents with their authors' abstracts

ROUGE-1, -2, -L as F1 (rouge.py, which says how words are stemmed) against the references. Every system takes
sentences in its own order until it has as many words as the reference (the mean, where there are several); the last
is cut there, and they are put in the order of the text: so all are of equal length. Ours are the sentences of the record `summary` that
`riverrun read` writes. The baselines have sentences by the same rules, cut here, and these definitions:

    Lead      the first sentences
    TextRank  Mihalcea and Tarau 2004: common words over the logarithms of both lengths, PageRank with 0.85
    LexRank   Erkan and Radev 2004: cosine of tf-idf (idf of the document's sentences), edges above 0.1, PageRank
    LSA       Steinberger and Jezek 2004: singular values of tf-idf, three topics, length of a sentence's vector

with Porter's stems and without English stop words, which ours does not know. Decisions were made on the even documents of each set; the table
to believe is that of the odd ones (the default). Prints Markdown. Needs numpy.
"""
import argparse
import json
import math
import os
import re
import subprocess
import tempfile

import numpy

import rouge

SENTENCE_MAX = 512
STOP = set("""a about above after again against all also am an and any are as at be because been before being below between both but by
can could did do does doing down during each few for from further had has have having he her here hers him his how i if in into is
it its just may me might more most must my no nor not now of off on once only or other our out over own same she should so some such
than that the their them then there these they this those through to too under until up upon us very was we were what when where
which while who whom why will with would you your""".split())
ABBREVIATIONS = set("""mr mrs ms dr st prof rev gen col capt lt sgt hon mme jr vs cf e.g i.e approx vol fig pp ca""".split())
BASE = 0.85


# ---- Texts ----

def ends_sentence(paragraph, begin, match):
    rest = paragraph[match.end():].lstrip()
    if match.group().rstrip("\"'”’)]*_») ") != ".":
        return not (rest and rest[0].islower())
    word = re.search(r"[^\s(\"'\[]*$", paragraph[begin:match.start()]).group()
    if len(word) == 1 and word.isupper() and word.isascii():
        return False
    if word.isdigit() and paragraph[begin:match.start()].strip() == word:
        return False
    return word.lower() not in ABBREVIATIONS


def sentences_of(text):
    """As stages/encode/analysis/sentences.h cuts them."""
    out = []
    for block in re.split(r"\n[ \t\r]*(?=\n)", text):
        begin, pieces = 0, []
        for match in re.finditer(r"[.!?…]+[\"'”’)\]*_»]*(?=\s)", block):
            if match.end() < len(block) and ends_sentence(block, begin, match):
                pieces.append(block[begin:match.end()])
                begin = match.end()
        for piece in [*pieces, block[begin:]]:
            piece = " ".join(piece.split())
            while len(piece) > SENTENCE_MAX:
                cut = piece.rfind(" ", SENTENCE_MAX // 2, SENTENCE_MAX)
                cut = cut if cut > 0 else SENTENCE_MAX
                out.append(piece[:cut])
                piece = piece[cut:].strip()
            if piece:
                out.append(piece)
    return out


def bbc(data):
    for name in sorted(os.listdir(os.path.join(data, "bbc/article"))):
        with open(os.path.join(data, "bbc/article", name), encoding="utf-8") as file:
            text = file.read()
        with open(os.path.join(data, "bbc/summary", name), encoding="utf-8") as file:
            yield text, [[line for line in file.read().split("\n") if line.strip()]]


def scitldr(data):
    with open(os.path.join(data, "scitldr-a-test-200.jsonl"), encoding="utf-8") as file:
        for record in map(json.loads, file):
            yield " ".join(s.strip() for s in record["source"]) + "\n", [sentences_of(t) for t in record["target"]]


def legal(data):
    with open(os.path.join(data, "legal-plain-english.jsonl"), encoding="utf-8") as file:
        for record in map(json.loads, file):
            yield record["original_text"].strip() + "\n", [sentences_of(record["reference_summary"])]


def pep(data):
    for name in sorted(os.listdir(os.path.join(data, "pep/document"))):
        with open(os.path.join(data, "pep/document", name), encoding="utf-8") as file:
            text = file.read()
        with open(os.path.join(data, "pep/summary", name), encoding="utf-8") as file:
            yield text, [sentences_of(file.read())]


# ---- Baselines: the sentences in their order ----

def stems_of(sentence):
    words = [word for word in re.findall("[^\\W_]+", sentence.lower()) if word not in STOP]
    return [stem for word in words for stem in rouge.words_of(word) or [word]]


def by_score(sentences, scores):
    order = sorted(range(len(sentences)), key=lambda i: (-round(float(scores[i]), 9), i))
    return [sentences[i] for i in order], order


def page_rank(edges):
    count = len(edges)
    sums = edges.sum(1, keepdims=True)
    steps = numpy.where(sums > 0, edges / numpy.where(sums > 0, sums, 1), 1 / count)
    rank = numpy.ones(count) / count
    for _ in range(100):
        new = (1 - BASE) / count + BASE * steps.T @ rank
        if abs(new - rank).sum() < 1e-7:
            break
        rank = new
    return rank


def lead(sentences):
    return numpy.arange(len(sentences), 0, -1)


def text_rank(sentences):
    stems = [stems_of(sentence) for sentence in sentences]
    sets, count = [set(words) for words in stems], len(stems)
    edges = numpy.zeros((count, count))
    for i in range(count):
        for j in range(i):
            if len(stems[i]) > 1 and len(stems[j]) > 1:
                edges[i, j] = edges[j, i] = len(sets[i] & sets[j]) / (math.log(len(stems[i])) + math.log(len(stems[j])))
    return page_rank(edges)


def tf_idf(sentences):
    stems = [stems_of(sentence) for sentence in sentences]
    places = {word: i for i, word in enumerate(sorted({word for words in stems for word in words}))}
    table = numpy.zeros((len(sentences), max(1, len(places))))
    for i, words in enumerate(stems):
        for word in words:
            table[i, places[word]] += 1
    seen = numpy.maximum((table > 0).sum(0), 1)
    return table * (numpy.log(len(sentences) / seen) if len(sentences) > 1 else 1)


def lex_rank(sentences):
    table = tf_idf(sentences)
    norm = numpy.linalg.norm(table, axis=1, keepdims=True)
    table = table / numpy.where(norm > 0, norm, 1)
    return page_rank((table @ table.T > 0.1).astype(float))


def lsa(sentences):
    _, values, topics = numpy.linalg.svd(tf_idf(sentences).T, full_matrices=False)
    return numpy.sqrt((topics[:3].T ** 2 * values[:3] ** 2).sum(1))


BASELINES = {"Lead": lead, "TextRank": text_rank, "LexRank": lex_rank, "LSA": lsa}


# ---- Ours ----

def read_all(arguments, texts, folder):
    """For each text its sentences in the order of their rank, with their places."""
    names, out = [f"{i:04d}" for i in range(len(texts))], []
    for name, text in zip(names, texts):
        with open(os.path.join(folder, name), "w", encoding="utf-8", newline="") as file:
            file.write(text)
    model = ["--model", arguments.model] if arguments.model else []
    subprocess.run([arguments.riverrun, "read", *[os.path.join(folder, name) for name in names], "--plain", "--no-report", "-q",
                    "--analyze", "summary", *model, "-o", os.path.join(folder, "out")], check=True)
    written = {}
    for path in os.listdir(os.path.join(folder, "out")):
        if path.endswith(".jsonl"):
            with open(os.path.join(folder, "out", path), encoding="utf-8") as file:
                written[path.rsplit("+", 1)[-1][:-6]] = [json.loads(line) for line in file]
    for name in names:
        found = [record for record in written[name] if record["kind"] == "summary"]
        out.append([(s["text"], s["begin"]) for s in found[0]["sentences"]] if found else [])
    return out


# ---- Scores ----

def cut_to(ranked, words):
    """ranked: (text, place). As many words of it, in the order of the text."""
    taken = []
    for text, place in ranked:
        if words <= 0:
            break
        taken.append((place, " ".join(text.split()[:words])))
        words -= len(text.split())
    return [text for _, text in sorted(taken)]


def score(ranked, references):
    length = round(sum(len(s.split()) for reference in references for s in reference) / len(references))
    summary = cut_to(ranked, length)
    scores = [rouge.rouge(summary, reference) for reference in references]
    return [max(values) for values in zip(*scores)]


SETS = {"bbc": bbc, "scitldr": scitldr, "legal": legal, "pep": pep}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("riverrun")
    parser.add_argument("data")
    parser.add_argument("--model", help="default: the program's own")
    parser.add_argument("--half", choices=["even", "odd", "both"], default="odd")
    parser.add_argument("--first", type=int, default=0, help="documents of each set; default: all")
    parser.add_argument("--ours", action="store_true", help="no baselines")
    parser.add_argument("sets", nargs="*", help="of: " + " ".join(SETS))
    arguments = parser.parse_intermixed_args()
    wanted = {"even": [0], "odd": [1], "both": [0, 1]}[arguments.half]
    rows = {name: [] for name in [*([] if arguments.ours else BASELINES), "riverrun"]}
    heads = []
    for name in arguments.sets or SETS:
        documents = [document for i, document in enumerate(SETS[name](arguments.data)) if i % 2 in wanted]
        documents = documents[:arguments.first or None]
        heads.append(f"{name}, {len(documents)} documents")
        for baseline in rows:
            if baseline == "riverrun":
                with tempfile.TemporaryDirectory(prefix="riverrun-summaries-") as folder:
                    ranked = read_all(arguments, [text for text, _ in documents], folder)
            else:
                ranked = []
                for text, _ in documents:
                    texts, order = by_score(sentences := sentences_of(text), BASELINES[baseline](sentences))
                    ranked.append(list(zip(texts, order)))
            scores = [score(r, references) for r, (_, references) in zip(ranked, documents)]
            rows[baseline].append(" / ".join(f"{100 * sum(column) / len(scores):.1f}" for column in zip(*scores)))
    print(f"ROUGE-1 / -2 / -L\n\n| | {' | '.join(heads)} |\n|---|{'---|' * len(heads)}")
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
