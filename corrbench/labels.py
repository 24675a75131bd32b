"""First-frame labels to the feature grid and propagated labels back: index masks and joint heat maps.

Sizes are (h, w), joint positions (x, y) in pixels of the frame, 0-based, pixel centres at whole numbers. Each codec is named
after what it does and follows the released code of the papers named beside it.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from corrbench.propagation.cpu import best
from corrbench.protocol import CHOICES, Protocol

Mask = npt.NDArray[np.uint8]
Size = tuple[int, int]
VOID = 255


def encode_mask(index_HW: npt.ArrayLike, input_size: Size, grid_size: Size, down: str) -> Tensor:
    """An index mask as one-hot labels on the grid, float32 (classes, h, w); void (255) counts as background.

    * `nearest`: Pillow's nearest, straight to the grid (DINO, UVC).
    * `nearest-nearest`: Pillow's nearest to the input size, then to the grid (STT, VFS).
    * `nearest-exact`: torch's nearest-exact (DINOv3's notebook).
    * `bilinear`: one-hot, then bilinear without antialiasing (CRW, TimeCycle: OpenCV's default).
    * `bilinear-corners`: the same with corners aligned (DUL).

    The first two have (highest id on the grid) + 1 classes: the highest object is lost if it is too small to survive, as in
    those codes. The others keep a map for every id of the mask.
    """
    mask = np.asarray(index_HW)
    if mask.ndim != 2 or 0 in mask.shape or mask.dtype.kind not in "iub":
        raise ValueError(f"mask of shape {mask.shape} and type {mask.dtype}: expected integer ids (H, W)")
    if mask.min() < 0 or mask.max() > VOID:
        raise ValueError(f"mask with ids {mask.min()}..{mask.max()}: expected 0..255, 255 being void")
    mask = np.where(mask == VOID, 0, mask).astype(np.uint8)
    if down == "nearest-nearest":
        mask = resize_nearest(resize_nearest(mask, input_size), grid_size)
    elif down == "nearest":
        mask = resize_nearest(mask, grid_size)
    ids = torch.arange(int(mask.max()) + 1)
    if down in ("nearest", "nearest-nearest"):
        return (torch.from_numpy(mask) == ids[:, None, None]).float()
    if down not in CHOICES["down"]:
        raise ValueError(f"down={down!r}: expected one of {', '.join(CHOICES['down'])}")
    whole = torch.from_numpy(mask)
    mode = down.removesuffix("-corners")
    corners = None if mode != "bilinear" else down == "bilinear-corners"
    maps = [
        F.interpolate((whole == i).float()[None, None], size=grid_size, mode=mode, align_corners=corners)[
            0, 0
        ]
        for i in ids
    ]  # a class at a time: all of them at full size can be hundreds of MB
    return torch.stack(maps)


def decode_mask(
    soft_TChw: Tensor, size_HW: Size, up: str, minmax: bool, input_size: Size | None = None
) -> Tensor:
    """Soft labels on the grid as index masks, uint8 (T, H, W) on the CPU; the first of equal classes wins.

    * `bilinear`: maps to the frame's size, arg-max there (STT, VFS, CRW).
    * `bilinear-corners`: the same with corners aligned (DUL).
    * `bilinear-nearest`: maps to `input_size`, arg-max, Pillow's nearest to the frame (DINO, UVC; needs `input_size`).
    * `nearest`: the grid's cells enlarged (DINOv3's notebook).

    `minmax` stretches every map of every frame that has a positive maximum to [0, 1] before the arg-max, as STT, VFS, DINO
    and UVC do: it favours small objects. Only one map of a few frames is held at full size at any time.
    """
    if soft_TChw.ndim != 4 or 0 in soft_TChw.shape:
        raise ValueError(f"soft labels of shape {tuple(soft_TChw.shape)}: expected (frames, classes, h, w)")
    if soft_TChw.shape[1] > VOID:
        raise ValueError(f"{soft_TChw.shape[1]} classes: an index mask holds at most {VOID}")
    if up not in CHOICES["up"]:
        raise ValueError(f"up={up!r}: expected one of {', '.join(CHOICES['up'])}")
    full = size_HW
    if up == "bilinear-nearest":
        if input_size is None:
            raise ValueError("up='bilinear-nearest' needs input_size, the size of the network's input")
        full = input_size
    few = _at_once(soft_TChw, full)
    rows, columns = (_nearest(a, b).to(soft_TChw.device) for a, b in zip(full, size_HW, strict=True))
    parts = (_decode(some, full, up, minmax) for some in soft_TChw.split(few))
    return torch.cat([(some if full == size_HW else some[:, rows][:, :, columns]).cpu() for some in parts])


def first_mask(index_HW: npt.ArrayLike, input_size: Size, size_HW: Size) -> Mask:
    """Frame 0 as STT scores it: the given mask by Pillow's nearest to the input size and by torch's back, uint8 (H, W)."""
    small = torch.from_numpy(resize_nearest(np.asarray(index_HW, dtype=np.uint8), input_size))
    back = F.interpolate(small[None, None].float(), size=size_HW, mode="nearest")
    return back[0, 0].to(torch.uint8).numpy()


def encode_joints(
    xy_J2: npt.ArrayLike, size: Size, input_size: Size, grid_size: Size, protocol: Protocol
) -> Tensor:
    """Joints as heat maps on the grid, float32 (J, h, w), after a background map where the protocol has one.

    `sigma_in="pixels"` (STT): Gaussians at the frame's size, bilinear to the input size, bilinear to the grid. "cells"
    (CRW, UVC): Gaussians on the grid itself, positions scaled by grid/frame without a half-pixel shift. The background
    map is 1 where all joints are 0. A joint that is NaN or off the frame has an empty map.
    """
    joints = _joints(xy_J2)
    if protocol.sigma_in == "pixels":
        maps = _resize(_resize(_gaussians(joints, size, protocol.sigma), input_size), grid_size)
    else:
        scaled = joints * (np.array(grid_size[::-1]) / np.array(size[::-1]))
        maps = _gaussians(scaled, grid_size, protocol.sigma)
    if not protocol.background:
        return maps
    return torch.cat([(maps.sum(dim=0, keepdim=True) == 0).float(), maps])


def decode_joints(soft_TJhw: Tensor, size: Size, protocol: Protocol) -> Tensor:
    """Joint positions from propagated maps: float32 (T, J, 2), x and y in pixels of the frame, on the CPU.

    The mean of the `decode_top` highest pixels, weighted by value, of the map enlarged bilinearly to the frame
    (`decode_at="image"`, STT) or on the grid and then scaled by frame/grid (`"grid"`, CRW, UVC). Of equal pixels the last
    in raster order is taken, as the sort of STT's code mostly does; enlarging repeats borders, so equals do occur. A map
    whose sum is 0 is a lost joint, (-1, -1). The background map is left out.
    """
    if soft_TJhw.ndim != 4 or 0 in soft_TJhw.shape or soft_TJhw.shape[1] <= protocol.background:
        raise ValueError(f"joint maps of shape {tuple(soft_TJhw.shape)}: expected (frames, joints, h, w)")
    soft_TJhw = soft_TJhw[:, int(protocol.background) :]
    frames, joints = soft_TJhw.shape[:2]
    some = soft_TJhw.split(max(1, _at_once(soft_TJhw, size) // joints))
    points = torch.cat([_peak(maps.flatten(0, 1).float(), size, protocol) for maps in some])
    return points.view(frames, joints, 2).cpu()


def first_joints(xy_J2: npt.ArrayLike, size: Size, input_size: Size, protocol: Protocol) -> Tensor:
    """Frame 0 as STT scores it, float32 (J, 2): the given joints drawn, resized to the input and back, and decoded.

    Protocols with `sigma_in="cells"` do not score frame 0; their joints are given back as they are, (-1, -1) where NaN.
    """
    joints = _joints(xy_J2)
    if protocol.sigma_in == "cells":
        return torch.from_numpy(np.where(np.isnan(joints).any(axis=1, keepdims=True), -1, joints)).float()
    maps = _resize(_gaussians(joints, size, protocol.sigma), input_size)
    return _peak(maps, size, protocol.replace(decode_at="image"))


def resize_nearest(mask_HW: Mask, size: Size) -> Mask:
    """A uint8 mask at another size by Pillow's nearest: pixel i is taken from floor((i + 0.5) * old / new)."""
    if mask_HW.shape == tuple(size):
        return mask_HW
    return np.array(Image.fromarray(mask_HW).resize((size[1], size[0]), Image.Resampling.NEAREST))


def _at_once(maps: Tensor, size: Size) -> int:
    """How many maps of a size are worked on at once: what a CPU's cache holds, or 0.5 GB of a GPU (16 bytes a pixel)."""
    return max(1, (1 << 20 if maps.device.type == "cpu" else 1 << 25) // (size[0] * size[1]))


def _nearest(old: int, new: int) -> Tensor:
    """Which of `old` pixels each of `new` is taken from, by Pillow itself: its rounding is its own."""
    ramp = Image.fromarray(np.arange(old, dtype=np.int32)[None])
    return torch.from_numpy(np.array(ramp.resize((new, 1), Image.Resampling.NEAREST))[0].astype(np.int64))


def _decode(soft_TChw: Tensor, size: Size, up: str, minmax: bool) -> Tensor:
    """Arg-max over classes at `size`, (T, H, W), a class at a time with a running maximum."""
    mode = "nearest" if up == "nearest" else "bilinear"
    corners = None if up == "nearest" else up == "bilinear-corners"
    index = highest = None
    for c in range(soft_TChw.shape[1]):
        part = soft_TChw[:, c : c + 1].float()
        maps = F.interpolate(part, size=size, mode=mode, align_corners=corners)[:, 0]
        if minmax:
            low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
            span = torch.where(high > 0, high - low + 1e-12, 1)
            maps = maps.sub_(torch.where(high > 0, low, 0)).div_(span)
        if index is None or highest is None:
            index, highest = torch.zeros_like(maps, dtype=torch.uint8), maps
            continue
        better = (maps > highest).view(torch.uint8).mul_(c)
        index = torch.maximum(index, better)  # c grows, so a later winner overwrites an earlier one
        highest = torch.maximum(highest, maps)
    assert index is not None
    return index


def _peak(maps_Jhw: Tensor, size: Size, protocol: Protocol) -> Tensor:
    """(J, 2) positions of one frame's maps, see `decode_joints`."""
    h, w = maps_Jhw.shape[1:]
    if protocol.decode_at == "image":
        maps_Jhw = _resize(maps_Jhw, size)
    if protocol.minmax:
        low, high = maps_Jhw.amin(dim=(1, 2), keepdim=True), maps_Jhw.amax(dim=(1, 2), keepdim=True)
        maps_Jhw = torch.where(high > 0, (maps_Jhw - low) / (high - low + 1e-12), maps_Jhw)
    flat, columns = maps_Jhw.flatten(1), maps_Jhw.shape[2]
    value, place = best(flat.flip(1), protocol.decode_top)  # `best` prefers the first of equals
    place = flat.shape[1] - 1 - place
    weight = value / value.sum(dim=1, keepdim=True)
    xy = torch.stack([(place % columns * weight).sum(dim=1), (place // columns * weight).sum(dim=1)], dim=1)
    if protocol.decode_at == "grid":
        xy = xy * torch.tensor([size[1] / w, size[0] / h], device=xy.device)
    lost = (flat.sum(dim=1) == 0) | ~torch.isfinite(xy).all(dim=1)
    return xy.masked_fill(lost[:, None], -1.0)


def _resize(maps_Jhw: Tensor, size: Size) -> Tensor:
    return F.interpolate(maps_Jhw[None], size=size, mode="bilinear", align_corners=False)[0]


def _joints(xy_J2: npt.ArrayLike) -> npt.NDArray[np.float64]:
    joints = np.asarray(xy_J2, dtype=np.float64)
    if joints.ndim != 2 or joints.shape[1] != 2 or len(joints) == 0:
        raise ValueError(f"joints of shape {joints.shape}: expected (joints, 2), x and y")
    return joints


def _gaussians(xy_J2: npt.NDArray[np.float64], size: Size, sigma: float) -> Tensor:
    """Unnormalised Gaussians with peak 1, (J, h, w), on a support of 6 sigma + 1 pixels around the position.

    The support's corner is the position minus 3 sigma, cut towards zero, so the centre is a whole pixel: the position cut
    off (STT's sigma of 4) or rounded (half a cell), and near the left and top border up to one pixel further in. That is how
    the drawing routine of STT, CRW and UVC (from pose-hg-train) has it.
    """
    h, w = size
    maps = np.zeros((len(xy_J2), h, w), dtype=np.float64)
    offset = np.arange(0, 6 * sigma + 1, dtype=np.float64) - (6 * sigma + 1) // 2
    bell = np.exp(-(offset[:, None] ** 2 + offset**2) / (2 * sigma**2))
    for joint, (x, y) in zip(maps, xy_J2, strict=True):
        if not (math.isfinite(x) and math.isfinite(y)):
            continue
        left, top = int(x - 3 * sigma), int(y - 3 * sigma)
        right, bottom = int(x + 3 * sigma + 1), int(y + 3 * sigma + 1)
        rows, columns = slice(max(0, top), max(0, min(bottom, h))), slice(max(0, left), max(0, min(right, w)))
        seen = joint[rows, columns]
        seen[:] = bell[max(0, -top) :, max(0, -left) :][: seen.shape[0], : seen.shape[1]]
    return torch.from_numpy(maps).float()
