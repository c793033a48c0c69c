"""Real pipelines with random weights, small enough to build and run on a CPU within seconds."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5TokenizerFast

WORDS = [
    "a",
    "an",
    "on",
    "the",
    "large",
    "small",
    "red",
    "green",
    "blue",
    "circle",
    "square",
    "left",
    "right",
    "background",
]
TEXT_TOKENS = 32


def save_tiny_flux(folder: Path, heads: int = 4, seed: int = 0) -> Path:
    """Save a FluxPipeline (1 double and 2 single blocks, VAE factor 8, random weights in float32); returns the folder.

    heads: attention heads of 32 channels. seed: of the weights.
    """
    torch.manual_seed(seed)
    pipe = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=False),
        vae=_vae(),
        text_encoder=_clip(),
        tokenizer=_clip_tokenizer(),
        text_encoder_2=_t5(),
        tokenizer_2=_t5_tokenizer(),
        transformer=FluxTransformer2DModel(
            in_channels=32,
            num_layers=1,
            num_single_layers=2,
            attention_head_dim=32,
            num_attention_heads=heads,
            joint_attention_dim=64,
            pooled_projection_dim=64,
            guidance_embeds=False,
            axes_dims_rope=(8, 12, 12),
        ),
    )
    pipe.save_pretrained(folder)
    return folder


def _vae() -> AutoencoderKL:
    channels = (8, 8, 16, 16)
    return AutoencoderKL(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        layers_per_block=1,
        latent_channels=8,
        norm_num_groups=1,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=1.0,
        shift_factor=0.0,
    )


def _clip() -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=512,
            hidden_size=64,
            intermediate_size=64,
            projection_dim=64,
            num_hidden_layers=1,
            num_attention_heads=4,
            max_position_embeddings=TEXT_TOKENS,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )


def _clip_tokenizer() -> CLIPTokenizer:
    specials = ["<|startoftext|>", "<|endoftext|>"]
    letters = [chr(code) + end for code in range(ord("a"), ord("z") + 1) for end in ("", "</w>")]
    vocabulary = {token: index for index, token in enumerate(specials + letters)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=TEXT_TOKENS)


def _t5() -> T5EncoderModel:
    return T5EncoderModel(T5Config(vocab_size=64, d_model=64, d_kv=16, d_ff=64, num_layers=1, num_heads=4))


def _t5_tokenizer() -> T5TokenizerFast:
    pieces = ["<pad>", "</s>", "<unk>", "▁", *(f"▁{word}" for word in WORDS)]
    vocabulary = [(piece, 0.0 if index < 3 else -2.0) for index, piece in enumerate(pieces)]
    return T5TokenizerFast(vocab=vocabulary, extra_ids=0, model_max_length=TEXT_TOKENS)
