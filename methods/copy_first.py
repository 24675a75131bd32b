"""Labels never move: every frame is given the first frame's label. The floor of every task."""

method = dict(type="CopyFirst", protocol="stt")
