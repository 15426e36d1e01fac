"""Makes synsets.txt and exceptions.txt beside this file from the database files of WordNet 3.0.

    apt-get install wordnet-base        # 1:3.0-37
    python3 crates/core/data/wordnet/make.py /usr/share/wordnet

METEOR asks which words share a synset with a word, whatever its sense, and compares lower-case
words alone.
So of each synset we keep its names of one lower-case word, and, after a `|`, the other forms under
which it is found: phrases (with `_`) and names with capitals (in lower case).
What no such name has is left out, and so are a synset of one word where a larger one of the same
part of speech holds it, and everything but the words: glosses, senses, relations.

synsets.txt: a line `# noun`, `# verb`, `# adj` or `# adv`, then a line a synset.
exceptions.txt: the same headings, then a line a form: the irregular form and its base forms.
"""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
PARTS = ["noun", "verb", "adj", "adv"]


def synsets(folder, part):
    """Names and other forms of each synset that has names."""
    for line in (folder / f"data.{part}").read_text("ascii").splitlines():
        if line.startswith(" "):
            continue  # the licence
        fields = line.split()
        count = int(fields[3], 16)
        # An adjective's marker of position, such as `(a)`, is no part of its name.
        lemmas = [re.sub(r"\([^()]*\)$", "", fields[4 + 2 * n]) for n in range(count)]
        names = {lemma for lemma in lemmas if "_" not in lemma and lemma == lemma.lower()}
        if names:
            yield names, {lemma.lower() for lemma in lemmas} - names


def lines_of_synsets(folder, part):
    several = {(tuple(sorted(names)), tuple(sorted(forms)))
               for names, forms in synsets(folder, part) if len(names) + len(forms) > 1}
    held = {word for names, _ in several for word in names}
    single = {((word,), ()) for names, forms in synsets(folder, part)
              if len(names) + len(forms) == 1 for word in names if word not in held}
    for names, forms in sorted(several | single):
        yield " ".join(names) + (" | " + " ".join(forms) if forms else "")


def lines_of_exceptions(folder, part):
    bases = {}
    for line in (folder / f"{part}.exc").read_text("ascii").splitlines():
        form, *base = line.split()
        bases[form] = base  # the last line of a form counts
    for form, base in sorted(bases.items()):
        yield " ".join([form, *base])


def write(name, lines_of):
    folder = Path(sys.argv[1])
    lines = [line for part in PARTS for line in [f"# {part}", *lines_of(folder, part)]]
    (HERE / name).write_text("".join(line + "\n" for line in lines), "ascii", newline="\n")


write("synsets.txt", lines_of_synsets)
write("exceptions.txt", lines_of_exceptions)
