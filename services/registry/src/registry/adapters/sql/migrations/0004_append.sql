SET LOCAL ROLE log_owner;

-- Microseconds since 1970, exact (numeric inside): the time's encoding in every digest.
CREATE FUNCTION log.microseconds(moment timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE
RETURN (extract(epoch FROM moment) * 1000000)::bigint;

-- SHA-256 of one event. Every variable part has its length before it, so no two events encode alike.
CREATE FUNCTION log.event_digest(
    event_position bigint, stream_id uuid, version int, moment timestamptz,
    type_name text, data bytea, metadata bytea
) RETURNS bytea LANGUAGE sql STABLE
RETURN sha256(
    int8send(event_position) || uuid_send(stream_id) || int4send(version)
    || int8send((extract(epoch FROM moment) * 1000000)::bigint)
    || int4send(octet_length(type_name)) || convert_to(type_name, 'UTF8')
    || int4send(octet_length(data)) || data
    || int4send(octet_length(metadata)) || metadata
);

-- Appends all waiting commands of one process. One row comes back per command, in their order:
--   stored            its events (none, if it changed nothing) are in the log
--   replayed          this command id is known with this request hash: the first result again
--   command_reused    this command id is known with another request hash
--   version_conflict  the stream is not at expected_version; `version` says where it is
--   claim_conflict    a name is taken; `detail` says which
-- A command that is refused leaves no trace and does not disturb the others.
-- Within one call command ids, streams and claims must differ; else the call fails as a whole.
-- event_commands, claim_commands, release_commands: which command (from 1) an item belongs to;
-- event_commands must ascend. Raises EF001 while the log's time is too far ahead of the clock.
CREATE FUNCTION log.append(
    command_ids uuid[], request_hashes bytea[], stream_ids uuid[], categories text[],
    expected_versions int[], metadatas bytea[],
    event_commands int[], event_names text[], event_data bytea[],
    claim_commands int[], claim_names text[], release_commands int[], release_names text[]
) RETURNS TABLE (status text, version int, "position" bigint, event_count int, detail text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = log, pg_temp
-- The tables grow from empty to millions under cached plans: index look-ups are always right here.
SET enable_seqscan = off
SET enable_mergejoin = off
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
