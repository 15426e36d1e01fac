"""Writes a model folder of a student's shape with random weights, to try a run without the model.

    python random_folder.py {smollm-135m,tinyllama,phi-2,gemma-2-2b} OUT --tokenizer FOLDER [--layers N]

Needs torch and transformers. FOLDER holds tokenizer.json, or tokenizer.model where the family has
one; its files are copied. The weights are in bf16, in shards, as the hub has them.
"""

import argparse
import json
import pathlib
import shutil

import torch
import transformers

SHAPES = {
    "smollm-135m": ("Llama", dict(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
        num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=8192,
        rms_norm_eps=1e-5, rope_theta=100000.0, tie_word_embeddings=True,
    )),
    "tinyllama": ("Llama", dict(
        vocab_size=32000, hidden_size=2048, intermediate_size=5632, num_hidden_layers=22,
        num_attention_heads=32, num_key_value_heads=4, max_position_embeddings=2048,
        rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=False,
    )),
    "phi-2": ("Phi", dict(
        vocab_size=51200, hidden_size=2560, intermediate_size=10240, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=32, max_position_embeddings=2048,
        layer_norm_eps=1e-5, partial_rotary_factor=0.4, hidden_act="gelu_new",
        tie_word_embeddings=False,
    )),
    "gemma-2-2b": ("Gemma2", dict(
        vocab_size=256000, hidden_size=2304, intermediate_size=9216, num_hidden_layers=26,
        num_attention_heads=8, num_key_value_heads=4, head_dim=256, max_position_embeddings=8192,
        sliding_window=4096, query_pre_attn_scalar=256, attn_logit_softcapping=50.0,
        final_logit_softcapping=30.0,
    )),
}
TOKENIZER = ["tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True)
    parser.add_argument("--layers", type=int)
    given = parser.parse_args()
    family, shape = SHAPES[given.shape]
    if given.layers:
        shape = {**shape, "num_hidden_layers": given.layers}
    torch.manual_seed(7)
    torch.set_default_dtype(torch.bfloat16)
    config = getattr(transformers, f"{family}Config")(**shape)
    model = getattr(transformers, f"{family}ForCausalLM")(config)
    model.save_pretrained(given.out, max_shard_size="1GB")
    for name in TOKENIZER:
        if (given.tokenizer / name).is_file():
            shutil.copy(given.tokenizer / name, given.out / name)
            (given.out / name).chmod(0o644)
    n = sum(p.numel() for p in model.parameters())
    print(json.dumps(dict(out=str(given.out), parameters=n)))


main()
