"""The table of options, and all that says it again: held equal to it, name by name."""

from __future__ import annotations

import inspect
import re
import typing
from typing import Any

import pytest
import torch
from strategies import OPTION_VALUES

from mmr_kernels import backends, mmr_advantages, mmr_reweight, ops, options, reference
from mmr_kernels.backends import cpu, this_host
from mmr_kernels.options import OPTIONS, Options, check, pack, unpack

#: Of the table, what the public call hasn't: it has ``lam`` and ``return_details``.
INTERNAL = {"lam_mode", "lam_value", "outputs"}
#: Of the table, what a kernel doesn't read: what it fills, it sees from the pointers.
NOT_OF_A_KERNEL = {"outputs", "backend"}
OF_A_KERNEL = {name: option for name, option in OPTIONS.items() if name not in NOT_OF_A_KERNEL}


def other(option: options.Option) -> Any:
    """A value that is not the default, and no other option's default."""
    if option.choices:
        return next(choice for choice in reversed(option.choices) if choice not in (option.default, None))
    return not option.default if option.is_flag else 0.125 + 0.0625 * list(OPTIONS).index(option.name) / 16


@pytest.mark.parametrize("function", [mmr_advantages, mmr_reweight])
def test_the_public_signatures(function: Any) -> None:
    """Names, defaults, choices; and the docstring of the first has an entry per argument."""
    hints = typing.get_type_hints(function)
    parameters = inspect.signature(function).parameters
    public = {name: option for name, option in OPTIONS.items() if name not in INTERNAL}
    if function is mmr_reweight:  # it stops before advantages are made
        for name in ("scale", "eps", "degenerate"):
            del public[name]
    for name, option in public.items():
        assert parameters[name].default == option.default, name
        if option.choices:
            assert hints[name] == typing.get_type_hints(Options)[name], name
    first = next(iter(public))
    assert list(parameters)[list(parameters).index(first) :] == [
        first, "lam", *list(public)[1:], "return_details"
    ]  # fmt: skip
    if function is mmr_advantages:
        documented = inspect.getdoc(function) or ""
        assert all(f"\n    {name}: " in documented for name in parameters)


@pytest.mark.parametrize("function", [mmr_advantages, mmr_reweight])
@pytest.mark.parametrize("name", [name for name in OPTIONS if name not in INTERNAL])
def test_each_option_reaches_the_op_under_its_own_name(
    function: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A swap of two that take the same values would show here."""
    if name not in inspect.signature(function).parameters:
        pytest.skip(f"{function.__name__} has no {name}")
    seen: list[str] = []
    monkeypatch.setattr(ops, "mmr", lambda rewards, embeddings, packed, *rest: seen.append(packed))
    value = other(OPTIONS[name])
    function(torch.rand(2, 3), torch.randn(2, 3, 4), **{name: value})
    given = unpack(seen[0])
    expected = Options(**{name: value})
    if function is mmr_reweight:
        expected = expected._replace(outputs="reweighted", scale="none")
    assert given == expected


@pytest.mark.parametrize("module", ["_cpu", "_cuda", "_emulator"])
def test_csrc_has_the_same_options_with_the_same_values(module: str) -> None:
    compiled = pytest.importorskip(f"mmr_kernels.{module}", exc_type=ImportError)
    for name, option in OF_A_KERNEL.items():
        takes = ", ".join(option.choices) if option.choices else "bool" if option.is_flag else "float"  # type: ignore[arg-type]
        assert compiled.takes[name] == takes, name
    assert list(compiled.takes) == list(OF_A_KERNEL)


@pytest.mark.skipif(cpu.why_not_here(this_host()) is not None, reason="no compiled module")
def test_a_compiled_module_refuses_what_it_does_not_know() -> None:
    from mmr_kernels import _cpu

    known = {name: getattr(Options(), name) for name in OF_A_KERNEL}
    _cpu.Options(known)
    for wrong in ({**known, "method": "unheard_of"}, {**known, "colour": 1.0}, {"method": "mmr"}):
        with pytest.raises(ValueError, match=r"method has no value 'unheard_of'|an option that|no option lam_mode"):
            _cpu.Options(wrong)


def test_the_reference_has_the_same_options() -> None:
    parameters = inspect.signature(reference.mmr).parameters.values()
    assert {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} == set(OF_A_KERNEL)


def test_the_triton_kernel_has_the_same_options() -> None:
    pytest.importorskip("triton")
    from mmr_kernels.backends.triton import advantages, of_options

    names = advantages.mmr_kernel.arg_names
    for name, option in OF_A_KERNEL.items():
        assert (name if option.is_number else name.upper()) in names, name
    chosen = Options(**{name: other(option) for name, option in OF_A_KERNEL.items()})
    numbers, choices = of_options(chosen)
    assert set(numbers) == {getattr(chosen, name) for name, option in OF_A_KERNEL.items() if option.is_number}
    assert len(numbers) + len(choices) == len(OF_A_KERNEL)


def test_the_suite_draws_every_option() -> None:
    assert set(OPTION_VALUES) == set(OPTIONS) - INTERNAL - {"backend"}
    for name, values in OPTION_VALUES.items():
        assert set(OPTIONS[name].choices) <= set(values), name


@pytest.mark.parametrize("name", OPTIONS)
def test_the_wire_form_leaves_defaults_out(name: str) -> None:
    option = OPTIONS[name]
    assert pack({name: option.default}) == ""
    value = other(option)
    assert pack({name: value}) == f"{name}={value}"
    assert unpack(f"{name}={value}") == Options(**{name: value})


def test_numbers_keep_every_bit_on_the_wire() -> None:
    for number in (0.1, 1 / 3, 5e-324, 1e-45, options.LARGEST_FLOAT32):
        assert unpack(pack({"eps": number})).eps == number


def test_an_error_names_the_option_as_its_caller_knows_it() -> None:
    with pytest.raises(ValueError, match=r"^mmr_scope must be one of 'group', 'batch'; got 'world'"):
        check("scope", "world", called="mmr_scope")


@pytest.mark.parametrize("field", ["method", "lam_mode", "scope", "scale", "first_pick", "degenerate"])
def test_a_value_that_a_backend_has_forgotten_is_an_error_there(
    field: str, backend: str, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: the table gains a value that no kernel knows. None of them computes something else in its place."""
    options.unpack.cache_clear()
    grown = OPTIONS[field]._replace(choices=(*OPTIONS[field].choices, "unheard_of"))
    monkeypatch.setitem(OPTIONS, field, grown)
    given = pack({field: "unheard_of", "backend": backend})
    rewards, embeddings = torch.rand(2, 3, device=device), torch.randn(2, 3, 4, device=device)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - one per backend; the message is asserted below
        ops.mmr(rewards, embeddings, given, 0, None, None, None, None, None)
    options.unpack.cache_clear()
    messages, error = "", caught.value
    while error is not None:  # Triton raises each caller's line from the assertion in the function that it calls
        messages, error = f"{messages}\n{error}", error.__cause__
    assert re.search("unheard_of|that this kernel lacks", messages), messages
    assert backends.BACKENDS  # the table is whole again for whoever comes next
