"""The findings and attributes that reports of a body region can state, as a value."""

from msvlm.errors import ConfigError
from msvlm.vocabulary.chest import CHEST
from msvlm.vocabulary.vocabulary import Vocabulary

_VOCABULARIES = {CHEST.name: CHEST}


def find_vocabulary(name: str) -> Vocabulary:
    """Returns the vocabulary of that name.

    Raises:
        ConfigError: the vocabulary is not known.
    """
    if name not in _VOCABULARIES:
        raise ConfigError(f"vocabulary {name!r} is not known; use {' or '.join(_VOCABULARIES)}")
    return _VOCABULARIES[name]
