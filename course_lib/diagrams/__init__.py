"""One picture for each mechanism, drawn from a few lines of text.

``texts.md`` explains the notation and holds the texts; ``language`` reads one, ``layout`` finds everything its place,
``drawing`` draws it. ``python -m course_lib.diagrams FOLDER`` writes all of them, light and dark.

>>> from course_lib.channel.squeeze_excitation import SqueezeExcitation
>>> figure(SqueezeExcitation).get_size_inches().round(1).tolist()
[7.0, 2.1]
"""

from course_lib.diagrams.drawing import draw, figure
from course_lib.diagrams.language import describe, read

__all__ = ["describe", "draw", "figure", "read"]
