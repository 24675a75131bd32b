"""Frames of a video file, through PyAV, which is installed only where videos are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def read_video(path: str | Path) -> np.ndarray:
    """Every frame of the first video stream as uint8 `(T, h, w, 3)` RGB, in display order.

    Needs the package `av` (`pip install av`). `ValueError` naming the file where PyAV is missing, where the
    file cannot be decoded to its end, or where its frames change size.
    """
    path = Path(path)
    try:
        import av
    except ImportError:
        raise ValueError(
            f"{path}: reading videos needs PyAV; `pip install av`, or unpack the data set's frames as PNG "
            "files"
        ) from None
    if not path.is_file():
        raise ValueError(f"{path}: this video is missing; complete the copy")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError(f"{path}: holds no video stream; fetch it again")
            # A damaged packet is an error, not a grey frame.
            container.streams.video[0].codec_context.options = {"err_detect": "explode"}
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    except (av.error.FFmpegError, OSError) as error:
        raise ValueError(f"{path}: is damaged or not a video ({error.strerror}); fetch it again") from None
    if not frames:
        raise ValueError(f"{path}: no frame could be decoded; fetch it again")
    sizes = {frame.shape for frame in frames}
    if len(sizes) > 1:
        raise ValueError(f"{path}: its frames change size ({sorted(sizes)}); fetch the original")
    return np.stack(frames)
