"""The calls we make into other libraries, by name: a new release fails here and not a student."""

import inspect
from collections.abc import Callable
from pathlib import Path

import accelerate
import peft
import pytest
import safetensors
import torch
import transformers
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env
from tiny_llava import tiny_llava
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers.cli.serve import Serve
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, create_causal_mask, sdpa_mask

Llava = transformers.LlavaForConditionalGeneration
Accelerator = accelerate.Accelerator
CONFIGS = Path(__file__).resolve().parent.parent / "configs"

LAYERS = "inputs_embeds attention_mask position_ids past_key_values use_cache"
SIZES = "hidden_size intermediate_size num_hidden_layers num_attention_heads"
CALLS: list[tuple[Callable, str]] = [
    # parameters that must exist by name; those a function takes through **kwargs stand below
    (transformers.LlamaModel.forward, LAYERS),
    (transformers.Qwen2Model.forward, LAYERS),
    (transformers.LlavaProcessor, "image_processor tokenizer patch_size chat_template"),
    (transformers.LlavaProcessor, "vision_feature_select_strategy num_additional_image_tokens"),
    (transformers.ProcessorMixin.apply_chat_template, "conversation"),
    (transformers.DynamicCache, "ddp_cache_data"),
    (transformers.LlamaConfig, f"{SIZES} max_position_embeddings rms_norm_eps vocab_size"),
    (transformers.Qwen2Config, f"{SIZES} num_key_value_heads tie_word_embeddings vocab_size"),
    (transformers.CLIPVisionConfig, f"{SIZES} image_size patch_size projection_dim"),
    (transformers.SiglipVisionConfig, f"{SIZES} image_size patch_size"),
    (transformers.LlavaConfig, "text_config vision_config image_token_index"),
    (transformers.LlavaConfig, "vision_feature_layer vision_feature_select_strategy"),
    (transformers.AutoConfig.register, "model_type config"),
    (transformers.AutoModel.register, "config_class model_class"),
    (transformers.PreTrainedModel.save_pretrained, "save_directory"),
    (transformers.ProcessorMixin.save_pretrained, "save_directory"),
    (transformers.PreTrainedTokenizerBase.decode, "skip_special_tokens"),
    (Serve, "force_model port device"),
    (transformers.BitsAndBytesConfig, "load_in_4bit bnb_4bit_quant_type bnb_4bit_compute_dtype"),
    (transformers.BitsAndBytesConfig, "bnb_4bit_use_double_quant llm_int8_skip_modules"),
    (transformers.AttentionInterface.register, "key value"),
    (AttentionMaskInterface.register, "key value"),
    (transformers.PreTrainedModel.set_attn_implementation, "attn_implementation"),
    (transformers.PreTrainedModel.gradient_checkpointing_enable, "gradient_checkpointing_kwargs"),
    (sdpa_attention_forward, "module query key value attention_mask is_causal"),
    (create_causal_mask, "inputs_embeds attention_mask past_key_values position_ids"),
    (peft.LoraConfig, "r lora_alpha lora_dropout target_modules modules_to_save task_type"),
    (peft.get_peft_model, "model peft_config"),
    (peft.PeftModel.from_pretrained, "model model_id autocast_adapter_dtype"),
    (peft.PeftModel.save_pretrained, "save_directory save_embedding_layers"),
    (Accelerator, "mixed_precision"),
    (Accelerator.no_sync, "model"),
    (Accelerator.clip_grad_norm_, "parameters max_norm"),
    (Accelerator.reduce, "tensor reduction"),
    (Accelerator.unwrap_model, "model"),
    (accelerate.PartialState, "cpu"),
    (torch.optim.AdamW, "params lr weight_decay"),
    (distribute_tensor, "tensor device_mesh placements"),
    (fully_shard, "module ignored_params"),
    (safetensors.torch.save_file, "tensors filename metadata"),
]  # fmt: skip
THROUGH_KWARGS: list[tuple[Callable, str]] = [
    (Llava.from_pretrained, "dtype device_map use_safetensors attn_implementation"),
    (Llava.from_pretrained, "quantization_config output_loading_info"),
    (transformers.LlamaModel.forward, "segments, on its way to the attention"),
    (transformers.Qwen2Model.forward, "segments, on its way to the attention"),
    (transformers.ProcessorMixin.apply_chat_template, "add_generation_prompt tokenize"),
    (peft.PeftModel.save_pretrained, "state_dict"),
    (sdpa_attention_forward, "whatever a layer hands on"),
    (Accelerator.backward, "nothing; DeepSpeed takes more"),
]
ATTRIBUTES: list[tuple[object, str]] = [
    (Accelerator, "prepare process_index num_processes is_main_process device"),
    (Accelerator, "distributed_type wait_for_everyone sync_gradients"),
    (accelerate.DistributedType, "DEEPSPEED FSDP"),
    (peft.PeftModel, "get_base_model get_nb_trainable_parameters"),
    (peft.LoraModel, "merge_and_unload unload"),
    (DTensor, "full_tensor"),
    (torch.amp.GradScaler, "state_dict load_state_dict"),
    (torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu"),
    (transformers.AutoConfig, "from_pretrained"),
    (transformers.AutoProcessor, "from_pretrained"),
    (transformers, "AutoProcessor AutoModelForImageTextToText CLIPImageProcessorPil"),
]


def name(value: object) -> str:
    return getattr(value, "__qualname__", None) or getattr(value, "__name__", str(value))


def parameters(call: Callable) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(call).parameters)


@pytest.mark.parametrize(("call", "names"), CALLS, ids=name)
def test_parameters_we_pass_by_name(call, names):
    assert set(names.split()) <= set(parameters(call))


@pytest.mark.parametrize(("call", "names"), THROUGH_KWARGS, ids=name)
def test_what_we_pass_through_is_still_taken(call, names):
    kinds = {p.kind for p in parameters(call).values()}
    assert inspect.Parameter.VAR_KEYWORD in kinds, f"{name(call)} no longer takes {names}"


@pytest.mark.parametrize(("owner", "names"), ATTRIBUTES, ids=name)
def test_attributes_we_use(owner, names):
    missing = [one for one in names.split() if not hasattr(owner, one)]
    assert not missing


def test_the_parts_of_a_llava():
    model, processor = tiny_llava()
    for path in ("vision_tower", "multi_modal_projector", "language_model.layers"):
        assert model.model.get_submodule(path) is not None
    assert model.lm_head.out_features == model.get_input_embeddings().num_embeddings
    for field in ("vision_feature_layer", "vision_feature_select_strategy", "vision_config"):
        assert hasattr(model.config, field)
    for field in ("image_token", "image_token_id", "patch_size", "num_additional_image_tokens"):
        assert hasattr(processor, field)


def test_a_cache_opens_into_keys_and_values():
    pair = torch.zeros(1, 2, 3, 4), torch.ones(1, 2, 3, 4)
    cache = transformers.DynamicCache((pair,))
    assert torch.equal(cache.layers[0].keys, pair[0])
    assert torch.equal(cache.layers[0].values, pair[1])


def test_a_mask_of_four_dimensions_is_taken_as_it_is():
    model, _ = tiny_llava()
    mask, words = torch.randn(1, 1, 5, 5), torch.zeros(1, 5, 32)
    config = model.config.text_config
    made = create_causal_mask(
        config=config, inputs_embeds=words, attention_mask=mask, past_key_values=None
    )
    assert made is mask
    assert callable(sdpa_mask)


def test_accelerate_lets_us_say_when_gradients_are_whole():
    accelerator = Accelerator()
    accelerator.sync_gradients = False
    assert accelerator.gradient_state.sync_gradients is False
    accelerator.sync_gradients = True
    assert accelerator.scaler is None


def launched(name: str) -> dict[str, str]:
    """The environment in which ``accelerate launch`` starts a process by one of our files."""
    args = launch_command_parser().parse_args(["--config_file", str(CONFIGS / name), "script"])
    return prepare_multi_gpu_env(_validate_launch_command(args)[0])


def test_the_launcher_reads_our_configs(monkeypatch):
    monkeypatch.chdir(CONFIGS.parent)  # the DeepSpeed file is named from the root
    for name in ("ddp.yaml", "fsdp.yaml"):
        assert launched(name)["ACCELERATE_MIXED_PRECISION"] in ("no", "bf16")
    for key, value in launched("fsdp.yaml").items():
        monkeypatch.setenv(key, value)
    plugin = accelerate.FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2 and plugin.reshard_after_forward is True
    assert plugin.transformer_cls_names_to_wrap == ["LlamaDecoderLayer"]
    assert plugin.ignored_modules == r".*\.(vision_tower|embed_tokens)"
    deepspeed = launch_command_parser().parse_args(
        ["--config_file", str(CONFIGS / "deepspeed.yaml"), "script"]
    )
    named = _validate_launch_command(deepspeed)[0].deepspeed_config_file
    assert Path(named).resolve() == CONFIGS / "zero2.json"


def test_the_8_bit_optimiser():
    optim = pytest.importorskip("bitsandbytes.optim", reason="bitsandbytes is for CUDA alone")
    assert {"params", "lr", "weight_decay"} <= set(parameters(optim.PagedAdamW8bit))
