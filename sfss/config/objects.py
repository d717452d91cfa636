"""The settings of an object service: those of a gateway, whose stores it has, and its own."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from sfss.config.gateway import Settings
from sfss.config.node import split_url
from sfss.config.server import setting
from sfss.errors import SettingsError

#: What the URL of a catalog in PostgreSQL begins with.
POSTGRES = ("postgresql://", "postgres://")


def _is_plain(url: str) -> bool:
    """Whether it means what it seems to: of a password that is not encoded, a part would be taken for the host."""
    try:
        parts = urlsplit(url)
        return parts.port != 0 and not parts.fragment
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class ObjectSettings(Settings):
    port: int = setting(8256, "port to listen on; 0 takes a free one", unit="PORT", least=0)
    data: str = setting("sfss-objects", "folder of the catalog, and of the embedded store", unit="FOLDER")
    catalog: str = setting(
        "",
        "where accounts, containers and objects are known: sqlite:FOLDER (without it DATA/catalog), or"
        " postgresql://USER:PASSWORD@HOST/DATABASE, which several services share",
        unit="CATALOG",
    )
    accounts: str = setting(
        "",
        "file of users (ACCOUNT:USER KEY [read-only], one in a line) that are made, or get these keys and rights, at"
        " each start and reload",
        unit="FILE",
    )
    url: str = setting("", "where clients reach this service, if not where they ask for it", unit="URL")
    s3_domain: str = setting(
        "", "domain whose names are buckets (BUCKET.DOMAIN in the Host header)", unit="DOMAIN"
    )
    keep_deleted: float = setting(
        3600.0,
        "time that the content of a deleted or replaced object stays, for downloads that are under way",
        unit="SECONDS",
        least=0,
    )
    token_lifetime: float = setting(86400.0, "time that a token is good for", unit="SECONDS", least=1)

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        if self.migrate_from:
            raise SettingsError(
                "migrate_from is of gateways: an object service keeps its contents in one store"
            )
        if self.url:
            split_url(self.url)
        if self.catalog and not self.catalog.startswith(("sqlite:", *POSTGRES)):
            raise SettingsError("--catalog is sqlite:FOLDER or postgresql://USER:PASSWORD@HOST/DATABASE")
        if self.catalog.startswith(POSTGRES) and not _is_plain(self.catalog):
            raise SettingsError(
                "--catalog is no URL: what is special in a password has to be percent-encoded"
            )

    @property
    def catalog_folder(self) -> Path:
        folder = self.catalog.removeprefix("sqlite:")
        return Path(folder) if folder else Path(self.data) / "catalog"
