-- What later releases have added to these tables. A service that does not know of it goes on working beside those that do.

-- A checksum of S3 of a part, by its content: no other part has that one.
CREATE TABLE part_checksums (content TEXT PRIMARY KEY, checksum TEXT NOT NULL) WITHOUT ROWID;
CREATE TRIGGER part_gone AFTER DELETE ON parts BEGIN
    DELETE FROM part_checksums WHERE content = old.content;
END;
