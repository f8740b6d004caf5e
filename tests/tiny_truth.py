"""Ground truth of studies of which everything is known."""

from msvlm.vocabulary.chest import CHEST
from msvlm.vocabulary.vocabulary import Certainty, FindingStatement, Statements


def complete(*stated: FindingStatement) -> Statements:
    """All findings of the chest: those given, and all others absent."""
    given = {statement.name: statement for statement in stated}
    return tuple(given.get(name, FindingStatement(name, Certainty.ABSENT)) for name in CHEST.names)
