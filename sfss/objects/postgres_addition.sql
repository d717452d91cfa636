-- What later releases have added to these tables. A service that does not know of it goes on working beside those that do.

-- A checksum of S3 of a part, by its content: no other part has that one.
CREATE TABLE sfss.part_checksums (content text PRIMARY KEY, checksum text NOT NULL);

CREATE FUNCTION sfss.part_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM sfss.part_checksums WHERE content = OLD.content;
    RETURN NULL;
END $$;
CREATE TRIGGER part_gone AFTER DELETE ON sfss.parts FOR EACH ROW EXECUTE FUNCTION sfss.part_gone();
CREATE TRIGGER part_replaced AFTER UPDATE ON sfss.parts FOR EACH ROW
    WHEN (OLD.content <> NEW.content) EXECUTE FUNCTION sfss.part_gone();

CREATE FUNCTION sfss.put_part(
    p_upload text, p_number integer, p_size bigint, p_etag text, p_modified bigint, p_content text,
    p_piece_size integer, p_checksum text
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    outcome text := sfss.put_part(p_upload, p_number, p_size, p_etag, p_modified, p_content, p_piece_size);
BEGIN
    IF outcome = '' AND p_checksum <> '' THEN
        INSERT INTO sfss.part_checksums VALUES (p_content, p_checksum) ON CONFLICT DO NOTHING;
    END IF;
    RETURN outcome;
END $$;
