"""What runs on the platform. Nothing here imports `infra` or `stacks`."""

import os

from services.forecasting.cgroup import processors

# OpenMP, NumPy's OpenBLAS and Polars read it when they are imported. Without, they count the machine's.
for _name in ("POLARS_MAX_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_name, str(processors()))
