"""Options of storages: what is given to the constructor, then an attribute of the class, then a setting."""

from collections.abc import Mapping
from inspect import getattr_static
from typing import Any, ClassVar, NamedTuple

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import Storage
from django.core.signals import setting_changed
from django.utils.functional import cached_property


class Option(NamedTuple):
    default: Any
    setting: str = ""  #: name of the Django setting; empty: there is none
    is_secret: bool = False  #: it is not written into migrations


class StorageWithOptions(Storage):
    """A storage that is what its options say: it is equal to others with the same, follows settings that a test
    changes, and goes into pickles by what its constructor was given, and into migrations without secrets.
    """

    OPTIONS: ClassVar[Mapping[str, Option]]
    #: Settings that options do not name, and what is made of options: properties that are kept until a setting changes.
    OTHER_SETTINGS: ClassVar[frozenset[str]] = frozenset()
    MADE_OF_OPTIONS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, **options: Any):
        self._given = options
        self.check_options()  # what is wrong with them is to be known at once
        setting_changed.connect(self._setting_changed)

    def check_options(self) -> None:
        """:raises ImproperlyConfigured:"""
        self.options  # noqa: B018

    @cached_property
    def options(self) -> dict[str, Any]:
        """The value of each option now. :raises ImproperlyConfigured:"""
        return self.resolve(self._given)

    def resolve(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The value of each option, of which some are *given*.

        :raises ImproperlyConfigured: for one that is not known.
        """
        known = self.OPTIONS
        if unknown := given.keys() - known.keys():
            names = ", ".join(sorted(unknown))
            raise ImproperlyConfigured(
                f"{type(self).__name__} has no option {names}. It has: {', '.join(sorted(known))}."
            )
        return {name: _value(self, name, option, given) for name, option in known.items()}

    def _setting_changed(self, *, setting: str, **_: Any) -> None:
        if setting in {option.setting for option in self.OPTIONS.values()} | self.OTHER_SETTINGS:
            for name in ("options", *self.MADE_OF_OPTIONS):
                self.__dict__.pop(name, None)

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        """For migrations, which are committed."""
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        public = {name: value for name, value in self._given.items() if not self.OPTIONS[name].is_secret}
        return path, [], public

    def __getstate__(self) -> dict[str, Any]:
        return {"_given": self._given}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state["_given"])  # type: ignore[misc]

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.options == self.options

    def __hash__(self) -> int:
        return hash((type(self), repr(sorted(self.options.items()))))


def _value(storage: object, name: str, option: Option, given: Mapping[str, Any]) -> Any:
    if name in given:
        return given[name]
    of_class = getattr_static(type(storage), name, None)
    if of_class is not None and not hasattr(of_class, "__get__"):  # a property is none of the user's
        return of_class
    if option.setting:
        return getattr(settings, option.setting, option.default)
    return option.default
