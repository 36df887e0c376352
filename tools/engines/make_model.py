"""Makes the tiny random Llama of the engine tests and its LoRA adapters: make_model.py OUT_DIR

OUT_DIR/model           2 layers, hidden 256, vocabulary 512, bf16, byte-level BPE, about 2.8 MB
OUT_DIR/adapters/l0,l1  LoRA adapters of rank 8 (q_proj, v_proj)
OUT_DIR/adapters/big    one of rank 32, above the engines' --max-lora-rank, for the error case

Everything comes from one seed, so every machine has the same weights. The weights mean nothing. They are
scaled so that greedy decoding has clear winners, and the output head cannot choose tokens that are not
printable ASCII (see printable_only), so that answers can be read and compared.
"""
import json
import os
import sys

os.environ.update({"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""})
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import ByteLevelBPETokenizer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SEED, VOCABULARY, HIDDEN = 20240607, 512, 256
SPECIAL = ["<s>", "</s>", "<pad>"]
CHAT_TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
WORDS = """the a of to and in that it is was for on are with as they at be this from have or by one had not but what all were when we
there can an your which their said if do will each about how up out them then she many some so these would other into has more her
two like him see time could no make than first been its who now people my made over did down only way find use may water long little
very after words called just where most know system user assistant request answer question model engine gateway fleet tenant token
cache prefix block light river stone morning winter summer garden window letter number paper story music color table chair street"""
OUT = sys.argv[1]


def train_tokenizer():
    words = WORDS.split()
    text = [" ".join(words[(i * step) % len(words)] for i in range(60)) + ". " for step in range(1, 40)]
    text += [f"{role}: {' '.join(words[i::7])}\n" for i, role in enumerate(["system", "user", "assistant"])]
    bpe = ByteLevelBPETokenizer(add_prefix_space=False)
    bpe.train_from_iterator(text, vocab_size=VOCABULARY, min_frequency=1, special_tokens=SPECIAL, show_progress=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>",
                                        model_max_length=8192, clean_up_tokenization_spaces=False)
    tokenizer.chat_template = CHAT_TEMPLATE
    assert len(tokenizer) == VOCABULARY, f"the tokenizer has {len(tokenizer)} tokens, not {VOCABULARY}"
    return tokenizer


def random_weights(model):
    generator = torch.Generator().manual_seed(SEED)
    for name, p in sorted(model.named_parameters()):
        if p.dim() == 1:
            p.data.fill_(1.0)  # norms
        else:
            scale = 1.0 if "embed" in name else (3.0 if "lm_head" in name else 1.0) / p.shape[1] ** 0.5
            p.data.copy_(torch.randn(p.shape, generator=generator) * scale)


def printable_only(model, tokenizer):
    """Hidden dimension 0 is made a constant (no layer writes it), and the head reads it as a bias per token."""
    model.model.embed_tokens.weight.data[:, 0] = 4.0
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.data[0, :] = 0
        layer.mlp.down_proj.weight.data[0, :] = 0
    head = model.lm_head.weight.data
    head[:, 0] = 0
    for i in range(VOCABULARY):
        text = tokenizer.decode([i], skip_special_tokens=True)
        if not text or not all(32 <= ord(c) < 127 for c in text):
            head[i, 0] = -10.0
    head[tokenizer.eos_token_id, 0] = -3.0  # ends now and then when sampled, hardly ever when greedy


def save_adapter(model_dir, name, rank, seed):
    torch.manual_seed(seed)
    base = LlamaForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    config = LoraConfig(r=rank, lora_alpha=4 * rank, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    adapter = get_peft_model(base, config)
    for n, p in adapter.named_parameters():
        if "lora_" in n:
            p.data.normal_(0, 0.08)
    adapter.peft_config["default"].base_model_name_or_path = "tiny"  # not this machine's path
    adapter.to(torch.bfloat16).save_pretrained(os.path.join(OUT, "adapters", name))


def main():
    torch.set_num_threads(1)
    model_dir = os.path.join(OUT, "model")
    os.makedirs(model_dir, exist_ok=True)
    tokenizer = train_tokenizer()
    config = LlamaConfig(vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
                         num_key_value_heads=2, max_position_embeddings=8192, bos_token_id=0, eos_token_id=1, pad_token_id=2,
                         tie_word_embeddings=False)
    model = LlamaForCausalLM(config).to(torch.float32)
    random_weights(model)
    printable_only(model, tokenizer)
    model.to(torch.bfloat16).save_pretrained(model_dir)
    tokenizer.save_pretrained(model_dir)
    for index, (name, rank) in enumerate([("l0", 8), ("l1", 8), ("big", 32)]):
        save_adapter(model_dir, name, rank, SEED + 1 + index)
    size = sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(model_dir) for f in files)
    print(json.dumps({"model_bytes": size}))


main()
