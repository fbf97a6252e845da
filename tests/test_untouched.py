from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from foolscope.untouched import untouched


def network() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), nn.Flatten(), nn.Linear(8, 3), nn.Linear(3, 3)
    )
    model[1].eval()
    model[4].weight.requires_grad_(False)
    model[0].register_forward_hook(lambda *_: None)
    model[4].register_forward_pre_hook(lambda *_: None)
    model[4].register_full_backward_hook(lambda *_: None)
    model(torch.rand(4, 1, 4, 4)).sum().backward()
    model[5].bias.grad = None
    return model


HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def state_of(model: nn.Module) -> list[object]:
    """Everything that has to come back: flags, hooks, identities, memory, dtypes, gradients and values, bit by bit."""
    told: list[object] = []
    for part in model.modules():
        told += [part, part.training, *(list(getattr(part, name).items()) for name in HOOKS)]
    for name, p in model.named_parameters():
        grad = None if p.grad is None else (id(p.grad), p.grad.data_ptr(), p.grad.dtype, p.grad.tolist())
        told += [name, id(p), p.data_ptr(), p.dtype, p.device, p.requires_grad, grad, p.tolist(), p._version]
    for name, b in model.named_buffers():
        told += [name, id(b), b.data_ptr(), b.dtype, b.device, b.tolist()]
    return told


def attack(model: nn.Module) -> None:
    dtype = next(model.parameters()).dtype
    images = torch.rand(4, 1, 4, 4, dtype=dtype, requires_grad=True)
    torch.autograd.grad(model(images).sum(), images)


def nothing(model: nn.Module) -> None:
    pass


def cast(model: nn.Module) -> None:
    model.double()
    attack(model)


def train_again(model: nn.Module) -> None:
    model.train()
    attack(model)  # moves the batch-norm statistics


def unfreeze(model: nn.Module) -> None:
    for p in model.parameters():
        p.requires_grad_(True)
    model(torch.rand(4, 1, 4, 4)).sum().backward()
    model.zero_grad(set_to_none=True)


def new_gradients(model: nn.Module) -> None:
    for p in model.parameters():
        p.requires_grad_(True)
        p.grad = None
    model(torch.rand(4, 1, 4, 4)).sum().backward()


def meddle_with_hooks(model: nn.Module) -> None:
    model[0].register_forward_hook(lambda *_: None)
    model[3].register_full_backward_hook(lambda *_: None)
    model[4]._forward_pre_hooks.clear()


def replace_parameters(model: nn.Module) -> None:
    model[0].weight = nn.Parameter(torch.zeros(2, 1, 3, 3))
    model[1].running_mean = torch.ones(2)
    del model[4].bias


ACTS = [nothing, attack, cast, train_again, unfreeze, new_gradients, meddle_with_hooks, replace_parameters]


@pytest.mark.parametrize("fail", [False, True], ids=["returns", "raises"])
@pytest.mark.parametrize("act", ACTS)
def test_everything_comes_back(act: Callable[[nn.Module], None], fail: bool) -> None:
    model = network()
    before = state_of(model)
    try:
        with untouched(model):
            act(model)
            if fail:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert fail
    assert state_of(model) == before


@pytest.mark.parametrize("act", [cast, train_again, new_gradients, meddle_with_hooks, replace_parameters])
def test_these_acts_would_be_seen(act: Callable[[nn.Module], None]) -> None:
    model = network()
    before = state_of(model)
    act(model)
    assert state_of(model) != before


def test_inside_it_is_frozen_and_in_eval_mode() -> None:
    model = network()
    with untouched(model) as notes:
        assert not any(part.training for part in model.modules())
        assert not any(p.requires_grad for p in model.parameters())
    assert notes == ("the model was in train mode; attacked in eval mode, given back in train mode",)


def test_notes_tell_the_mode() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Dropout()).eval()
    with untouched(model) as notes:
        assert notes == ()
    model[1].train()
    with untouched(model) as notes:
        assert notes[0].startswith("the model was partly in train mode")
    assert not model.training
    assert model[1].training


def test_gradients_are_never_created() -> None:
    model = nn.Linear(4, 2)
    with untouched(model):
        attack_input = torch.rand(3, 4, requires_grad=True)
        model(attack_input).sum().backward()
    assert model.weight.grad is None
    assert model.weight.requires_grad


def test_a_graph_that_the_caller_holds_still_works() -> None:
    model = network()
    loss = model(torch.rand(4, 1, 4, 4)).sum()
    with untouched(model):
        attack(model)
    loss.backward()  # raises if a saved tensor was written to


def test_a_train_method_of_its_own_is_undone_by_itself() -> None:
    class Merging(nn.Module):
        merged = False

        def train(self, mode: bool = True) -> nn.Module:
            self.merged = not mode
            return super().train(mode)

        def forward(self, inputs: Tensor) -> Tensor:
            return inputs

    model = Merging()
    with untouched(model):
        assert model.merged
    assert not model.merged


def test_shared_and_missing_parameters() -> None:
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    weight, copied = model[0].weight, copy.deepcopy(model.state_dict())
    with untouched(model):
        model.half()
    assert model[0].weight is model[1].weight is weight
    assert all(torch.equal(model.state_dict()[name], value) for name, value in copied.items())


def test_it_nests() -> None:
    model = network()
    before = state_of(model)
    with untouched(model), untouched(model) as notes:
        assert notes == ()
        attack(model)
    assert state_of(model) == before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_device_comes_back() -> None:
    model = network()
    before = state_of(model)
    with untouched(model):
        model.cuda()
        assert model[0].weight.is_cuda
    assert state_of(model) == before


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_scripted_module_comes_back() -> None:
    model = torch.jit.script(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout()))
    before = [(name, value.data_ptr(), value.dtype) for name, value in model.state_dict().items()]
    with untouched(model):
        assert not model.training
        model.double()
        model(torch.rand(2, 3, dtype=torch.float64))
    assert [(name, value.data_ptr(), value.dtype) for name, value in model.state_dict().items()] == before
    assert all(part.training for part in model.modules())
    assert all(p.requires_grad for p in model.parameters())
