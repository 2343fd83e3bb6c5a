"""Networks of tiny models of the families that differ in more than widths."""

from tools.goldens.checkpoints import FAMILIES
from tools.goldens.store import Golden
from tools.goldens.tiny_networks import make_of


def make() -> Golden:
    """Each case is one forward; its arrays hold values from all over the output."""
    return make_of(FAMILIES)
