"""One picture for each mechanism, drawn from a few lines of text.

``texts.md`` explains the notation and holds the texts; ``language`` reads one, ``layout`` finds everything its place,
``drawing`` draws it. ``python -m course_lib.diagrams FOLDER`` writes all of them, light and dark.

>>> from course_lib.channel.squeeze_excitation import SqueezeExcitation
>>> words(SqueezeExcitation)[:60]
'Diagram. In: x of shape b c h w. map: x, mean over h w givin'
"""

from course_lib.diagrams.drawing import diagram, draw, figure
from course_lib.diagrams.language import read, words

__all__ = ["diagram", "draw", "figure", "read", "words"]
