from benchmark_utils import FileDataset


class Dataset(FileDataset):
    """6,697 x 128, 6 classes: collinear, separable, grouped by class."""

    name = "gas_drift_8of10"
