"""Sentences a second: our encoder beside sentence-transformers, in turns, on the same machine.

    python benches/peers/encode.py MODEL_FOLDER [--threads 2] [--rounds 5] [--texts 10000] [--json]

Builds our side with cargo, and installs the peers into a virtual environment of its own (`--venv`;
`--peer-python` takes one that is there).
Two tasks, the same texts on both sides, medians over the rounds and of the rounds' ratios:

- sentences: sentence vectors of sentences of 20 to 25 tokens; sentence-transformers with the best
  of several batch sizes;
- states: the last layer's token states of texts of five such sentences, as BERTScore needs them;
  transformers, sorted by length.

Beside the seconds it shows the processor time of each side, which other work on the machine
disturbs less.
"""

import argparse
import json
import os
import random
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

import sides

PEERS = ["torch==2.15.0", "transformers==5.23.0", "sentence-transformers==6.2.0"]
BATCH_SIZES = [16, 32, 64, 128]
SENTENCES_A_TEXT = 5


def sentences(n):
    """The first half of one sentence of the repository's explanations, the second of another."""
    path = sides.ROOT / "datasets/climate-fever/explanations.jsonl"
    texts = [json.loads(line)["explanation"] for line in path.read_text().splitlines()]
    all_words = [s.split() for text in texts for s in re.split(r"(?<=[.!?])\s+", text)]
    fitting = [words for words in all_words if 12 <= len(words) <= 22]
    rng, made = random.Random(7), {}
    while len(made) < n:
        first, second = rng.choice(fitting), rng.choice(fitting)
        words = first[: len(first) // 2] + second[len(second) // 2 :]
        made[" ".join(words)] = None
    return list(made)


def texts_of(sentences):
    each = range(0, len(sentences), SENTENCES_A_TEXT)
    return [" ".join(sentences[i : i + SENTENCES_A_TEXT]) for i in each]


def peer(folder, texts, task, threads):
    """The other side, run by the peers' Python."""
    start = time.perf_counter()
    import torch

    torch.set_num_threads(threads)
    texts = json.loads(Path(texts).read_text())
    answer = {}
    if task == "sentences":
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(folder, device="cpu")
        model.encode(texts[:1])
        answer["first_vector_seconds"] = time.perf_counter() - start
        sample, seconds = texts[:500], {}
        for _ in range(2):
            for size in BATCH_SIZES:
                begun = time.perf_counter()
                model.encode(sample, batch_size=size, show_progress_bar=False)
                taken = time.perf_counter() - begun
                seconds[size] = min(taken, seconds.get(size, taken))
        size = min(seconds, key=seconds.get)
        answer["batch_size"] = size

        def run():
            model.encode(texts, batch_size=size, show_progress_bar=False)
    else:
        from transformers import AutoModel, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModel.from_pretrained(folder).eval()

        def run():
            order = sorted(texts, key=len, reverse=True)
            with torch.inference_mode():
                for i in range(0, len(order), 32):
                    batch = order[i : i + 32]
                    settings = {"padding": True, "truncation": True, "max_length": 512}
                    inputs = tokenizer(batch, return_tensors="pt", **settings)
                    model(**inputs).last_hidden_state

    print(json.dumps(answer), flush=True)
    for _ in sys.stdin:
        begun = time.perf_counter()
        run()
        print(json.dumps({"seconds": time.perf_counter() - begun}), flush=True)


def compare(task, texts, args, ours, python):
    threads = str(args.threads)
    env = os.environ | {"RAYON_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
    env |= {"TOKENIZERS_PARALLELISM": "true", "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.json"
        path.write_text(json.dumps(texts))
        mode = ["states"] if task == "states" else []
        our = sides.Side([ours, args.folder, path, *mode], env)
        script = [python, __file__, args.folder, "--peer", path, task, "--threads", threads]
        their = sides.Side(script, env)
        our.round(), their.round()
        turns = [(our.round(), their.round()) for _ in range(args.rounds)]
        rounds = [[(r["seconds"], r["cpu"]) for r in turn] for turn in turns]
        our.close(), their.close()
    n = len(texts)
    median = statistics.median

    def side(at):
        return {
            "texts_per_second": n / median(r[at][0] for r in rounds),
            "cpu_ms_per_text": 1000 * median(r[at][1] for r in rounds) / n,
        }

    ratios = [theirs[0] / ours[0] for ours, theirs in rounds]
    return {
        "task": task,
        "texts": n,
        "threads": args.threads,
        "ours": side(0) | our.ready,
        "peer": side(1) | their.ready,
        "ratio": median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "cpu_ratio": median(theirs[1] / max(ours[1], 1e-9) for ours, theirs in rounds),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="the model's folder")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=10_000, help="sentences")
    parser.add_argument("--tasks", nargs="+", default=["sentences", "states"])
    parser.add_argument("--venv", type=Path, default=sides.ROOT / "benches/peers/.venv")
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--ours", help="our bench, where it is built already")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peer", nargs=2, metavar=("TEXTS", "TASK"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        return peer(args.folder, *args.peer, args.threads)

    ours = args.ours or sides.build("encode")
    python = args.peer_python or sides.peer_python(args.venv, PEERS)
    made = sentences(args.texts)
    for task in args.tasks:
        texts = made if task == "sentences" else texts_of(made)
        result = compare(task, texts, args, ours, python)
        if args.json:
            print(json.dumps(result))
            continue
        print(f"{task}: {result['texts']} texts, {args.threads} threads, {args.rounds} rounds")
        for name in ("ours", "peer"):
            of = result[name]
            rate, cpu = of["texts_per_second"], of["cpu_ms_per_text"]
            rest = {k: v for k, v in of.items() if not k.startswith(("texts_", "cpu_"))}
            print(f"  {name}: {rate:8.1f} texts/s  {cpu:6.2f} ms processor time a text  {rest}")
        low, high = result["ratio_range"]
        print(f"  ratio {result['ratio']:.2f} [{low:.2f}, {high:.2f}]", end="")
        print(f", by processor time {result['cpu_ratio']:.2f}")


main()
