"""ROUGE-1, -2 and -L as F1 (Lin, 2004), as the package rouge-score counts them with stemming.

    Words are runs of a-z and 0-9 of the lower-cased text; of more than three letters they are stemmed (Porter, 1980). ROUGE-N counts
    common n-grams, each at most as often as in the other. ROUGE-L is that of summaries: for each sentence of the reference the
    union of its longest common subsequences with the sentences of the summary, each word counted as often as both have it.
"""
import collections
import re

VOWELS = "aeiou"


def is_consonant(word, at):
    if word[at] in VOWELS:
        return False
    return word[at] != "y" or at == 0 or not is_consonant(word, at - 1)


def measure(stem):
    shape = "".join("c" if is_consonant(stem, i) else "v" for i in range(len(stem)))
    return len(re.findall("v+c+", shape))


def has_vowel(stem):
    return any(not is_consonant(stem, i) for i in range(len(stem)))


def ends_double(word):
    return len(word) > 1 and word[-1] == word[-2] and is_consonant(word, len(word) - 1)


def ends_cvc(word):
    return (len(word) > 2 and is_consonant(word, len(word) - 3) and not is_consonant(word, len(word) - 2)
            and is_consonant(word, len(word) - 1) and word[-1] not in "wxy")


STEP_2 = [line.split() for line in """ational ate|tional tion|enci ence|anci ance|izer ize|abli able|alli al|entli ent|eli e|ousli ous|
ization ize|ation ate|ator ate|alism al|iveness ive|fulness ful|ousness ous|aliti al|iviti ive|biliti ble""".replace("\n", "").split("|")]
STEP_3 = [("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""), ("ness", "")]
STEP_4 = "al ance ence er ic able ible ant ement ment ent ion ou ism ate iti ous ive ize".split()


def replace_longest(word, pairs, least):
    for suffix, new in sorted(pairs, key=lambda pair: -len(pair[0])):
        if word.endswith(suffix):
            stem = word[:len(word) - len(suffix)]
            return stem + new if measure(stem) > least else word
    return word


def step_1(word):
    if word.endswith("sses") or word.endswith("ies"):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    if word.endswith("eed"):
        if measure(word[:-3]) > 0:
            word = word[:-1]
    else:
        for suffix in ("ed", "ing"):
            if word.endswith(suffix) and has_vowel(word[:-len(suffix)]):
                word = word[:-len(suffix)]
                if word.endswith(("at", "bl", "iz")):
                    word += "e"
                elif ends_double(word) and word[-1] not in "lsz":
                    word = word[:-1]
                elif measure(word) == 1 and ends_cvc(word):
                    word += "e"
                break
    if word.endswith("y") and has_vowel(word[:-1]):
        word = word[:-1] + "i"
    return word


def step_4(word):
    for suffix in sorted(STEP_4, key=lambda s: -len(s)):
        if word.endswith(suffix):
            stem = word[:len(word) - len(suffix)]
            if measure(stem) > 1 and (suffix != "ion" or stem.endswith(("s", "t"))):
                return stem
            return word
    return word


def stem(word):
    if len(word) <= 3:
        return word
    word = replace_longest(step_1(word), STEP_2, 0)
    word = step_4(replace_longest(word, STEP_3, 0))
    if word.endswith("e"):
        count = measure(word[:-1])
        if count > 1 or (count == 1 and not ends_cvc(word[:-1])):
            word = word[:-1]
    if measure(word) > 1 and ends_double(word) and word.endswith("l"):
        word = word[:-1]
    return word


STEMS = {}


def words_of(text):
    words = re.findall("[a-z0-9]+", text.lower())
    for word in words:
        if word not in STEMS:
            STEMS[word] = stem(word)
    return [STEMS[word] for word in words]


def f1(common, mine, theirs):
    return 2 * common / (mine + theirs) if common else 0.0


def rouge_n(summary, reference, n):
    """Of lists of sentences, each a list of words."""
    grams = []
    for text in (summary, reference):
        words = [word for sentence in text for word in sentence]
        grams.append(collections.Counter(tuple(words[i:i + n]) for i in range(len(words) - n + 1)))
    return f1(sum((grams[0] & grams[1]).values()), sum(grams[0].values()), sum(grams[1].values()))


def common_places(reference, sentence):
    """Places of reference in one longest common subsequence with sentence."""
    rows = [[0] * (len(sentence) + 1)]
    for word in reference:
        above, row = rows[-1], [0]
        for j, other in enumerate(sentence):
            row.append(above[j] + 1 if word == other else max(above[j + 1], row[j]))
        rows.append(row)
    places, i, j = set(), len(reference), len(sentence)
    while i and j:
        if reference[i - 1] == sentence[j - 1]:
            places.add(i - 1)
            i, j = i - 1, j - 1
        elif rows[i][j - 1] > rows[i - 1][j]:
            j -= 1
        else:
            i -= 1
    return places


def rouge_l(summary, reference):
    left = [collections.Counter(word for sentence in text for word in sentence) for text in (summary, reference)]
    common = 0
    for sentence in reference:
        places = set()
        for other in summary:
            places |= common_places(sentence, other)
        for place in sorted(places):
            word = sentence[place]
            if left[0][word] and left[1][word]:
                left[0][word] -= 1
                left[1][word] -= 1
                common += 1
    return f1(common, sum(map(len, summary)), sum(map(len, reference)))


def rouge(summary, reference):
    """ROUGE-1, ROUGE-2, ROUGE-L of lists of sentences."""
    pair = [[words_of(sentence) for sentence in text] for text in (summary, reference)]
    return rouge_n(*pair, 1), rouge_n(*pair, 2), rouge_l(*pair)
