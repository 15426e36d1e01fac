"""Greedy decoding: our generation beside transformers', in turns, on the same machine.

    python benches/peers/decode.py [--batch 1] [--threads 2] [--rounds 5] [--tokens 64] [--json]

A random Llama of SmolLM-135M's shape with the quickstart's tokenizer; `--batch` prompts are each
continued by `--tokens` tokens.
The peer runs in f32 and in bf16 (the faster one counts), with tcmalloc where it is installed
(Debian: libtcmalloc-minimal4); ours with projections and output head at rest in f32, bf16 and 8 bits.
Builds our side with cargo, and installs the peers into a virtual environment of its own (`--venv`;
`--peer-python` takes one that is there).
Medians over the rounds; a round includes reading the prompts.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import sides

PEERS = ["torch==2.15.0", "transformers==5.23.0"]
PROMPTS = [
    "Claim: The sea has risen by twenty centimetres since 1900. Explanation:",
    "Claim: Ice ages came and went without people. Explanation:",
    "Claim: A warmer air holds more water. Explanation:",
    "Claim: Volcanoes give off more than cars do. Explanation:",
]


def peer(folder, dtype, prompts, tokens, threads):
    """The other side, run by the peers' Python."""
    import torch
    import transformers

    torch.set_num_threads(threads)
    dtypes = {"f32": torch.float32, "bf16": torch.bfloat16}
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtypes[dtype]).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, padding_side="left")
    tokenizer.pad_token_id = 0
    inputs = tokenizer(prompts, return_tensors="pt", padding=True)
    print(json.dumps({"prompts": len(prompts)}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        with torch.inference_mode():
            found = model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                max_new_tokens=tokens,
                min_new_tokens=tokens,
                do_sample=False,
            )
        n = (found.shape[1] - inputs["input_ids"].shape[1]) * len(prompts)
        print(json.dumps({"seconds": time.perf_counter() - start, "tokens": n}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--venv", type=Path, default=sides.ROOT / "benches/peers/.venv")
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--ours", help="our bench, where it is built already")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peer", nargs=2, metavar=("FOLDER", "DTYPE"), help=argparse.SUPPRESS)
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    prompts = [PROMPTS[i % len(PROMPTS)] for i in range(args.batch)]
    if args.make:
        sides.random_llama(args.make)
        return
    if args.peer:
        peer(*args.peer, prompts, args.tokens, args.threads)
        return

    ours = args.ours or sides.build("decode")
    python = args.peer_python or sides.peer_python(args.venv, PEERS)
    env, peer_env = sides.environments(args.threads)

    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([python, __file__, "--make", folder], env=env, check=True)
        our = [ours, folder, json.dumps(prompts), args.tokens]
        their = [python, __file__, "--batch", args.batch, "--tokens", args.tokens]
        their += ["--threads", args.threads, "--peer", folder]
        workers = {f"ours {d}": sides.Side([*our, d], env) for d in ("f32", "bf16", "int8")}
        workers |= {f"peer {d}": sides.Side([*their, d], peer_env) for d in ("f32", "bf16")}
        for worker in workers.values():
            worker.round()
        rounds = {name: [] for name in workers}
        for _ in range(args.rounds):
            for name, worker in workers.items():
                rounds[name].append(worker.round())
        for worker in workers.values():
            worker.close()

    result = {"batch": args.batch, "tokens": args.tokens, "threads": args.threads}
    for name, answers in rounds.items():
        result[name] = {
            "tokens_per_second": statistics.median(
                r["tokens"] / r["seconds"] for r in answers
            ),
            "cpu_ms_per_token": 1000
            * statistics.median(r["cpu"] / r["tokens"] for r in answers),
        }

    def best(side):
        names = [name for name in workers if name.startswith(side)]
        return max(names, key=lambda name: result[name]["tokens_per_second"])

    mine, others = best("ours"), best("peer")
    rate = "tokens_per_second"
    result["ratio"] = result[mine][rate] / result[others][rate]
    if args.json:
        print(json.dumps(result))
        return
    print(f"batch {args.batch}, {args.tokens} tokens each, {args.threads} threads", end="")
    print(f", {args.rounds} rounds")
    for name in workers:
        side = result[name]
        print(f"  {name:10} {side[rate]:7.1f} tokens/s", end="")
        print(f"  {side['cpu_ms_per_token']:7.2f} ms processor time a token")
    print(f"  {mine} / {others}: {result['ratio']:.2f} times the tokens/s")


main()
