"""What can be said of a body region: findings with their attributes, as a value that is passed along."""

from msvlm.errors import ConfigError
from msvlm.vocabulary.chest import CHEST
from msvlm.vocabulary.vocabulary import Vocabulary

_VOCABULARIES = {CHEST.name: CHEST}


def find_vocabulary(name: str) -> Vocabulary:
    """Returns the vocabulary of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in _VOCABULARIES:
        raise ConfigError(f"vocabulary {name!r} is not known; use {' or '.join(_VOCABULARIES)}")
    return _VOCABULARIES[name]
