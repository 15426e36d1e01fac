"""A LoRA step: our kernels beside PyTorch + PEFT, in turns, on the same machine.

    python benches/peers/train.py [--shape smollm-135m] [--threads 2] [--rounds 5] [--json]

A random Llama of the shape, r 16 on seven projections, all tokens supervised, AdamW with clipping:
smollm-135m with 4 sequences of 256 tokens, tinyllama-1.1b with one.
The peer runs in its best form: sdpa, f32 and bf16 autocast (the faster one counts), tcmalloc
preloaded where it is installed (Debian: libtcmalloc-minimal4).
Ours runs in f32 and with factors rounded to bf16; `--nf4` adds a base at rest in 4 bits.
Builds our side with cargo, and installs the peers into a virtual environment of its own (`--venv`;
`--peer-python` takes one that is there).
Medians over the rounds, and peak memory of each process (VmHWM).
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
    "smollm-135m": (
        4,
        dict(
            hidden_size=576,
            intermediate_size=1536,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            vocab_size=49152,
            tie_word_embeddings=True,
        ),
    ),
    "tinyllama-1.1b": (
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


def peer(shape, dtype, threads):
    """The other side, run by the peers' Python."""
    import peft
    import torch
    import transformers

    torch.set_num_threads(threads)
    torch.manual_seed(7)
    sequences, settings = SHAPES[shape]
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
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bf16"):
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "loss": loss.item()}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="smollm-135m")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--nf4", action="store_true")
    parser.add_argument("--venv", type=Path, default=sides.ROOT / "benches/peers/.venv")
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--ours", help="our bench, where it is built already")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        return peer(args.shape, args.peer, args.threads)

    ours = args.ours or sides.build("lora")
    python = args.peer_python or sides.peer_python(args.venv, PEERS)
    env, peer_env = sides.environments(args.threads)

    sequences = SHAPES[args.shape][0]
    our = [ours, args.shape, TOKENS, sequences]
    their = [python, __file__, "--shape", args.shape, "--threads", args.threads]
    commands = {
        "ours f32": (our, env),
        "ours bf16": ([*our, "bf16"], env),
        "peer f32": ([*their, "--peer", "f32"], peer_env),
        "peer bf16": ([*their, "--peer", "bf16"], peer_env),
    }
    if args.nf4:
        commands["ours nf4 f32"] = ([*our, "nf4"], env)
        commands["ours nf4 bf16"] = ([*our, "nf4", "bf16"], env)
    workers = {name: sides.Side(*how) for name, how in commands.items()}
    for worker in workers.values():
        worker.round()
    rounds = {name: [] for name in workers}
    for _ in range(args.rounds):
        for name, worker in workers.items():
            rounds[name].append(worker.round())
    tokens = sequences * TOKENS
    result = {"shape": args.shape, "tokens": tokens, "threads": args.threads}
    for name, worker in workers.items():
        seconds = [r["seconds"] for r in rounds[name]]
        result[name] = {
            "tokens_per_second": tokens / statistics.median(seconds),
            "seconds": seconds,
            "cpu_seconds": statistics.median(r["cpu"] for r in rounds[name]),
            "peak_bytes": worker.close() << 20,
        }

    def best(side):
        names = [name for name in (f"{side} f32", f"{side} bf16")]
        return max(names, key=lambda name: result[name]["tokens_per_second"])

    mine, others = result[best("ours")], result[best("peer")]
    result["ratio"] = mine["tokens_per_second"] / others["tokens_per_second"]
    result["memory_ratio"] = mine["peak_bytes"] / others["peak_bytes"]
    if args.json:
        return print(json.dumps(result))
    print(f"{args.shape}: {tokens} tokens a step, {args.threads} threads, {args.rounds} rounds")
    for name in workers:
        side = result[name]
        rate, cpu, peak = (side[k] for k in ("tokens_per_second", "cpu_seconds", "peak_bytes"))
        print(f"  {name:14} {rate:7.1f} tokens/s  {cpu:6.2f} s processor time a step", end="")
        print(f"  {peak / 1e9:.2f} GB")
    print(f"  {best('ours')} / {best('peer')}: {result['ratio']:.2f} times the tokens/s", end="")
    print(f", {result['memory_ratio']:.2f} of the memory")


main()
