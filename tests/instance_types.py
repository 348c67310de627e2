"""Writes src/cli/validate/instance-types.txt anew: the instance types that the EC2 API names.

botocore has them in its model of the API (the enumeration InstanceType). Run it with the tests' virtual environment, whose botocore is
pinned in tests/requirements.txt: `.venv/bin/python tests/instance_types.py`. With `--check` it writes nothing, and fails if the file
differs in more than its day.
"""

import sys
from datetime import date
from pathlib import Path

import botocore
from botocore.loaders import Loader

FILE = Path(__file__).parent.parent / "src/cli/validate/instance-types.txt"


def text():
    model = Loader().load_service_model("ec2", "service-2")
    families = {}
    for name in model["shapes"]["InstanceType"]["enum"]:
        family, size = name.split(".", 1)
        families.setdefault(family, set()).add(size)
    return "".join(f"{family} {' '.join(sorted(sizes))}\n" for family, sizes in sorted(families.items()))


if __name__ == "__main__":
    known = text()
    if "--check" in sys.argv:
        sys.exit(0 if FILE.read_text().partition("\n")[2] == known else f"{FILE} differs from botocore {botocore.__version__}: run {sys.argv[0]}")
    FILE.write_text(f"{date.today()}, botocore {botocore.__version__}\n{known}")
