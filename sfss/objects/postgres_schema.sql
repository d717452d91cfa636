-- The catalog in PostgreSQL. Each change of an object is one function: one round trip, one transaction.
-- Counts have several rows a container, so that writers do not wait for each other; their sum is right in every snapshot.
-- Times are microseconds since the epoch. Names are in the order of code points, which is that of their bytes ("C").

CREATE TABLE sfss.state (name text PRIMARY KEY, value text NOT NULL);

CREATE TABLE sfss.accounts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE,
    created bigint NOT NULL, metadata text NOT NULL
);

CREATE TABLE sfss.users (
    account bigint NOT NULL REFERENCES sfss.accounts, name text NOT NULL, key text NOT NULL,
    access_key text NOT NULL UNIQUE, read_only boolean NOT NULL, disabled boolean NOT NULL DEFAULT false,
    generation integer NOT NULL DEFAULT 0, created bigint NOT NULL,
    PRIMARY KEY (account, name)
);

CREATE TABLE sfss.containers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account bigint NOT NULL REFERENCES sfss.accounts, name text COLLATE "C" NOT NULL,
    created bigint NOT NULL, modified bigint NOT NULL, metadata text NOT NULL,
    versioning smallint NOT NULL DEFAULT 0,  -- versions.py
    UNIQUE (account, name)
);
CREATE INDEX containers_by_name ON sfss.containers (name);

CREATE TABLE sfss.counts (
    container bigint NOT NULL, slot smallint NOT NULL, objects bigint NOT NULL, bytes bigint NOT NULL,
    PRIMARY KEY (container, slot)
) WITH (fillfactor = 50);

CREATE TABLE sfss.objects (
    container bigint NOT NULL, name text COLLATE "C" NOT NULL,
    size bigint NOT NULL, etag text NOT NULL, content_type text NOT NULL, modified bigint NOT NULL,
    content text NOT NULL, piece_size integer NOT NULL, metadata text NOT NULL, manifest text NOT NULL,
    properties text NOT NULL, expires bigint NOT NULL, version text COLLATE "C" NOT NULL,
    PRIMARY KEY (container, name)
);
CREATE INDEX expiring ON sfss.objects (expires) WHERE expires > 0;
CREATE UNIQUE INDEX contents ON sfss.objects (content) WHERE content <> '';

CREATE TABLE sfss.versions (
    LIKE sfss.objects, is_marker boolean NOT NULL, since bigint NOT NULL,
    PRIMARY KEY (container, name, version)
);
CREATE UNIQUE INDEX versions_by_age ON sfss.versions (container, name, modified DESC);
CREATE UNIQUE INDEX version_contents ON sfss.versions (content) WHERE content <> '';

CREATE TABLE sfss.uploads (
    id text PRIMARY KEY, container bigint NOT NULL, name text COLLATE "C" NOT NULL,
    content_type text NOT NULL, metadata text NOT NULL, started bigint NOT NULL, properties text NOT NULL
);
CREATE INDEX uploads_by_name ON sfss.uploads (container, name, id);

CREATE TABLE sfss.parts (
    upload text NOT NULL, number integer NOT NULL, size bigint NOT NULL, etag text NOT NULL,
    modified bigint NOT NULL, content text NOT NULL, piece_size integer NOT NULL,
    PRIMARY KEY (upload, number)
);
CREATE UNIQUE INDEX part_contents ON sfss.parts (content) WHERE content <> '';

CREATE TABLE sfss.writing (content text PRIMARY KEY, since bigint NOT NULL);

CREATE TABLE sfss.garbage (
    content text PRIMARY KEY, pieces integer, since bigint NOT NULL, is_removed boolean NOT NULL DEFAULT false
);
CREATE INDEX garbage_since ON sfss.garbage (is_removed, since);


CREATE FUNCTION sfss.now_us() RETURNS bigint LANGUAGE sql AS
$$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint $$;

-- *p_expires*: seconds since the epoch, 0 for never.
CREATE FUNCTION sfss.is_over(p_expires bigint) RETURNS boolean LANGUAGE sql AS
$$ SELECT p_expires > 0 AND p_expires <= extract(epoch FROM clock_timestamp()) $$;

-- What each process changes stands in a slot of its own connection.
CREATE FUNCTION sfss.count(p_container bigint, p_objects bigint, p_bytes bigint) RETURNS void LANGUAGE sql AS
$$
    INSERT INTO sfss.counts VALUES (p_container, pg_backend_pid() % 32, p_objects, p_bytes)
    ON CONFLICT (container, slot) DO UPDATE
    SET objects = counts.objects + excluded.objects, bytes = counts.bytes + excluded.bytes
$$;

CREATE FUNCTION sfss.discard(p_content text, p_pieces bigint) RETURNS void LANGUAGE sql AS
$$
    -- (What was removed, and was written to all the same, is garbage once more.)
    INSERT INTO sfss.garbage (content, pieces, since) SELECT p_content, p_pieces, sfss.now_us() WHERE p_content <> ''
    ON CONFLICT (content) DO UPDATE SET is_removed = false, since = excluded.since, pieces = NULL
    WHERE garbage.is_removed
$$;

CREATE FUNCTION sfss.pieces_of(size bigint, piece_size bigint) RETURNS bigint IMMUTABLE LANGUAGE sql AS
$$ SELECT (size + piece_size - 1) / piece_size $$;

CREATE FUNCTION sfss.discard_object(p_content text, p_size bigint, p_piece_size bigint, p_manifest text)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM sfss.versions WHERE content = p_content AND content <> '') THEN
        RETURN;  -- it was put aside
    END IF;
    IF p_manifest = 'parts' THEN
        DELETE FROM sfss.parts WHERE upload = p_content;
    ELSE
        PERFORM sfss.discard(p_content, sfss.pieces_of(p_size, p_piece_size));
    END IF;
END $$;

-- The row that is there when it is changed says what becomes garbage: whoever changes it, in whatever order.
CREATE FUNCTION sfss.object_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM sfss.count(NEW.container, 1, NEW.size);
    ELSIF TG_OP = 'DELETE' THEN
        PERFORM sfss.count(OLD.container, -1, -OLD.size);
        PERFORM sfss.discard_object(OLD.content, OLD.size, OLD.piece_size, OLD.manifest);
    ELSE
        IF NEW.size <> OLD.size THEN
            PERFORM sfss.count(NEW.container, 0, NEW.size - OLD.size);
        END IF;
        IF (NEW.content, NEW.version) IS DISTINCT FROM (OLD.content, OLD.version)
            AND (NEW.version <> '' OR OLD.version <> '') THEN
            INSERT INTO sfss.versions SELECT OLD.*, false, sfss.now_us();
        ELSIF NEW.content <> OLD.content THEN
            PERFORM sfss.discard_object(OLD.content, OLD.size, OLD.piece_size, OLD.manifest);
        END IF;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER object_changed AFTER INSERT OR UPDATE OR DELETE ON sfss.objects
    FOR EACH ROW EXECUTE FUNCTION sfss.object_changed();

CREATE FUNCTION sfss.part_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR NEW.content <> OLD.content THEN
        PERFORM sfss.discard(OLD.content, sfss.pieces_of(OLD.size, OLD.piece_size));
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER part_changed AFTER UPDATE OR DELETE ON sfss.parts
    FOR EACH ROW EXECUTE FUNCTION sfss.part_changed();

-- The container stays until the transaction ends. NULL: there is none.
CREATE FUNCTION sfss.container_key(p_account bigint, p_name text) RETURNS bigint LANGUAGE sql AS
$$ SELECT id FROM sfss.containers WHERE account = p_account AND name = p_name FOR KEY SHARE $$;

-- Whether it keeps versions, and the version that what is put has then.
CREATE FUNCTION sfss.version_in(p_container bigint, p_version text, OUT versioning smallint, OUT version text)
LANGUAGE sql AS
$$ SELECT versioning, CASE versioning WHEN 1 THEN p_version ELSE '' END FROM sfss.containers WHERE id = p_container $$;

-- A kept version is gone for good. Which one it was, or NULL.
CREATE FUNCTION sfss.remove_version(p_container bigint, p_name text, p_version text)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    old sfss.versions%ROWTYPE;
BEGIN
    DELETE FROM sfss.versions WHERE container = p_container AND name = p_name AND version = p_version
        RETURNING * INTO old;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    PERFORM sfss.discard_object(old.content, old.size, old.piece_size, old.manifest);
    RETURN old.is_marker;
END $$;

CREATE FUNCTION sfss.newest_version(p_container bigint, p_name text) RETURNS bigint LANGUAGE sql AS
$$ SELECT coalesce(max(modified), 0) FROM sfss.versions WHERE container = p_container AND name = p_name $$;

-- Who changes an object of that name waits for whoever else does: there is no row to lock where none is.
CREATE FUNCTION sfss.lock_name(p_container bigint, p_name text) RETURNS void LANGUAGE sql AS
$$ SELECT pg_advisory_xact_lock(hashtextextended(p_name, p_container)) $$;

-- Whoever names a content and whoever gives it up wait for each other.
CREATE FUNCTION sfss.lock_content(p_content text) RETURNS void LANGUAGE sql AS
$$ SELECT pg_advisory_xact_lock(hashtextextended(p_content, 5461)) $$;

-- Whether its pieces are there for certain.
CREATE FUNCTION sfss.may_be_named(p_content text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF p_content = '' THEN
        RETURN true;
    END IF;
    PERFORM sfss.lock_content(p_content);
    RETURN NOT EXISTS (SELECT 1 FROM sfss.garbage WHERE content = p_content);
END $$;

-- These return '' when it is done, or 'version' and that version; and else why nothing was changed.

CREATE FUNCTION sfss.put_object(
    p_account bigint, p_container text, p_name text, p_size bigint, p_etag text, p_content_type text,
    p_modified bigint, p_content text, p_piece_size integer, p_metadata text, p_manifest text,
    p_properties text, p_expires bigint, p_version text, p_must_be_new boolean, p_must_have text
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    key bigint := sfss.container_key(p_account, p_container);
    place record;
    old record;
    done text;
BEGIN
    IF key IS NULL THEN
        RETURN 'no container';
    END IF;
    PERFORM sfss.lock_name(key, p_name);
    SELECT * INTO place FROM sfss.version_in(key, p_version);
    IF NOT sfss.may_be_named(p_content) THEN
        RETURN 'given up';
    END IF;
    SELECT version INTO done FROM sfss.versions
        WHERE content = p_content AND content <> '' AND container = key AND name = p_name;
    IF FOUND THEN  -- this has happened, and another one has come since
        RETURN CASE done WHEN '' THEN '' ELSE 'version ' || done END;
    END IF;
    IF p_must_have IS NOT NULL THEN
        SELECT etag, content, expires INTO old FROM sfss.objects
            WHERE container = key AND name = p_name FOR UPDATE;
        IF NOT FOUND OR sfss.is_over(old.expires) THEN
            RETURN 'no object';
        END IF;
        IF p_must_have NOT IN ('*', old.etag) AND (p_content = '' OR old.content <> p_content) THEN
            RETURN 'other ' || old.etag;
        END IF;
    END IF;
    -- (The same content: this has happened already, and nobody was told.)
    INSERT INTO sfss.objects VALUES (
        key, p_name, p_size, p_etag, p_content_type,
        CASE place.versioning WHEN 0 THEN p_modified
            ELSE greatest(p_modified, sfss.newest_version(key, p_name) + 1) END,
        p_content, p_piece_size, p_metadata, p_manifest, p_properties, p_expires, place.version
    )
    ON CONFLICT (container, name) DO UPDATE SET
        size = excluded.size, etag = excluded.etag, content_type = excluded.content_type,
        modified = greatest(excluded.modified, objects.modified + 1), content = excluded.content,
        piece_size = excluded.piece_size, metadata = excluded.metadata, manifest = excluded.manifest,
        properties = excluded.properties, expires = excluded.expires,
        version = CASE WHEN objects.content = excluded.content AND excluded.content <> '' THEN objects.version
            ELSE excluded.version END
        WHERE NOT p_must_be_new OR sfss.is_over(objects.expires)
            OR (objects.content = excluded.content AND excluded.content <> '')
        RETURNING version INTO done;
    IF NOT FOUND THEN
        RETURN 'exists';
    END IF;
    IF place.versioning = 2 AND done = '' THEN
        PERFORM sfss.remove_version(key, p_name, '');  -- there is another null version now
    END IF;
    DELETE FROM sfss.writing WHERE content = p_content;
    RETURN CASE done WHEN '' THEN '' ELSE 'version ' || done END;
END $$;

CREATE FUNCTION sfss.change_object(
    p_account bigint, p_container text, p_name text, p_metadata text, p_content_type text, p_expires bigint,
    p_modified bigint
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    key bigint := sfss.container_key(p_account, p_container);
BEGIN
    PERFORM sfss.lock_name(key, p_name);
    UPDATE sfss.objects SET metadata = p_metadata, content_type = coalesce(p_content_type, content_type),
        expires = p_expires, modified = greatest(p_modified, modified + 1)
        WHERE container = key AND name = p_name AND NOT sfss.is_over(expires);
    RETURN CASE WHEN FOUND THEN '' WHEN key IS NULL THEN 'no container' ELSE 'no object' END;
END $$;

-- An object makes room for *p_version*.
CREATE FUNCTION sfss.put_aside(p_old sfss.objects, p_version text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF p_version <> '' OR p_old.version <> '' THEN
        INSERT INTO sfss.versions SELECT p_old.*, false, sfss.now_us();
    END IF;
    DELETE FROM sfss.objects WHERE container = p_old.container AND name = p_old.name;
END $$;

CREATE FUNCTION sfss.mark_deleted(p_container bigint, p_name text, p_version text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF p_version = '' THEN
        PERFORM sfss.remove_version(p_container, p_name, '');
    END IF;
    INSERT INTO sfss.versions VALUES (
        p_container, p_name, 0, '', '', greatest(sfss.now_us(), sfss.newest_version(p_container, p_name) + 1), '', 1,
        '{}', '', '{}', 0, p_version, true, sfss.now_us()
    );
END $$;

-- In the order of containers: so two do not wait for each other's counts.
CREATE FUNCTION sfss.expire(p_before bigint, p_limit integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    old sfss.objects%ROWTYPE;
    place record;
    done integer := 0;
BEGIN
    FOR old IN SELECT * FROM sfss.objects WHERE expires > 0 AND expires <= p_before
        ORDER BY container, name LIMIT p_limit FOR UPDATE SKIP LOCKED
    LOOP
        SELECT * INTO place FROM sfss.version_in(
            old.container, to_hex(72057594037927936 - sfss.now_us()) || substr(md5(random()::text), 1, 10)
        );
        PERFORM sfss.put_aside(old, place.version);
        IF place.versioning <> 0 THEN
            PERFORM sfss.mark_deleted(old.container, old.name, place.version);
        END IF;
        done := done + 1;
    END LOOP;
    RETURN done;
END $$;

CREATE FUNCTION sfss.delete_object(
    p_account bigint, p_container text, p_name text, p_must_have text, p_before bigint, p_version text
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    key bigint := sfss.container_key(p_account, p_container);
    place record;
    old sfss.objects%ROWTYPE;
    is_there boolean;
BEGIN
    IF key IS NULL THEN
        RETURN 'no container';
    END IF;
    PERFORM sfss.lock_name(key, p_name);
    SELECT * INTO place FROM sfss.version_in(key, p_version);
    SELECT * INTO old FROM sfss.objects WHERE container = key AND name = p_name FOR UPDATE;
    is_there := FOUND;
    IF NOT is_there AND (place.versioning = 0 OR p_must_have IS NOT NULL OR p_before IS NOT NULL) THEN
        RETURN 'no object';
    END IF;
    IF is_there AND p_must_have NOT IN ('*', old.etag) THEN
        RETURN 'other ' || old.etag;
    END IF;
    IF is_there AND old.modified >= p_before THEN
        RETURN 'newer';
    END IF;
    IF is_there THEN
        PERFORM sfss.put_aside(old, place.version);
    END IF;
    IF place.versioning = 0 THEN
        RETURN '';
    END IF;
    PERFORM sfss.mark_deleted(key, p_name, place.version);
    RETURN 'marker ' || place.version;
END $$;

-- What is the newest then is what there is.
CREATE FUNCTION sfss.delete_version(p_account bigint, p_container text, p_name text, p_version text)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    key bigint := sfss.container_key(p_account, p_container);
    newest sfss.versions%ROWTYPE;
    was_marker boolean := false;
BEGIN
    IF key IS NULL THEN
        RETURN 'no container';
    END IF;
    PERFORM sfss.lock_name(key, p_name);
    DELETE FROM sfss.objects WHERE container = key AND name = p_name AND version = p_version;
    IF NOT FOUND THEN
        was_marker := sfss.remove_version(key, p_name, p_version);
        IF was_marker IS NULL THEN
            RETURN 'no version';
        END IF;
    END IF;
    SELECT * INTO newest FROM sfss.versions WHERE container = key AND name = p_name
        ORDER BY modified DESC LIMIT 1 FOR UPDATE;
    IF FOUND AND NOT newest.is_marker THEN
        INSERT INTO sfss.objects
            SELECT newest.container, newest.name, newest.size, newest.etag, newest.content_type, newest.modified,
                newest.content, newest.piece_size, newest.metadata, newest.manifest, newest.properties,
                newest.expires, newest.version
            ON CONFLICT DO NOTHING;
        IF FOUND THEN
            DELETE FROM sfss.versions WHERE container = key AND name = p_name AND version = newest.version;
        END IF;
    END IF;
    RETURN CASE WHEN was_marker THEN 'marker ' ELSE 'version ' END || p_version;
END $$;

CREATE FUNCTION sfss.delete_container(p_account bigint, p_container text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    key bigint;
BEGIN
    -- Who is putting into it ends first; who comes then finds none.
    SELECT id INTO key FROM sfss.containers WHERE account = p_account AND name = p_container FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 'no container';
    END IF;
    IF EXISTS (SELECT 1 FROM sfss.objects WHERE container = key)
        OR EXISTS (SELECT 1 FROM sfss.versions WHERE container = key) THEN
        RETURN 'not empty';
    END IF;
    PERFORM sfss.abort_upload(id) FROM sfss.uploads WHERE container = key;
    DELETE FROM sfss.counts WHERE container = key;
    DELETE FROM sfss.containers WHERE id = key;
    RETURN '';
END $$;

CREATE FUNCTION sfss.begin_upload(
    p_account bigint, p_container text, p_id text, p_name text, p_content_type text, p_metadata text,
    p_started bigint, p_properties text
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    key bigint := sfss.container_key(p_account, p_container);
BEGIN
    IF key IS NULL THEN
        RETURN 'no container';
    END IF;
    INSERT INTO sfss.uploads VALUES (p_id, key, p_name, p_content_type, p_metadata, p_started, p_properties)
        ON CONFLICT DO NOTHING;
    RETURN '';
END $$;

CREATE FUNCTION sfss.put_part(
    p_upload text, p_number integer, p_size bigint, p_etag text, p_modified bigint, p_content text,
    p_piece_size integer
) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM sfss.uploads WHERE id = p_upload FOR KEY SHARE;  -- it is not completed meanwhile
    IF NOT FOUND THEN
        RETURN 'no upload';
    END IF;
    IF NOT sfss.may_be_named(p_content) THEN
        RETURN 'given up';
    END IF;
    INSERT INTO sfss.parts VALUES (p_upload, p_number, p_size, p_etag, p_modified, p_content, p_piece_size)
    ON CONFLICT (upload, number) DO UPDATE SET
        size = excluded.size, etag = excluded.etag, modified = excluded.modified, content = excluded.content,
        piece_size = excluded.piece_size;
    DELETE FROM sfss.writing WHERE content = p_content;
    RETURN '';
END $$;

CREATE FUNCTION sfss.complete_upload(
    p_account bigint, p_container text, p_name text, p_size bigint, p_etag text, p_content_type text,
    p_modified bigint, p_content text, p_piece_size integer, p_metadata text, p_manifest text,
    p_properties text, p_expires bigint, p_version text, p_must_be_new boolean, p_must_have text, p_numbers integer[],
    p_contents text[]
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    outcome text;
BEGIN
    IF sfss.container_key(p_account, p_container) IS NULL THEN  -- first, as who deletes it does
        RETURN 'no container';
    END IF;
    PERFORM 1 FROM sfss.uploads WHERE id = p_content FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 'no upload';
    END IF;
    IF EXISTS (
        SELECT * FROM unnest(p_numbers, p_contents) EXCEPT SELECT number, content FROM sfss.parts WHERE upload = p_content
    ) THEN
        RETURN 'no parts';
    END IF;
    outcome := sfss.put_object(
        p_account, p_container, p_name, p_size, p_etag, p_content_type, p_modified, p_content, p_piece_size,
        p_metadata, p_manifest, p_properties, p_expires, p_version, p_must_be_new, p_must_have
    );
    IF outcome <> '' AND outcome NOT LIKE 'version %' THEN
        RETURN outcome;
    END IF;
    DELETE FROM sfss.parts WHERE upload = p_content AND number <> ALL (p_numbers);
    DELETE FROM sfss.uploads WHERE id = p_content;
    RETURN outcome;
END $$;

CREATE FUNCTION sfss.abort_upload(p_id text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM sfss.uploads WHERE id = p_id;
    IF NOT FOUND THEN
        RETURN 'no upload';
    END IF;
    DELETE FROM sfss.parts WHERE upload = p_id;
    RETURN '';
END $$;

-- Unless an object has got it: then whoever gives it up is mistaken.
CREATE FUNCTION sfss.give_up(p_content text, p_pieces integer) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM sfss.lock_content(p_content);
    IF NOT sfss.is_named(p_content) THEN
        PERFORM sfss.discard(p_content, p_pieces);
    END IF;
    DELETE FROM sfss.writing WHERE content = p_content;
    RETURN '';
END $$;

CREATE FUNCTION sfss.is_named(p_content text) RETURNS boolean STABLE LANGUAGE sql AS
$$
    SELECT EXISTS (SELECT 1 FROM sfss.objects WHERE content = p_content AND content <> '')
        OR EXISTS (SELECT 1 FROM sfss.versions WHERE content = p_content AND content <> '')
        OR EXISTS (SELECT 1 FROM sfss.parts WHERE content = p_content AND content <> '')
$$;
