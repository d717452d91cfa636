-- From version 1 of the tables to 2: parts have checksums. (What calls put_part without one is of a release that is
-- being replaced, and goes on working.)
ALTER TABLE sfss.parts ADD COLUMN checksum text NOT NULL DEFAULT '';
DROP FUNCTION sfss.put_part(text, integer, bigint, text, bigint, text, integer);
CREATE FUNCTION sfss.put_part(
    p_upload text, p_number integer, p_size bigint, p_etag text, p_modified bigint, p_content text,
    p_piece_size integer, p_checksum text DEFAULT ''
) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM sfss.uploads WHERE id = p_upload FOR KEY SHARE;  -- it is not completed meanwhile
    IF NOT FOUND THEN
        RETURN 'no upload';
    END IF;
    IF NOT sfss.may_be_named(p_content) THEN
        RETURN 'given up';
    END IF;
    INSERT INTO sfss.parts VALUES (p_upload, p_number, p_size, p_etag, p_modified, p_content, p_piece_size, p_checksum)
    ON CONFLICT (upload, number) DO UPDATE SET
        size = excluded.size, etag = excluded.etag, modified = excluded.modified, content = excluded.content,
        piece_size = excluded.piece_size, checksum = excluded.checksum;
    DELETE FROM sfss.writing WHERE content = p_content;
    RETURN '';
END $$;
