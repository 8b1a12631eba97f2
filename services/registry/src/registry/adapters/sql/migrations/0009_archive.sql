-- Import of an export, and archiving of partitions. Only log_ops may; each function keeps every invariant of the log.
-- Raises EF006: what is given does not continue this log. EF007: the log may not be archived so.
SET LOCAL ROLE log_owner;

-- Partitions that went to files, oldest first. `sealed_position` is the end of the last batch that begins in the
-- partition: its file goes up to there, the chain goes on from `hash`, and what the log still holds begins after
-- `last_position`. detached: the table still stands apart; dropped: only the file is left.
CREATE TABLE log.archived (
    first_position  bigint PRIMARY KEY,
    last_position   bigint NOT NULL UNIQUE,
    sealed_position bigint NOT NULL,
    hash            bytea NOT NULL CHECK (octet_length(hash) = 32),
    file_sha256     bytea NOT NULL CHECK (octet_length(file_sha256) = 32),
    state           text NOT NULL CHECK (state IN ('detached', 'dropped')),
    time            timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (first_position <= last_position AND last_position <= sealed_position)
);
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE OR DELETE ON log.archived
    FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();

-- What streams had come to at the end of the archive: the events before `version` are only in files.
-- Derived from them; `format` names the encoding.
CREATE TABLE log.stream_states (
    stream_id uuid PRIMARY KEY,
    version   int NOT NULL CHECK (version > 0),
    format    text NOT NULL,
    state     bytea NOT NULL
);

-- The partitions that are attached, oldest first.
CREATE VIEW log.partitions AS
    SELECT p.name, p.bounds[1]::bigint AS first_position, p.bounds[2]::bigint - 1 AS last_position
    FROM (
        SELECT c.relname AS name,
               regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''?(\d+)''?\) TO \(''?(\d+)''?\)') AS bounds
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'log.events'::regclass
    ) p
    ORDER BY 2;

-- Appends whole batches of another log, which must continue this one exactly: positions, versions, times and
-- hashes are checked, the hashes recomputed from the rows as they were stored. One transaction; NOTIFY as ever.
-- event_seals: which seal (from 1) an event belongs to, ascending. Names in released_names are given back first.
CREATE FUNCTION log.import_batches(
    after_position bigint, after_hash bytea,
    seal_hashes bytea[], seal_times timestamptz[],
    event_seals int[], stream_ids uuid[], versions int[], event_names text[], event_data bytea[], metadatas bytea[],
    claim_names text[], claim_streams uuid[], released_names text[]
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = log, pg_temp
-- As in log.append. Plans made for the arrays of one call were ten times as slow (measured: 1.5 s for 5,000 events).
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    head_was  log.head%ROWTYPE;
    added     int := cardinality(event_seals);
    ends      bigint[];
    digests   bytea[];
    chain     bytea;
    sealed    bigint;
    ahead_max CONSTANT interval := '60 seconds';
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'log.import_batches needs the isolation level read committed' USING ERRCODE = 'EF003';
    END IF;
    SELECT * INTO STRICT head_was FROM head WHERE id = 1 FOR UPDATE;
    IF head_was.position <> after_position OR head_was.hash <> after_hash THEN
        RAISE EXCEPTION 'the log ends at % and is not where the import goes on (%): somebody else appends to it',
            head_was.position, after_position USING ERRCODE = 'EF006';
    END IF;
    IF added = 0 OR cardinality(seal_hashes) = 0
        OR cardinality(seal_hashes) <> cardinality(seal_times)
        OR added <> ALL (ARRAY[cardinality(stream_ids), cardinality(versions), cardinality(event_names),
                               cardinality(event_data), cardinality(metadatas)])
        OR cardinality(claim_names) <> cardinality(claim_streams)
    THEN
        RAISE EXCEPTION 'the arrays of an import must be filled and fit each other' USING ERRCODE = 'EF006';
    END IF;
    IF EXISTS (
        SELECT FROM unnest(seal_times) WITH ORDINALITY AS s(time, n)
        LEFT JOIN unnest(seal_times) WITH ORDINALITY AS before(time, n) ON before.n = s.n - 1
        WHERE s.time <= coalesce(before.time, head_was.time)
    ) THEN
        RAISE EXCEPTION 'the times of the seals after % do not increase', after_position USING ERRCODE = 'EF006';
    END IF;
    IF seal_times[cardinality(seal_times)] > clock_timestamp() + ahead_max THEN
        RAISE EXCEPTION 'the log''s time % would be more than % ahead of the clock',
            seal_times[cardinality(seal_times)], ahead_max USING ERRCODE = 'EF001';
    END IF;
    -- Each seal has events, in order.
    SELECT array_agg(after_position + s.last ORDER BY s.seal) INTO ends
        FROM (SELECT e.seal, max(e.n) AS last FROM unnest(event_seals) WITH ORDINALITY AS e(seal, n) GROUP BY e.seal) s;
    IF event_seals[1] <> 1 OR cardinality(ends) <> cardinality(seal_hashes) OR EXISTS (
        SELECT FROM unnest(event_seals) WITH ORDINALITY AS e(seal, n)
        WHERE e.n > 1 AND e.seal - event_seals[e.n - 1] NOT IN (0, 1)
    ) THEN
        RAISE EXCEPTION 'the events after % do not follow their seals', after_position USING ERRCODE = 'EF006';
    END IF;
    IF EXISTS (
        SELECT FROM (
            SELECT e.stream_id, e.version, row_number() OVER (PARTITION BY e.stream_id ORDER BY e.n) AS number
            FROM unnest(stream_ids, versions) WITH ORDINALITY AS e(stream_id, version, n)
        ) e
        LEFT JOIN streams s ON s.stream_id = e.stream_id
        WHERE e.version <> coalesce(s.version, 0) + e.number
    ) THEN
        RAISE EXCEPTION 'the versions of a stream after % are not contiguous', after_position USING ERRCODE = 'EF006';
    END IF;

    WHILE after_position + added + partition_size() > (SELECT covered_to FROM head WHERE id = 1) LOOP
        PERFORM add_partition();
    END LOOP;
    INSERT INTO event_types (id, name)
        SELECT (SELECT coalesce(max(id), 0) FROM event_types) + row_number() OVER (ORDER BY missing.name), missing.name
        FROM (
            SELECT DISTINCT e.name FROM unnest(event_names) AS e(name)
            WHERE NOT EXISTS (SELECT FROM event_types t WHERE t.name = e.name)
        ) missing;
    INSERT INTO events (position, stream_id, version, type, time, data, metadata)
        SELECT after_position + e.n, e.stream_id, e.version, t.id, seal_times[e.seal], e.data, e.metadata
        FROM unnest(event_seals, stream_ids, versions, event_names, event_data, metadatas)
            WITH ORDINALITY AS e(seal, stream_id, version, name, data, metadata, n)
        JOIN event_types t ON t.name = e.name
        ORDER BY e.n;
    INSERT INTO streams AS s (stream_id, category, version, first_position, last_position)
        SELECT e.stream_id, min(split_part(e.name, '.', 1)), max(e.version),
               after_position + min(e.n), after_position + max(e.n)
        FROM unnest(stream_ids, versions, event_names) WITH ORDINALITY AS e(stream_id, version, name, n)
        GROUP BY e.stream_id
        ON CONFLICT (stream_id) DO UPDATE
            SET version = excluded.version, last_position = excluded.last_position;
    DELETE FROM claims WHERE name = ANY (released_names);
    INSERT INTO claims (name, stream_id) SELECT * FROM unnest(claim_names, claim_streams);

    SELECT array_agg(d.digests ORDER BY d.n) INTO digests
    FROM (
        SELECT s.n, string_agg(
            event_digest(e.position, e.stream_id, e.version, e.time, t.name, e.data, e.metadata),
            ''::bytea ORDER BY e.position) AS digests
        FROM unnest(ends) WITH ORDINALITY AS s(last, n)
        JOIN events e ON e.position > coalesce(ends[s.n - 1], after_position) AND e.position <= s.last
        JOIN event_types t ON t.id = e.type
        WHERE e.position > after_position
        GROUP BY s.n
    ) d;
    chain := head_was.hash;
    sealed := after_position;
    FOR n IN 1 .. cardinality(ends) LOOP
        chain := sha256(chain || int8send(sealed + 1) || int8send(ends[n])
                        || int8send(microseconds(seal_times[n])) || digests[n]);
        IF chain <> seal_hashes[n] THEN
            RAISE EXCEPTION 'events % to % are not those that were sealed', sealed + 1, ends[n]
                USING ERRCODE = 'EF006';
        END IF;
        INSERT INTO seals (last_position, first_position, hash, time)
            VALUES (ends[n], sealed + 1, chain, seal_times[n]);
        sealed := ends[n];
    END LOOP;
    UPDATE head SET position = sealed, hash = chain, time = seal_times[cardinality(seal_times)] WHERE id = 1;
    PERFORM pg_notify('eventflows_log', sealed::text);
    RETURN sealed;
END
$$;

-- Keeps what streams came to, before their events go. A state never goes back to an older version.
CREATE FUNCTION log.keep_stream_states(
    stream_ids uuid[], versions int[], formats text[], states bytea[]
) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = log, pg_temp
AS $$
    INSERT INTO stream_states AS s (stream_id, version, format, state)
    SELECT * FROM unnest(stream_ids, versions, formats, states)
    ON CONFLICT (stream_id) DO UPDATE
        SET version = excluded.version, format = excluded.format, state = excluded.state
        WHERE s.version <= excluded.version
$$;

-- Takes the oldest partition out of the log: its events are in a file of this SHA-256, its streams' states are kept.
CREATE FUNCTION log.detach_partition(
    partition_first bigint, archive_position bigint, archive_hash bytea, archive_sha256 bytea
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = log, pg_temp
SET lock_timeout = '5s'
AS $$
#variable_conflict use_column
DECLARE
    part     record;
    snapshot bigint;
    without  bigint;
BEGIN
    SELECT * INTO part FROM partitions ORDER BY first_position LIMIT 1;
    IF part IS NULL OR part.first_position <> partition_first THEN
        RAISE EXCEPTION 'the partition from % is not the oldest of the log', partition_first USING ERRCODE = 'EF007';
    END IF;
    IF NOT EXISTS (
        SELECT FROM seals s WHERE s.last_position = archive_position AND s.hash = archive_hash
            AND s.first_position <= part.last_position AND s.last_position >= part.last_position
    ) THEN
        RAISE EXCEPTION 'the archive must end with the batch that ends the partition (at % or after)',
            part.last_position USING ERRCODE = 'EF007';
    END IF;
    SELECT position INTO snapshot FROM (
        SELECT n.position, row_number() OVER (PARTITION BY n.fold ORDER BY n.position DESC) AS age
        FROM own_snapshots n
    ) n WHERE n.age = 2 ORDER BY n.position DESC LIMIT 1;
    IF snapshot IS NULL OR archive_position > snapshot
        OR archive_position >= (SELECT h.position FROM head h WHERE h.id = 1)
    THEN
        RAISE EXCEPTION 'the log can be archived up to its second newest snapshot (%) only', coalesce(snapshot, 0)
            USING ERRCODE = 'EF007';
    END IF;
    EXECUTE format(
        'SELECT count(*) FROM (SELECT e.stream_id, max(e.version) AS version FROM log.%I e GROUP BY e.stream_id) e '
        'LEFT JOIN log.stream_states s ON s.stream_id = e.stream_id AND s.version = e.version '
        'WHERE s.stream_id IS NULL', part.name) INTO without;
    IF without > 0 THEN
        RAISE EXCEPTION 'the states of % streams of the partition are not kept', without USING ERRCODE = 'EF007';
    END IF;
    PERFORM FROM head WHERE id = 1 FOR UPDATE;  -- appends lock it before the table too
    EXECUTE format('ALTER TABLE log.events DETACH PARTITION log.%I', part.name);
    INSERT INTO archived (first_position, last_position, sealed_position, hash, file_sha256, state)
        VALUES (part.first_position, part.last_position, archive_position, archive_hash, archive_sha256, 'detached');
END
$$;

-- Drops the table of a detached partition: from here on its events are in the file only.
CREATE FUNCTION log.drop_archived(partition_first bigint, archive_sha256 bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = log, pg_temp
SET lock_timeout = '5s'
AS $$
BEGIN
    UPDATE archived SET state = 'dropped'
        WHERE first_position = partition_first AND state = 'detached' AND file_sha256 = archive_sha256;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the partition from % is not detached with a file of this SHA-256', partition_first
            USING ERRCODE = 'EF007';
    END IF;
    EXECUTE format('DROP TABLE log.%I', 'events_from_' || lpad(partition_first::text, 15, '0'));
END
$$;

REVOKE EXECUTE ON FUNCTION
    log.import_batches, log.keep_stream_states, log.detach_partition, log.drop_archived FROM PUBLIC;
GRANT SELECT ON log.archived, log.stream_states, log.partitions TO log_app, log_ops;
GRANT EXECUTE ON FUNCTION log.import_batches, log.keep_stream_states, log.detach_partition, log.drop_archived TO log_ops;
GRANT EXECUTE ON FUNCTION log.partition_size TO log_app, log_ops;
