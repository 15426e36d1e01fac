"""A LoRA step: our kernels beside PyTorch + PEFT, in turns, on the same machine.

    python benches/peers/train.py [--shape smollm-135m] [--sequences N] [--layers N] [--threads 2]
                                  [--rounds 5] [--json]
    python benches/peers/train.py --at-rest nf4 [--shape tinyllama] ...

A random Llama of the shape, r 16 on seven projections, all tokens supervised, AdamW with clipping:
smollm-135m with 4 sequences of 256 tokens, tinyllama (1.1b) with one.
The peer runs in its best form: sdpa, f32 or bf16 autocast, tcmalloc preloaded where it is installed
(Debian: libtcmalloc-minimal4); ours in f32, or in bf16: factors rounded and the base at rest so.
Each form is tried alone first, and the fastest of each side then take turns, so that no more than
two processes hold a model at once; `--precision` names ours and skips its trial.

With `--at-rest`, ours with its projections at rest so beside ours with them in f32, both in the same
precision, and how many bytes a weight takes.

Builds our side with cargo, and installs the peers into a virtual environment of its own (`--venv`;
`--peer-python` takes one that is there).
Medians over the rounds and of the rounds' ratios, and peak memory of each process (VmHWM).
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import sides

PEERS = ["torch==2.15.0", "transformers==5.23.0", "peft==0.21.2"]
# Sequences of 256 tokens, and transformers' names for the shape.
SHAPES = {
    "smollm-135m": (4, sides.SMOLLM_135M),
    "tinyllama": (
        1,
        dict(
            hidden_size=2048,
            intermediate_size=5632,
            num_hidden_layers=22,
            num_attention_heads=32,
            num_key_value_heads=4,
            vocab_size=32000,
            tie_word_embeddings=False,
        ),
    ),
}
TOKENS = 256
PRECISIONS = ["f32", "bf16"]
TRIAL_ROUNDS = 2


def shape_of(args):
    """Sequences, and transformers' names for the shape."""
    sequences, settings = SHAPES[args.shape]
    layers = args.layers or settings["num_hidden_layers"]
    return args.sequences or sequences, settings | {"num_hidden_layers": layers}


def peer(args):
    """The other side, run by the peers' Python."""
    import peft
    import torch
    import transformers

    torch.set_num_threads(args.threads)
    torch.manual_seed(7)
    sequences, settings = shape_of(args)
    config = transformers.LlamaConfig(**settings, attn_implementation="sdpa")
    model = transformers.LlamaForCausalLM(config)
    lora = peft.LoraConfig(r=16, lora_alpha=32, target_modules=sides.PROJECTIONS, task_type="CAUSAL_LM")
    model = peft.get_peft_model(model, lora).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    ids = torch.randint(0, settings["vocab_size"], (sequences, TOKENS))
    print(json.dumps({"tokens": ids.numel()}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.peer == "bf16"):
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "loss": loss.item()}), flush=True)


def timed(workers, rounds):
    """Each worker's rounds, in turns, after one that warms up."""
    for worker in workers:
        worker.round()
    return [[worker.round() for worker in workers] for _ in range(rounds)]


def fastest(command):
    """The precision in which the side that `command` starts is fastest, each alone."""
    tried = {}
    for precision in PRECISIONS:
        worker = command(precision)
        seconds = [r[0]["seconds"] for r in timed([worker], TRIAL_ROUNDS)]
        tried[precision] = min(seconds)
        worker.close()
    return min(tried, key=tried.get), tried


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="smollm-135m")
    parser.add_argument("--sequences", type=int, help=f"of {TOKENS} tokens")
    parser.add_argument("--layers", type=int, help="instead of the shape's")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", choices=PRECISIONS, help="ours, if known")
    parser.add_argument("--peer-precision", choices=PRECISIONS, help="the peer's, if known")
    parser.add_argument("--at-rest", choices=["bf16", "int8", "nf4"], help="ours against ours")
    parser.add_argument("--venv", type=Path, default=sides.ROOT / "benches/peers/.venv")
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--ours", help="our bench, where it is built already")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        return peer(args)

    ours = args.ours or sides.build("lora")
    env, peer_env = sides.environments(args.threads)
    sequences, settings = shape_of(args)
    layers = settings["num_hidden_layers"]

    def our(precision, at_rest=None):
        # Rounded anyway, weights take half the memory in bf16.
        command = [ours, args.shape, TOKENS, sequences, layers, precision, at_rest or precision]
        return sides.Side(command, env)

    def their(precision):
        sizes = ["--sequences", sequences, "--layers", layers, "--threads", args.threads]
        command = [python, __file__, "--shape", args.shape, *sizes, "--peer", precision]
        return sides.Side(command, peer_env)

    tried = {}

    def best(side, command, known):
        if known:
            return known
        precision, tried[side] = fastest(command)
        return precision

    mine = best("ours", our, args.precision)
    if args.at_rest:
        names = [f"ours {mine}, {base} base" for base in (args.at_rest, "f32")]
        workers = [our(mine, args.at_rest), our(mine, "f32")]
    else:
        python = args.peer_python or sides.peer_python(args.venv, PEERS)
        others = best("peer", their, args.peer_precision)
        names = [f"ours {mine}", f"peer {others}"]
        workers = [our(mine), their(others)]
    rounds = timed(workers, args.rounds)
    tokens = sequences * TOKENS
    result = {"shape": args.shape, "layers": layers, "tokens": tokens, "threads": args.threads}
    result |= {"tried_seconds": tried, "sides": {}}
    for at, (name, worker) in enumerate(zip(names, workers)):
        seconds = [r[at]["seconds"] for r in rounds]
        result["sides"][name] = worker.ready | {
            "tokens_per_second": tokens / statistics.median(seconds),
            "seconds": seconds,
            "cpu_seconds": statistics.median(r[at]["cpu"] for r in rounds),
            "peak_bytes": worker.close() << 20,
        }
    first, second = result["sides"].values()
    ratios = [r[1]["seconds"] / r[0]["seconds"] for r in rounds]
    result["ratio"] = statistics.median(ratios)
    result["ratio_range"] = [min(ratios), max(ratios)]
    result["memory_ratio"] = first["peak_bytes"] / second["peak_bytes"]
    if args.json:
        return print(json.dumps(result))
    print(f"{args.shape}, {layers} layers: {tokens} tokens a step, ", end="")
    print(f"{args.threads} threads, {args.rounds} rounds")
    for name, side in result["sides"].items():
        rate, cpu, peak = (side[k] for k in ("tokens_per_second", "cpu_seconds", "peak_bytes"))
        print(f"  {name:20} {rate:7.1f} tokens/s  {cpu:6.2f} s processor time a step", end="")
        print(f"  {peak / 1e9:.2f} GB", end="")
        if args.at_rest:
            bytes_each = side["bytes_per_projection_weight"], side["bytes_per_weight"]
            print("  {:.3f} bytes a projection's weight, {:.3f} any weight".format(*bytes_each), end="")
        print()
    for side, seconds in tried.items():
        print(f"  tried alone: {side} {seconds}")
    low, high = result["ratio_range"]
    print(f"  {names[0]} / {names[1]}: {result['ratio']:.2f} [{low:.2f}, {high:.2f}] times the tokens/s")
    print(f"  (its step takes {1 / result['ratio']:.2f} times as long)", end="")
    print(f", {result['memory_ratio']:.2f} of the memory")


main()
