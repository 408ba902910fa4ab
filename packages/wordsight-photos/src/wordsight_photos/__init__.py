"""What was trained of wordsight's model of photos, and its codebook; `wordsight.models.photos` finds both."""

__version__ = "0.1.0"
