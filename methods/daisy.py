"""DAISY (Tola, Lepetit & Fua, PAMI 2010): three rings of eight histograms round each cell's centre; no learning.

DAISY: An Efficient Dense Descriptor Applied to Wide-Baseline Stereo, with scikit-image's default settings.
"""

method = dict(
    type="LabelPropagation",
    backbone=dict(type="DAISY", cell=8, radius=15, rings=3, histograms=8, orientations=8),
    colour="raw",
    checkpoint=None,
    protocol="stt",
)
