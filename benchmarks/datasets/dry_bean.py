from benchmark_utils import FileDataset


class Dataset(FileDataset):
    """13,611 x 16, 7 classes: nearly collinear, scales from 6e-4 to 3e4."""

    name = "dry_bean"
