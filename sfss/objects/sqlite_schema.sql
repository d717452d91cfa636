-- The catalog in SQLite. Times are microseconds since the epoch; names are in the order of code points.
-- The triggers keep the counts true whichever process writes, and whatever is killed.

CREATE TABLE state (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE accounts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL, metadata TEXT NOT NULL,
    containers INTEGER NOT NULL DEFAULT 0, objects INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE users (
    account INTEGER NOT NULL REFERENCES accounts, name TEXT NOT NULL, key TEXT NOT NULL,
    access_key TEXT NOT NULL UNIQUE, read_only INTEGER NOT NULL, disabled INTEGER NOT NULL,
    generation INTEGER NOT NULL DEFAULT 0, created INTEGER NOT NULL,
    PRIMARY KEY (account, name)
) WITHOUT ROWID;
CREATE TABLE containers (
    id INTEGER PRIMARY KEY AUTOINCREMENT, account INTEGER NOT NULL REFERENCES accounts, name TEXT NOT NULL,
    created INTEGER NOT NULL, modified INTEGER NOT NULL, metadata TEXT NOT NULL,
    objects INTEGER NOT NULL, bytes INTEGER NOT NULL, versioning INTEGER NOT NULL DEFAULT 0,
    UNIQUE (account, name)
);
CREATE INDEX containers_by_name ON containers (name);
CREATE TABLE objects (
    container INTEGER NOT NULL, name TEXT NOT NULL,
    size INTEGER NOT NULL, etag TEXT NOT NULL, content_type TEXT NOT NULL, modified INTEGER NOT NULL,
    content TEXT NOT NULL, piece_size INTEGER NOT NULL, metadata TEXT NOT NULL, manifest TEXT NOT NULL,
    properties TEXT NOT NULL, expires INTEGER NOT NULL, version TEXT NOT NULL,
    PRIMARY KEY (container, name)
) WITHOUT ROWID;
CREATE TABLE versions (
    container INTEGER NOT NULL, name TEXT NOT NULL,
    size INTEGER NOT NULL, etag TEXT NOT NULL, content_type TEXT NOT NULL, modified INTEGER NOT NULL,
    content TEXT NOT NULL, piece_size INTEGER NOT NULL, metadata TEXT NOT NULL, manifest TEXT NOT NULL,
    properties TEXT NOT NULL, expires INTEGER NOT NULL, version TEXT NOT NULL,
    is_marker INTEGER NOT NULL, since INTEGER NOT NULL,
    PRIMARY KEY (container, name, version)
) WITHOUT ROWID;
CREATE UNIQUE INDEX versions_by_age ON versions (container, name, modified DESC);
CREATE UNIQUE INDEX version_contents ON versions (content) WHERE content <> '';
CREATE INDEX expiring ON objects (expires) WHERE expires > 0;
CREATE UNIQUE INDEX contents ON objects (content) WHERE content <> '';
CREATE TABLE uploads (
    id TEXT PRIMARY KEY, container INTEGER NOT NULL, name TEXT NOT NULL,
    content_type TEXT NOT NULL, metadata TEXT NOT NULL, started INTEGER NOT NULL, properties TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX uploads_by_name ON uploads (container, name, id);
CREATE TABLE parts (
    upload TEXT NOT NULL, number INTEGER NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL,
    modified INTEGER NOT NULL, content TEXT NOT NULL, piece_size INTEGER NOT NULL,
    PRIMARY KEY (upload, number)
) WITHOUT ROWID;
CREATE UNIQUE INDEX part_contents ON parts (content) WHERE content <> '';
CREATE TABLE writing (content TEXT PRIMARY KEY, since INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE garbage (
    content TEXT PRIMARY KEY, pieces INTEGER, since INTEGER NOT NULL, is_removed INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX garbage_since ON garbage (is_removed, since);
CREATE TRIGGER containers_insert AFTER INSERT ON containers BEGIN
    UPDATE accounts SET containers = containers + 1 WHERE id = new.account;
END;
CREATE TRIGGER containers_delete AFTER DELETE ON containers BEGIN
    UPDATE accounts SET containers = containers - 1 WHERE id = old.account;
END;
CREATE TRIGGER containers_update AFTER UPDATE OF objects, bytes ON containers BEGIN
    UPDATE accounts SET objects = objects + new.objects - old.objects, bytes = bytes + new.bytes - old.bytes
        WHERE id = new.account;
END;
CREATE TRIGGER objects_insert AFTER INSERT ON objects BEGIN
    UPDATE containers SET objects = objects + 1, bytes = bytes + new.size WHERE id = new.container;
END;
CREATE TRIGGER objects_update AFTER UPDATE OF size ON objects BEGIN
    UPDATE containers SET bytes = bytes + new.size - old.size WHERE id = new.container;
END;
CREATE TRIGGER objects_delete AFTER DELETE ON objects BEGIN
    UPDATE containers SET objects = objects - 1, bytes = bytes - old.size WHERE id = old.container;
END;
