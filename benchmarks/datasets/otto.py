from benchmark_utils import FileDataset


class Dataset(FileDataset):
    """61,878 x 93, 9 classes: counts with heavy tails."""

    name = "otto"
