"""One process or several under `torchrun`: the few collective steps that training needs, identities in one process."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

import torch
import torch.distributed as dist
from torch import nn


def rank() -> int:
    """This process's number among `world()`."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def join(device: str) -> torch.device:
    """Join the processes that `torchrun` started (nccl on GPUs, gloo otherwise) and return this one's device.

    Without `torchrun`'s environment nothing is joined. `device` `cuda` becomes `cuda:LOCAL_RANK`.
    """
    chosen = torch.device(device)
    if "LOCAL_RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return chosen
    if chosen.type == "cuda" and chosen.index is None:
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(chosen)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return chosen


def leave() -> None:
    """Leave the group that `join` made, if it made one."""
    if dist.is_initialized():
        with suppress(RuntimeError):
            dist.barrier()
        dist.destroy_process_group()


def summed(value: torch.Tensor) -> torch.Tensor:
    """Sum of a tensor over processes; no gradient."""
    if world() == 1:
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total


def gathered(value_BX: torch.Tensor) -> torch.Tensor:
    """(world * B, ...) of every process, in order of rank; no gradient."""
    if world() == 1:
        return value_BX.detach()
    parts = [torch.empty_like(value_BX) for _ in range(world())]
    dist.all_gather(parts, value_BX.detach().contiguous())
    return torch.cat(parts)


def anyone(flag: bool, device: torch.device) -> bool:
    """Whether `flag` is set in any process."""
    if world() == 1:
        return flag
    return bool(summed(torch.tensor([float(flag)], device=device)).item())


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Mean of the gradients over processes, in one all-reduce.

    One bucket of some 45 MB an update is cheap beside forward and backward, has no rule about unused parameters, and
    leaves gradient accumulation alone. A parameter without a gradient must have none in every process.
    """
    grads = [p.grad for p in parameters if p.grad is not None]
    if world() == 1 or not grads:
        return
    flat = torch.cat([g.flatten() for g in grads])
    dist.all_reduce(flat)
    flat /= world()
    start = 0
    for grad in grads:
        grad.copy_(flat[start : start + grad.numel()].view_as(grad))
        start += grad.numel()


def synchronise_batchnorm(module: nn.Module, device: torch.device) -> None:
    """Let every BatchNorm2d inside `module` normalise over all processes; in one process nothing changes.

    torch's SyncBatchNorm needs GPUs; elsewhere `AllReduceBatchNorm` takes its place. The key encoder (`slow_...`) is left
    as it is: its groups must not share statistics.
    """
    if world() == 1:
        return
    for name, child in module.named_children():
        if name.startswith("slow_"):
            continue
        if not isinstance(child, nn.BatchNorm2d):
            synchronise_batchnorm(child, device)
        elif device.type == "cuda":
            setattr(module, name, nn.SyncBatchNorm.convert_sync_batchnorm(child))
        else:
            setattr(module, name, AllReduceBatchNorm.of(child))


class _AllReduce(torch.autograd.Function):
    """Sum over processes whose gradient is summed over processes too."""

    @staticmethod
    def forward(ctx: object, value: torch.Tensor) -> torch.Tensor:
        return summed(value)

    @staticmethod
    def backward(ctx: object, *grads: torch.Tensor) -> torch.Tensor:
        return summed(grads[0].contiguous())


class AllReduceBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the batches of all processes, in plain differentiable operations: for gloo and CPUs."""

    @classmethod
    def of(cls, plain: nn.BatchNorm2d) -> AllReduceBatchNorm:
        """The same parameters and running statistics, shared with `plain`."""
        new = cls(plain.num_features, plain.eps, plain.momentum, plain.affine, plain.track_running_stats)
        new.weight, new.bias = plain.weight, plain.bias
        new.running_mean, new.running_var = plain.running_mean, plain.running_var
        new.num_batches_tracked = plain.num_batches_tracked
        return new.train(plain.training)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Same shape; in eval mode, and in one process, exactly `nn.BatchNorm2d`."""
        if not self.training or world() == 1:
            return super().forward(x_BCHW)
        x = x_BCHW.float()
        shape = (1, -1, 1, 1)
        count = x.numel() // x.shape[1] * world()  # every process has the same share
        mean = _AllReduce.apply(x.sum((0, 2, 3))) / count
        centred = x - mean.view(shape)
        # Not E[x^2] - mean^2: in float32 that loses the digits that the comparison with one process needs.
        variance = _AllReduce.apply(centred.square().sum((0, 2, 3))) / count
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / max(count - 1, 1)), self.momentum)
        scale = (variance + self.eps).rsqrt() * self.weight
        return (centred * scale.view(shape) + self.bias.view(shape)).to(x_BCHW.dtype)
