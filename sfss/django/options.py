"""Options of storages: what is given to the constructor, then an attribute of the class, then a setting."""

from collections.abc import Mapping
from inspect import getattr_static
from typing import Any, NamedTuple

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


class Option(NamedTuple):
    default: Any
    setting: str = ""  #: name of the Django setting; empty: there is none
    is_secret: bool = False  #: it is not written into migrations


def resolve(storage: object, known: Mapping[str, Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """The value of each of the *known* options.

    :raises ImproperlyConfigured: for one that is not known.
    """
    if unknown := given.keys() - known.keys():
        names = ", ".join(sorted(unknown))
        raise ImproperlyConfigured(
            f"{type(storage).__name__} has no option {names}. It has: {', '.join(sorted(known))}."
        )
    return {name: _value(storage, name, option, given) for name, option in known.items()}


def _value(storage: object, name: str, option: Option, given: Mapping[str, Any]) -> Any:
    if name in given:
        return given[name]
    of_class = getattr_static(type(storage), name, None)
    if of_class is not None and not hasattr(of_class, "__get__"):  # a property is none of the user's
        return of_class
    if option.setting:
        return getattr(settings, option.setting, option.default)
    return option.default


def without_secrets(known: Mapping[str, Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """What may stand in a migration, which is committed."""
    return {name: value for name, value in given.items() if not known[name].is_secret}


def path_of_class(storage: object) -> str:
    """By which a migration imports it."""
    return f"{type(storage).__module__}.{type(storage).__qualname__}"
