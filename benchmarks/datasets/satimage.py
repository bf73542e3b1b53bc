from benchmark_utils import FileDataset


class Dataset(FileDataset):
    """4,435 x 36, 6 classes."""

    name = "satimage"
