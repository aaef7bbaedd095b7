"""Run the code of the tutorial, as it stands on the page, and keep its pictures; ``make docs`` does so.

``python docs/tutorial_pictures.py FOLDER``
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import matplotlib

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "tutorial.md"
DATA = Path("examples/data/nuclei.h5")
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def main(folder: Path) -> None:
    """Run the page in a folder of its own, and copy the pictures to `folder`."""
    matplotlib.use("Agg")
    code = "\n".join(BLOCK.findall(PAGE.read_text(encoding="utf-8")))
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        DATA.parent.mkdir(parents=True)
        shutil.copy(ROOT / DATA, DATA)
        made: dict = {"__name__": "tutorial"}
        exec(compile(code, str(PAGE), "exec"), made)
        for path in (*Path().glob("*.png"), Path("network.html"), Path("nuclei/history.png")):
            shutil.copy(path, folder)
        os.chdir(ROOT)
    print(f"mask {made['iou']:.3f}, nuclei {[round(float(value), 2) for value in made['best']]}")
    if made["iou"] < 0.85 or sorted(made["best"])[2] < 0.5:
        sys.exit("the network is not as good as the page says")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
