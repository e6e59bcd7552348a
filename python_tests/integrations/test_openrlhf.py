"""OpenRLHF's own experience maker, with deepspeed, flash_attn and vllm as empty modules (``make test-openrlhf``)."""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("openrlhf", reason="openrlhf is not installed: make test-openrlhf")

import ray

from mmr_kernels import mmr_advantages
from mmr_kernels.embedders import LexicalEmbedder
from mmr_kernels.integrations.openrlhf import Adapter
from mmr_kernels.options import OPTIONS

EMPTY = {
    "deepspeed": ["ops", "ops.adam", "runtime", "runtime.zero", "runtime.zero.partition_parameters", "utils"],
    "flash_attn": ["bert_padding", "utils", "utils.distributed"],
    "ring_flash_attn": [],
    "vllm": ["engine", "engine.arg_utils", "inputs", "lora", "sampling_params", "utils"],
}


class Empty(ModuleType):
    """A module that has every class, and none that does anything."""

    __path__: list[str] = []  # noqa: RUF012

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def experience_maker() -> Any:
    """OpenRLHF's module, anew: whatever hooks into it does so."""
    for name in [*EMPTY, *(f"{package}.{part}" for package, parts in EMPTY.items() for part in parts)]:
        sys.modules[name] = Empty(name)
        sys.modules[name].__spec__ = ModuleSpec(name, None)
    sys.modules.pop("openrlhf.trainer.ppo_utils.experience_maker", None)
    return importlib.import_module("openrlhf.trainer.ppo_utils.experience_maker")


def maker(module: Any, estimator: str) -> Any:
    made = object.__new__(module.RemoteExperienceMaker)
    advantage = SimpleNamespace(estimator=estimator, gamma=1.0, lambd=1.0, no_std_norm=False)
    made.strategy = SimpleNamespace(
        args=SimpleNamespace(
            algo=SimpleNamespace(advantage=advantage),
            rollout=SimpleNamespace(n_samples_per_prompt=4, max_new_tokens=4),
            # Responses of more than two tokens are penalized.
            reward=SimpleNamespace(clip_range=(-10, 10), overlong_buffer_len=2, overlong_penalty_factor=1.0),
        )
    )
    made.args, made.advantage_estimator, made.tokenizer = made.strategy.args, estimator, None
    made.kl_ctl = SimpleNamespace(value=0.0)
    return made


#: Responses to two prompts, in the order of sampling; 0 is what a tool wrote.
RESPONSES = [[5, 6, 7], [5, 6, 7], [5, 0, 0, 7], [8, 8], [1, 2], [1, 3], [4], [1, 2]]
REWARDS = torch.tensor([1.0, 1.0, 0.5, 1.0, 0.0, 1.0, 0.0, 2.0])
#: The same with OpenRLHF's penalty of long responses.
PENALIZED = REWARDS - torch.tensor([0.5, 0.5, 1.0, 0, 0, 0, 0, 0])
#: How OpenRLHF packs them into batches of experience.
BATCHES = [[6, 1, 3], [0, 7], [2, 5, 4]]


def experiences() -> list[Any]:
    from openrlhf.trainer.ppo_utils.experience import Experience

    made = []
    for rows in BATCHES:
        longest = max(len(RESPONSES[row]) for row in rows)
        sequences = torch.tensor([[9, 9, *RESPONSES[row], *[0] * (longest - len(RESPONSES[row]))] for row in rows])
        made.append(
            Experience(
                sequences=sequences,
                action_mask=sequences[:, 1:] * torch.tensor([0, *[1] * longest]) != 0,
                rewards=REWARDS[rows],
                response_length=torch.tensor([float(len(RESPONSES[row])) for row in rows]),
                index=list(rows),
                kl=torch.zeros(len(rows), longest + 1),
                info={},
            )
        )
    return made


def computed(module: Any, estimator: str) -> tuple[torch.Tensor, list[Any]]:
    """Advantages in the order of sampling, each that of all of a response's own tokens; and the experiences."""
    made = maker(module, estimator).compute_advantages_and_returns(experiences())
    found = torch.empty(len(RESPONSES))
    for each in made:
        for row, values, own in zip(each.index, each.advantages, each.action_mask, strict=True):
            assert len(values[own].unique()) == 1
            found[row] = values[own][0]
    return found, made


@pytest.mark.parametrize("method", OPTIONS["method"].choices)
@pytest.mark.parametrize("estimator", ["group_norm", "dr_grpo"])
def test_advantages_are_the_ops_and_those_of_none_openrlhfs(estimator: str, method: str) -> None:
    plain, _ = computed(experience_maker(), estimator)
    module = experience_maker()
    chosen = {"method": method} | ({"threshold": 0.5} if method == "partition" else {})
    Adapter(chosen).hook(module)
    found, made = computed(module, estimator)
    embeddings = LexicalEmbedder().embed_tokens(
        torch.tensor([row + [0] * (4 - len(row)) for row in RESPONSES]),
        torch.tensor([[int(token != 0) for token in row] + [0] * (4 - len(row)) for row in RESPONSES]),
    )
    options = {"scale": "group", "eps": 1e-9} if estimator == "group_norm" else {"scale": "none"}
    wanted = mmr_advantages(PENALIZED, embeddings, group_size=4, **chosen, **options)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
    rewards = torch.cat([each.rewards for each in made])
    assert torch.equal(rewards, PENALIZED[[row for rows in BATCHES for row in rows]]), "what is logged is the reward"
    if method == "none":
        assert torch.equal(found, plain)
    else:
        assert not torch.allclose(found, plain, atol=0.01)
        assert len(made[0].info["mmr/reward_after"]) == len(made[0].index)


def test_settings_are_as_before_where_a_step_fails() -> None:
    module = experience_maker()
    Adapter({}).hook(module)
    penalize, made = module.apply_length_penalties, maker(module, "group_norm")
    made.kl_ctl = None
    with pytest.raises(AttributeError):
        made.compute_advantages_and_returns(experiences())
    assert (made.args.algo.advantage.estimator, module.apply_length_penalties) == ("group_norm", penalize)


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(ValueError, match=r"MMR_OPTIONS takes method, .* got lamb"):
        Adapter({"lamb": 1})
    module = experience_maker()
    Adapter({}).hook(module)
    with pytest.raises(ValueError, match=r"takes --algo.advantage.estimator group_norm or dr_grpo; got rloo"):
        computed(module, "rloo")
    module = experience_maker()
    module.apply_length_penalties = lambda experiences: None
    with pytest.raises(RuntimeError, match=r"openrlhf 0.11.2: apply_length_penalties takes \(experiences\), not"):
        Adapter({}).hook(module)


def test_rays_workers_are_hooked_by_the_environment_of_the_job() -> None:
    names = {"lam": 0.75, "first_pick": "score"}
    environment = {
        "worker_process_setup_hook": "mmr_kernels.integrations.openrlhf.hook",
        "env_vars": {"MMR_OPTIONS": "{lam: 0.75, first_pick: score}"},
    }
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, runtime_env=environment)

    @ray.remote
    def in_worker() -> list[float]:
        from integrations import test_openrlhf

        return test_openrlhf.computed(test_openrlhf.experience_maker(), "group_norm")[0].tolist()

    try:
        found = ray.get(in_worker.remote(), timeout=240)
    finally:
        ray.shutdown()
    module = experience_maker()
    Adapter(names).hook(module)
    assert found == computed(module, "group_norm")[0].tolist()
