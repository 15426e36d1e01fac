"""The whole evaluation side by side: `stillhouse evaluate` against the Python packages.

Both sides measure the same 2,000 pairs of five sentences with two threads each: BLEU, ROUGE,
METEOR, BERTScore and CEC, with the same encoder and the same sentences.
The peers are sacrebleu, rouge-score, nltk, bert-score and sentence-transformers, each called as its
documentation says; a virtual environment of their own is made beside this file at the first call.
Runs alternate, and the medians and their ratio are printed, with the largest difference of each
metric between the sides.

    cargo build --release
    python3 benches/peers/evaluate.py --model MODEL_FOLDER [--pairs 2000] [--runs 5]

MODEL_FOLDER holds all-MiniLM-L6-v2 (`stillhouse pull` prints where it is).
METEOR needs WordNet 3.0's files for nltk: Debian's `wordnet-base` and `wordnet-sense-index` put
them into /usr/share/wordnet; without them METEOR is left out on both sides.
"""

import argparse
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PEERS = [
    "torch==2.15.0",
    "transformers==5.23.0",
    "sentence-transformers==6.2.0",
    "bert-score==0.3.13",
    "sacrebleu==2.6.0",
    "rouge-score==0.1.2",
    "nltk==3.10.4",
]
LEXNAMES = """adj.all adj.pert adv.all noun.Tops noun.act noun.animal noun.artifact noun.attribute
noun.body noun.cognition noun.communication noun.event noun.feeling noun.food noun.group
noun.location noun.motive noun.object noun.person noun.phenomenon noun.plant noun.possession
noun.process noun.quantity noun.relation noun.shape noun.state noun.substance noun.time verb.body
verb.change verb.cognition verb.communication verb.competition verb.consumption verb.contact
verb.creation verb.emotion verb.motion verb.perception verb.possession verb.social verb.stative
verb.weather adj.ppl""".split()
POS = {"noun": 1, "verb": 2, "adj": 3, "adv": 4}


def environment(folder: Path) -> Path:
    """Python with the peers; made once."""
    python = folder / "bin" / "python"
    if not (folder / "made").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PEERS], check=True)
        (folder / "made").write_text("\n".join(PEERS))
    return python


def wordnet(folder: Path) -> Path | None:
    """WordNet's files as nltk wants them."""
    source = Path("/usr/share/wordnet")
    if not (source / "data.noun").exists():
        return None
    target = folder / "nltk_data" / "corpora" / "wordnet"
    target.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        if file.is_file() and not (target / file.name).exists():
            shutil.copy(file, target)
    lines = [f"{n:02}\t{name}\t{POS[name.split('.')[0]]}" for n, name in enumerate(LEXNAMES)]
    (target / "lexnames").write_text("\n".join(lines) + "\n")
    return folder / "nltk_data"


def make_pairs(n: int, seed: int) -> list[dict]:
    """Pairs of five sentences each, all sentences different.

    They are sentences of the explanations in datasets/climate-fever with a few words exchanged
    for other words of the same length from the same texts, so that lengths and words are real.
    """
    chance = random.Random(seed)
    lines = (ROOT / "datasets/climate-fever/explanations.jsonl").read_text().splitlines()
    pool, words = [], {}
    for line in lines:
        for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z])", json.loads(line)["explanation"]):
            if 8 <= len(sentence.split()) <= 40:
                pool.append(sentence)
                for word in sentence.split():
                    if word.isalpha():
                        words.setdefault(len(word), []).append(word)
    seen = set()

    def sentence(base: str) -> str:
        while True:
            parts = base.split()
            for at in chance.sample(range(len(parts)), 3):
                if parts[at].isalpha():
                    parts[at] = chance.choice(words[len(parts[at])])
            made = " ".join(parts)
            if made not in seen:
                seen.add(made)
                return made

    pairs = []
    for n in range(n):
        bases = [chance.choice(pool) for _ in range(5)]
        reference = [sentence(base) for base in bases]
        prediction = [sentence(base) for base in bases]
        chance.shuffle(prediction)
        pairs.append(
            {
                "id": str(n),
                "prediction": " ".join(prediction),
                "reference": " ".join(reference),
                "prediction_sentences": prediction,
                "reference_sentences": reference,
            }
        )
    return pairs


def ours(pairs: Path, out: Path, model: str, metrics: list[str]) -> float:
    """One run of the command, start included, in seconds."""
    wanted = "[" + ", ".join(f'"{metric}"' for metric in metrics) + "]"
    command = [
        str(ROOT / "target/release/stillhouse"),
        "evaluate",
        str(pairs),
        "--pairs",
        str(out),
        "--set",
        f"metrics={wanted}",
        "--set",
        f"encoder={model}",
        "--json",
        "--no-cache",
    ]
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def theirs(python: Path, pairs: Path, out: Path, model: str, nltk_data: Path | None) -> dict:
    """One run of the peers in a process of their own: seconds in all, and by package."""
    command = [str(python), __file__, "--peer", str(pairs), str(out), "--model", model]
    variables = dict(os.environ, HF_HUB_OFFLINE="1", NLTK_DATA=str(nltk_data or ""))
    begun = time.perf_counter()
    result = subprocess.run(command, check=True, env=variables, stdout=subprocess.PIPE, text=True)
    seconds = json.loads(result.stdout.splitlines()[-1])
    seconds["process"] = time.perf_counter() - begun
    return seconds


def peer(pairs_path: str, out: str, model_folder: str) -> None:
    """What runs inside the peers' environment."""
    begun = time.perf_counter()
    import bert_score
    import numpy as np
    import sacrebleu
    import torch
    from nltk.tokenize import NLTKWordTokenizer
    from nltk.translate.meteor_score import meteor_score
    from rouge_score import rouge_scorer
    from sentence_transformers import SentenceTransformer

    seconds = {"imports": time.perf_counter() - begun}
    torch.set_num_threads(2)
    pairs = [json.loads(line) for line in Path(pairs_path).read_text().splitlines()]
    predictions = [pair["prediction"] for pair in pairs]
    references = [pair["reference"] for pair in pairs]
    rows = [{} for _ in pairs]

    def timed(name, measure):
        begun = time.perf_counter()
        for row, value in zip(rows, measure(), strict=True):
            row[name] = value
        seconds[name] = time.perf_counter() - begun

    timed(
        "bleu",
        lambda: [
            sacrebleu.sentence_bleu(p, [r]).score
            for p, r in zip(predictions, references, strict=True)
        ],
    )
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"])
    timed(
        "rougeL",
        lambda: [
            scorer.score(r, p)["rougeL"].fmeasure
            for p, r in zip(predictions, references, strict=True)
        ],
    )
    if os.environ["NLTK_DATA"]:
        split = NLTKWordTokenizer().tokenize

        def words(sentences):
            return [word for sentence in sentences for word in split(sentence)]

        timed(
            "meteor",
            lambda: [
                meteor_score(
                    [words(pair["reference_sentences"])], words(pair["prediction_sentences"])
                )
                for pair in pairs
            ],
        )

    def bertscore():
        scores = bert_score.score(
            predictions, references, model_type=model_folder, num_layers=6, batch_size=64
        )
        return scores[2].tolist()

    timed("bertscore", bertscore)

    def cec():
        model = SentenceTransformer(model_folder, device="cpu")
        sentences = [s for p in pairs for s in p["prediction_sentences"] + p["reference_sentences"]]
        vectors = model.encode(sentences, normalize_embeddings=True, batch_size=64)
        values, at = [], 0
        for pair in pairs:
            n, m = len(pair["prediction_sentences"]), len(pair["reference_sentences"])
            a, b = vectors[at : at + n], vectors[at + n : at + n + m]
            at += n + m
            cosines = a @ b.T
            values.append(float(np.mean([cosines.max(1).mean(), cosines.max(0).mean()])))
        return values

    timed("cec", cec)
    Path(out).write_text("\n".join(json.dumps(row) for row in rows))
    print(json.dumps(seconds))


def largest_differences(our_file: Path, their_file: Path) -> dict[str, float]:
    found = {}
    lines = [json.loads(line) for line in our_file.read_text().splitlines()]
    lines = [line["metrics"] for line in lines if line["system"] == "student"]
    for our, their in zip(lines, their_file.read_text().splitlines(), strict=True):
        for name, value in json.loads(their).items():
            mine = our[name]
            mine = mine["f1"] if isinstance(mine, dict) else mine
            found[name] = max(found.get(name, 0.0), abs(mine - value))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="the folder of all-MiniLM-L6-v2")
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--environment", type=Path, default=HERE / ".venv")
    parser.add_argument("--peer", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        peer(*args.peer, args.model)
        return
    os.environ.update(OMP_NUM_THREADS="2", RAYON_NUM_THREADS="2")
    python = environment(args.environment)
    nltk_data = wordnet(args.environment)
    metrics = ["bleu", "rouge", "bertscore", "cec"] + (["meteor"] if nltk_data else [])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pairs = folder / "pairs.jsonl"
        made = make_pairs(args.pairs, args.seed)
        pairs.write_text("".join(json.dumps(pair) + "\n" for pair in made))
        our_seconds, their_seconds = [], []
        for run in range(args.runs):
            our_seconds.append(ours(pairs, folder / "ours.jsonl", args.model, metrics))
            seconds = theirs(python, pairs, folder / "theirs.jsonl", args.model, nltk_data)
            their_seconds.append(seconds)
            print(f"run {run + 1}: {our_seconds[-1]:.1f} s against {seconds['process']:.1f} s")
        differences = largest_differences(folder / "ours.jsonl", folder / "theirs.jsonl")
    middle = statistics.median
    our = middle(our_seconds)
    whole = middle(seconds["process"] for seconds in their_seconds)
    work = middle(seconds["process"] - seconds["imports"] for seconds in their_seconds)
    print(f"{args.pairs} pairs of five sentences, {', '.join(metrics)}; medians of {args.runs}")
    print(f"stillhouse evaluate  {our:8.2f} s  {args.pairs / our:8.1f} pairs/s (start, intervals)")
    print(f"Python, whole        {whole:8.2f} s  {args.pairs / whole:8.1f} pairs/s")
    print(f"Python, no imports   {work:8.2f} s  {args.pairs / work:8.1f} pairs/s")
    for name in their_seconds[0]:
        if name not in ("imports", "process"):
            print(f"  {name:18} {middle(seconds[name] for seconds in their_seconds):8.2f} s")
    print(f"ratio {whole / our:.2f} (without imports {work / our:.2f})")
    print("largest differences:", {name: f"{value:.1e}" for name, value in differences.items()})


if __name__ == "__main__":
    main()
