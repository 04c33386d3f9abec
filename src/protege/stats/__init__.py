"""What may be claimed from numbers: pure functions that know nothing of runs.

seeds     one arm over its seeds, and the difference between two arms
power     what a number of seeds can see, before they are spent
images    what a finite set of images can tell
families  many comparisons named in advance, tested together: for other seeds, teachers, images
claims    an effect in one sentence for a report
"""

from protege.stats.claims import Verdict, verdict
from protege.stats.images import (
    McNemar,
    PairedBootstrap,
    SelectionNoise,
    binomial_se,
    gain_by_chance,
    image_variance,
    mcnemar,
    paired_bootstrap,
    proportion_interval,
    selection_is_noise,
)
from protege.stats.power import (
    power_of,
    power_of_equivalence,
    seeds_for_equivalence,
    seeds_needed,
    smallest_detectable,
)
from protege.stats.seeds import (
    Comparison,
    Effect,
    Equivalence,
    Interval,
    Summary,
    effect,
    summary,
)
