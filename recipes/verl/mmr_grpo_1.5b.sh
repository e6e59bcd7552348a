#!/usr/bin/env bash
# MMR-GRPO on DeepSeek-R1-Distill-Qwen-1.5B with verl 0.9.1, as in arXiv 2601.09085; 8 GPUs of 80 GB.
#   pip install . math-verify                  # in the checkout, beside verl
#   python recipes/verl/prepare.py runs/verl-data
#   bash recipes/verl/mmr_grpo_1.5b.sh runs/verl-data
# The baseline without MMR: … runs/verl-data algorithm.adv_estimator=grpo
# What it did, against the model it began with, once a checkpoint is a model (N: its step):
#   python -m verl.model_merger merge --backend fsdp --target_dir runs/verl-1.5b \
#       --local_dir checkpoints/mmr-grpo/mmr-grpo-1.5b/global_step_N/actor
#   mmr-kernels eval deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B runs/verl-1.5b
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
data="$1"
shift
model=deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B

options=(
    algorithm.adv_estimator=mmr_grpo
    +algorithm.mmr.lam=sigmoid
    +algorithm.mmr.embedder_max_tokens=3584

    data.train_files="$data/train.parquet"
    data.val_files="$data/train.parquet"
    data.train_batch_size=16
    data.max_prompt_length=512
    data.max_response_length=3584
    data.filter_overlong_prompts=true
    reward.custom_reward_function.path="$here/reward.py"
    +reward.custom_reward_function.reward_kwargs.tokenizer="$model"

    # Six completions per prompt; no KL term.
    actor_rollout_ref.model.path="$model"
    actor_rollout_ref.rollout.name=vllm
    actor_rollout_ref.rollout.n=6
    actor_rollout_ref.rollout.temperature=0.7
    actor_rollout_ref.rollout.tensor_model_parallel_size=1
    actor_rollout_ref.rollout.gpu_memory_utilization=0.6

    # The paper gives the rate; batch sizes are ours, one update per batch. The loss divides by lengths, as GRPO's does.
    actor_rollout_ref.actor.optim.lr=1e-6
    actor_rollout_ref.actor.optim.lr_scheduler_type=cosine
    actor_rollout_ref.actor.optim.min_lr_ratio=0.1
    actor_rollout_ref.actor.optim.lr_warmup_steps_ratio=0.1
    actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-mean
    actor_rollout_ref.actor.ppo_mini_batch_size=16
    actor_rollout_ref.actor.use_dynamic_bsz=true

    trainer.project_name=mmr-grpo
    trainer.experiment_name=mmr-grpo-1.5b
    trainer.logger='["console"]'
    trainer.val_before_train=false
    trainer.total_epochs=1
    trainer.save_freq=50
)
exec python3 -m verl.trainer.main_ppo "${options[@]}" "$@"
