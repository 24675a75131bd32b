"""Where each data set comes from, under which licence, and what to cite."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Origin:
    """A data set's source. `folder` is its usual folder name, `required` what must lie in it."""

    title: str
    folder: str
    required: tuple[str, ...]
    url: str
    licence: str
    citation: str

    def line(self) -> str:
        """Source and licence in one line, for error messages."""
        return f"{self.title} comes from {self.url} (licence: {self.licence})"


ORIGINS = {
    origin.folder: origin
    for origin in (
        Origin(
            "DAVIS",
            "DAVIS",
            ("JPEGImages", "Annotations"),
            "https://davischallenge.org/davis2017/code.html",
            "CC BY-NC 4.0",
            "Pont-Tuset, Perazzi, Caelles, Arbelaez, Sorkine-Hornung, Van Gool: The 2017 DAVIS Challenge on "
            "Video Object Segmentation, arXiv:1704.00675",
        ),
        Origin(
            "JHMDB",
            "JHMDB",
            ("joint_positions",),
            "http://jhmdb.is.tue.mpg.de/",
            "no licence stated; for research use",
            "Jhuang, Gall, Zuffi, Schmid, Black: Towards understanding action recognition, ICCV 2013",
        ),
        Origin(
            "VIP",
            "VIP",
            ("VIP_Fine",),
            "https://sysu-hcp.net/lip/",
            "no licence stated; for non-commercial research use",
            "Zhou, Liang, Gong, Lin: Adaptive Temporal Encoding Network for Video Instance-level Human "
            "Parsing, ACM MM 2018",
        ),
        Origin(
            "BADJA",
            "BADJA",
            ("joint_annotations",),
            "https://github.com/benjiebob/BADJA",
            "annotations MIT, frames (DAVIS) CC BY-NC 4.0",
            "Biggs, Roddick, Fitzgibbon, Cipolla: Creatures great and SMAL: Recovering the shape and motion "
            "of animals from video, ACCV 2018",
        ),
    )
}
