"""What was trained of wordsight's model of photos; `wordsight.models.photos` reads the folder `model`."""

__version__ = "0.1.0"
