-- What the migrations make of an empty database; renewed by `make schema`.

CREATE SCHEMA log;

ALTER SCHEMA log OWNER TO log_owner;

CREATE SCHEMA migration;

ALTER SCHEMA migration OWNER TO postgres;

CREATE SCHEMA vault;

ALTER SCHEMA vault OWNER TO vault_owner;

CREATE FUNCTION log.add_partition() RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    low  bigint;
    high bigint;
    part text;
BEGIN
    SELECT h.covered_to + 1, h.covered_to + 1 + log.partition_size() INTO STRICT low, high
        FROM log.head h WHERE h.id = 1;
    part := 'events_from_' || lpad(low::text, 15, '0');
    EXECUTE format('CREATE TABLE log.%I (LIKE log.events INCLUDING ALL)', part);
    EXECUTE format('CREATE UNIQUE INDEX %I ON log.%I (stream_id, version)', part || '_by_stream', part);
    EXECUTE format(
        'CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON log.%I '
        'FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change()', part);
    EXECUTE format(
        'CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON log.%I '
        'FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change()', part);
    EXECUTE format('GRANT SELECT ON log.%I TO log_ops', part);
    EXECUTE format('ALTER TABLE log.events ATTACH PARTITION log.%I FOR VALUES FROM (%s) TO (%s)', part, low, high);
    UPDATE log.head SET covered_to = high - 1 WHERE id = 1;
END
$$;

ALTER FUNCTION log.add_partition() OWNER TO log_owner;

CREATE FUNCTION log.add_snapshot_part(of_fold text, of_position bigint, part_number integer, part bytea) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'log', 'pg_temp'
    AS $$
    INSERT INTO snapshot_parts (fold, position, number, data) VALUES (of_fold, of_position, part_number, part)
$$;

ALTER FUNCTION log.add_snapshot_part(of_fold text, of_position bigint, part_number integer, part bytea) OWNER TO log_owner;

CREATE FUNCTION log.append(command_ids uuid[], request_hashes bytea[], stream_ids uuid[], categories text[], expected_versions integer[], metadatas bytea[], event_commands integer[], event_names text[], event_data bytea[], claim_commands integer[], claim_names text[], release_commands integer[], release_names text[]) RETURNS TABLE(status text, version integer, "position" bigint, event_count integer, detail text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'log', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
#variable_conflict use_column
DECLARE
    head_was     log.head%ROWTYPE;
    seal_time    timestamptz;
    seal_hash    bytea;
    statuses     text[];
    details      text[];
    added        int;
    digests      bytea;
    ahead_max    CONSTANT interval := '60 seconds';
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        -- A snapshot from before the lock would not see what the previous writer stored.
        RAISE EXCEPTION 'log.append needs the isolation level read committed' USING ERRCODE = 'EF003';
    END IF;
    SELECT * INTO STRICT head_was FROM head WHERE id = 1 FOR UPDATE;
    seal_time := greatest(head_was.time + interval '1 microsecond', clock_timestamp());
    IF seal_time > clock_timestamp() + ahead_max THEN
        RAISE EXCEPTION 'the log''s time % is more than % ahead of the clock', head_was.time, ahead_max
            USING ERRCODE = 'EF001';
    END IF;

    WITH claimed AS (
        SELECT c.command, min(c.name) AS name
        FROM unnest(claim_commands, claim_names) AS c(command, name)
        WHERE EXISTS (SELECT FROM claims WHERE claims.name = c.name)
        GROUP BY c.command
    )
    SELECT
        array_agg(CASE
            WHEN known.request_hash = a.request_hash THEN 'replayed'
            WHEN known.request_hash IS NOT NULL THEN 'command_reused'
            WHEN coalesce(stream.version, 0) <> a.expected_version THEN 'version_conflict'
            WHEN claimed.name IS NOT NULL THEN 'claim_conflict'
            ELSE 'stored' END ORDER BY a.n),
        array_agg(claimed.name ORDER BY a.n)
    INTO statuses, details
    FROM unnest(command_ids, request_hashes, stream_ids, expected_versions)
        WITH ORDINALITY AS a(command_id, request_hash, stream_id, expected_version, n)
    LEFT JOIN LATERAL (
        SELECT k.request_hash FROM commands k WHERE k.command_id = a.command_id LIMIT 1
    ) known ON true
    LEFT JOIN LATERAL (
        SELECT s.version FROM streams s WHERE s.stream_id = a.stream_id LIMIT 1
    ) stream ON true
    LEFT JOIN claimed ON claimed.command = a.n;

    IF 'stored' = ANY (statuses) THEN
        WHILE head_was.position + cardinality(event_commands) + partition_size()
                > (SELECT covered_to FROM head WHERE id = 1) LOOP
            PERFORM add_partition();
        END LOOP;
        INSERT INTO event_types (id, name)
            SELECT (SELECT coalesce(max(id), 0) FROM event_types) + row_number() OVER (ORDER BY missing.name), missing.name
            FROM (
                SELECT DISTINCT e.name FROM unnest(event_names) AS e(name)
                WHERE NOT EXISTS (SELECT FROM event_types t WHERE t.name = e.name)
            ) missing;

        WITH accepted AS MATERIALIZED (
            SELECT a.*, coalesce(e.event_count, 0)::int AS event_count
            FROM unnest(command_ids, request_hashes, stream_ids, categories, expected_versions, metadatas, statuses)
                WITH ORDINALITY AS a(command_id, request_hash, stream_id, category, expected_version, metadata, status, n)
            LEFT JOIN (
                SELECT e.command, count(*) AS event_count FROM unnest(event_commands) AS e(command) GROUP BY e.command
            ) e ON e.command = a.n
            WHERE a.status = 'stored'
        ), numbered AS (
            SELECT head_was.position + row_number() OVER (ORDER BY e.n) AS position,
                   a.stream_id,
                   (a.expected_version + row_number() OVER (PARTITION BY a.n ORDER BY e.n))::int AS version,
                   t.id AS type, e.name, e.data, a.metadata
            FROM unnest(event_commands, event_names, event_data) WITH ORDINALITY AS e(command, name, data, n)
            JOIN accepted a ON a.n = e.command
            JOIN event_types t ON t.name = e.name
        ), inserted AS (
            INSERT INTO events (position, stream_id, version, type, time, data, metadata)
            SELECT n.position, n.stream_id, n.version, n.type, seal_time, n.data, n.metadata
            FROM numbered n ORDER BY n.position
        ), remembered AS (
            INSERT INTO commands (command_id, request_hash, version, position, event_count, time)
            SELECT a.command_id, a.request_hash, a.expected_version + a.event_count,
                   head_was.position + sum(a.event_count) OVER (ORDER BY a.n), a.event_count, seal_time
            FROM accepted a
        ), moved AS (
            INSERT INTO streams AS s (stream_id, category, version, first_position, last_position)
            SELECT n.stream_id, min(a.category), max(n.version), min(n.position), max(n.position)
            FROM numbered n JOIN accepted a ON a.stream_id = n.stream_id
            GROUP BY n.stream_id
            ON CONFLICT (stream_id) DO UPDATE
                SET version = excluded.version, last_position = excluded.last_position
        ), released AS (
            DELETE FROM claims c
            USING unnest(release_commands, release_names) AS r(command, name), accepted a
            WHERE a.n = r.command AND c.name = r.name AND c.stream_id = a.stream_id
        ), taken AS (
            INSERT INTO claims (name, stream_id)
            SELECT c.name, a.stream_id
            FROM unnest(claim_commands, claim_names) AS c(command, name) JOIN accepted a ON a.n = c.command
        )
        SELECT count(*), string_agg(
            event_digest(n.position, n.stream_id, n.version, seal_time, n.name, n.data, n.metadata),
            ''::bytea ORDER BY n.position)
        INTO added, digests
        FROM numbered n;

        IF added > 0 THEN
            seal_hash := sha256(
                head_was.hash || int8send(head_was.position + 1) || int8send(head_was.position + added)
                || int8send(microseconds(seal_time)) || digests);
            INSERT INTO seals (last_position, first_position, hash, time)
                VALUES (head_was.position + added, head_was.position + 1, seal_hash, seal_time);
            UPDATE head SET position = head_was.position + added, hash = seal_hash, time = seal_time WHERE id = 1;
            PERFORM pg_notify('eventflows_log', (head_was.position + added)::text);
        END IF;
    END IF;

    RETURN QUERY
        SELECT a.status, coalesce(known.version, stream.version, 0), known.position, known.event_count,
               CASE WHEN a.status = 'claim_conflict' THEN a.detail END
        FROM unnest(command_ids, stream_ids, statuses, details)
            WITH ORDINALITY AS a(command_id, stream_id, status, detail, n)
        LEFT JOIN LATERAL (
            SELECT k.version, k.position, k.event_count FROM commands k
            WHERE k.command_id = a.command_id AND a.status IN ('stored', 'replayed') LIMIT 1
        ) known ON true
        LEFT JOIN LATERAL (
            SELECT s.version FROM streams s WHERE s.stream_id = a.stream_id LIMIT 1
        ) stream ON true
        ORDER BY a.n;
END
$$;

ALTER FUNCTION log.append(command_ids uuid[], request_hashes bytea[], stream_ids uuid[], categories text[], expected_versions integer[], metadatas bytea[], event_commands integer[], event_names text[], event_data bytea[], claim_commands integer[], claim_names text[], release_commands integer[], release_names text[]) OWNER TO log_owner;

CREATE FUNCTION log.append_batch(command_ids uuid[], request_hashes bytea[], stream_ids uuid[], categories text[], expected_versions integer[], metadatas bytea[], event_ends integer[], type_names text[], event_commands integer[], event_types integer[], event_data bytea[], claim_commands integer[], claim_names text[], release_commands integer[], release_names text[], OUT base bigint, OUT statuses text[], OUT versions integer[], OUT positions bigint[], OUT event_counts integer[], OUT details text[]) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'log', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_hashjoin TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
#variable_conflict use_column
DECLARE
    head_was  log.head%ROWTYPE;
    seal_time timestamptz;
    seal_hash bytea;
    digests   bytea;
    type_ids  smallint[];
    given     int := cardinality(event_data);
    added     int := given;
    gaps      int[];  -- by command: how many events of refused commands are before its end; null: none are refused
    inserted  bigint;
    fitting   bigint;
    refused   boolean;
    ahead_max CONSTANT interval := '60 seconds';
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        -- A snapshot from before the lock would not see what the previous writer stored.
        RAISE EXCEPTION 'log.append_batch needs the isolation level read committed' USING ERRCODE = 'EF003';
    END IF;
    IF event_ends[cardinality(command_ids)] IS DISTINCT FROM given THEN
        RAISE EXCEPTION 'event_ends must end with the number of events' USING ERRCODE = 'EF005';
    END IF;
    SELECT * INTO STRICT head_was FROM head WHERE id = 1 FOR UPDATE;
    base := head_was.position;
    seal_time := greatest(greatest(head_was.time, head_was.asked) + interval '1 microsecond', clock_timestamp());
    IF seal_time > clock_timestamp() + ahead_max THEN
        RAISE EXCEPTION 'the log''s time % is more than % ahead of the clock', seal_time, ahead_max
            USING ERRCODE = 'EF001';
    END IF;

    SELECT EXISTS (SELECT FROM commands k WHERE k.command_id = ANY (command_ids))
        OR EXISTS (SELECT FROM claims c WHERE c.name = ANY (claim_names))
        OR EXISTS (
            SELECT FROM unnest(stream_ids, expected_versions) AS a(stream_id, expected_version)
            LEFT JOIN LATERAL (
                SELECT s.version FROM streams s WHERE s.stream_id = a.stream_id LIMIT 1
            ) stream ON true
            WHERE coalesce(stream.version, 0) IS DISTINCT FROM a.expected_version
        )
    INTO refused;
    IF refused THEN
        SELECT j.statuses, j.versions, j.positions, j.event_counts, j.taken_names, j.refused_events
            INTO statuses, versions, positions, event_counts, details, gaps
            FROM judge(command_ids, request_hashes, stream_ids, expected_versions, event_ends,
                       claim_commands, claim_names) j;
        IF 'stored' <> ALL (statuses) THEN
            RETURN;
        END IF;
        added := given - gaps[cardinality(gaps)];
    END IF;

    WHILE base + added + partition_size() > head_was.covered_to LOOP
        PERFORM add_partition();
        SELECT h.covered_to INTO head_was.covered_to FROM head h WHERE h.id = 1;
    END LOOP;

    INSERT INTO commands (command_id, request_hash, version, position, event_count, time)
        SELECT a.command_id, a.request_hash, a.expected_version + a.event_end - coalesce(event_ends[a.n - 1], 0),
               base + a.event_end - coalesce(gaps[a.n], 0), a.event_end - coalesce(event_ends[a.n - 1], 0), seal_time
        FROM unnest(command_ids, request_hashes, expected_versions, event_ends)
            WITH ORDINALITY AS a(command_id, request_hash, expected_version, event_end, n)
        WHERE statuses IS NULL OR statuses[a.n] = 'stored';
    IF cardinality(release_names) > 0 THEN
        DELETE FROM claims c
            USING unnest(release_commands, release_names) AS r(command, name)
            WHERE c.name = r.name AND c.stream_id = stream_ids[r.command]
                AND (statuses IS NULL OR statuses[r.command] = 'stored');
    END IF;
    IF cardinality(claim_names) > 0 THEN
        INSERT INTO claims (name, stream_id)
            SELECT c.name, stream_ids[c.command]
            FROM unnest(claim_commands, claim_names) AS c(command, name)
            WHERE statuses IS NULL OR statuses[c.command] = 'stored';
    END IF;

    IF added > 0 THEN
        SELECT array_agg(t.id ORDER BY n.n) INTO type_ids
            FROM unnest(type_names) WITH ORDINALITY AS n(name, n)
            LEFT JOIN LATERAL (SELECT t.id FROM event_types t WHERE t.name = n.name LIMIT 1) t ON true;
        IF array_position(type_ids, NULL) IS NOT NULL THEN
            type_ids := type_ids(type_names);
        END IF;
        INSERT INTO events (position, stream_id, version, type, time, data, metadata)
            SELECT base + e.n - coalesce(gaps[e.command], 0), stream_ids[e.command],
                   expected_versions[e.command] + (e.n - coalesce(event_ends[e.command - 1], 0))::int,
                   type_ids[e.type], seal_time, e.data, metadatas[e.command]
            FROM unnest(event_commands, event_types, event_data) WITH ORDINALITY AS e(command, type, data, n)
            WHERE statuses IS NULL OR statuses[e.command] = 'stored';
        INSERT INTO streams AS s (stream_id, category, version, first_position, last_position)
            SELECT a.stream_id, a.category, a.expected_version + a.event_end - coalesce(event_ends[a.n - 1], 0),
                   base + 1 + coalesce(event_ends[a.n - 1], 0) - coalesce(gaps[a.n], 0),
                   base + a.event_end - coalesce(gaps[a.n], 0)
            FROM unnest(stream_ids, categories, expected_versions, event_ends)
                WITH ORDINALITY AS a(stream_id, category, expected_version, event_end, n)
            WHERE a.event_end > coalesce(event_ends[a.n - 1], 0) AND (statuses IS NULL OR statuses[a.n] = 'stored')
            ON CONFLICT (stream_id) DO UPDATE
                SET version = excluded.version, last_position = excluded.last_position;
        SELECT string_agg(
                event_digest(
                    base + e.n - coalesce(gaps[e.command], 0), stream_ids[e.command],
                    expected_versions[e.command] + (e.n - coalesce(event_ends[e.command - 1], 0))::int,
                    seal_time, type_names[e.type], e.data, metadatas[e.command]),
                ''::bytea ORDER BY e.n),
            count(*),
            count(*) FILTER (WHERE e.n > coalesce(event_ends[e.command - 1], 0) AND e.n <= event_ends[e.command])
        INTO digests, inserted, fitting
        FROM unnest(event_commands, event_types, event_data) WITH ORDINALITY AS e(command, type, data, n)
        WHERE statuses IS NULL OR statuses[e.command] = 'stored';
        IF inserted <> added OR fitting <> added THEN
            RAISE EXCEPTION 'event_commands must follow event_ends' USING ERRCODE = 'EF005';
        END IF;
        seal_hash := sha256(
            head_was.hash || int8send(base + 1) || int8send(base + added) || int8send(microseconds(seal_time)) || digests);
        INSERT INTO seals (last_position, first_position, hash, time)
            VALUES (base + added, base + 1, seal_hash, seal_time);
        UPDATE head SET position = base + added, hash = seal_hash, time = seal_time WHERE id = 1;
        PERFORM pg_notify('eventflows_log', (base + added)::text);
    END IF;
    IF refused THEN
        SELECT array_agg(CASE WHEN a.status = 'stored' THEN a.expected_version + a.own_events ELSE a.version END ORDER BY a.n),
               array_agg(CASE WHEN a.status = 'stored' THEN base + a.event_end - a.gap ELSE a.position END ORDER BY a.n),
               array_agg(CASE WHEN a.status = 'stored' THEN a.own_events ELSE a.event_count END ORDER BY a.n)
        INTO versions, positions, event_counts
        FROM (
            SELECT a.*, a.event_end - coalesce(event_ends[a.n - 1], 0) AS own_events
            FROM unnest(statuses, versions, positions, event_counts, expected_versions, event_ends, gaps)
                WITH ORDINALITY AS a(status, version, position, event_count, expected_version, event_end, gap, n)
        ) a;
    END IF;
END
$$;

ALTER FUNCTION log.append_batch(command_ids uuid[], request_hashes bytea[], stream_ids uuid[], categories text[], expected_versions integer[], metadatas bytea[], event_ends integer[], type_names text[], event_commands integer[], event_types integer[], event_data bytea[], claim_commands integer[], claim_names text[], release_commands integer[], release_names text[], OUT base bigint, OUT statuses text[], OUT versions integer[], OUT positions bigint[], OUT event_counts integer[], OUT details text[]) OWNER TO log_owner;

CREATE FUNCTION log.begin_snapshot(new_fold text, new_position bigint, new_hash bytea, new_parts integer, new_bytes bigint) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'log', 'pg_temp'
    AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM seals s WHERE s.last_position = new_position AND s.hash = new_hash) THEN
        RAISE EXCEPTION 'no seal of this log ends at % with this hash', new_position USING ERRCODE = 'EF004';
    END IF;
    DELETE FROM snapshots n  -- of a log that stood here before
        WHERE n.fold = new_fold AND n.position = new_position AND n.hash <> new_hash;
    INSERT INTO snapshots (fold, position, hash, parts, bytes)
        VALUES (new_fold, new_position, new_hash, new_parts, new_bytes)
        ON CONFLICT (fold, position) DO NOTHING;
    RETURN FOUND;
END
$$;

ALTER FUNCTION log.begin_snapshot(new_fold text, new_position bigint, new_hash bytea, new_parts integer, new_bytes bigint) OWNER TO log_owner;

CREATE FUNCTION log.detach_partition(partition_first bigint, archive_position bigint, archive_hash bytea, archive_sha256 bytea) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'log', 'pg_temp'
    SET lock_timeout TO '5s'
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

ALTER FUNCTION log.detach_partition(partition_first bigint, archive_position bigint, archive_hash bytea, archive_sha256 bytea) OWNER TO log_owner;

CREATE FUNCTION log.drop_archived(partition_first bigint, archive_sha256 bytea) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'log', 'pg_temp'
    SET lock_timeout TO '5s'
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

ALTER FUNCTION log.drop_archived(partition_first bigint, archive_sha256 bytea) OWNER TO log_owner;

CREATE FUNCTION log.event_digest(event_position bigint, stream_id uuid, version integer, moment timestamp with time zone, type_name text, data bytea, metadata bytea) RETURNS bytea
    LANGUAGE sql STABLE
    RETURN sha256((((((((((int8send(event_position) || uuid_send(stream_id)) || int4send(version)) || int8send(((EXTRACT(epoch FROM moment) * (1000000)::numeric))::bigint)) || int4send(octet_length(type_name))) || convert_to(type_name, 'UTF8'::name)) || int4send(octet_length(data))) || data) || int4send(octet_length(metadata))) || metadata));

ALTER FUNCTION log.event_digest(event_position bigint, stream_id uuid, version integer, moment timestamp with time zone, type_name text, data bytea, metadata bytea) OWNER TO log_owner;

CREATE TABLE log.events (
    "position" bigint NOT NULL,
    stream_id uuid NOT NULL,
    version integer NOT NULL,
    type smallint NOT NULL,
    "time" timestamp with time zone NOT NULL,
    data bytea NOT NULL,
    metadata bytea NOT NULL,
    CONSTRAINT events_version_check CHECK ((version > 0))
)
PARTITION BY RANGE ("position");

ALTER TABLE log.events OWNER TO log_owner;

CREATE TABLE log.head (
    id smallint NOT NULL,
    "position" bigint NOT NULL,
    hash bytea NOT NULL,
    "time" timestamp with time zone NOT NULL,
    covered_to bigint NOT NULL,
    asked timestamp with time zone DEFAULT '1970-01-01 00:00:00+00'::timestamp with time zone NOT NULL,
    CONSTRAINT head_hash_check CHECK ((octet_length(hash) = 32)),
    CONSTRAINT head_id_check CHECK ((id = 1)),
    CONSTRAINT head_position_check CHECK (("position" >= 0))
)
WITH (fillfactor='50');

ALTER TABLE log.head OWNER TO log_owner;

CREATE FUNCTION log.first_position() RETURNS bigint
    LANGUAGE sql STABLE
    RETURN COALESCE((SELECT e."position" FROM log.events e ORDER BY e."position" LIMIT 1), (SELECT (h."position" + 1) FROM log.head h WHERE (h.id = 1)));

ALTER FUNCTION log.first_position() OWNER TO log_owner;

CREATE FUNCTION log.import_batches(after_position bigint, after_hash bytea, seal_hashes bytea[], seal_times timestamp with time zone[], event_seals integer[], stream_ids uuid[], versions integer[], event_names text[], event_data bytea[], metadatas bytea[], claim_names text[], claim_streams uuid[], released_names text[]) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'log', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_mergejoin TO 'off'
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

ALTER FUNCTION log.import_batches(after_position bigint, after_hash bytea, seal_hashes bytea[], seal_times timestamp with time zone[], event_seals integer[], stream_ids uuid[], versions integer[], event_names text[], event_data bytea[], metadatas bytea[], claim_names text[], claim_streams uuid[], released_names text[]) OWNER TO log_owner;

CREATE FUNCTION log.judge(command_ids uuid[], request_hashes bytea[], stream_ids uuid[], expected_versions integer[], event_ends integer[], claim_commands integer[], claim_names text[], OUT statuses text[], OUT versions integer[], OUT positions bigint[], OUT event_counts integer[], OUT taken_names text[], OUT refused_events integer[]) RETURNS record
    LANGUAGE sql STABLE
    AS $$
    SELECT array_agg(j.status ORDER BY j.n), array_agg(j.version ORDER BY j.n), array_agg(j.position ORDER BY j.n),
           array_agg(j.event_count ORDER BY j.n), array_agg(j.name ORDER BY j.n),
           array_agg(j.refused_events ORDER BY j.n)
    FROM (
        SELECT j.*, (sum(CASE WHEN j.status = 'stored' THEN 0 ELSE j.own_events END) OVER (ORDER BY j.n))::int
            AS refused_events
        FROM (
            SELECT a.n, a.event_end - coalesce(event_ends[a.n - 1], 0) AS own_events,
                   coalesce(known.version, stream.version, 0) AS version, known.position, known.event_count,
                   claimed.name,
                   CASE
                       WHEN known.request_hash = a.request_hash THEN 'replayed'
                       WHEN known.request_hash IS NOT NULL THEN 'command_reused'
                       WHEN coalesce(stream.version, 0) IS DISTINCT FROM a.expected_version THEN 'version_conflict'
                       WHEN claimed.name IS NOT NULL THEN 'claim_conflict'
                       ELSE 'stored'
                   END AS status
            FROM unnest(command_ids, request_hashes, stream_ids, expected_versions, event_ends)
                WITH ORDINALITY AS a(command_id, request_hash, stream_id, expected_version, event_end, n)
            LEFT JOIN LATERAL (
                SELECT k.request_hash, k.version, k.position, k.event_count
                FROM log.commands k WHERE k.command_id = a.command_id LIMIT 1
            ) known ON true
            LEFT JOIN LATERAL (
                SELECT s.version FROM log.streams s WHERE s.stream_id = a.stream_id LIMIT 1
            ) stream ON true
            LEFT JOIN LATERAL (
                SELECT min(c.name) AS name FROM unnest(claim_commands, claim_names) AS c(command, name)
                WHERE c.command = a.n AND EXISTS (SELECT FROM log.claims t WHERE t.name = c.name)
            ) claimed ON true
        ) j
    ) j
$$;

ALTER FUNCTION log.judge(command_ids uuid[], request_hashes bytea[], stream_ids uuid[], expected_versions integer[], event_ends integer[], claim_commands integer[], claim_names text[], OUT statuses text[], OUT versions integer[], OUT positions bigint[], OUT event_counts integer[], OUT taken_names text[], OUT refused_events integer[]) OWNER TO log_owner;

CREATE FUNCTION log.keep_snapshots(of_fold text, newest integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'log', 'pg_temp'
    AS $$
DECLARE
    oldest bigint := first_position();
    gone   int;
BEGIN
    DELETE FROM snapshots n
    WHERE n.fold <> of_fold AND n.time < clock_timestamp() - interval '7 days'
       OR n.fold = of_fold
          AND n.position NOT IN (
              SELECT o.position FROM own_snapshots o WHERE o.fold = of_fold ORDER BY o.position DESC LIMIT newest)
          AND NOT (oldest > 1 AND n.position = (
              SELECT min(o.position) FROM own_snapshots o WHERE o.fold = of_fold AND o.position >= oldest - 1));
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END
$$;

ALTER FUNCTION log.keep_snapshots(of_fold text, newest integer) OWNER TO log_owner;

CREATE FUNCTION log.keep_stream_states(stream_ids uuid[], versions integer[], formats text[], states bytea[]) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'log', 'pg_temp'
    AS $$
    INSERT INTO stream_states AS s (stream_id, version, format, state)
    SELECT * FROM unnest(stream_ids, versions, formats, states)
    ON CONFLICT (stream_id) DO UPDATE
        SET version = excluded.version, format = excluded.format, state = excluded.state
        WHERE s.version <= excluded.version
$$;

ALTER FUNCTION log.keep_stream_states(stream_ids uuid[], versions integer[], formats text[], states bytea[]) OWNER TO log_owner;

CREATE FUNCTION log.microseconds(moment timestamp with time zone) RETURNS bigint
    LANGUAGE sql IMMUTABLE
    RETURN ((EXTRACT(epoch FROM moment) * (1000000)::numeric))::bigint;

ALTER FUNCTION log.microseconds(moment timestamp with time zone) OWNER TO log_owner;

CREATE FUNCTION log.partition_size() RETURNS bigint
    LANGUAGE sql IMMUTABLE
    RETURN 1000000;

ALTER FUNCTION log.partition_size() OWNER TO log_owner;

CREATE FUNCTION log.prune_commands(most integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'log', 'pg_temp'
    AS $$
DECLARE
    gone int;
BEGIN
    DELETE FROM commands WHERE command_id IN (
        SELECT c.command_id FROM commands c
        WHERE c.time < clock_timestamp() - interval '7 days' ORDER BY c.time LIMIT most
    );
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END
$$;

ALTER FUNCTION log.prune_commands(most integer) OWNER TO log_owner;

CREATE FUNCTION log.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: the log is append-only', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'EF002';
END
$$;

ALTER FUNCTION log.refuse_change() OWNER TO log_owner;

CREATE FUNCTION log.seal_at(moment timestamp with time zone, OUT first_position bigint, OUT last_position bigint, OUT hash bytea, OUT "time" timestamp with time zone, OUT clock timestamp with time zone) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'log', 'pg_temp'
    AS $$
#variable_conflict use_column
BEGIN
    clock := clock_timestamp();
    IF moment > (SELECT greatest(h.time, h.asked) FROM head h WHERE h.id = 1) THEN
        IF moment >= clock THEN
            RETURN;
        END IF;
        UPDATE head h SET asked = greatest(h.asked, moment) WHERE h.id = 1;
    END IF;
    SELECT s.first_position, s.last_position, s.hash, s.time INTO first_position, last_position, hash, "time"
        FROM seals s WHERE s.time <= moment ORDER BY s.time DESC LIMIT 1;
END
$$;

ALTER FUNCTION log.seal_at(moment timestamp with time zone, OUT first_position bigint, OUT last_position bigint, OUT hash bytea, OUT "time" timestamp with time zone, OUT clock timestamp with time zone) OWNER TO log_owner;

CREATE FUNCTION log.type_ids(names text[]) RETURNS smallint[]
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO log.event_types (id, name)
        SELECT (SELECT coalesce(max(t.id), 0) FROM log.event_types t) + row_number() OVER (ORDER BY missing.name),
               missing.name
        FROM (
            SELECT DISTINCT n.name FROM unnest(names) AS n(name)
            WHERE NOT EXISTS (SELECT FROM log.event_types t WHERE t.name = n.name)
        ) missing;
    RETURN (
        SELECT array_agg(t.id ORDER BY n.n)
        FROM unnest(names) WITH ORDINALITY AS n(name, n) JOIN log.event_types t ON t.name = n.name
    );
END
$$;

ALTER FUNCTION log.type_ids(names text[]) OWNER TO log_owner;

CREATE TABLE log.archived (
    first_position bigint NOT NULL,
    last_position bigint NOT NULL,
    sealed_position bigint NOT NULL,
    hash bytea NOT NULL,
    file_sha256 bytea NOT NULL,
    state text NOT NULL,
    "time" timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT archived_check CHECK (((first_position <= last_position) AND (last_position <= sealed_position))),
    CONSTRAINT archived_file_sha256_check CHECK ((octet_length(file_sha256) = 32)),
    CONSTRAINT archived_hash_check CHECK ((octet_length(hash) = 32)),
    CONSTRAINT archived_state_check CHECK ((state = ANY (ARRAY['detached'::text, 'dropped'::text])))
);

ALTER TABLE log.archived OWNER TO log_owner;

CREATE TABLE log.claims (
    name text NOT NULL,
    stream_id uuid NOT NULL
);

ALTER TABLE log.claims OWNER TO log_owner;

CREATE TABLE log.commands (
    command_id uuid NOT NULL,
    request_hash bytea NOT NULL,
    version integer NOT NULL,
    "position" bigint NOT NULL,
    event_count integer NOT NULL,
    "time" timestamp with time zone NOT NULL,
    CONSTRAINT commands_event_count CHECK ((event_count >= 0)),
    CONSTRAINT commands_request_hash_check CHECK ((octet_length(request_hash) = 32))
);

ALTER TABLE log.commands OWNER TO log_owner;

CREATE TABLE log.event_types (
    id smallint NOT NULL,
    name text NOT NULL
);

ALTER TABLE log.event_types OWNER TO log_owner;

CREATE TABLE log.events_from_000000000000001 (
    "position" bigint CONSTRAINT events_position_not_null NOT NULL,
    stream_id uuid CONSTRAINT events_stream_id_not_null NOT NULL,
    version integer CONSTRAINT events_version_not_null NOT NULL,
    type smallint CONSTRAINT events_type_not_null NOT NULL,
    "time" timestamp with time zone CONSTRAINT events_time_not_null NOT NULL,
    data bytea CONSTRAINT events_data_not_null NOT NULL,
    metadata bytea CONSTRAINT events_metadata_not_null NOT NULL,
    CONSTRAINT events_version_check CHECK ((version > 0))
);

ALTER TABLE log.events_from_000000000000001 OWNER TO log_owner;

CREATE TABLE log.events_from_000000001000001 (
    "position" bigint CONSTRAINT events_position_not_null NOT NULL,
    stream_id uuid CONSTRAINT events_stream_id_not_null NOT NULL,
    version integer CONSTRAINT events_version_not_null NOT NULL,
    type smallint CONSTRAINT events_type_not_null NOT NULL,
    "time" timestamp with time zone CONSTRAINT events_time_not_null NOT NULL,
    data bytea CONSTRAINT events_data_not_null NOT NULL,
    metadata bytea CONSTRAINT events_metadata_not_null NOT NULL,
    CONSTRAINT events_version_check CHECK ((version > 0))
);

ALTER TABLE log.events_from_000000001000001 OWNER TO log_owner;

CREATE TABLE log.seals (
    last_position bigint NOT NULL,
    first_position bigint NOT NULL,
    hash bytea NOT NULL,
    "time" timestamp with time zone NOT NULL,
    CONSTRAINT seals_check CHECK ((first_position <= last_position)),
    CONSTRAINT seals_hash_check CHECK ((octet_length(hash) = 32))
);

ALTER TABLE log.seals OWNER TO log_owner;

CREATE TABLE log.snapshots (
    fold text NOT NULL,
    "position" bigint NOT NULL,
    hash bytea NOT NULL,
    parts integer NOT NULL,
    bytes bigint NOT NULL,
    "time" timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT snapshots_fold_check CHECK (((octet_length(fold) >= 1) AND (octet_length(fold) <= 100))),
    CONSTRAINT snapshots_hash_check CHECK ((octet_length(hash) = 32)),
    CONSTRAINT snapshots_parts_check CHECK ((parts > 0)),
    CONSTRAINT snapshots_position_check CHECK (("position" > 0))
);

ALTER TABLE log.snapshots OWNER TO log_owner;

CREATE VIEW log.own_snapshots AS
 SELECT fold,
    "position",
    hash,
    parts,
    bytes,
    "time"
   FROM log.snapshots n
  WHERE (EXISTS ( SELECT
           FROM log.seals s
          WHERE ((s.last_position = n."position") AND (s.hash = n.hash))));

ALTER VIEW log.own_snapshots OWNER TO log_owner;

CREATE VIEW log.partitions AS
 SELECT name,
    (bounds[1])::bigint AS first_position,
    ((bounds[2])::bigint - 1) AS last_position
   FROM ( SELECT c.relname AS name,
            regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''?(\d+)''?\) TO \(''?(\d+)''?\)'::text) AS bounds
           FROM (pg_inherits i
             JOIN pg_class c ON ((c.oid = i.inhrelid)))
          WHERE (i.inhparent = ('log.events'::regclass)::oid)) p
  ORDER BY (bounds[1])::bigint;

ALTER VIEW log.partitions OWNER TO log_owner;

CREATE TABLE log.snapshot_parts (
    fold text NOT NULL,
    "position" bigint NOT NULL,
    number integer NOT NULL,
    data bytea NOT NULL,
    CONSTRAINT snapshot_parts_data_check CHECK (((octet_length(data) >= 1) AND (octet_length(data) <= 262144))),
    CONSTRAINT snapshot_parts_number_check CHECK ((number >= 0))
);
ALTER TABLE ONLY log.snapshot_parts ALTER COLUMN data SET STORAGE EXTERNAL;

ALTER TABLE log.snapshot_parts OWNER TO log_owner;

CREATE TABLE log.stream_states (
    stream_id uuid NOT NULL,
    version integer NOT NULL,
    format text NOT NULL,
    state bytea NOT NULL,
    CONSTRAINT stream_states_version_check CHECK ((version > 0))
);

ALTER TABLE log.stream_states OWNER TO log_owner;

CREATE TABLE log.streams (
    stream_id uuid NOT NULL,
    category text NOT NULL,
    version integer NOT NULL,
    first_position bigint NOT NULL,
    last_position bigint NOT NULL
)
WITH (fillfactor='70');

ALTER TABLE log.streams OWNER TO log_owner;

CREATE TABLE migration.applied (
    number integer NOT NULL,
    name text NOT NULL,
    sha256 bytea NOT NULL,
    applied_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

ALTER TABLE migration.applied OWNER TO postgres;

CREATE TABLE vault.data_keys (
    stream_id uuid NOT NULL,
    master_key_id bytea NOT NULL,
    wrapped_key bytea NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    shreddings integer DEFAULT 0 NOT NULL,
    CONSTRAINT data_keys_master_key_id_check CHECK ((octet_length(master_key_id) = 8)),
    CONSTRAINT data_keys_shreddings_check CHECK ((shreddings >= 0))
);

ALTER TABLE vault.data_keys OWNER TO vault_owner;

CREATE TABLE vault.master_key (
    id smallint DEFAULT 1 NOT NULL,
    master_key_id bytea NOT NULL,
    sealed_digest_keys bytea NOT NULL,
    since timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT master_key_id_check CHECK ((id = 1)),
    CONSTRAINT master_key_master_key_id_check CHECK ((octet_length(master_key_id) = 8))
);

ALTER TABLE vault.master_key OWNER TO vault_owner;

CREATE TABLE vault.secrets (
    secret_id uuid NOT NULL,
    stream_id uuid NOT NULL,
    field text NOT NULL,
    sealed bytea NOT NULL,
    used boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    superseded_at timestamp with time zone,
    CONSTRAINT superseded_was_used CHECK (((superseded_at IS NULL) OR used))
);

ALTER TABLE vault.secrets OWNER TO vault_owner;

ALTER TABLE ONLY log.events ATTACH PARTITION log.events_from_000000000000001 FOR VALUES FROM ('1') TO ('1000001');

ALTER TABLE ONLY log.events ATTACH PARTITION log.events_from_000000001000001 FOR VALUES FROM ('1000001') TO ('2000001');

ALTER TABLE ONLY log.archived
    ADD CONSTRAINT archived_last_position_key UNIQUE (last_position);

ALTER TABLE ONLY log.archived
    ADD CONSTRAINT archived_pkey PRIMARY KEY (first_position);

ALTER TABLE ONLY log.claims
    ADD CONSTRAINT claims_pkey PRIMARY KEY (name);

ALTER TABLE ONLY log.commands
    ADD CONSTRAINT commands_pkey PRIMARY KEY (command_id);

ALTER TABLE ONLY log.event_types
    ADD CONSTRAINT event_types_name_key UNIQUE (name);

ALTER TABLE ONLY log.event_types
    ADD CONSTRAINT event_types_pkey PRIMARY KEY (id);

ALTER TABLE ONLY log.events
    ADD CONSTRAINT events_pkey PRIMARY KEY ("position");

ALTER TABLE ONLY log.events_from_000000000000001
    ADD CONSTRAINT events_from_000000000000001_pkey PRIMARY KEY ("position");

ALTER TABLE ONLY log.events_from_000000001000001
    ADD CONSTRAINT events_from_000000001000001_pkey PRIMARY KEY ("position");

ALTER TABLE ONLY log.head
    ADD CONSTRAINT head_pkey PRIMARY KEY (id);

ALTER TABLE ONLY log.seals
    ADD CONSTRAINT seals_pkey PRIMARY KEY (last_position);

ALTER TABLE ONLY log.seals
    ADD CONSTRAINT seals_time_key UNIQUE ("time");

ALTER TABLE ONLY log.snapshot_parts
    ADD CONSTRAINT snapshot_parts_pkey PRIMARY KEY (fold, "position", number);

ALTER TABLE ONLY log.snapshots
    ADD CONSTRAINT snapshots_pkey PRIMARY KEY (fold, "position");

ALTER TABLE ONLY log.stream_states
    ADD CONSTRAINT stream_states_pkey PRIMARY KEY (stream_id);

ALTER TABLE ONLY log.streams
    ADD CONSTRAINT streams_pkey PRIMARY KEY (stream_id);

ALTER TABLE ONLY migration.applied
    ADD CONSTRAINT applied_pkey PRIMARY KEY (number);

ALTER TABLE ONLY vault.data_keys
    ADD CONSTRAINT data_keys_pkey PRIMARY KEY (stream_id);

ALTER TABLE ONLY vault.master_key
    ADD CONSTRAINT master_key_pkey PRIMARY KEY (id);

ALTER TABLE ONLY vault.secrets
    ADD CONSTRAINT secrets_pkey PRIMARY KEY (secret_id);

CREATE INDEX commands_by_time ON log.commands USING btree ("time");

CREATE UNIQUE INDEX events_from_000000000000001_by_stream ON log.events_from_000000000000001 USING btree (stream_id, version);

CREATE UNIQUE INDEX events_from_000000001000001_by_stream ON log.events_from_000000001000001 USING btree (stream_id, version);

CREATE INDEX secrets_by_age ON vault.secrets USING btree (created_at, secret_id);

CREATE INDEX secrets_by_stream ON vault.secrets USING btree (stream_id);

ALTER INDEX log.events_pkey ATTACH PARTITION log.events_from_000000000000001_pkey;

ALTER INDEX log.events_pkey ATTACH PARTITION log.events_from_000000001000001_pkey;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE ON log.event_types FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE ON log.events FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE ON log.events_from_000000000000001 FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE ON log.events_from_000000001000001 FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE ON log.seals FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();

CREATE TRIGGER append_only_truncate BEFORE DELETE OR TRUNCATE ON log.archived FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();

CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON log.event_types FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();

CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON log.events FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();

CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON log.events_from_000000000000001 FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();

CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON log.events_from_000000001000001 FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();

CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON log.seals FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();

CREATE TRIGGER kept BEFORE DELETE ON log.head FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();

CREATE TRIGGER kept BEFORE DELETE ON log.streams FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();

CREATE TRIGGER kept_truncate BEFORE TRUNCATE ON log.head FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();

CREATE TRIGGER kept_truncate BEFORE TRUNCATE ON log.streams FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();

ALTER TABLE ONLY log.snapshot_parts
    ADD CONSTRAINT snapshot_parts_fold_position_fkey FOREIGN KEY (fold, "position") REFERENCES log.snapshots(fold, "position") ON DELETE CASCADE;

ALTER TABLE ONLY vault.secrets
    ADD CONSTRAINT secrets_stream_id_fkey FOREIGN KEY (stream_id) REFERENCES vault.data_keys(stream_id) ON DELETE CASCADE;

GRANT USAGE ON SCHEMA log TO log_app;
GRANT USAGE ON SCHEMA log TO log_ops;

GRANT USAGE ON SCHEMA migration TO PUBLIC;

GRANT USAGE ON SCHEMA vault TO vault_app;

REVOKE ALL ON FUNCTION log.add_partition() FROM PUBLIC;

REVOKE ALL ON FUNCTION log.add_snapshot_part(of_fold text, of_position bigint, part_number integer, part bytea) FROM PUBLIC;
GRANT ALL ON FUNCTION log.add_snapshot_part(of_fold text, of_position bigint, part_number integer, part bytea) TO log_app;

REVOKE ALL ON FUNCTION log.append(command_ids uuid[], request_hashes bytea[], stream_ids uuid[], categories text[], expected_versions integer[], metadatas bytea[], event_commands integer[], event_names text[], event_data bytea[], claim_commands integer[], claim_names text[], release_commands integer[], release_names text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION log.append(command_ids uuid[], request_hashes bytea[], stream_ids uuid[], categories text[], expected_versions integer[], metadatas bytea[], event_commands integer[], event_names text[], event_data bytea[], claim_commands integer[], claim_names text[], release_commands integer[], release_names text[]) TO log_app;

REVOKE ALL ON FUNCTION log.append_batch(command_ids uuid[], request_hashes bytea[], stream_ids uuid[], categories text[], expected_versions integer[], metadatas bytea[], event_ends integer[], type_names text[], event_commands integer[], event_types integer[], event_data bytea[], claim_commands integer[], claim_names text[], release_commands integer[], release_names text[], OUT base bigint, OUT statuses text[], OUT versions integer[], OUT positions bigint[], OUT event_counts integer[], OUT details text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION log.append_batch(command_ids uuid[], request_hashes bytea[], stream_ids uuid[], categories text[], expected_versions integer[], metadatas bytea[], event_ends integer[], type_names text[], event_commands integer[], event_types integer[], event_data bytea[], claim_commands integer[], claim_names text[], release_commands integer[], release_names text[], OUT base bigint, OUT statuses text[], OUT versions integer[], OUT positions bigint[], OUT event_counts integer[], OUT details text[]) TO log_app;

REVOKE ALL ON FUNCTION log.begin_snapshot(new_fold text, new_position bigint, new_hash bytea, new_parts integer, new_bytes bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION log.begin_snapshot(new_fold text, new_position bigint, new_hash bytea, new_parts integer, new_bytes bigint) TO log_app;

REVOKE ALL ON FUNCTION log.detach_partition(partition_first bigint, archive_position bigint, archive_hash bytea, archive_sha256 bytea) FROM PUBLIC;
GRANT ALL ON FUNCTION log.detach_partition(partition_first bigint, archive_position bigint, archive_hash bytea, archive_sha256 bytea) TO log_ops;

REVOKE ALL ON FUNCTION log.drop_archived(partition_first bigint, archive_sha256 bytea) FROM PUBLIC;
GRANT ALL ON FUNCTION log.drop_archived(partition_first bigint, archive_sha256 bytea) TO log_ops;

REVOKE ALL ON FUNCTION log.event_digest(event_position bigint, stream_id uuid, version integer, moment timestamp with time zone, type_name text, data bytea, metadata bytea) FROM PUBLIC;

GRANT SELECT ON TABLE log.events TO log_app;
GRANT SELECT ON TABLE log.events TO log_ops;

GRANT SELECT ON TABLE log.head TO log_app;
GRANT SELECT ON TABLE log.head TO log_ops;

REVOKE ALL ON FUNCTION log.first_position() FROM PUBLIC;
GRANT ALL ON FUNCTION log.first_position() TO log_app;
GRANT ALL ON FUNCTION log.first_position() TO log_ops;

REVOKE ALL ON FUNCTION log.import_batches(after_position bigint, after_hash bytea, seal_hashes bytea[], seal_times timestamp with time zone[], event_seals integer[], stream_ids uuid[], versions integer[], event_names text[], event_data bytea[], metadatas bytea[], claim_names text[], claim_streams uuid[], released_names text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION log.import_batches(after_position bigint, after_hash bytea, seal_hashes bytea[], seal_times timestamp with time zone[], event_seals integer[], stream_ids uuid[], versions integer[], event_names text[], event_data bytea[], metadatas bytea[], claim_names text[], claim_streams uuid[], released_names text[]) TO log_ops;

REVOKE ALL ON FUNCTION log.judge(command_ids uuid[], request_hashes bytea[], stream_ids uuid[], expected_versions integer[], event_ends integer[], claim_commands integer[], claim_names text[], OUT statuses text[], OUT versions integer[], OUT positions bigint[], OUT event_counts integer[], OUT taken_names text[], OUT refused_events integer[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION log.keep_snapshots(of_fold text, newest integer) FROM PUBLIC;
GRANT ALL ON FUNCTION log.keep_snapshots(of_fold text, newest integer) TO log_app;

REVOKE ALL ON FUNCTION log.keep_stream_states(stream_ids uuid[], versions integer[], formats text[], states bytea[]) FROM PUBLIC;
GRANT ALL ON FUNCTION log.keep_stream_states(stream_ids uuid[], versions integer[], formats text[], states bytea[]) TO log_ops;

REVOKE ALL ON FUNCTION log.microseconds(moment timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION log.partition_size() FROM PUBLIC;
GRANT ALL ON FUNCTION log.partition_size() TO log_app;
GRANT ALL ON FUNCTION log.partition_size() TO log_ops;

REVOKE ALL ON FUNCTION log.prune_commands(most integer) FROM PUBLIC;
GRANT ALL ON FUNCTION log.prune_commands(most integer) TO log_app;
GRANT ALL ON FUNCTION log.prune_commands(most integer) TO log_ops;

REVOKE ALL ON FUNCTION log.refuse_change() FROM PUBLIC;

REVOKE ALL ON FUNCTION log.seal_at(moment timestamp with time zone, OUT first_position bigint, OUT last_position bigint, OUT hash bytea, OUT "time" timestamp with time zone, OUT clock timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION log.seal_at(moment timestamp with time zone, OUT first_position bigint, OUT last_position bigint, OUT hash bytea, OUT "time" timestamp with time zone, OUT clock timestamp with time zone) TO log_app;
GRANT ALL ON FUNCTION log.seal_at(moment timestamp with time zone, OUT first_position bigint, OUT last_position bigint, OUT hash bytea, OUT "time" timestamp with time zone, OUT clock timestamp with time zone) TO log_ops;

REVOKE ALL ON FUNCTION log.type_ids(names text[]) FROM PUBLIC;

GRANT SELECT ON TABLE log.archived TO log_app;
GRANT SELECT ON TABLE log.archived TO log_ops;

GRANT SELECT ON TABLE log.claims TO log_app;
GRANT SELECT ON TABLE log.claims TO log_ops;

GRANT SELECT ON TABLE log.commands TO log_app;
GRANT SELECT ON TABLE log.commands TO log_ops;

GRANT SELECT ON TABLE log.event_types TO log_app;
GRANT SELECT ON TABLE log.event_types TO log_ops;

GRANT SELECT ON TABLE log.events_from_000000000000001 TO log_ops;

GRANT SELECT ON TABLE log.events_from_000000001000001 TO log_ops;

GRANT SELECT ON TABLE log.seals TO log_app;
GRANT SELECT ON TABLE log.seals TO log_ops;

GRANT SELECT ON TABLE log.snapshots TO log_app;
GRANT SELECT ON TABLE log.snapshots TO log_ops;

GRANT SELECT ON TABLE log.own_snapshots TO log_app;
GRANT SELECT ON TABLE log.own_snapshots TO log_ops;

GRANT SELECT ON TABLE log.partitions TO log_app;
GRANT SELECT ON TABLE log.partitions TO log_ops;

GRANT SELECT ON TABLE log.snapshot_parts TO log_app;
GRANT SELECT ON TABLE log.snapshot_parts TO log_ops;

GRANT SELECT ON TABLE log.stream_states TO log_app;
GRANT SELECT ON TABLE log.stream_states TO log_ops;

GRANT SELECT ON TABLE log.streams TO log_app;
GRANT SELECT ON TABLE log.streams TO log_ops;

GRANT SELECT ON TABLE migration.applied TO PUBLIC;

GRANT SELECT,INSERT,DELETE ON TABLE vault.data_keys TO vault_app;

GRANT UPDATE(master_key_id) ON TABLE vault.data_keys TO vault_app;

GRANT UPDATE(wrapped_key) ON TABLE vault.data_keys TO vault_app;

GRANT SELECT,INSERT,DELETE ON TABLE vault.master_key TO vault_app;

GRANT UPDATE(master_key_id) ON TABLE vault.master_key TO vault_app;

GRANT UPDATE(sealed_digest_keys) ON TABLE vault.master_key TO vault_app;

GRANT UPDATE(since) ON TABLE vault.master_key TO vault_app;

GRANT SELECT,INSERT,DELETE ON TABLE vault.secrets TO vault_app;

GRANT UPDATE(used) ON TABLE vault.secrets TO vault_app;

GRANT UPDATE(superseded_at) ON TABLE vault.secrets TO vault_app;
